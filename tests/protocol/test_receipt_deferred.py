"""Receipts of deferred checks: log and receipt say the same of what waits, only where the query allows that."""

from dataclasses import replace

import pytest

from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.receipt import LATEST_RECORD, verify_receipt
from tests.protocol.casework import HRSS, LOGGED_AT, NOW, OPERATOR, Case, gap, genuine, make_query, sign_query

UNTIL = NOW + 3_600
ALLOWED = make_query(answer_until_time=UNTIL)
TIMED_OUT = "DEPARTMENT_TIMED_OUT"


def pieces(status=CheckStatus.DEFERRED, step=NextStep.DEFERRED, query=ALLOWED):
    """A genuine receipt but for social security, of which the leaf says `status` and the receipt `step`."""
    made = genuine(Case(query=query, signed=sign_query(query)))
    made.rows[3] = made.case.row(HRSS, "months", status, reason=TIMED_OUT)
    made.unavailable = [gap("months", HRSS, next_step=int(step))]
    return made


def ended(at, **changes):
    """A deferral that ended at a time: the leaf that says so beside the first one, and the receipt."""
    made = pieces()
    values = {"reason": "QUERY_EXPIRED", **changes}
    row = made.case.row(HRSS, "months", CheckStatus.UNAVAILABLE, reason=values["reason"])
    made.unavailable = [gap("months", HRSS, reason="QUERY_EXPIRED")]
    return made.receipt(leaves=made.case.record(made.leaf(), made.case.leaf([row], at)))


def verify(receipt):
    return verify_receipt(receipt, OPERATOR)


def refuse(receipt):
    with pytest.raises(ForgedError):
        verify(receipt)


def test_deferred_check_holds():
    answer = verify(pieces().receipt()).answers[3]
    assert (answer.outcome, answer.next_step) == (Outcome.UNAVAILABLE, NextStep.DEFERRED)


def test_gateway_that_claims_to_ask_again_but_did_not_log_so_is_refused():
    refuse(pieces(status=CheckStatus.UNAVAILABLE).receipt())


def test_gateway_that_logs_a_deferral_and_tells_its_requester_to_retry_is_refused():
    refuse(pieces(step=NextStep.RETRY).receipt())


@pytest.mark.parametrize("step", [NextStep.NONE, NextStep.OFFLINE])
def test_deferred_check_is_never_settled_by_the_gateway(step):
    refuse(pieces(step=step).receipt())


def test_withheld_check_is_not_deferred():
    made = pieces()
    statement = made.case.attest(HRSS, "months")
    made.rows[3] = made.case.row(HRSS, "months", CheckStatus.WITHHELD, statement=statement, reason=TIMED_OUT)
    refuse(made.receipt())


def test_deferral_that_the_query_does_not_allow_is_refused():
    refuse(pieces(query=make_query()).receipt())


def test_answer_after_a_deferral_counts_and_the_deferral_no_longer():
    made = pieces()
    answer = made.case.attest(HRSS, "months")
    row = made.case.row(HRSS, "months", CheckStatus.ANSWERED, statement=answer)
    leaves = made.case.record(made.leaf(), made.case.leaf([row], UNTIL - 30))
    refuse(made.receipt(leaves=leaves))  # the receipt still says deferred
    made.unavailable = []
    made.statements += made.case.batch(HRSS, answer)
    assert verify(made.receipt(leaves=leaves)).answers[3].outcome is Outcome.YES


def test_deferral_after_an_answer_is_refused():
    """A gateway would take an answer back and say that it goes on asking."""
    made = pieces()
    row = made.case.row("spiffe://heyan/department/police", "hukou", CheckStatus.DEFERRED, reason=TIMED_OUT)
    refuse(made.receipt(leaves=made.case.record(made.leaf(), made.case.leaf([row], LOGGED_AT + 10))))


@pytest.mark.parametrize("at", [LOGGED_AT + 10, UNTIL + LATEST_RECORD + 86_400])
def test_end_of_a_deferral_holds_however_late_it_was_recorded(at):
    """The gateway may have been down when it ended; that nothing came says nothing of a person."""
    answer = verify(ended(at)).answers[3]
    assert (answer.next_step, answer.reason) == (NextStep.RETRY, "QUERY_EXPIRED")


def test_end_for_another_reason_than_the_log_has_is_refused():
    refuse(ended(LOGGED_AT + 10, reason="GRANT_REVOKED"))


def test_answer_recorded_long_after_the_end_is_refused():
    made = pieces()
    late = UNTIL + LATEST_RECORD + 1
    answer = made.case.attest(HRSS, "months")
    row = made.case.row(HRSS, "months", CheckStatus.ANSWERED, statement=answer)
    made.unavailable = []
    made.statements += made.case.batch(HRSS, answer)
    refuse(made.receipt(leaves=made.case.record(made.leaf(), made.case.leaf([row], late))))


def unanswered(at):
    """A receipt whose only leaf says, at a time, that nobody answered anything."""
    made = pieces()
    asked = [
        (department, check.check_id) for department, part in made.case.opened.items() for check in part.part.checks
    ]
    rows = [made.case.row(*one, CheckStatus.UNAVAILABLE, reason=TIMED_OUT) for one in asked]
    made.statements, made.unavailable = [], [gap(check_id, department) for department, check_id in asked]
    return made.receipt(leaves=made.case.record(made.case.leaf(rows, at)))


def test_query_first_recorded_long_after_its_end_is_refused():
    """What came first must have come in time, though it says only that nothing came."""
    assert {answer.next_step for answer in verify(unanswered(UNTIL + LATEST_RECORD)).answers} == {NextStep.RETRY}
    refuse(unanswered(UNTIL + LATEST_RECORD + 1))


def test_other_query_than_the_signed_one_does_not_allow_a_deferral():
    """The allowance is the requester's own word: a gateway that changes it breaks the signature."""
    signed = sign_query(make_query())
    made = genuine(Case(query=ALLOWED, signed=replace(sign_query(ALLOWED), signature=signed.signature)))
    refuse(made.receipt())
