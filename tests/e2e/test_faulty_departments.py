"""One department at fault costs its own checks and nobody else's: no wrong answer, no "no", nothing unlogged.

Each case sends one application that asks several departments while one of them is at fault, then lifts the fault and
sends the very same request again until it is answered in full.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli.endpoints import read_endpoints
from gateway.cli.sandbox import Asked
from gateway.cli.supervisor import free_port_base
from gateway.cli.up import open_sandbox, start
from gateway.client import Verification
from gateway.party.registry_keeper import operator_key
from gateway.protocol.attestation import Attestation, read_proof, read_statement
from gateway.protocol.outcomes import Outcome
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from sandbox_departments.faults.kinds import Kind, make_fault
from sandbox_departments.faults.switch import FILE, lift_fault, set_fault
from sandbox_departments.truth import read_truth
from tests.e2e.applicants import Said, applicant, said
from tests.e2e.books import journalled, logged, owed
from tests.e2e.conftest import Running
from tests.e2e.nodes import channels_of, folder_of, listening, reopen, settled, times_switched

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DEADLINE = 2.0
"""Seconds of a call in these tests: what hangs or is late costs no more."""
LATE = 3.0
RECOVERY = 15.0
"""Seconds within which an answer is logged that came when nobody waited: a killed node starts again."""


REOPENED = ("dies-replying", "wrong-signature")
"""Faults that end the stream, which is opened anew."""


@dataclass(frozen=True)
class Case:
    """A fault of a node, and what its checks end as meanwhile; None is the right answer.

    `or_right` where the department may be heard in spite of the fault: what it had signed comes again when its stream
    opens anew. Where another channel leads to the department, it may be heard in any case.
    """

    kind: Kind
    node: str
    expected: Outcome | None = Outcome.UNAVAILABLE
    or_right: bool = False
    options: dict[str, float] = field(default_factory=dict)


CONTRARY = {Outcome.YES: Outcome.NO, Outcome.NO: Outcome.YES}

CASES = [
    Case(Kind.DOWN, "police-4301"),
    Case(Kind.DIES_ASKED, "land-4301"),
    Case(Kind.DIES_REPLYING, "land-4303", or_right=True),
    Case(Kind.SLOW, "police-4303", None, options={"seconds": 0.4}),
    Case(Kind.HANGS, "police-4301"),
    Case(Kind.LATE, "police-4303", options={"seconds": LATE}),
    Case(Kind.TWICE, "education-4301", None),
    Case(Kind.OUT_OF_ORDER, "education-4303", None),
    Case(Kind.GARBAGE, "education-4301", or_right=True),
    Case(Kind.WRONG_SIGNATURE, "police-4301", or_right=True),
    Case(Kind.STALE_SNAPSHOT, "police-4303", Outcome.UNDETERMINED),
    Case(Kind.OTHER_ANSWER, "education-4303"),
    Case(Kind.ALTERED_OUTCOME, "education-4301", or_right=True),
    Case(Kind.OVER_LONG, "education-4303", or_right=True),
    Case(Kind.OVER_FULL, "police-4301", or_right=True),
    Case(Kind.OVER_CLAIMING, "police-4303", or_right=True),
]


@pytest.fixture(autouse=True)
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.client.DEADLINE", DEADLINE)


@pytest.fixture(autouse=True)
def no_fault_is_left(running: Running) -> Iterator[None]:
    yield
    for process in running.sandbox.processes():
        lift_fault(process.folder / FILE)


def statements_of(result: Verification, department: str) -> set[bytes]:
    """Digests of a department's attestations in a receipt."""
    proofs = [read_proof(item.proof) for item in result.receipt.statements]
    stated = [(proof.digest, read_statement(proof.statement)) for proof in proofs]
    return {digest for digest, item in stated if isinstance(item, Attestation) and item.asked.department == department}


def require_receipt(running: Running, result: Verification) -> None:
    """The receipt holds offline, by what was written to a file."""
    receipt = receipt_from_json(receipt_to_json(result.receipt))
    verify_receipt(receipt, operator_key(running.endpoints.operator_vkey))


async def require_kept(running: Running, node: str) -> None:
    """Whatever the node stated stands in the gateway's log, or is owed and sent again."""
    folder = folder_of(running, node)
    stated = journalled(folder)
    assert stated
    assert stated - await logged(running) <= owed(folder)


def require_right(result: Verification, right: Said, *, but: str = "") -> None:
    found = said(result)
    assert found.keys() == right.keys()
    assert {key: found[key] for key in found if key[0] != but} == {key: right[key] for key in right if key[0] != but}


@pytest.mark.parametrize("case", CASES, ids=[case.kind.value for case in CASES])
async def test_fault_of_one_department_costs_only_its_own_checks(running: Running, case: Case) -> None:
    switch = folder_of(running, case.node) / FILE
    async with applicant(running, case.node) as earlier, applicant(running, case.node) as family:
        require_right(await earlier.until_answered(earlier.prepare()), earlier.right)
        switched = times_switched(running, case.node)

        set_fault(switch, make_fault(case.kind.value, **case.options))
        if case.kind is Kind.DOWN:
            await listening(running, case.node, expected=False)
        submission = family.prepare()
        beside = [earlier.prepare()] if case.kind is Kind.OUT_OF_ORDER else []
        result, *others = await asyncio.gather(*(family.client.send(each) for each in (submission, *beside)))
        require_receipt(running, result)
        require_right(result, family.right, but=case.node)
        or_right = case.or_right or channels_of(running, case.node) > 1
        for key, outcome in said(result).items():
            if key[0] == case.node and not (or_right and outcome is family.right[key]):
                assert outcome is (case.expected or family.right[key]), key
        for other in others:
            require_right(other, earlier.right)
        assert times_switched(running, case.node) > switched

        lift_fault(switch)
        retried = await family.until_answered(submission)
        require_receipt(running, retried)
        # What was stated under a request_id is stated again: also UNDETERMINED, which is an answer.
        require_right(retried, said(result) if case.kind is Kind.STALE_SNAPSHOT else family.right)
        require_right(await family.until_answered(family.prepare()), family.right)
        await require_kept(running, case.node)


@pytest.mark.parametrize(
    ("kind", "node", "options"),
    [
        ("late", "police-4301", {"seconds": LATE}),
        ("hangs", "land-4303", {}),
        ("dies-replying", "land-4301", {}),
        ("wrong-signature", "education-4301", {}),
    ],
    ids=["late", "hangs", "dies-replying", "wrong-signature"],
)
async def test_answer_that_nobody_waits_for_any_more_is_logged_without_being_asked_again(
    running: Running, kind: str, node: str, options: dict[str, float]
) -> None:
    folder = folder_of(running, node)
    async with applicant(running, node) as family:
        before = journalled(folder)
        set_fault(folder / FILE, make_fault(kind, **options))
        result = await family.client.send(family.prepare())
        require_right(result, family.right, but=node)
        lift_fault(folder / FILE)
        fresh = journalled(folder) - before
        assert fresh
        async with asyncio.timeout(RECOVERY if kind in REOPENED else RECOVERY / 5):
            while not fresh <= await logged(running):  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.2)


async def test_outcome_changed_under_a_good_signature_is_provable_from_journal_and_log(running: Running) -> None:
    """Nobody can tell at once that a department lies under its own signature; but it has signed, and both stand."""
    node = "police-4301"
    folder = folder_of(running, node)
    async with applicant(running, node) as family:
        switched = times_switched(running, node)
        set_fault(folder / FILE, make_fault("changed-outcome"))
        result = await family.client.send(family.prepare())
        assert times_switched(running, node) > switched
        lift_fault(folder / FILE)
        require_receipt(running, result)
        require_right(result, family.right, but=node)
        own = {key: outcome for key, outcome in said(result).items() if key[0] == node}
        assert own == {key: CONTRARY[family.right[key]] for key in family.right if key[0] == node}
        released = statements_of(result, f"spiffe://heyan/department/{node}")
        assert len(released) == len(own)
        assert released <= await logged(running)
        assert not released & journalled(folder)  # signed, logged, and not what its own journal has
        require_right(await family.until_answered(family.prepare()), family.right)
        await require_kept(running, node)


async def test_switch_is_noticed_by_the_running_node_and_shown(running: Running) -> None:
    node, folder = "housing-4303", str(running.folder)
    process = running.pid(node)
    assert running.heyan("department", "fault", "--dir", folder, node, "down").returncode == 0
    await listening(running, node, expected=False)
    shown = running.heyan("department", "fault", "--dir", folder, "--json")
    assert [(row["department"], row["fault"]) for row in json.loads(shown.stdout)] == [(node, "down")]
    assert running.heyan("department", "fault", "--dir", folder, node, "off").returncode == 0
    await listening(running, node, expected=True)
    assert running.pid(node) == process


async def test_whatever_departments_stated_at_fault_stands_in_the_log_once_their_streams_open_anew(
    running: Running,
) -> None:
    nodes = sorted({case.node for case in CASES})
    before = {node: journalled(folder_of(running, node)) for node in nodes}
    async with AsyncExitStack() as stack:
        families = [await stack.enter_async_context(applicant(running, node)) for node in nodes]
        for node in nodes:
            set_fault(folder_of(running, node) / FILE, make_fault("hangs"))
        submissions = [family.prepare() for family in families]
        await asyncio.gather(*(family.client.send(each) for family, each in zip(families, submissions, strict=True)))
        in_log = await logged(running)
        for node in nodes:
            fresh = journalled(folder_of(running, node)) - before[node]
            assert fresh
            assert not fresh & in_log
        await reopen(running, nodes)
        await settled(running, nodes)
        in_log = await logged(running)
        for node in nodes:
            assert journalled(folder_of(running, node)) <= in_log
        for family, submission in zip(families, submissions, strict=True):
            require_right(await family.until_answered(submission), family.right)


async def test_federation_comes_up_without_a_node_that_is_down_at_start(tmp_path: Path) -> None:
    asked = Asked(population=60, prefectures=("4301",), port_base=free_port_base())
    with (tmp_path / "said").open("w+") as said_file:
        sandbox = open_sandbox(tmp_path / "run", asked, Console(file=said_file))
        (police,) = [process for process in sandbox.processes() if process.name == "police-4301"]
        set_fault(police.folder / FILE, make_fault("down"))
        supervisor = await start(sandbox, Console(file=said_file, width=200))
        try:
            endpoints = read_endpoints(sandbox.folder)
            families = list(read_truth(sandbox.folder / endpoints.truth)) * 8  # applicants start far on
            running = Running(sandbox.folder, sandbox, supervisor, endpoints, families)
            async with applicant(running, police.name) as family:
                submission = family.prepare()
                result = await family.client.send(submission)
                require_right(result, family.right, but=police.name)
                assert {said(result)[key] for key in said(result) if key[0] == police.name} == {Outcome.UNAVAILABLE}
                lift_fault(police.folder / FILE)
                require_right(await family.until_answered(submission), family.right)
        finally:
            await supervisor.stop()
        said_file.seek(0)
        assert "police-4301 is not there" in said_file.read()
