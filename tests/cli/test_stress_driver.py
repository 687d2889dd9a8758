"""The driver under gateways that stall, refuse, lie and die: nothing is hidden, and it always ends."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gateway.cli.stress_answers import NOT_ASKED, NOT_SETTLED, UNKNOWN_REASON
from gateway.cli.stress_attempts import OTHER_VERDICT
from gateway.cli.stress_driver import NEVER_SENT, STOP_GRACE
from gateway.protocol.errors import NotGrantedError, OverloadedError, UnreachableError
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.season.profile import Profile, Shape
from gateway.season.rehearsal import MAX_LAG, PATIENCE_RAN_OUT, End, Verdict
from heyan.v1 import attestation_pb2
from tests.cli.stress_fakes import CLAIMS, LAND, POLICE, receipt_of, rehearse

STEADY = Profile(shape=Shape.STEADY, applicants=300, seconds=30, again_percent=0, attempts=1)
QUICK = 0.02


def now() -> float:
    return asyncio.get_running_loop().time()


async def honest(submission):
    await asyncio.sleep(QUICK)
    return receipt_of(submission)


def stalling(starts: float, ends: float):
    """A gateway that answers in QUICK seconds, but nobody from `starts` to `ends`."""

    async def answer(submission):
        await asyncio.sleep(max(QUICK, ends - now() if starts <= now() < ends else 0.0))
        return receipt_of(submission)

    return answer


def test_an_honest_gateway_passes_and_every_applicant_is_answered_once() -> None:
    run, client = rehearse(STEADY, honest, goal="p99<30ms, answered>=100%, rate>=9.9, max<30ms")
    assert run.verdict is Verdict.PASSED
    assert run.tally.ends == {End.ANSWERED: 300}
    assert client.exchanged == 300
    assert {name: seen.checks for name, seen in run.tally.departments.items()} == {POLICE: 600, LAND: 300}


def test_a_stalled_gateway_shows_in_the_percentiles_though_few_requests_met_the_stall() -> None:
    # One at a time: a closed loop would have seen one slow request of 300.
    profile = Profile(shape=Shape.STEADY, applicants=300, seconds=30, again_percent=0, attempts=1, in_flight=1)
    run, _ = rehearse(profile, stalling(10, 18), goal="p90<1s")
    assert run.verdict is Verdict.FAILED
    assert run.value_of("p90") > 4
    assert run.value_of("p99") > 7
    assert run.tally.health.held_back > 60
    assert run.tally.health.kept_up  # the wait for a place is the gateway's, not the generator's


def test_arrivals_do_not_wait_for_a_stalled_gateway() -> None:
    run, client = rehearse(STEADY, stalling(10, 18))
    assert client.most_under_way > 60
    assert run.value_of("p99") > 7
    assert sum(run.tally.seconds[second].sent for second in range(10, 18)) == sum(run.planned[10:18])


def test_no_more_than_in_flight_are_under_way() -> None:
    profile = Profile(shape=Shape.STEADY, applicants=300, seconds=3, again_percent=0, attempts=1, in_flight=7)
    run, client = rehearse(profile, stalling(1, 2))
    assert client.most_under_way == run.tally.most_under_way == 7
    assert run.tally.ends == {End.ANSWERED: 300}


def test_a_gateway_that_never_answers_ends_the_run_in_bounded_time_and_fails_it() -> None:
    async def silent(_submission):
        await asyncio.sleep(3600)

    profile = Profile(
        shape=Shape.STEADY, applicants=400, seconds=10, again_percent=0, attempts=2, patience=3, pause=1, in_flight=5
    )
    run, client = rehearse(profile, silent, goal="p50<1s, unanswered<1%")
    assert run.elapsed < 10 + 2 * (3 + 1) + 7
    assert run.tally.ends == {End.UNANSWERED: 400}
    assert set(run.tally.reasons) == {PATIENCE_RAN_OUT, NEVER_SENT}
    assert run.tally.sent < 400
    assert run.value_of("p50") > 5
    assert [item.holds for item in run.judged] == [False, False]
    assert run.verdict is Verdict.FAILED
    assert client.under_way == 0


def test_an_impatient_applicant_sends_the_same_again_and_the_time_goes_on() -> None:
    seen = []

    async def lost_once(submission):
        seen.append(submission)
        await asyncio.sleep(QUICK if len(seen) > 1 else 3600)
        return receipt_of(submission)

    profile = Profile(shape=Shape.STEADY, applicants=1, seconds=1, again_percent=0, attempts=2, patience=3, pause=1)
    run, _ = rehearse(profile, lost_once)
    assert seen[0] is seen[1]
    assert run.tally.retries == {PATIENCE_RAN_OUT: 1}
    assert run.tally.ends == {End.ANSWERED: 1}
    assert run.tally.latency.max == pytest.approx(3 + QUICK)


def test_who_is_turned_away_waits_as_told_and_counts_as_refused_if_it_stays_so() -> None:
    calls = []

    async def full(_submission):
        calls.append(now())
        raise OverloadedError(Reason.OVERLOADED, "places", retry_after=2.5)

    profile = Profile(shape=Shape.STEADY, applicants=1, seconds=1, again_percent=0, attempts=3, pause=1)
    run, _ = rehearse(profile, full, goal="refused<1%")
    assert [later - earlier for earlier, later in pairwise(calls)] == pytest.approx([2.5, 2.5])
    assert (run.tally.ends, run.tally.reasons) == ({End.REFUSED: 1}, {"OVERLOADED": 1})
    assert run.tally.latency.count == 0  # a refusal is no quick answer
    assert run.verdict is Verdict.FAILED


def test_a_fault_is_unanswered_and_a_refusal_is_not_repeated() -> None:
    async def dead(_submission):
        raise UnreachableError(Reason.LOG_UNAVAILABLE, "full")

    async def refusing(_submission):
        raise NotGrantedError(Reason.GRANT_REVOKED, "withdrawn")

    profile = Profile(shape=Shape.STEADY, applicants=3, seconds=1, again_percent=0, attempts=3, pause=0.5)
    run, client = rehearse(profile, dead)
    assert (run.tally.ends, client.exchanged) == ({End.UNANSWERED: 3}, 9)
    run, client = rehearse(profile, refusing)
    assert (run.tally.ends, run.tally.reasons, client.exchanged) == ({End.REFUSED: 3}, {"GRANT_REVOKED": 3}, 3)


def test_a_department_that_is_down_costs_its_own_checks_and_nothing_is_wrong() -> None:
    async def without_land(submission):
        return receipt_of(submission, down=LAND)

    profile = Profile(shape=Shape.STEADY, applicants=4, seconds=1, again_percent=0, attempts=2, pause=0.5)
    run, _ = rehearse(profile, without_land, goal="unavailable<1%")
    police, land = run.tally.departments[POLICE], run.tally.departments[LAND]
    assert run.tally.ends == {End.UNAVAILABLE: 4}
    assert (police.answered, police.left_open, land.answered, land.left_open) == (8, 0, 0, 4)
    assert land.unavailable == {"DEPARTMENT_UNREACHABLE": 8}  # told in both attempts
    assert run.verdict is Verdict.FAILED
    assert run.tally.ends[End.WRONG] == 0


def test_what_a_later_attempt_answers_is_answered() -> None:
    async def late(submission):
        return receipt_of(submission, down=LAND if now() < 2 else "")

    profile = Profile(shape=Shape.STEADY, applicants=1, seconds=1, again_percent=0, attempts=3, pause=2)
    run, _ = rehearse(profile, late)
    land = run.tally.departments[LAND]
    assert run.tally.ends == {End.ANSWERED: 1}
    assert (land.answered, land.left_open, land.unavailable.total()) == (1, 0, 1)


def test_a_refusal_of_a_department_counts_for_all_its_checks() -> None:
    async def refused(submission):
        return receipt_of(submission, refuses=POLICE)

    run, _ = rehearse(Profile(shape=Shape.STEADY, applicants=1, seconds=1, again_percent=0), refused)
    assert (run.tally.ends, run.tally.reasons) == ({End.REFUSED: 1}, {"BUDGET_EXHAUSTED": 1})
    assert run.tally.departments[POLICE].refused == {"BUDGET_EXHAUSTED": 2}


ONE = Profile(shape=Shape.STEADY, applicants=1, seconds=1, again_percent=0, attempts=3)


def test_one_wrong_answer_fails_a_run_however_fast_and_late_the_generator() -> None:
    async def wrong(submission):
        asyncio.get_running_loop().advance(0.5)
        return receipt_of(submission, outcome=Outcome.NO)

    run, client = rehearse(ONE, wrong, goal="p99<9s")
    assert client.exchanged == 1
    assert run.verdict is Verdict.FAILED
    assert all(claim in run.tally.wrong[0] for claim in CLAIMS)


@pytest.mark.parametrize(
    ("bend", "says"),
    [
        (lambda receipt: receipt.statements.pop(), NOT_SETTLED),
        (lambda receipt: receipt.statements.append(receipt.statements[0]), NOT_SETTLED),
        (lambda receipt: receipt.ClearField("statements"), NOT_SETTLED),
        (lambda receipt: bent(receipt, claim="insurance.paid_months@1"), NOT_ASKED),
        (lambda receipt: bent(receipt, region="430103"), NOT_ASKED),
        (lambda receipt: bent(receipt, check_id="another"), NOT_ASKED),
        (lambda receipt: setattr(receipt.statements[0].proof, "statement", b"\xff\xff"), "MESSAGE_MALFORMED"),
    ],
)
def test_a_receipt_of_something_else_is_wrong(bend, says) -> None:
    async def lying(submission):
        receipt = receipt_of(submission)
        bend(receipt)
        return receipt

    run, _ = rehearse(ONE, lying)
    assert run.tally.ends == {End.WRONG: 1}
    assert says in run.tally.wrong[0]


def bent(receipt, **changes) -> None:
    statement = attestation_pb2.Statement.FromString(receipt.statements[0].proof.statement)
    for name, value in changes.items():
        setattr(statement.attestation.check, name, value)
    receipt.statements[0].proof.statement = statement.SerializeToString()


def test_words_of_a_lying_gateway_do_not_reach_the_report() -> None:
    async def lying(submission):
        receipt = receipt_of(submission, down=LAND)
        receipt.unavailable[0].department = "spiffe://heyan/department/43990019880101001X"
        receipt.unavailable[0].reason = "张大明"
        return receipt

    run, _ = rehearse(ONE, lying)
    assert run.tally.departments["not asked"].unavailable == {UNKNOWN_REASON: 3}
    assert not any("4399" in name for name in run.tally.departments)


def test_a_forged_receipt_fails_the_run_if_receipts_are_verified() -> None:
    run, _ = rehearse(ONE, honest, verify="all", forged=True)
    assert (run.tally.ends, run.verdict) == ({End.WRONG: 1}, Verdict.FAILED)
    run, _ = rehearse(ONE, honest, verify="none", forged=True)
    assert run.tally.ends == {End.ANSWERED: 1}


def test_another_verdict_than_the_truths_fails_the_run() -> None:
    run, _ = rehearse(ONE, honest, verify="all", misjudged=True)
    assert (run.tally.ends, run.verdict) == ({End.WRONG: 1}, Verdict.FAILED)
    assert OTHER_VERDICT in run.tally.wrong[0]


def test_what_is_unavailable_still_has_no_verdict_to_be_wrong() -> None:
    async def without_land(submission):
        return receipt_of(submission, down=LAND)

    run, _ = rehearse(ONE, without_land, verify="all", misjudged=True)
    assert run.tally.ends == {End.UNAVAILABLE: 1}


@pytest.mark.parametrize(("verify", "expected"), [("all", 300), ("sample", 15), ("none", 0)])
def test_as_many_receipts_are_verified_as_was_asked(verify, expected) -> None:
    run, _ = rehearse(STEADY, honest, verify=verify)
    assert run.tally.receipts_verified == expected


def test_a_generator_that_falls_behind_proves_nothing() -> None:
    async def hogging(submission):
        asyncio.get_running_loop().advance(0.2)  # as cryptography of the generator's own would
        return receipt_of(submission)

    run, _ = rehearse(STEADY, hogging, goal="p99<9999s")
    assert run.verdict is Verdict.INCONCLUSIVE
    assert run.tally.health.lag > MAX_LAG


def test_a_latency_that_the_generator_may_have_spoilt_itself_is_no_failure() -> None:
    async def hogging(submission):
        asyncio.get_running_loop().advance(0.08)
        return receipt_of(submission)

    run, _ = rehearse(ONE, hogging, goal="p99<20ms")
    assert run.tally.health.kept_up
    assert run.verdict is Verdict.FAILED  # the time passed within the call
    run.tally.health.loop_lag.add(0.07)
    assert run.verdict is Verdict.INCONCLUSIVE


def test_stopping_sends_nothing_more_and_cuts_short_what_does_not_end() -> None:
    async def silent_after_five(submission):
        await asyncio.sleep(QUICK if now() < 5 else 3600)
        return receipt_of(submission)

    async def interrupt(driver, _client):
        await asyncio.sleep(8)
        driver.stop()

    run, client = rehearse(STEADY, silent_after_five, goal="p99<1s", beside=interrupt)
    assert run.elapsed == pytest.approx(8 + STOP_GRACE, abs=0.3)
    assert run.verdict is Verdict.INTERRUPTED
    assert run.tally.sent == client.exchanged == sum(run.tally.ends.values()) < 300
    assert run.tally.ends[End.CUT_SHORT] > 0
    assert run.value_of("answered") == 100
    assert client.under_way == 0


def test_a_fault_of_the_generators_own_ends_the_run_and_is_told() -> None:
    async def broken(_submission):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rehearse(STEADY, broken)
