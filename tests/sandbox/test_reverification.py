"""Asking once more after a correction, at the node: it trusts no gateway that says one was made."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest

from gateway.protocol.errors import UnreachableError
from gateway.protocol.query import Part
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import ResolutionReason
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.answering import pseudonym
from sandbox_departments.disputes import decide
from sandbox_departments.register import Finding, Standing
from tests.sandbox.asking import CHILD, GUARDIAN_OF, NOW, OTHER_REQUESTER, REGISTERED, REQUESTER, SECRET, Desk, told
from tests.sandbox.disputing import Case, answered


@pytest.fixture
async def case(desk: Desk) -> Case:
    """An answer of NO, whose consent is used up."""
    desk.register.findings[CHILD.id_number] = Finding(Standing.KNOWN, False)
    found = await answered(desk, max_uses=1)
    desk.register.findings.clear()
    return found


def part_of(
    case: Case, dispute_id: bytes | None = None, claims: tuple[str, ...] = (REGISTERED,), **changes: Any
) -> Part:
    """The disputed check once more, and whatever else is asked beside it."""
    part = case.desk.world.part(case.consent, claims=claims)
    first, *others = part.checks
    again = replace(first, dispute_id=case.dispute_id if dispute_id is None else dispute_id, **changes)
    return replace(part, checks=(again, *others))


def again(case: Case, part: Part | None = None, **query: Any) -> pb.Ask:
    return case.desk.world.ask(case.consent, part=part or part_of(case), **query)


def uses(case: Case) -> int:
    with case.desk.journal.transaction() as ledger:
        return ledger.uses_of(case.consent.digest, 0)


def probes(case: Case) -> int:
    with case.desk.journal.transaction() as ledger:
        return ledger.probes_of(pseudonym(CHILD, SECRET), REQUESTER.uri, 0)


async def test_corrected_question_is_answered_without_a_use_or_a_probe(case: Case) -> None:
    await case.resolve()
    before = uses(case), probes(case)
    assert await case.desk.outcomes(again(case)) == ["YES"]
    assert (uses(case), probes(case)) == before == (1, 1)


async def test_without_a_dispute_the_used_up_consent_is_refused(case: Case) -> None:
    await case.resolve()
    assert await case.desk.outcomes(again(case, part_of(case, b""))) == ["GRANT_USED_UP"]


async def test_reverification_twice_is_refused(case: Case) -> None:
    await case.resolve()
    await case.desk.outcomes(again(case))
    assert await case.desk.outcomes(again(case)) == ["DISPUTE_SPENT"]


async def test_two_reverifications_in_one_batch_are_one(case: Case) -> None:
    await case.resolve()
    (message,) = await case.desk.answer(again(case), again(case, ask_id=2))
    assert len(message.replies) == 2
    assert sorted(told(message, case.desk.world)) == [["DISPUTE_SPENT"], ["YES"]]


async def test_the_same_reverification_asked_again_is_answered_alike(case: Case) -> None:
    await case.resolve()
    ask = again(case)
    first = await case.desk.statements(ask)
    assert await case.desk.statements(ask) == first


async def test_reverification_before_the_resolution_is_refused(case: Case) -> None:
    assert await case.desk.outcomes(again(case)) == ["DISPUTE_UNKNOWN"]
    await case.receive()
    assert await case.desk.outcomes(again(case)) == ["DISPUTE_NOT_CORRECTED"]
    decide(case.desk.journal, case.dispute_id, ResolutionReason.RECORD_UPDATED, NOW)
    assert await case.desk.outcomes(again(case)) == ["DISPUTE_NOT_CORRECTED"], "what is not signed binds nobody"


async def test_reverification_after_upheld_is_refused(case: Case) -> None:
    await case.resolve(ResolutionReason.RECORD_CONFIRMED)
    assert await case.desk.outcomes(again(case)) == ["DISPUTE_NOT_CORRECTED"]


@pytest.mark.parametrize(
    "change", [{"claim": "hukou.guardian_registered@1"}, {"region": "430103"}], ids=["claim", "region"]
)
async def test_reverification_of_another_question_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    claims = (REGISTERED, GUARDIAN_OF, "hukou.guardian_registered@1")
    case = await answered(desk, claims=claims)
    await case.resolve()
    part = part_of(case)
    if "claim" in change:
        (other,) = desk.world.part(case.consent, claims=(change["claim"],)).checks
        part = replace(part, checks=(replace(other, dispute_id=case.dispute_id),))
    else:
        part = part_of(case, **change)
    assert await desk.outcomes(again(case, part)) == ["DISPUTE_OTHER_QUESTION"]


async def test_reverification_on_another_grant_of_the_same_child_is_refused(case: Case) -> None:
    await case.resolve()
    other = replace(case, consent=case.desk.world.consent())
    assert await case.desk.outcomes(again(other)) == ["DISPUTE_OTHER_QUESTION"]


async def test_reverification_by_another_requester_is_refused(case: Case) -> None:
    await case.resolve()
    world = case.desk.world
    theirs = world.consent(requester=OTHER_REQUESTER)
    part = part_of(replace(case, consent=theirs))
    query = world.query(part, theirs, requester=OTHER_REQUESTER.uri)
    ask = world.ask(theirs, part=part, query=query, signed=world.sign(query, world.other_query_key))
    assert await case.desk.outcomes(ask) == ["DISPUTE_UNKNOWN"]


async def test_refused_reverification_leaves_the_correction_to_be_used(case: Case) -> None:
    """One of two disputes is unknown: neither is spent, and no use is."""
    await case.resolve()
    part = part_of(case, claims=(REGISTERED, GUARDIAN_OF))
    known, other = part.checks
    part = replace(part, checks=(known, replace(other, dispute_id=secrets.token_bytes(32))))
    assert await case.desk.outcomes(again(case, part)) == ["DISPUTE_UNKNOWN"]
    assert await case.desk.outcomes(again(case)) == ["YES"]


async def test_register_that_fails_leaves_the_correction_to_be_used(case: Case) -> None:
    await case.resolve()
    case.desk.register.fault = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    assert await case.desk.outcomes(again(case)) == ["department_unreachable"]
    case.desk.register.fault = None
    assert await case.desk.outcomes(again(case)) == ["YES"]


async def test_other_checks_of_the_part_spend_their_uses_and_the_budget(desk: Desk) -> None:
    case = await answered(desk, max_uses=2)
    await case.resolve()
    part = part_of(case, claims=(REGISTERED, GUARDIAN_OF))
    assert await desk.outcomes(again(case, part)) == ["YES", "YES"]
    assert (uses(case), probes(case)) == (2, 2)


async def test_reverification_passes_an_exhausted_budget(desk: Desk) -> None:
    case = await answered(desk, max_uses=10)
    await case.resolve()
    while await desk.outcomes(again(case, part_of(case, b""))) != ["BUDGET_EXHAUSTED"]:
        pass
    assert await desk.outcomes(again(case)) == ["YES"]


async def test_journal_tells_of_whom_a_reverification_was(case: Case) -> None:
    await case.resolve()
    await case.desk.outcomes(again(case))
    *_, entry = case.desk.journal.entries()
    (part,) = entry.parts  # type: ignore[union-attr]
    assert part.subjects == (pseudonym(CHILD, SECRET),)  # type: ignore[union-attr]


async def test_reverified_answer_may_be_disputed_in_its_turn(case: Case) -> None:
    await case.resolve()
    ask = again(case)
    (message,) = await case.desk.answer(ask)
    second = Case(case.desk, case.consent, ask, (message.replies[0].statements[0].statement,))
    await second.resolve()
    third = part_of(second)
    assert await case.desk.outcomes(case.desk.world.ask(case.consent, part=third)) == ["YES"]
