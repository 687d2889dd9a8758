"""A federation whose log has a second key: receipts bear it, and an idle log follows its keys."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.endpoints import open_auditor
from gateway.cli.sandbox import AUDITOR, GATEWAY, LOG_ORIGIN
from gateway.operator.desk import Desk
from gateway.protocol.checkpoint import Checkpoint, parse_checkpoint
from gateway.protocol.log_keys import current_verifiers
from gateway.protocol.note import ED25519, ML_DSA_44, Note, open_note, parse_note
from gateway.protocol.proof import InclusionProof, parse_proof
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from gateway.protocol.receipt_leaves import leaf_proofs
from tests.e2e.conftest import Running, federation, heyan

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

OVERLAP = 3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with federation(tmp_path_factory.mktemp("second") / "run", 60, post_quantum=True) as started:
        yield started


@pytest.fixture(scope="module")
def receipt_file(running: Running) -> Path:
    file = running.folder / "receipt.json"
    family = running.families[3].application.family
    words = ("--dir", str(running.folder), "--requester", running.requester, "--family", family)
    done = heyan("verify", *words, "--receipt", str(file))
    assert done.returncode == 0, done.stderr
    return file


def test_receipt_bears_the_second_signature_by_the_pinned_key(running: Running, receipt_file: Path) -> None:
    registry = Desk.open(running.sandbox.desk_folder).published()
    assert registry is not None
    keys = current_verifiers(registry, GATEWAY.uri, LOG_ORIGIN, time.time())
    (second,) = [key.format() for key in keys if key.algorithm == ML_DSA_44]
    check = ("log", "verify-receipt", str(receipt_file), "--dir", str(running.folder))
    done = heyan(*check, "--require-pq", "--pq-vkey", second)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("post-quantum signature: yes\n")
    assert second in heyan("registry", "show", "--desk", str(running.sandbox.desk_folder)).stdout


def test_receipt_from_which_it_was_stripped_still_verifies_and_is_refused_where_it_is_required(
    running: Running, receipt_file: Path, tmp_path: Path
) -> None:
    receipt = receipt_from_json(receipt_file.read_text())
    for item in leaf_proofs(receipt):
        proof = parse_proof(item.proof.encode())
        note = parse_note(proof.checkpoint.encode())
        plain = [line.format() for line in note.unverified if len(line.value) == 64]
        stripped = note.text + "\n" + "".join(f"{line}\n" for line in plain)
        item.proof = InclusionProof(proof.index, proof.path, stripped).format()
    file = tmp_path / "stripped.json"
    file.write_text(receipt_to_json(receipt))
    check = ("log", "verify-receipt", str(file), "--dir", str(running.folder))
    done = heyan(*check, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["post_quantum"], shown["post_quantum_expected"]) == (False, True)
    done = heyan(*check, "--require-pq")
    assert done.returncode == 1
    assert "POST_QUANTUM_MISSING" in done.stderr


async def test_idle_log_follows_its_keys_without_a_leaf(running: Running) -> None:
    """Nobody asks anything while the key is rotated: what the log shows is signed by whoever counts, never by less."""
    before = await shown_checkpoint(running)
    desk = str(running.sandbox.desk_folder)
    words = ("--folder", str(running.folder / "gateway"), "--desk", desk, "--delay", "3", "--overlap", str(OVERLAP))
    done = await asyncio.to_thread(heyan, "registry", "rotate", "log", GATEWAY.uri, *words)
    assert done.returncode == 0, done.stderr
    registry = Desk.open(running.sandbox.desk_folder).published()
    assert registry is not None
    ends = time.time() + 3 + OVERLAP + 5
    seen: set[int] = set()
    while time.time() < ends:
        note = await shown_checkpoint(running)
        seen.add(sum(len(item.value) == 64 for item in note.unverified))
        await asyncio.sleep(0.2)
    last = await shown_checkpoint(running)
    opened = open_note(encoded(last), current_verifiers(registry, GATEWAY.uri, LOG_ORIGIN, time.time()))
    assert {key.algorithm for key in opened.keys} == {ED25519, ML_DSA_44}
    assert seen == {1, 2}  # the old key; both
    # The tree grew by the leaf that says that this registry was adopted, and by nothing else.
    assert tree(last).size <= tree(before).size + 1


async def shown_checkpoint(running: Running) -> Note:
    """What an auditor is shown."""
    auditor = open_auditor(running.folder, AUDITOR.name)
    async with auditor.reader as log:
        return parse_note((await log.checkpoint()).encode())


def encoded(note: Note) -> bytes:
    return (note.text + "\n" + "".join(f"{item.format()}\n" for item in note.unverified)).encode()


def tree(note: Note) -> Checkpoint:
    return parse_checkpoint(note.text)
