"""Readers of a static log that were not written here: Go's golang.org/x/mod/sumdb, and tlog-scales of PyPI.

Each is told a place (folder or URL), a verifier key, leaves and an older checkpoint, and raises DoesNotHoldError if
something does not hold.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tlog_scales.backend import HttpBackend, LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import Checkpoint

PROGRAM = Path(__file__).with_name("verify_log.go")
GO_PATH = Path("/usr/share/gocode")
"""Where Debian's golang-golang-x-mod-dev has its packages."""


class DoesNotHoldError(Exception):
    """What a reader says does not hold."""


@dataclass(frozen=True)
class Client:
    """The files with which to read over HTTPS: a CA, and for entries an auditor's certificate and key."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None


def build_go_reader(folder: Path) -> Path:
    """Build the Go reader; skips the test where Go or the package is not installed, as `.ci/run` installs them."""
    if shutil.which("go") is None or not (GO_PATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("needs Debian's golang-go and golang-golang-x-mod-dev")
    program = folder / "verify_log"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOCACHE": str(folder / "cache"),
        "GOPATH": str(GO_PATH),
        "GO111MODULE": "off",
    }
    command = ["go", "build", "-o", str(program), str(PROGRAM)]
    subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)
    return program


def read_with_go(
    program: Path,
    place: str,
    vkey: str,
    *,
    leaves: Iterable[int],
    old: Path | None = None,
    client: Client | None = None,
    entries: bool = True,
) -> int:
    """The size of the log, if all holds."""
    words = [str(program), "-log", place, "-vkey", vkey, "-leaves", ",".join(map(str, leaves))]
    if old is not None:
        words += ["-old", str(old)]
    if not entries:
        words.append("-no-entries")
    if client is not None:
        words += ["-ca", str(client.ca)]
        if client.cert is not None:
            words += ["-cert", str(client.cert), "-key", str(client.key)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise DoesNotHoldError(done.stderr.strip())
    told = json.loads(done.stdout)
    assert told["consistent"] == (old is not None)
    return int(told["size"])


def read_with_scales(
    place: str,
    vkey: str,
    *,
    leaves: Iterable[int],
    old: Path | None = None,
    client: Client | None = None,
    entries: bool = True,
) -> int:
    """The size of the log, if all holds."""
    backend = HttpBackend(place) if place.startswith("http") else LocalBackend(Path(place))
    if isinstance(backend, HttpBackend):
        backend.session.trust_env = False
    if client is not None:
        backend.session.verify = str(client.ca)
        backend.session.cert = (str(client.cert), str(client.key)) if client.cert else None
    try:
        return _read_with_scales(TilesReader(backend), vkey, leaves, old, entries=entries)
    except Exception as error:
        raise DoesNotHoldError(f"{type(error).__name__}: {error}") from error
    finally:
        if isinstance(backend, HttpBackend):
            backend.session.close()


def _read_with_scales(reader: TilesReader, vkey: str, leaves: Iterable[int], old: Path | None, *, entries: bool) -> int:
    known = Vkey.from_string(vkey)
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(known)
    if reader.calculate_root_hash() != checkpoint.root_hash:
        raise DoesNotHoldError("another root")
    for index in leaves:
        place, offset = divmod(index, 256)
        leaf = leaf_hash(reader.get_entry(index)) if entries else reader._get_from_tile(0, place, offset)
        reader.get_inclusion_proof(index, checkpoint.size).check(leaf, checkpoint.root_hash)
    if old is not None:
        before = Checkpoint.from_text(old.read_text())
        before.verify(known)
        proof = reader.get_consistency_proof(before.size, checkpoint.size)
        proof.check(before.root_hash, checkpoint.root_hash)
    return checkpoint.size
