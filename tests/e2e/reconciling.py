"""`heyan audit reconcile` on a federation that was fought over: nothing is found, until something is planted."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.client import Verification
from gateway.party.keyfiles import load_signing_keys
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.journal import GENESIS, link
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.note import SignerKey, VerifierKey
from gateway.protocol.receipt_file import receipt_to_json
from gateway.stores.sqlite import SqliteStore
from tests.e2e.kills import Arena
from tests.static_logs import write_log

RECEIPTS = 25
"""Receipts that requesters show: each is verified whole."""

Chain = list[bytes]


@dataclass
class Auditing:
    """An auditor of a running arena, with a folder of its own."""

    arena: Arena
    folder: Path

    def heyan(self, *words: object, code: int, **environment: str) -> str:
        """A command as a person would type it; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def reconcile(self, *words: object, code: int) -> dict[str, Any]:
        shown = self.heyan(
            *("audit", "reconcile", *words, "--dir", self.arena.folder, "--allowed", 0, "--json"), code=code
        )
        found: dict[str, Any] = json.loads(shown)
        return found

    def keep(self, results: Sequence[Verification]) -> Path:
        """Receipts, as requesters show them: those of the end and of the beginning."""
        folder = self.folder / "receipts"
        folder.mkdir(parents=True)
        for number, result in enumerate([*results[: RECEIPTS // 2], *results[-(RECEIPTS // 2) :]]):
            (folder / f"{number}.json").write_text(receipt_to_json(result.receipt), encoding="utf-8")
        return folder

    def export(self, node: str, out: Path, journal: Path | None = None) -> Path:
        """A node's journal, or what its department makes of it, under the department's own signature."""
        out.parent.mkdir(parents=True, exist_ok=True)
        settings = self.arena.folder / "departments" / node / "settings.toml"
        environment = {} if journal is None else {"HEYAN_JOURNAL": str(journal)}
        self.heyan("department", "journal", "export", "--config", settings, "--out", out, code=0, **environment)
        return out

    def rewritten(self, node: str, bend: Callable[[Chain], Chain]) -> Path:
        """A copy of a node's journal with other entries, chained anew."""
        copy = self.folder / f"{node}-{len(list(self.folder.iterdir()))}.db"
        source = self.arena.folder / "departments" / node / "journal.db"
        with closing(sqlite3.connect(source, timeout=10)) as old, closing(sqlite3.connect(copy)) as new:
            old.backup(new)
        with closing(sqlite3.connect(copy)) as connection, connection:
            chain = [row[0] for row in connection.execute("SELECT entry FROM entries ORDER BY sequence")]
            connection.execute("DELETE FROM entries")
            connection.execute("DELETE FROM withheld")
            last = GENESIS
            for number, data in enumerate(bend(chain), 1):
                last = link(last, data)
                connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (number, last, data))
        return copy

    def journals(self, name: str, without: str, instead: Path | None = None) -> Path:
        """A folder with the journals of all nodes, but for one, which is made from another file."""
        folder = self.folder / name
        shutil.copytree(self.folder / "honest" / "journals", folder)
        (folder / f"{without}.journal").unlink()
        if instead is not None:
            self.export(without, folder / f"{without}.journal", instead)
        return folder


def kinds(document: dict[str, Any]) -> set[str]:
    return {each["kind"] for each in document["findings"]}


def reconcile_honestly(auditing: Auditing, results: Sequence[Verification]) -> dict[str, Any]:
    """Everything that anybody has, against the log of the running gateway: no finding, nothing owed."""
    out = auditing.folder / "honest"
    document = auditing.reconcile("--receipt", auditing.keep(results), "--out", out, code=0)
    assert document["findings"] == []
    assert (document["owed"], document["without_journal"]) == (0, {})
    assert len(document["journals"]) == len(auditing.arena.nodes)
    return document


def plant(auditing: Auditing, node: str) -> dict[str, set[str]]:
    """One lie at a time, in copies; the kinds that the command finds of each."""
    honest = auditing.folder / "honest" / "journals" / f"{node}.journal"
    found: dict[str, set[str]] = {}

    def told(lie: str, *words: object) -> None:
        found[lie] = kinds(auditing.reconcile(*words, code=1))

    folder = auditing.journals("carried", node)
    lines = honest.read_bytes().splitlines(keepends=True)
    (folder / honest.name).write_bytes(b"".join([*lines[:1], *lines[2:]]))
    told("an entry is lost on the way", "--journal", folder)

    dropped = auditing.rewritten(node, _without_an_answer)
    told("a statement is dropped", "--journal", auditing.journals("dropped", node, dropped), "--head", honest)

    changed = auditing.rewritten(node, _with_another_requester)
    told("a requester is changed", "--journal", auditing.journals("changed", node, changed), "--head", honest)

    cut = auditing.rewritten(node, lambda chain: chain[: len(chain) // 2])
    told("the end is cut off", "--journal", auditing.journals("cut", node, cut), "--head", honest)

    journals = auditing.folder / "honest" / "journals"
    told("the log is forged", _forged_log(auditing), "--journal", journals)
    told("a witness was shown another log", "--journal", journals, "--checkpoint", _forked_note(auditing))
    return found


def _without_an_answer(chain: Chain) -> Chain:
    """Without the first part that was answered, wherever its statements stand: said again, they would be known.

    The first, because what the log had only just recorded when the journal was read accuses nobody.
    """
    answered = next(data for data in chain if b'"answered"' in data)
    part = next(part for part in json.loads(answered)["parts"] if part["type"] == "answered")
    marks = [statement.encode() for statement in part["statements"]]
    return [data for data in chain if not any(mark in data for mark in marks)]


def _with_another_requester(chain: Chain) -> Chain:
    place = next(number for number, data in enumerate(chain) if b'"answered"' in data)
    return [*chain[:place], chain[place].replace(b"/requester/", b"/requester/not-"), *chain[place + 1 :]]


def _log(auditing: Auditing) -> tuple[list[bytes], SignerKey]:
    """The leaves, and the key that signs checkpoints."""
    folder, copy = auditing.arena.folder / "gateway", auditing.folder / "store.db"
    with closing(sqlite3.connect(folder / "store.db", timeout=10)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    with closing(SqliteStore(copy)) as store:
        head = store.head()
        assert head is not None
        leaves = list(store.leaves(0, head.size))
    origin = VerifierKey.parse(auditing.arena.endpoints.gateway.log_vkey).name
    (key,) = load_signing_keys(folder / "keys")
    return leaves, SignerKey.from_seed(origin, key.private.private_bytes_raw())  # type: ignore[union-attr]


def _note(leaves: list[bytes], signer: SignerKey) -> str:
    checkpoint = Checkpoint(signer.verifier.name, len(leaves), root_of([leaf_hash(leaf) for leaf in leaves]))
    return sign_checkpoint(checkpoint, [signer])


def _forged_log(auditing: Auditing) -> Path:
    """The log as tiles, without a leaf from its middle and as long as before, under a good signature."""
    leaves, signer = _log(auditing)
    forged = [*leaves[: len(leaves) // 2], *leaves[len(leaves) // 2 + 1 :], leaves[-1]]
    folder = write_log(auditing.folder / "forged", forged)
    (folder / "checkpoint").write_text(_note(forged, signer), encoding="utf-8")
    return folder


def _forked_note(auditing: Auditing) -> Path:
    leaves, signer = _log(auditing)
    file = auditing.folder / "witness.checkpoint"
    file.write_text(_note([*leaves[:-1], b"another"], signer), encoding="utf-8")
    return file
