"""The way of a query: what is answered, what is recorded, and what is refused with which reason."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from consent.revocation import Revocation
from gateway.departments.port import Orphans
from gateway.protocol.attestation import Attestation, Statement, sign_batch
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.digests import Kind
from gateway.protocol.errors import (
    BadDataError,
    ConflictError,
    ForgedError,
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotCurrentError,
    NotFoundError,
    NotGrantedError,
    UnreachableError,
)
from gateway.protocol.identities import parse_identity
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Presentation, Submission, write_submission
from gateway.protocol.query import SignedQuery, read_query, write_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Assurance, Document
from tests import federation as fed
from tests.gateway.conftest import PEER, QUESTIONS, Gateway, department_of

LAND = "property.owns_home@1"
OTHER_PEER = parse_identity(fed.OTHER_REQUESTER)


async def refused(gateway: Gateway, submission: Submission, kind: type[HeyanError], reason: Reason) -> None:
    """The submission is refused for `reason`, and nothing of it reaches a department or the log."""
    before = len(gateway.leaves())
    with pytest.raises(kind) as caught:
        await gateway.send(submission)
    assert caught.value.reason is reason
    assert len(gateway.leaves()) == before
    assert all(not department.asks for department in gateway.departments.values())


# -- what is answered and recorded --------------------------------------------------------------------------


async def test_answers_are_released_with_a_receipt_that_holds(gateway: Gateway) -> None:
    department_of(gateway, LAND).outcome = Outcome.NO
    verified = await gateway.verify(gateway.submission())
    assert {answer.check.check_id: answer.outcome for answer in verified.answers} == {
        "c1": Outcome.YES,
        "c2": Outcome.YES,
        "c3": Outcome.NO,
    }
    (leaf,) = gateway.leaves()
    assert leaf.verification.requester == fed.REQUESTER
    assert [row.status for row in leaf.verification.checks] == [CheckStatus.ANSWERED] * 3


async def test_log_holds_no_digest_that_a_department_could_match(gateway: Gateway) -> None:
    submission = gateway.submission()
    await gateway.send(submission)
    leaf = b"".join(gateway.store.leaves(0, 10))
    assert submission.signed.digest not in leaf
    assert all(grant.digest not in leaf for grant in submission.grants)
    assert all(part.part not in leaf for part in submission.parts)


async def test_undetermined_goes_offline_and_is_no_fault(gateway: Gateway) -> None:
    department_of(gateway, LAND).outcome = Outcome.UNDETERMINED
    verified = await gateway.verify(gateway.submission())
    assert verified.answers[2].outcome is Outcome.UNDETERMINED
    assert verified.answers[2].next_step is NextStep.OFFLINE


async def test_one_dead_department_costs_only_its_own_checks(gateway: Gateway) -> None:
    department_of(gateway, LAND).failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT)
    verified = await gateway.verify(gateway.submission())
    outcomes = [answer.outcome for answer in verified.answers]
    assert outcomes == [Outcome.YES, Outcome.YES, Outcome.UNAVAILABLE]
    assert verified.answers[2].reason is Reason.DEPARTMENT_TIMED_OUT
    assert verified.answers[2].next_step is NextStep.RETRY


async def test_department_refusal_is_shown_as_such(gateway: Gateway) -> None:
    department_of(gateway, LAND).refusal = Reason.BUDGET_EXHAUSTED
    verified = await gateway.verify(gateway.submission())
    assert verified.answers[2].outcome is Outcome.REFUSED
    assert verified.answers[2].reason is Reason.BUDGET_EXHAUSTED


async def test_departments_see_only_their_own_part_and_disclosures(gateway: Gateway) -> None:
    submission = gateway.submission()
    await gateway.send(submission)
    land, police = department_of(gateway, LAND), department_of(gateway, "identity.valid@1")
    assert [ask.part.part for ask in land.asks] != [ask.part.part for ask in police.asks]
    (shown,) = land.asks[0].grants
    assert len(shown.disclosures) == 1
    assert shown.disclosures != police.asks[0].grants[0].disclosures


async def test_batches_are_acknowledged_with_their_leaves(gateway: Gateway) -> None:
    await gateway.send(gateway.submission())
    for department in (department_of(gateway, LAND), department_of(gateway, "identity.valid@1")):
        (acknowledgement,) = department.acknowledged
        assert set(acknowledgement.leaf_indexes) == {0}
        assert acknowledgement.checkpoint == gateway.log.head().checkpoint


# -- retries ------------------------------------------------------------------------------------------------


async def test_same_request_id_same_bytes_returns_the_stored_answers_without_a_use(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    first = await gateway.verify(submission)
    used = gateway.used(consent)
    again = await gateway.verify(submission)
    assert again.answers == first.answers
    assert gateway.used(consent) == used
    assert len(department_of(gateway, LAND).asks) == 1
    assert len(gateway.leaves()) == 1


async def test_retry_asks_again_only_for_what_is_unanswered_and_spends_no_use_twice(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    land, police = department_of(gateway, LAND), department_of(gateway, "identity.valid@1")
    land.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    await gateway.verify(submission)
    land.failure = None
    verified = await gateway.verify(submission)
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 3
    assert len(verified.log_times) == 2
    assert (len(police.asks), len(land.asks)) == (1, 2)
    assert max(gateway.used(consent)) == 1


async def test_retry_that_brings_nothing_new_logs_nothing_new(gateway: Gateway) -> None:
    for department in gateway.departments.values():
        department.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    await gateway.verify(submission)
    await gateway.verify(submission)
    assert len(gateway.leaves()) == 1
    assert set(gateway.used(consent)) == {0}


async def test_part_refused_on_a_retry_keeps_what_was_answered_before(gateway: Gateway) -> None:
    """One of two statements was unfit; the retry is refused; both ends agree on what stands."""
    police = department_of(gateway, "identity.valid@1")

    def unfit(statement: Statement) -> Statement:
        assert isinstance(statement, Attestation)
        spoiled = statement.asked.check.check_id == "c1"
        return of_another_requester(statement) if spoiled else statement

    police.bend = unfit
    submission = gateway.submission()
    first = await gateway.verify(submission)
    assert [answer.outcome for answer in first.answers] == [Outcome.UNAVAILABLE, Outcome.YES, Outcome.YES]
    police.refusal, police.bend = Reason.BUDGET_EXHAUSTED, lambda statement: statement
    second = await gateway.verify(submission)
    assert [answer.outcome for answer in second.answers] == [Outcome.REFUSED, Outcome.YES, Outcome.YES]


async def test_answered_request_is_found_after_its_expiry(gateway: Gateway) -> None:
    submission = gateway.submission()
    first = await gateway.verify(submission)
    gateway.clock.now += 3600
    again = await gateway.verify(submission)
    assert again.answers == first.answers


async def test_unanswered_request_is_not_asked_again_after_answer_until(gateway: Gateway) -> None:
    department_of(gateway, LAND).failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    submission = gateway.submission()
    await gateway.verify(submission)
    gateway.clock.now += 66
    with pytest.raises(NotCurrentError) as caught:
        await gateway.send(submission)
    assert caught.value.reason is Reason.QUERY_EXPIRED


async def test_deferred_request_may_be_asked_again_until_answer_until(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    submission = gateway.submission(answer_until=gateway.clock.now + 3600)
    await gateway.verify(submission)
    gateway.clock.now += 1800
    land.failure = None
    verified = await gateway.verify(submission)
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 3


async def test_same_request_id_other_bytes_is_a_conflict(gateway: Gateway) -> None:
    first = gateway.submission()
    await gateway.send(first)
    second = same_request_id(gateway, first)
    with pytest.raises(ConflictError) as caught:
        await gateway.send(second)
    assert caught.value.reason is Reason.REQUEST_ID_CONFLICT


async def test_same_request_id_other_bytes_is_a_conflict_while_the_first_is_under_way(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    first = gateway.submission()
    running = asyncio.create_task(gateway.send(first))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(ConflictError):
        await gateway.send(same_request_id(gateway, first))
    land.gate.set()
    await running


async def test_same_request_twice_at_once_is_one_piece_of_work(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    submission = gateway.submission()
    both = [asyncio.create_task(gateway.send(submission)) for _ in range(2)]
    await asyncio.sleep(0.01)
    land.gate.set()
    first, second = await asyncio.gather(*both)
    assert first == second
    assert len(land.asks) == 1


async def test_another_requester_cannot_fetch_a_request(gateway: Gateway) -> None:
    submission = gateway.submission()
    verified = await gateway.verify(submission)
    request_id = verified.query.request_id
    assert gateway.check(gateway.pipeline.get(request_id, PEER)).answers == verified.answers
    for peer, identifier in ((OTHER_PEER, request_id), (PEER, bytes(16))):
        with pytest.raises(NotFoundError) as caught:
            gateway.pipeline.get(identifier, peer)
        assert caught.value.reason is Reason.REQUEST_NOT_FOUND


# -- the query ----------------------------------------------------------------------------------------------


async def test_query_of_another_requester_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    with pytest.raises(NotGrantedError) as caught:
        await gateway.send(submission, OTHER_PEER)
    assert caught.value.reason is Reason.QUERY_OTHER_REQUESTER


async def test_query_for_another_gateway_is_refused(gateway: Gateway) -> None:
    consent = gateway.federation.issue(gateway=fed.OTHER_GATEWAY)
    submission = gateway.submission(consent, gateway=fed.OTHER_GATEWAY)
    await refused(gateway, submission, NotGrantedError, Reason.QUERY_OTHER_GATEWAY)


async def test_expired_query_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    gateway.clock.now += 66
    await refused(gateway, submission, NotCurrentError, Reason.QUERY_EXPIRED)


async def test_early_query_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission(now=gateway.clock.now + 11)
    await refused(gateway, submission, NotCurrentError, Reason.QUERY_NOT_YET_VALID)


async def test_unsigned_query_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    unsigned = replace(submission, signed=SignedQuery(submission.signed.query, "", b""))
    await refused(gateway, unsigned, MalformedError, Reason.MESSAGE_MALFORMED)


async def test_query_signed_by_another_key_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    other = gateway.submission(gateway.federation.issue(requester=fed.OTHER_REQUESTER), requester=fed.OTHER_REQUESTER)
    forged = replace(submission, signed=replace(submission.signed, signature=other.signed.signature))
    await refused(gateway, forged, ForgedError, Reason.QUERY_SIGNATURE_INVALID)


async def test_altered_query_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    altered = submission.signed.query.replace(b"enrolment", b"marketing")
    assert altered != submission.signed.query
    forged = replace(submission, signed=replace(submission.signed, query=altered))
    await refused(gateway, forged, ForgedError, Reason.QUERY_SIGNATURE_INVALID)


async def test_part_that_the_query_does_not_name_is_refused(gateway: Gateway) -> None:
    submission, other = gateway.submission(), gateway.submission()
    await refused(gateway, replace(submission, parts=other.parts), ForgedError, Reason.QUERY_PARTS_MISMATCH)


async def test_dropped_part_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    await refused(gateway, replace(submission, parts=submission.parts[:1]), ForgedError, Reason.QUERY_PARTS_MISMATCH)


async def test_expired_registry_stops_new_work(gateway: Gateway) -> None:
    submission = gateway.submission()
    gateway.clock.now = gateway.federation.registry.document.expires + 6
    await refused(gateway, submission, NotCurrentError, Reason.REGISTRY_EXPIRED)


# -- the grants ---------------------------------------------------------------------------------------------


async def test_grant_of_another_requester_is_refused_before_anything_else_of_it_is_looked_at(gateway: Gateway) -> None:
    theirs = gateway.federation.issue(requester=fed.OTHER_REQUESTER, expires=int(gateway.clock.now) - 100)
    await refused(gateway, gateway.submission(theirs), NotGrantedError, Reason.GRANT_OTHER_REQUESTER)


async def test_expired_grant_is_refused(gateway: Gateway) -> None:
    consent = gateway.federation.issue(issued_at=int(gateway.clock.now) - 1000, expires=int(gateway.clock.now) - 10)
    await refused(gateway, gateway.submission(consent), NotCurrentError, Reason.GRANT_EXPIRED)


async def test_early_grant_is_refused(gateway: Gateway) -> None:
    consent = gateway.federation.issue(issued_at=int(gateway.clock.now) + 100)
    await refused(gateway, gateway.submission(consent), NotCurrentError, Reason.GRANT_NOT_YET_VALID)


async def test_altered_grant_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    head, payload, signature = submission.grants[0].grant.split(".")
    altered = Presentation(f"{head}.{payload[:-4]}AAAA.{signature}", submission.grants[0].disclosures)
    with pytest.raises(BadDataError) as caught:
        await gateway.send(replace(submission, grants=(altered,)))
    assert caught.value.reason in (Reason.GRANT_INVALID, Reason.GRANT_OTHER_REQUESTER)


async def test_other_grant_than_the_query_names_is_refused(gateway: Gateway) -> None:
    submission, other = gateway.submission(), gateway.submission()
    await refused(gateway, replace(submission, grants=other.grants), ForgedError, Reason.GRANT_INVALID)


async def test_revoked_grant_is_refused(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    gateway.standings.revoked.add(consent.grants[0].digest)
    await refused(gateway, gateway.submission(consent), NotGrantedError, Reason.GRANT_REVOKED)


async def test_unknown_revocation_status_is_a_retry_and_never_a_no(gateway: Gateway) -> None:
    gateway.standings.failure = UnreachableError(Reason.STATUS_UNAVAILABLE, retry_after=1.0)
    await refused(gateway, gateway.submission(), UnreachableError, Reason.STATUS_UNAVAILABLE)


async def test_used_up_grant_is_refused(gateway: Gateway) -> None:
    consent = gateway.federation.issue(max_uses=1)
    await gateway.send(gateway.submission(consent))
    asked = len(department_of(gateway, LAND).asks)
    with pytest.raises(NotGrantedError) as caught:
        await gateway.send(gateway.submission(consent))
    assert caught.value.reason is Reason.GRANT_USED_UP
    assert len(department_of(gateway, LAND).asks) == asked


async def test_two_at_once_cannot_overspend_the_last_use(gateway: Gateway) -> None:
    consent = gateway.federation.issue(max_uses=1)
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    sent = [asyncio.create_task(gateway.send(gateway.submission(consent))) for _ in range(5)]
    while len(land.asks) < len(sent):  # noqa: ASYNC110 - they take turns, and all shall be under way at once
        await asyncio.sleep(0)
    land.gate.set()
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, NotGrantedError)]
    assert len(refusals) == 4
    assert {refusal.reason for refusal in refusals} == {Reason.GRANT_USED_UP}
    assert max(gateway.used(consent)) == 1
    withheld = [row for row in gateway.verification_rows() if row.status == CheckStatus.WITHHELD]
    assert len(withheld) == 4 * 3


async def test_assurance_too_low_is_refused(gateway: Gateway) -> None:
    consent = gateway.federation.issue(acr=Assurance.LOW)
    await refused(gateway, gateway.submission(consent), NotGrantedError, Reason.ASSURANCE_TOO_LOW)


async def test_undisclosed_authorization_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()
    hidden = Presentation(submission.grants[0].grant, ())
    await refused(gateway, replace(submission, grants=(hidden,)), NotGrantedError, Reason.AUTHORIZATION_NOT_DISCLOSED)


async def test_claim_that_the_registry_does_not_allow_is_refused(gateway: Gateway) -> None:
    submission = gateway.submission()

    def narrower(document: Document) -> Document:
        terms = gateway.federation.registry.party(fed.REQUESTER).requester
        assert terms is not None
        kept = tuple(claim for claim in terms.claims if claim != LAND)
        return fed.edit_party(document, fed.REQUESTER, requester=msgspec.structs.replace(terms, claims=kept))

    gateway.federation = gateway.federation.changed(narrower)
    await refused(gateway, submission, NotGrantedError, Reason.CLAIM_NOT_ALLOWED)


async def test_co_resident_grant_of_another_child_is_refused(gateway: Gateway) -> None:
    own = gateway.federation.issue(fed.BIG_FAMILY)
    other = gateway.federation.issue(fed.BIG_FAMILY)
    mixed = replace(own, grants=(own.grants[0], other.grants[1]))
    questions = (*QUESTIONS, replace(QUESTIONS[2], check_id="c4", claim="property.co_resident_owns_home@1"))
    await refused(gateway, gateway.submission(mixed, questions), NotGrantedError, Reason.GRANT_OTHER_CHILD)


async def test_co_resident_is_answered_on_a_grant_of_their_own(gateway: Gateway) -> None:
    consent = gateway.federation.issue(fed.BIG_FAMILY)
    questions = (*QUESTIONS, replace(QUESTIONS[2], check_id="c4", claim="property.co_resident_owns_home@1"))
    verified = await gateway.verify(gateway.submission(consent, questions))
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 4


# -- dishonest or broken departments ------------------------------------------------------------------------


async def test_answer_to_another_question_counts_as_unavailable_and_is_logged(gateway: Gateway) -> None:
    department_of(gateway, LAND).bend = of_another_requester
    verified = await gateway.verify(gateway.submission())
    assert verified.answers[2].outcome is Outcome.UNAVAILABLE
    assert verified.answers[2].reason is Reason.ATTESTATION_INVALID
    strays = [leaf for leaf in gateway.leaves() if leaf.WhichOneof("event") == "recovery"]
    assert [leaf.recovery.department for leaf in strays] == [fed.DEPARTMENTS[DepartmentKind.LAND]]


async def test_statement_outside_the_signed_batch_counts_as_unavailable(gateway: Gateway) -> None:
    department_of(gateway, LAND).bend_proof = lambda proof: replace(proof, statement=proof.statement + b"\x00")
    verified = await gateway.verify(gateway.submission())
    assert verified.answers[2].outcome is Outcome.UNAVAILABLE
    assert [leaf.WhichOneof("event") for leaf in gateway.leaves()] == ["verification"]


async def test_stray_on_a_retry_is_logged(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    submission = gateway.submission()
    await gateway.verify(submission)
    land.failure = None
    land.bend = of_another_requester
    await gateway.verify(submission)
    assert [leaf.WhichOneof("event") for leaf in gateway.leaves()] == ["verification", "recovery"]


async def test_statement_that_this_version_cannot_read_is_logged_as_signed(gateway: Gateway) -> None:
    """A node of a later version may know a reason that we do not; what it signed is owed an entry all the same."""
    land = department_of(gateway, LAND)
    land.encode = lambda _: b"of a later version"
    verified = await gateway.verify(gateway.submission())
    assert verified.answers[2].outcome is Outcome.UNAVAILABLE
    assert [leaf.WhichOneof("event") for leaf in gateway.leaves()] == ["verification", "recovery"]
    assert land.acknowledged


async def test_withdrawal_reported_twice_is_recorded_once_and_says_when(gateway: Gateway) -> None:
    grant = gateway.federation.issue().grants[0]
    revocation = Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
    first = await gateway.events.withdraw(revocation)
    gateway.clock.now += 100
    assert await gateway.events.withdraw(revocation) == first
    assert len(gateway.leaves()) == 1


async def test_withdrawal_by_another_issuer_withdraws_nothing(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    grant = consent.grants[0]
    await gateway.events.withdraw(
        Revocation(fed.OTHER_ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
    )
    assert (await gateway.verify(gateway.submission(consent))).answers


async def test_reported_withdrawal_is_honoured_at_once(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    grant = consent.grants[0]
    await gateway.events.withdraw(
        Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
    )
    with pytest.raises(NotGrantedError) as caught:
        await gateway.send(gateway.submission(consent))
    assert caught.value.reason is Reason.GRANT_REVOKED


async def test_adopted_registry_is_logged_once(gateway: Gateway) -> None:
    for _ in range(2):
        await gateway.events.adopt(gateway.federation.registry)
    (leaf,) = gateway.leaves()
    assert leaf.registry.digest == gateway.federation.registry.digest


def of_another_requester(statement: Statement) -> Statement:
    assert isinstance(statement, Attestation)
    return replace(statement, asked=replace(statement.asked, requester=fed.OTHER_REQUESTER))


# -- revocation and the log ---------------------------------------------------------------------------------


async def test_withdrawal_while_departments_answer_withholds_the_answers_but_logs_them(gateway: Gateway) -> None:
    gateway.standings.revoke_after = 1
    consent = gateway.federation.issue()
    with pytest.raises(NotGrantedError) as caught:
        await gateway.send(gateway.submission(consent))
    assert caught.value.reason is Reason.GRANT_REVOKED
    rows = gateway.verification_rows()
    assert [row.status for row in rows] == [CheckStatus.WITHHELD] * 3
    assert all(row.statement_digest and row.reason == "GRANT_REVOKED" for row in rows)
    assert set(gateway.used(consent)) == {0}
    assert department_of(gateway, LAND).acknowledged


async def test_nothing_is_answered_when_the_log_cannot_record(gateway: Gateway) -> None:
    gateway.store.fail_before = True
    submission = gateway.submission()
    with pytest.raises(LogUnavailableError):
        await gateway.send(submission)
    gateway.store.fail_before = False
    verified = await gateway.verify(submission)
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 3


async def test_commit_that_failed_but_is_durable_is_resumed_without_a_second_use(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    gateway.store.fail_after = True
    with pytest.raises(LogUnavailableError):
        await gateway.send(submission)
    gateway.store.fail_after = False
    verified = await gateway.verify(submission)
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 3
    assert max(gateway.used(consent)) == 1
    assert len(gateway.leaves()) == 1


async def test_caller_that_goes_away_does_not_keep_an_answer_from_the_log(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    call = asyncio.create_task(gateway.send(gateway.submission()))
    await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    land.gate.set()
    await gateway.pipeline.drain()
    assert [row.status for row in gateway.verification_rows()] == [CheckStatus.ANSWERED] * 3


async def test_refusal_in_another_requesters_name_is_no_answer(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.refusal = Reason.BUDGET_EXHAUSTED
    land.bend = lambda statement: replace(statement, requester=fed.OTHER_REQUESTER)  # type: ignore[call-arg]
    verified = await gateway.verify(gateway.submission())
    assert verified.answers[2].outcome is Outcome.UNAVAILABLE
    assert verified.answers[2].reason is Reason.ATTESTATION_INVALID


async def test_place_is_held_until_the_work_ends_and_not_until_its_caller_goes(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    call = asyncio.create_task(gateway.send(gateway.submission()))
    await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert gateway.admission.taken == 1
    land.gate.set()
    await gateway.pipeline.drain()
    await asyncio.sleep(0)
    assert gateway.admission.taken == 0


async def test_deadline_in_which_nobody_could_answer_asks_nobody_and_logs_nothing(gateway: Gateway) -> None:
    message = write_submission(gateway.submission()).SerializeToString()
    with pytest.raises(MalformedError) as caught:
        await gateway.pipeline.verify(message, PEER, 0.2)
    assert caught.value.violations[0].field == "deadline"
    assert gateway.leaves() == []
    assert not department_of(gateway, LAND).asks


async def test_reply_stuffed_with_strays_costs_only_its_own_part(gateway: Gateway) -> None:
    """Thousands of signed statements that answer nothing: recorded in several leaves, and nobody else's fault."""
    land = department_of(gateway, LAND)
    land.copies = 2_500
    land.bend = of_another_requester
    verified = await gateway.verify(gateway.submission())
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES, Outcome.YES, Outcome.UNAVAILABLE]
    strays = [leaf for leaf in gateway.leaves() if leaf.WhichOneof("event") == "recovery"]
    assert sum(len(leaf.recovery.statement_digests) for leaf in strays) == 2_500


async def test_statement_signed_before_the_query_was_made_is_no_answer(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.clock = lambda: gateway.clock.now - 3600
    verified = await gateway.verify(gateway.submission())
    assert verified.answers[2].outcome is Outcome.UNAVAILABLE


async def test_withdrawal_reported_while_departments_answer_is_honoured(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    grant = consent.grants[0]
    revocation = Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    call = asyncio.create_task(gateway.send(gateway.submission(consent)))
    await asyncio.sleep(0.01)
    await gateway.events.withdraw(revocation)
    land.gate.set()
    with pytest.raises(NotGrantedError) as caught:
        await call
    assert caught.value.reason is Reason.GRANT_REVOKED


async def test_late_answers_that_nobody_waits_for_are_logged_and_acknowledged(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    signed, proofs = sign_batch([b"late"], land.department, land.key, gateway.clock.now)
    for _ in range(2):
        land.on_batch(land.department, signed, proofs)
        await gateway.events.take_orphans(Orphans(land.department, proofs, signed))
    (leaf,) = gateway.leaves()
    assert list(leaf.recovery.statement_digests) == [proofs[0].digest]
    assert [item.leaf_indexes for item in land.acknowledged] == [(0,), (0,)]


async def test_evidence_and_requests_are_not_readable_in_the_store(gateway: Gateway, tmp_path: Path) -> None:
    submission = gateway.submission()
    await gateway.send(submission)
    held = gateway.store.evidence(submission.grants[0].digest)
    assert held is not None
    assert submission.grants[0].grant.encode() not in held.ciphertext
    content = b"".join(file.read_bytes() for file in list_files(tmp_path))
    assert submission.signed.query not in content
    assert submission.grants[0].disclosures[0].encode() not in content


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def same_request_id(gateway: Gateway, first: Submission) -> Submission:
    """Another query under the request_id of `first`."""
    second = gateway.submission()
    query = replace(read_query(second.signed.query), request_id=read_query(first.signed.query).request_id)
    data = write_query(query)
    key = gateway.federation.signing_keys[fed.REQUESTER]
    return replace(second, signed=SignedQuery(data, key.key_id, key.sign(Kind.QUERY, data)))
