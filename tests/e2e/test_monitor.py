"""A monitor beside a running federation that is asked and killed: silent while all are honest, loud when one is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.monitor.store import read_seen
from gateway.party.keyfiles import load_signing_keys
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint, unverified_checkpoint
from gateway.protocol.note import SignerKey
from tests.e2e.conftest import Running, federation

pytestmark = pytest.mark.e2e
WAIT = 60.0
"""Seconds for what takes about two on a machine at rest."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[Running]:
    with federation(tmp_path_factory.mktemp("watched") / "run", 200) as running:
        yield running


@contextmanager
def monitor(running: Running, state: Path) -> Iterator[subprocess.Popen[str]]:
    """A monitor as a process of its own; killed at the end, if it still runs."""
    command = [sys.executable, "-m", "gateway.cli", "log", "monitor", "--dir", str(running.folder)]
    command += ["--state", str(state), "--interval", "0.2", "--json"]
    with (
        state.with_suffix(".out").open("a") as out,
        subprocess.Popen(command, stdout=out, text=True, env=os.environ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def origin_of(running: Running) -> str:
    return running.endpoints.gateway.log_vkey.partition("+")[0]


def size_seen(running: Running, state: Path) -> int:
    if not state.exists():
        return 0
    seen = read_seen(state, origin_of(running))
    return unverified_checkpoint(seen).size if seen else 0


def await_size(running: Running, state: Path, size: int) -> None:
    end = time.monotonic() + WAIT
    while size_seen(running, state) < size:
        assert time.monotonic() < end, "the monitor saw no further"
        time.sleep(0.1)


def ask(running: Running, family: int) -> None:
    words = ("verify", "--dir", str(running.folder), "--requester", running.requester)
    end = time.monotonic() + WAIT
    while (done := running.heyan(*words, "--family", running.families[family].application.family)).returncode == 3:
        assert time.monotonic() < end, done.stderr  # a party that was killed is not back yet
    assert done.returncode == 0, done.stderr


def rotate_log_key(running: Running) -> None:
    """While the monitor runs: a checkpoint by a key that its registry did not have yet must raise nothing."""
    gateway = f"spiffe://heyan/gateway/{running.endpoints.gateway.id}"
    words = ("--folder", str(running.folder / "gateway"), "--desk", str(running.sandbox.desk_folder), "--delay", "1")
    done = running.heyan("registry", "rotate", "log", gateway, *words)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(400)
def test_honest_federation_under_kills_raises_nothing_and_planted_lies_are_caught(watched, tmp_path):
    state = tmp_path / "monitor.db"
    families = [each for each, truth in enumerate(watched.families) if truth.application.region.startswith("4301")][:4]
    for number, family in enumerate(families):
        with monitor(watched, state) as process:
            ask(watched, family)
            if number == 1:
                rotate_log_key(watched)
            if number == 2:
                os.kill(watched.pid("gateway"), signal.SIGKILL)
                ask(watched, families[0])
            await_size(watched, state, number + 1)
            if number % 2:
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=WAIT) == 0
    words = ("log", "monitor", "--dir", str(watched.folder), "--state", str(state), "--once")
    once = watched.heyan(*words)
    assert (once.returncode, once.stdout, once.stderr) == (0, "", "")
    assert state.with_suffix(".out").read_text() == ""
    fsck = watched.heyan("log", "fsck", "--dir", str(watched.folder), "--leaves", "--state", str(state), "--json")
    assert fsck.returncode == 0, fsck.stdout
    assert json.loads(fsck.stdout)["size"] == size_seen(watched, state)

    # A copy of the log, to which its own key signs what it must not.
    copy = Path(shutil.copytree(watched.folder / "gateway/published/0", tmp_path / "copy"))
    _, key = load_signing_keys(watched.folder / "gateway/keys")
    signer = SignerKey.from_seed(origin_of(watched), key.private.private_bytes_raw())
    size = size_seen(watched, state)
    (copy / "checkpoint").write_text(sign_checkpoint(Checkpoint(origin_of(watched), size, bytes(32)), [signer]))
    forked = watched.heyan("log", "monitor", str(copy), *words[2:])
    assert (forked.returncode, forked.stdout.split()[:2]) == (1, ["ALARM", "FORKED"])
    smaller = Checkpoint(origin_of(watched), size - 1, bytes(32))
    (copy / "checkpoint").write_text(sign_checkpoint(smaller, [signer]))
    rolled_back = watched.heyan("log", "monitor", str(copy), *words[2:])
    assert (rolled_back.returncode, rolled_back.stdout.split()[:2]) == (1, ["ALARM", "ROLLED_BACK"])
    # The other places, which the lie was not told to, go on as before.
    assert watched.heyan(*words).returncode == 0
    split = watched.heyan(*words, "--mirror", str(copy))
    assert (split.returncode, split.stdout.split()[:2]) == (1, ["ALARM", "SPLIT_VIEW"])
