"""`heyan audit reconcile` as an auditor types it: exports of real nodes, receipts, a static log; each kind of lie."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cli import audit_reconcile, main, reconcile_inputs, reconcile_logs
from gateway.client import Verification
from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.journal import link, open_head, read_signed_head
from gateway.protocol.leaf import read_leaf
from gateway.protocol.merkle import verify_consistency
from gateway.protocol.note import ED25519, VerifierKey, decode_base64
from gateway.protocol.proof import parse_proof
from gateway.protocol.receipt_file import receipt_to_json
from heyan.v1 import log_pb2
from sandbox_departments.journal_export import Seal, export_lines
from tests import federation as fed
from tests.attacks.nodes import RealNode
from tests.dishonest_gateway import LAND, POLICE, DishonestGateway, Forgery, dishonest
from tests.gateway.conftest import NOW, Gateway, federation, gateway
from tests.static_logs import write_log

__all__ = ["federation", "gateway"]


@dataclass
class Case:
    """What an auditor of the dishonest gateway has in a folder."""

    liar: DishonestGateway
    folder: Path
    capsys: pytest.CaptureFixture[str]
    words: list[object] = field(default_factory=list)

    def publish(self, forgery: Forgery | None = None) -> Path:
        """The log as it is shown, as tiles."""
        shutil.rmtree(self.folder / "log", ignore_errors=True)
        leaves = self.liar.leaves() if forgery is None else forgery.leaves
        note = self.liar.gateway.log.head().checkpoint if forgery is None else forgery.note()
        log = write_log(self.folder / "log", leaves)
        (log / "checkpoint").write_text(note, encoding="utf-8")
        return log

    def export(self, node: RealNode, name: str = "", *, after: int = 0, later: float = 60) -> Path:
        """A node's journal as its department exports it."""
        seal = Seal(node.uri, self.liar.gateway.federation.signing_keys[node.uri], 1, int(NOW + later))
        file = self.folder / "journals" / f"{name or node.uri.rpartition('/')[2]}.journal"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"".join(line + b"\n" for line in export_lines(node.path, seal, after=after)))
        return file

    def export_all(self) -> None:
        for node in self.liar.nodes.values():
            self.export(node)

    def keep(self, result: Verification, name: str = "receipt") -> Path:
        """A requester's receipt."""
        file = self.folder / "receipts" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(receipt_to_json(result.receipt), encoding="utf-8")
        return file

    async def reconcile(self, *words: object, code: int) -> dict[str, Any]:
        """What the command says in JSON, or on standard error."""
        text = await self.say(*words, "--json", code=code)
        return json.loads(text) if code in (0, 1) else {"error": text}

    async def say(self, *words: object, code: int) -> str:
        registry = self.folder / "registry.jws"
        made = self.liar.gateway.federation
        registry.write_text(made.registry.token, encoding="ascii")
        options = {"--gateway": "hunan", "--allowed": 0, "--journal": self.folder / "journals"}
        said = [word for option in options.items() if option[0] not in words for word in option]
        trust = ("--registry", registry, "--operator-vkey", made.operator_vkey)
        command = ["audit", "reconcile", self.folder / "log", *trust, *said, *words]
        self.capsys.readouterr()
        ended = await asyncio.to_thread(_run, [str(word) for word in command])
        shown = self.capsys.readouterr()
        assert ended == code, shown.err or shown.out
        return shown.out if code in (0, 1) else shown.err


def _run(words: list[str]) -> int:
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return -1


def kinds(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["kind"], each["holder"].rpartition("/")[2]) for each in document["findings"]}


@pytest.fixture
def case(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    monkeypatch.setattr(reconcile_inputs, "time", SimpleNamespace(time=lambda: NOW + 3_600))
    with dishonest(gateway, tmp_path) as liar:
        yield Case(liar, tmp_path, capsys)


async def asked(case: Case, times: int = 2) -> Verification:
    """Applications, answered and settled."""
    for _ in range(times - 1):
        await case.liar.verify()
    result = await case.liar.verify()
    await case.liar.settle()
    return result


# -- honest -------------------------------------------------------------------------------------------------


async def test_log_journals_and_receipts_that_agree(case: Case) -> None:
    case.keep(await asked(case))
    case.publish()
    case.export_all()
    document = await case.reconcile("--receipt", case.folder / "receipts", code=0)
    assert document["agree"]
    assert document["findings"] == []
    assert (document["owed"], document["receipts"], document["without_journal"]) == (0, 1, {})
    assert {each["department"] for each in document["journals"]} == {POLICE, LAND}
    assert "agree 日志与部门台账一致" in await case.say(code=0)


async def test_department_without_a_journal_is_named_and_accuses_nobody(case: Case) -> None:
    await asked(case)
    case.publish()
    document = await case.reconcile("--journal", case.export(case.liar.police.node), code=0)
    assert document["without_journal"].keys() == {LAND}
    assert "not compared" in await case.say("--journal", case.export(case.liar.police.node), code=0)


async def test_journal_in_several_exports_is_one(case: Case) -> None:
    await asked(case)
    first = case.export(case.liar.police.node, "police-1")
    count = case.liar.police.node.journal.verify_chain().sequence
    await asked(case)
    case.export(case.liar.police.node, "police-2", after=count)
    case.export(case.liar.land.node)
    case.publish()
    document = await case.reconcile("--head", first, code=0)
    assert [len(each["files"]) for each in document["journals"]] == [1, 2]


async def test_copy_of_the_log_that_is_older_than_the_journals_accuses_nobody(case: Case) -> None:
    await asked(case)
    case.publish()
    case.liar.gateway.clock.now += 100
    await asked(case)
    for node in case.liar.nodes.values():
        case.export(node, later=200)
    document = await case.reconcile(code=1)
    assert {kind for kind, _ in kinds(document)} == {"CUT_OFF"}  # told, and nothing else is made of it
    assert document["younger_than_copy"] > 0


async def test_what_is_owed_within_its_time_is_counted_and_no_finding(case: Case) -> None:
    await asked(case)
    case.liar.police.hides = case.liar.police.silent = True
    await case.liar.verify()
    await case.liar.settle()
    case.publish()
    case.export_all()
    document = await case.reconcile("--allowed", 600, code=0)
    assert document["owed"] > 0


# -- what gateways do ---------------------------------------------------------------------------------------


async def test_answer_that_the_gateway_hides_is_found_with_the_entry_that_shows_it(case: Case) -> None:
    await asked(case)
    case.liar.police.hides = True
    await case.liar.verify()
    await case.liar.settle()
    case.liar.gateway.clock.now += 10
    case.liar.police.hides = False
    await asked(case)  # later leaves: the copy is no older than what is missing in it
    case.publish()
    case.export_all()
    document = await case.reconcile("--out", case.folder / "evidence", code=1)
    assert ("UNLOGGED", "police") in kinds(document)
    assert {each["weight"] for each in document["findings"]} == {"ONE_OF_TWO"}
    folder = next((case.folder / "evidence").glob("*-UNLOGGED"))
    finding = json.loads((folder / "finding.json").read_text())
    (entry,) = (folder / "entries.jsonl").read_bytes().splitlines()
    assert entry in list(case.liar.police.node.journal.chain())
    assert finding["digest"]


async def test_forged_log_is_convicted_by_what_departments_were_shown(case: Case) -> None:
    await asked(case)
    forged = case.liar.forgery(of=case.liar.leaves()[:-1])
    other = read_leaf(case.liar.leaves()[-1])
    other.verification.checks[0].statement_digest = bytes(32)
    forged.append(other.SerializeToString(deterministic=True))
    case.publish(forged)
    case.export_all()
    document = await case.reconcile("--out", case.folder / "evidence", code=1)
    assert {("FORKED", "police"), ("FORKED", "land")} <= kinds(document)
    assert {("WRONG_LEAF", "police"), ("UNLOGGED", "police"), ("UNKNOWN", "police")} <= kinds(document)
    assert "CONVICTS_GATEWAY" in {each["weight"] for each in document["findings"]}
    assert "convicted by its own signature" in await case.say(code=1)


async def test_forked_checkpoint_in_a_receipt_is_found_and_proven_to_anybody(case: Case) -> None:
    """The evidence holds by itself: two signed checkpoints, and the proof that the later does not contain the first."""
    await asked(case)
    forged = case.liar.forgery(of=case.liar.leaves())
    case.keep(await bent_receipt(case, forged))
    await asked(case, 3)
    case.publish()
    case.export_all()
    document = await case.reconcile("--receipt", case.folder / "receipts", "--out", case.folder / "evidence", code=1)
    assert ("FORKED", "changsha-edu") in kinds(document)
    folder = next((case.folder / "evidence").glob("*-FORKED"))
    verifiers = verifiers_of(case)
    shown = open_checkpoint((folder / "shown-1.checkpoint").read_bytes(), verifiers, fed.LOG_ORIGIN)
    log = open_checkpoint((folder / "log.checkpoint").read_bytes(), verifiers, fed.LOG_ORIGIN)
    (row,) = json.loads((folder / "consistency.json").read_text())
    root = decode_base64(row["root_in_log"], "root")
    path = [decode_base64(item, "path") for item in row["consistency"]]
    verify_consistency(shown.size, root, log.size, log.root, path)
    assert root != shown.root


async def bent_receipt(case: Case, forged: Forgery) -> Verification:
    """A receipt that its requester believes, out of a log of the gateway's own making."""
    forged.leaves[0] = _other_first(forged.leaves[0])
    case.liar.bend_receipt = forged.record
    result = await case.liar.verify()
    case.liar.bend_receipt = lambda _: None
    return result


def _other_first(data: bytes) -> bytes:
    leaf = log_pb2.LogLeaf.FromString(data)
    leaf.registry_version += 1
    return leaf.SerializeToString(deterministic=True)


def verifiers_of(case: Case) -> tuple[VerifierKey, ...]:
    key = case.liar.gateway.federation.signing_keys[fed.GATEWAY].public_key()
    return (VerifierKey.of(fed.LOG_ORIGIN, ED25519, key.public),)


async def test_checkpoint_of_a_larger_log_that_a_witness_keeps_is_found(case: Case) -> None:
    await asked(case)
    kept = case.folder / "witness.checkpoint"
    kept.write_text(case.liar.gateway.log.head().checkpoint, encoding="utf-8")
    case.publish(case.liar.forgery(of=case.liar.leaves()[:1]))
    case.export_all()
    document = await case.reconcile("--checkpoint", kept, code=1)
    assert ("CUT_OFF", "witness") in kinds(document)


async def test_statement_told_otherwise_comes_with_its_leaf_and_a_proof_that_holds(case: Case) -> None:
    await asked(case)
    leaves = case.liar.leaves()
    leaf = read_leaf(leaves[-1])
    leaf.verification.requester = fed.OTHER_REQUESTER
    case.publish(case.liar.forgery(of=[*leaves[:-1], leaf.SerializeToString(deterministic=True)]))
    case.export_all()
    await case.reconcile("--out", case.folder / "evidence", code=1)
    folder = next((case.folder / "evidence").glob("*-MISREPORTED"))
    data = next(folder.glob("leaf-*.bin")).read_bytes()
    proof = parse_proof(next(folder.glob("leaf-*.tlog-proof")).read_bytes())
    assert proof.verify(data, verifiers_of(case), fed.LOG_ORIGIN).size == len(leaves)
    assert read_leaf(data).verification.requester == fed.OTHER_REQUESTER


# -- what departments, and those who carry files, do --------------------------------------------------------


@pytest.mark.parametrize("bend", ["drop", "change", "cut"])
async def test_journal_file_bent_on_its_way_accuses_nobody_and_is_asked_for_again(case: Case, bend: str) -> None:
    await asked(case)
    case.publish()
    case.export_all()
    file = case.folder / "journals" / "police.journal"
    lines = file.read_bytes().splitlines(keepends=True)
    if bend == "drop":
        del lines[1]
    elif bend == "change":
        lines[1] = lines[1].replace(b"changsha-edu", b"zhuzhou-edu")
    else:
        del lines[-2:]
    file.write_bytes(b"".join(lines))
    document = await case.reconcile(code=1)
    assert [(each["kind"], each["weight"]) for each in document["findings"]] == [("UNVERIFIED", "ASKS")]
    assert document["without_journal"].keys() == {POLICE}
    assert document["findings"][0]["files"] == [str(file)]


async def test_statement_that_a_department_drops_from_its_journal_is_in_the_log_and_convicts_it(case: Case) -> None:
    await asked(case)
    head = case.export(case.liar.police.node, "noted")
    rewrite(case.liar.police.node, drop=1)
    await asked(case, 1)
    noted = case.folder / "noted" / "police.journal"
    noted.parent.mkdir()
    head.rename(noted)
    case.publish()
    case.export_all()
    document = await case.reconcile("--head", noted, "--out", case.folder / "evidence", code=1)
    assert kinds(document) == {("UNKNOWN", "police"), ("REWRITTEN", "police")}
    folder = next((case.folder / "evidence").glob("*-REWRITTEN"))
    registry = case.liar.gateway.federation.registry
    heads = [
        open_head(read_signed_head((folder / f"journal-{number}.head").read_bytes()[:-1]), registry, NOW + 60)
        for number in (1, 2)
    ]
    assert heads[0].department == heads[1].department == POLICE
    assert heads[0].sequence > heads[1].sequence or heads[0].hash != heads[1].hash


async def test_journal_cut_off_after_its_head_was_noted_is_found(case: Case) -> None:
    await asked(case)
    noted = case.folder / "noted.head"
    noted.write_bytes(case.export(case.liar.police.node).read_bytes().splitlines(keepends=True)[-1])
    rewrite(case.liar.police.node, keep=2)
    case.publish()
    case.export_all()
    document = await case.reconcile("--head", noted, code=1)
    assert ("SHORTENED", "police") in kinds(document)
    assert "convicted by its own signatures" in await case.say("--head", noted, code=1)


async def test_two_exports_of_one_time_that_differ_convict_their_department(case: Case) -> None:
    """What it shows to one auditor and what to another: each file is whole and signed."""
    await asked(case)
    case.export(case.liar.police.node, "police-to-one")
    case.export(case.liar.land.node)
    rewrite(case.liar.police.node, drop=2)
    case.export(case.liar.police.node, "police-to-another")
    case.publish()
    document = await case.reconcile(code=1)
    assert {"REWRITTEN", "SHORTENED"} & {kind for kind, _ in kinds(document)}


def rewrite(node: RealNode, drop: int | None = None, keep: int | None = None) -> None:
    """Leave an entry out, or all after a number, and chain the others anew, as a department could."""
    connection = node.journal._connection
    kept = [data for number, data in enumerate(node.journal.chain(), 1) if number != drop][:keep]
    connection.execute("DELETE FROM entries")
    connection.execute("DELETE FROM withheld")
    last = bytes(32)
    for number, data in enumerate(kept, 1):
        last = link(last, data)
        connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (number, last, data))


# -- usage --------------------------------------------------------------------------------------------------


async def test_checkpoint_that_the_gateway_did_not_sign_is_not_believed(case: Case) -> None:
    await asked(case)
    case.publish()
    case.export_all()
    bent = case.folder / "bent.checkpoint"
    bent.write_text(case.liar.gateway.log.head().checkpoint.replace("\n2\n", "\n1\n", 1).replace("A", "B"))
    said = await case.reconcile("--checkpoint", bent, code=2)
    assert "--checkpoint" in said["error"]


async def test_receipt_that_does_not_hold_is_named_and_not_used(case: Case) -> None:
    result = await asked(case)
    result.receipt.leaf_key = bytes(32)
    file = case.keep(result)
    case.publish()
    case.export_all()
    said = await case.reconcile("--receipt", file, code=2)
    assert "does not hold" in said["error"]
    assert said["error"].count("\n") == 1


async def test_export_without_the_one_before_it_is_refused(case: Case) -> None:
    await asked(case)
    case.publish()
    file = case.export(case.liar.police.node, after=1)
    assert "first entry" in (await case.reconcile("--journal", file, code=2))["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--allowed", -1), "--allowed"),
        (("--as-of", "yesterday"), "--as-of"),
        (("--as-of", "2027-06-01T08:00:00"), "--as-of"),
        (("--gateway", "nobody"), "--gateway"),
        (("--journal", "nowhere"), "nowhere"),
        (("--head", "nowhere"), "nowhere"),
        (("--out", "."), "--out"),
    ],
)
async def test_what_cannot_be_reconciled_is_said_on_one_line(case: Case, words: tuple[object, ...], said: str) -> None:
    await asked(case)
    case.publish()
    case.export_all()
    error = (await case.reconcile(*words, code=2))["error"]
    assert said in error
    assert error.count("\n") == 1


async def test_log_that_is_published_a_moment_late_is_not_said_to_be_cut_off(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a log that is live, the checkpoint is looked at again before anything is said."""
    await asked(case)
    case.export_all()
    case.publish(case.liar.forgery(of=case.liar.leaves()[:1]))
    looks: list[float] = []

    async def publish(seconds: float) -> None:
        looks.append(seconds)
        case.publish()

    monkeypatch.setattr(audit_reconcile, "_pause", publish)
    monkeypatch.setattr(reconcile_logs, "FolderSource", ())  # what is read from now on is no copy
    document = await case.reconcile(code=0)
    assert document["agree"]
    assert len(looks) == 1
