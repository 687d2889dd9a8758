"""A gateway that hides, delays, re-uses or misreports what departments answered.

The client sees whatever contradicts signatures and leaf. What it cannot see (an answer that was never shown to it)
the auditor does, from the journals: each of these shows by a digest that is in the journal and not in the log, or the
other way round.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.audit.findings import Disagreement, Reconciliation
from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import ForgedError
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2, receipt_pb2
from tests import federation as fed
from tests.attacks.nodes import RealNode
from tests.dishonest_gateway import (
    LAND,
    POLICE,
    BendLeaf,
    DishonestGateway,
    digests_of,
    disclosure_of,
    sighting_of,
)

DAY = 86_400.0


def outcomes_of(result: object) -> dict[str, Outcome]:
    return {answer.check.check_id: answer.outcome for answer in result.verified.answers}  # type: ignore[attr-defined]


def stated_by(node: RealNode) -> list[bytes]:
    return [digest for part in node.parts() for digest in digests_of(part)]


# -- an answer that the client is not shown -----------------------------------------------------------------


async def test_yes_that_the_gateway_calls_no_reply_is_missed_in_the_log(liar: DishonestGateway) -> None:
    """The client must believe "unavailable", and its receipt holds; the journal has the digests that the log lacks."""
    liar.police.hides = True
    result = await liar.verify()
    assert outcomes_of(result) == {"c1": Outcome.UNAVAILABLE, "c2": Outcome.UNAVAILABLE, "c3": Outcome.YES}
    await liar.settle()
    audited = liar.audit(disclosures=[disclosure_of(result)])
    unlogged = [finding.digest for finding in audited.findings if finding.kind is Disagreement.UNLOGGED]
    suppressed = [finding for finding in audited.findings if finding.kind is Disagreement.SUPPRESSED]
    assert unlogged == stated_by(liar.police.node)
    assert [(finding.holder, finding.index) for finding in suppressed] == [(POLICE, 0), (POLICE, 0)]
    assert len(audited.findings) == 4


async def test_hidden_answer_is_a_day_old_at_most_before_the_department_stops_the_gateway(
    liar: DishonestGateway,
) -> None:
    liar.police.hides = True
    await liar.verify()
    await liar.settle()
    liar.police.hides = False
    liar.gateway.clock.now += DAY + 1
    result = await liar.verify()
    assert {answer.reason for answer in result.verified.answers if answer.department == POLICE} == {
        Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS
    }
    assert outcomes_of(result)["c3"] is Outcome.YES


async def test_answer_passed_off_as_late_is_told_once_its_requester_discloses_the_query(liar: DishonestGateway) -> None:
    """Logged as recovered and acknowledged, so log and journal agree; that it was there in time shows by the query."""
    liar.police.hides = True
    result = await liar.verify()
    await liar.gateway.events.recover(POLICE, tuple(stated_by(liar.police.node)))
    forged = liar.forgery(of=liar.leaves())
    await liar.acknowledge_by(forged)
    assert liar.audit(forged) == Reconciliation((), owed=0, recovered=2)
    assert set(liar.found(forged, disclosures=[disclosure_of(result)])) == {("SUPPRESSED", POLICE)}


async def test_answers_that_are_never_acknowledged_are_told(liar: DishonestGateway) -> None:
    liar.police.silent = True
    await liar.verify()
    await liar.settle()
    assert liar.audit(allowed=DAY) == Reconciliation((), owed=2, recovered=0)
    assert liar.found() == [("UNACKNOWLEDGED", POLICE)]


async def test_acknowledgement_by_a_leaf_that_is_about_something_else_is_told(liar: DishonestGateway) -> None:
    """The node cannot see the leaf and takes it; what it journals convicts the gateway."""
    liar.police.hides = True
    await liar.verify()
    await liar.acknowledge_by(liar.forgery(of=liar.leaves()))
    assert liar.police.node.journal.debt(fed.GATEWAY).statements == 0
    kinds = {kind for kind, _ in liar.found()}
    assert kinds == {"WRONG_LEAF", "UNLOGGED"}


# -- what the log says and is not so ------------------------------------------------------------------------


def police_rows(change: Callable[[log_pb2.LoggedCheck], None]) -> BendLeaf:
    def bend(leaf: log_pb2.LogLeaf) -> None:
        for row in leaf.verification.checks:
            if row.department == POLICE:
                change(row)

    return bend


def withhold(row: log_pb2.LoggedCheck) -> None:
    row.status, row.reason = log_pb2.CHECK_STATUS_WITHHELD, Reason.GRANT_REVOKED.value


def withhold_silently(row: log_pb2.LoggedCheck) -> None:
    row.status = log_pb2.CHECK_STATUS_WITHHELD


def make_unavailable(row: log_pb2.LoggedCheck) -> None:
    row.status, row.reason = log_pb2.CHECK_STATUS_UNAVAILABLE, Reason.DEPARTMENT_TIMED_OUT.value
    row.statement_digest = b""


def make_refused(row: log_pb2.LoggedCheck) -> None:
    row.status, row.reason = log_pb2.CHECK_STATUS_REFUSED, Reason.BUDGET_EXHAUSTED.value


def invent(row: log_pb2.LoggedCheck) -> None:
    row.statement_digest = bytes(32)


def other_requester(leaf: log_pb2.LogLeaf) -> None:
    leaf.verification.requester = fed.OTHER_REQUESTER


def two_minutes_early(leaf: log_pb2.LogLeaf) -> None:
    leaf.log_time.seconds -= 120


MISREPORTS = {
    "withheld": (police_rows(withhold), set()),
    "withheld without a reason": (police_rows(withhold_silently), set()),
    "unavailable": (police_rows(make_unavailable), {"WRONG_LEAF", "UNLOGGED"}),
    "refused": (police_rows(make_refused), {"MISREPORTED"}),
    "another statement": (police_rows(invent), {"UNKNOWN", "WRONG_LEAF", "UNLOGGED"}),
    "another requester": (other_requester, {"MISREPORTED"}),
    "another time": (two_minutes_early, {"MISDATED"}),
}


@pytest.mark.parametrize("lie", MISREPORTS)
async def test_leaf_that_misreports_what_was_released_is_refused_by_the_client(
    liar: DishonestGateway, lie: str
) -> None:
    """Proof and checkpoint hold: it is what the leaf says that does not."""
    bend, _ = MISREPORTS[lie]
    forged = liar.forgery()

    def show(receipt: receipt_pb2.Receipt) -> None:
        forged.record(receipt, bend)

    liar.bend_receipt = show
    with pytest.raises(ForgedError) as caught:
        await liar.verify()
    assert caught.value.reason is Reason.RECEIPT_INVALID


@pytest.mark.parametrize("lie", MISREPORTS)
async def test_log_that_misreports_is_told_by_journal_or_receipt(liar: DishonestGateway, lie: str) -> None:
    """The client is shown the true leaf, departments and auditor another log with the same key."""
    bend, told_by_journal = MISREPORTS[lie]
    forged = liar.forgery()
    result = await liar.verify()
    shown = receipt_pb2.Receipt.FromString(result.receipt.SerializeToString())
    forged.record(shown, bend)
    await liar.acknowledge_by(forged)
    assert {kind for kind, _ in liar.found(forged)} == told_by_journal
    # Whatever the journal cannot tell, the client's own receipt does: it holds another checkpoint of that size.
    with_receipt = liar.audit(forged, sightings=[sighting_of(result)])
    forks = [finding for finding in with_receipt.findings if finding.kind is Disagreement.FORKED]
    assert [finding.holder for finding in forks] == [fed.REQUESTER]
    assert set(forks[0].checkpoints) == {sighting_of(result).checkpoint, forged.note()}


async def test_answer_of_an_earlier_query_taken_for_a_new_one_is_told(liar: DishonestGateway) -> None:
    """The land office is asked once; the log names its answer under two queries."""
    consent = liar.gateway.federation.issue()
    first = await liar.verify(consent)
    earlier = next(row for row in row_of(first.receipt) if row.department == LAND)
    second = await liar.verify(consent)

    def reuse(leaf: log_pb2.LogLeaf) -> None:
        for row in leaf.verification.checks:
            if row.department == LAND:
                row.statement_digest = earlier.statement_digest

    forged = liar.forgery()
    forged.record(first.receipt)
    at = forged.record(second.receipt, reuse)
    await liar.acknowledge_by(forged)
    audited = liar.audit(forged)
    assert ("REUSED", LAND, at) in [(finding.kind.value, finding.holder, finding.index) for finding in audited.findings]


async def test_answer_of_an_earlier_query_is_no_answer_to_the_client(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue()
    first = await liar.verify(consent)

    def reuse(receipt: receipt_pb2.Receipt) -> None:
        receipt.statements[0].CopyFrom(first.receipt.statements[0])

    liar.bend_receipt = reuse
    with pytest.raises(ForgedError):
        await liar.verify(consent)


async def test_answer_that_was_held_back_and_dated_back_is_told(liar: DishonestGateway) -> None:
    """Two minutes late in the log, though its leaf says otherwise: the leaves before it are younger."""
    consent = liar.gateway.federation.issue()
    held_back = await liar.verify(consent)
    liar.gateway.clock.now += 120
    meanwhile = await liar.verify(consent)
    forged = liar.forgery()
    forged.record(meanwhile.receipt)
    late = forged.record(held_back.receipt)
    await liar.acknowledge_by(forged)
    findings = liar.audit(forged).findings
    assert [(finding.kind.value, finding.index) for finding in findings] == [("BACKWARDS", late)]


async def test_answer_that_was_held_back_and_dated_when_it_was_logged_fits_no_receipt(liar: DishonestGateway) -> None:
    """A leaf long after the query's end: an answer cannot be sold as fresh."""
    forged = liar.forgery()
    end = liar.gateway.clock.now + 60 + 61

    def late(receipt: receipt_pb2.Receipt) -> None:
        forged.record(receipt, lambda leaf: leaf.log_time.CopyFrom(to_timestamp(end)))

    liar.bend_receipt = late
    with pytest.raises(ForgedError) as caught:
        await liar.verify()
    assert caught.value.reason is Reason.RECEIPT_INVALID


def row_of(receipt: receipt_pb2.Receipt) -> list[log_pb2.LoggedCheck]:
    return list(log_pb2.LogLeaf.FromString(receipt.leaves[0].leaf).verification.checks)
