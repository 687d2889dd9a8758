"""What a department node answers, and everything that it refuses: each test is an attack and its outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from structlog.testing import capture_logs

from consent.authenticator import derive_authenticator
from gateway.protocol.attestation import Attestation, Refusal, read_signed_batch
from gateway.protocol.claims import CLAIMS, Role
from gateway.protocol.errors import ForgedError, LogUnavailableError, NotGrantedError, UnreachableError
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Presentation
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.acknowledgements import read_acknowledgement
from sandbox_departments.answering import Budget, outcome_of
from sandbox_departments.journal_entries import Answered, BatchSigned, Refused, Repeated
from sandbox_departments.register import Finding, Standing
from sandbox_departments.replies import STATEMENTS_PER_BATCH, Incoming
from tests.sandbox.asking import (
    CHILD,
    GATEWAY,
    GRANDMOTHER,
    GUARDIAN,
    GUARDIAN_OF,
    HOUSEHOLD,
    LAND,
    NOW,
    OTHER_GATEWAY,
    OTHER_REQUESTER,
    PEOPLE,
    POLICE,
    REGISTERED,
    SECRET,
    Desk,
    opened_statements,
    signing_key,
    told,
)

NOBODY = Finding(Standing.UNKNOWN, False)


# -- what is right ------------------------------------------------------------------------------------------


async def test_a_right_ask_is_answered_and_states_what_was_asked(world, desk):
    ask = world.ask()
    first, second = await desk.statements(ask)
    assert isinstance(first, Attestation)
    assert isinstance(second, Attestation)
    assert [first.outcome, second.outcome] == [Outcome.YES, Outcome.YES]
    assert first.asked.requester.endswith("/enrol")
    assert first.asked.department == POLICE.uri
    assert (first.asked.check.claim, second.asked.check.claim) == (REGISTERED, GUARDIAN_OF)
    assert first.snapshot_date == "2027-01-01"
    assert (first.issue_time, first.nonce != second.nonce) == (NOW, True)


async def test_the_register_sees_the_subjects_of_the_claims_own_roles_only(world, desk):
    await desk.statements(world.ask())
    (questions,) = desk.register.asked
    assert [question.subjects for question in questions] == [
        {Role.CHILD: CHILD},
        {Role.CHILD: CHILD, Role.GUARDIAN: GUARDIAN},
    ]


async def test_a_fullwidth_spelling_asks_the_register_about_the_person_committed_to(world, desk):
    held = world.consent()
    part = world.part(held)
    signed = world.sign(world.query(part, held))
    wide = {
        role: replace(
            person, id_number="".join(chr(ord(c) + 0xFEE0) for c in person.id_number.lower()), name=f" {person.name} "
        )
        for role, person in PEOPLE.items()
    }
    ask = world.ask(held, part=part, signed=signed, sealed=world.seal(part, signed, held, people=wide))
    assert await desk.outcomes(ask) == ["YES", "YES"]
    (questions,) = desk.register.asked
    assert [question.subjects for question in questions] == [
        {Role.CHILD: CHILD},
        {Role.CHILD: CHILD, Role.GUARDIAN: GUARDIAN},
    ]


async def test_a_co_residents_check_needs_both_consents(world, desk):
    guardians = world.consent()
    grandmothers = world.consent(claims=(HOUSEHOLD,), beside=guardians)
    part = world.part(guardians, grandmothers, claims=(HOUSEHOLD,))
    assert await desk.outcomes(world.ask(guardians, grandmothers, part=part)) == ["YES"]
    alone = world.ask(guardians, grandmothers, part=part, shown=[guardians])
    assert await desk.outcomes(alone) == ["QUERY_PARTS_MISMATCH"]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
@pytest.mark.parametrize("fact", [True, False])
def test_a_known_persons_fact_decides_and_a_negative_claim_turns_it_round(claim, fact):
    expected = Outcome.YES if fact is not claim.negative else Outcome.NO
    assert outcome_of(claim, Finding(Standing.KNOWN, fact)) is expected


@pytest.mark.parametrize("standing", [standing for standing in Standing if standing is not Standing.KNOWN])
@pytest.mark.parametrize("fact", [True, False])
def test_whoever_is_not_known_without_a_doubt_is_undetermined_whatever_the_fact(standing, fact):
    for claim in CLAIMS.values():
        assert outcome_of(claim, Finding(standing, fact)) is Outcome.UNDETERMINED


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [
        (Finding(Standing.KNOWN, False), "NO"),
        *((Finding(standing, True), "UNDETERMINED") for standing in Standing if standing is not Standing.KNOWN),
    ],
)
async def test_the_requester_learns_the_outcome_and_the_journal_the_finer_reason(world, desk, finding, outcome):
    desk.register.findings[CHILD.id_number] = finding
    first, _ = await desk.statements(world.ask())
    assert first.outcome.name == outcome
    assert (first.next_step is NextStep.OFFLINE) == (outcome == "UNDETERMINED")
    (entry,) = desk.journal.entries()
    assert entry.parts[0].standings[0] is finding.standing


async def test_yes_no_and_undetermined_have_one_size_in_statement_and_message(world, desk):
    sizes = Counter()
    consent = world.consent(max_uses=10)
    for finding in (Finding(Standing.KNOWN, True), Finding(Standing.KNOWN, False), NOBODY):
        desk.register.findings[CHILD.id_number] = finding
        (message,) = await desk.answer(world.ask(consent))
        sizes[len(message.SerializeToString()), len(message.replies[0].statements[0].statement)] += 1
    assert sum(sizes.values()) == 3
    assert len(sizes) == 1


async def test_found_and_not_found_cost_the_same_work(world, desk):
    statements: list[int] = []
    consent = world.consent(max_uses=10)
    for number, finding in enumerate((Finding(Standing.KNOWN, True), NOBODY)):
        desk.register.findings = {CHILD.id_number: finding, GUARDIAN.id_number: finding}
        traced: list[str] = []
        desk.journal._connection.set_trace_callback(traced.append)
        await desk.outcomes(world.ask(consent))
        desk.journal._connection.set_trace_callback(None)
        statements.append(len(traced))
        assert len(desk.register.asked[number]) == 2
    assert statements[0] == statements[1]


# -- the query and its part ---------------------------------------------------------------------------------


async def test_a_query_for_another_gateway_than_the_connections_is_refused(world, desk):
    (refusal,) = await desk.statements(world.ask(), gateway=OTHER_GATEWAY)
    assert refusal.reason is Reason.QUERY_OTHER_GATEWAY
    assert await desk.outcomes(world.ask(gateway=OTHER_GATEWAY.uri)) == ["QUERY_OTHER_GATEWAY"]


async def test_a_query_signed_by_another_requesters_key_is_refused(world, desk):
    consent = world.consent()
    part = world.part(consent)
    signed = world.sign(world.query(part, consent), world.other_query_key)
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed)) == ["QUERY_SIGNATURE_INVALID"]
    forged = replace(signed, key_id=world.query_key.key_id)
    assert await desk.outcomes(world.ask(consent, part=part, signed=forged)) == ["QUERY_SIGNATURE_INVALID"]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"issue_time": NOW + 11, "expire_time": NOW + 40, "answer_until_time": NOW + 40}, "QUERY_NOT_YET_VALID"),
        ({"issue_time": NOW - 40, "expire_time": NOW - 6, "answer_until_time": NOW - 6}, "QUERY_EXPIRED"),
        ({"issue_time": NOW - 1, "expire_time": NOW + 60, "answer_until_time": NOW + 60}, "MESSAGE_MALFORMED"),
        ({"answer_until_time": NOW + 600}, "MESSAGE_MALFORMED"),
    ],
)
async def test_an_early_late_or_overlong_query_is_refused(world, desk, times, reason):
    assert await desk.outcomes(world.ask(**times)) == [reason]


async def test_a_part_of_another_query_is_refused(world, desk):
    consent = world.consent()
    signed = world.sign(world.query(world.part(consent), consent))
    swapped = world.ask(consent, part=world.part(consent), signed=signed)
    assert await desk.outcomes(swapped) == ["QUERY_PARTS_MISMATCH"]


async def test_a_part_swapped_between_departments_is_refused(world, desk):
    consent = world.consent(claims=("property.owns_home@1",))
    part = world.part(consent, claims=("property.owns_home@1",), department=LAND)
    signed = world.sign(world.query(part, consent))
    sealed = world.seal(part, signed, consent, kid="seal-land", department=LAND)
    ask = world.ask(consent, part=part, signed=signed, sealed=sealed)
    assert await desk.outcomes(ask) == ["PART_OTHER_DEPARTMENT"]


async def test_a_claim_of_another_department_or_region_is_refused(world, desk):
    consent = world.consent(claims=(REGISTERED, "property.owns_home@1"))
    foreign = world.part(consent, claims=("property.owns_home@1",))
    assert await desk.outcomes(world.ask(consent, part=foreign)) == ["REGION_NOT_SERVED"]
    elsewhere = world.part(consent, claims=(REGISTERED,), region="430202")
    assert await desk.outcomes(world.ask(consent, part=elsewhere)) == ["REGION_NOT_SERVED"]


async def test_a_part_that_rests_on_a_grant_outside_its_query_is_refused(world, desk):
    consent, other = world.consent(), world.consent()
    part = world.part(consent)
    query = world.query(part, other)
    for shown in ([consent], [consent, other]):
        ask = world.ask(consent, query=query, part=part, shown=shown)
        assert await desk.outcomes(ask) == ["QUERY_PARTS_MISMATCH"]


@pytest.mark.parametrize("spoil", ["query", "part", "ciphertext", "signature", "grants", "everything"])
async def test_a_malformed_ask_gets_a_signed_refusal_of_the_bytes_received(world, desk, spoil):
    ask = world.ask()
    if spoil == "query":
        ask.query.query += b"\xff"
    elif spoil == "part":
        ask.part.part = b"\xff"
    elif spoil == "ciphertext":
        ask.part.sealed.ciphertext = b""
    elif spoil == "signature":
        ask.query.signature.value = b"short"
    elif spoil == "grants":
        del ask.grants[:]
    else:
        ask = pb.Ask(ask_id=9)
    (refusal,) = await desk.statements(ask)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.MESSAGE_MALFORMED
    assert refusal.requester == ("" if spoil in {"query", "everything"} else "spiffe://heyan/requester/enrol")
    assert desk.register.asked == []


# -- consent ------------------------------------------------------------------------------------------------


async def test_another_requesters_grant_is_refused_as_such_before_anything_else_of_it_is_looked_at(world, desk):
    stolen = world.consent(requester=OTHER_REQUESTER, expires=NOW - 30, signer=signing_key("forger"))
    assert await desk.outcomes(world.ask(stolen)) == ["GRANT_OTHER_REQUESTER"]


async def test_a_forged_grant_is_refused(world, desk):
    assert await desk.outcomes(world.ask(world.consent(signer=signing_key("forger")))) == ["GRANT_INVALID"]
    genuine = world.consent()
    header, payload, signature = genuine.presentation.grant.split(".")
    flipped = signature[:-10] + ("A" if signature[-10] != "A" else "B") + signature[-9:]
    forged = replace(
        genuine, presentation=Presentation(f"{header}.{payload}.{flipped}", genuine.presentation.disclosures)
    )
    assert await desk.outcomes(world.ask(forged)) == ["GRANT_INVALID"]


async def test_an_expired_grant_is_refused(world, desk):
    assert await desk.outcomes(world.ask(world.consent(expires=NOW - 6))) == ["GRANT_EXPIRED"]


async def test_a_grant_to_be_spent_at_another_gateway_is_refused(world, desk):
    assert await desk.outcomes(world.ask(world.consent(gateway=OTHER_GATEWAY))) == ["GRANT_OTHER_GATEWAY"]


async def test_a_claim_or_purpose_that_was_not_granted_is_refused(world, desk):
    assert await desk.outcomes(world.ask(world.consent(claims=(REGISTERED,)))) == ["CLAIM_NOT_GRANTED"]
    assert await desk.outcomes(world.ask(purpose="audit")) == ["PURPOSE_NOT_GRANTED"]
    assert await desk.outcomes(world.ask(purpose="marketing")) == ["PURPOSE_NOT_ALLOWED"]


async def test_an_undisclosed_authorization_is_refused(world, desk):
    consent = world.consent()
    hidden = replace(consent, presentation=Presentation(consent.presentation.grant, ()))
    assert await desk.outcomes(world.ask(consent, shown=[hidden])) == ["AUTHORIZATION_NOT_DISCLOSED"]


async def test_a_grant_shown_without_need_is_refused(world, desk):
    consent, other = world.consent(), world.consent()
    assert await desk.outcomes(world.ask(consent, shown=[consent, other])) == ["QUERY_PARTS_MISMATCH"]


async def test_a_revoked_grant_is_refused_before_its_subjects_are_opened(world, desk):
    consent = world.consent()
    desk.standings.lost[consent.digest] = NotGrantedError(Reason.GRANT_REVOKED)
    ask = world.ask(consent)
    ask.part.sealed.ciphertext = bytes(len(ask.part.sealed.ciphertext))  # would not open
    assert await desk.outcomes(ask) == ["GRANT_REVOKED"]
    assert desk.register.asked == []


async def test_an_answered_query_is_not_released_again_once_its_grant_is_revoked(world, desk):
    consent = world.consent()
    ask = world.ask(consent)
    assert await desk.outcomes(ask) == ["YES", "YES"]
    desk.standings.lost[consent.digest] = NotGrantedError(Reason.GRANT_REVOKED)
    assert await desk.outcomes(ask) == ["GRANT_REVOKED"]


async def test_a_status_that_cannot_be_told_is_a_fault_and_nothing_is_signed(world, desk):
    consent = world.consent()
    desk.standings.lost[consent.digest] = UnreachableError(Reason.STATUS_UNAVAILABLE)
    (message,) = await desk.answer(world.ask(consent), world.ask(ask_id=2))
    assert told(message, world) == [["status_unavailable"], ["YES", "YES"]]
    desk.standings.lost.clear()
    assert await desk.outcomes(world.ask(consent)) == ["YES", "YES"]


async def test_a_status_that_must_be_waited_for_changes_no_answer(world, desk):
    desk.standings.at_hand = False
    revoked = world.consent()
    desk.standings.lost[revoked.digest] = NotGrantedError(Reason.GRANT_REVOKED)
    (message,) = await desk.answer(world.ask(revoked), world.ask(ask_id=2))
    assert told(message, world) == [["GRANT_REVOKED"], ["YES", "YES"]]
    assert desk.standings.asked == 2


async def test_a_status_at_hand_is_not_waited_for(desk, world):
    assert await desk.outcomes(world.ask()) == ["YES", "YES"]
    assert desk.standings.asked == 0


async def test_a_slow_status_list_is_waited_for_no_longer_than_set(world, desk):
    async def never(grant):
        await asyncio.Event().wait()

    desk.standings.require_standing = never
    desk.standings.at_hand = False
    assert await desk.outcomes(world.ask()) == ["status_unavailable"]


async def test_missing_evidence_is_refused(world, desk):
    consent = world.consent()
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    sealed = world.seal(part, signed, consent, evidence=[])
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed, sealed=sealed)) == ["EVIDENCE_MISSING"]


async def test_evidence_for_another_grants_bytes_is_refused(world, desk):
    consent, other = world.consent(), world.consent()
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    sealed = world.seal(part, signed, consent, evidence=[other.evidence])
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed, sealed=sealed)) == ["EVIDENCE_MISSING"]


async def test_evidence_of_an_assertion_over_other_bytes_is_refused(world, desk):
    class Careless:
        """Signs another challenge than it is given: an issuer that invents an approval."""

        def __init__(self, real):
            self.public_key = real.public_key
            self._real = real

        def approve(self, challenge, **context):
            return self._real.approve(bytes(32), **context)

    consent = world.consent(passkey=Careless(derive_authenticator(SECRET, "guardian")))
    assert await desk.outcomes(world.ask(consent)) == ["EVIDENCE_INVALID"]


# -- the sealed subjects ------------------------------------------------------------------------------------


async def test_a_sealed_subject_replayed_under_another_query_does_not_open(world, desk):
    consent = world.consent(max_uses=2)
    part = world.part(consent)
    first = world.sign(world.query(part, consent))
    sealed = world.seal(part, first, consent)
    assert await desk.outcomes(world.ask(consent, part=part, signed=first, sealed=sealed)) == ["YES", "YES"]
    second = world.sign(world.query(part, consent))
    replayed = world.ask(consent, part=part, signed=second, sealed=sealed)
    assert await desk.outcomes(replayed) == ["SUBJECT_UNDECIPHERABLE"]


async def test_a_subject_sealed_to_another_department_or_key_does_not_open(world, desk):
    consent = world.consent()
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    for kid, department in (("seal-land", LAND), ("seal-land", POLICE), ("seal-police", LAND)):
        sealed = world.seal(part, signed, consent, kid=kid, department=department)
        ask = world.ask(consent, part=part, signed=signed, sealed=sealed)
        assert await desk.outcomes(ask) == ["SUBJECT_UNDECIPHERABLE"]
        ask.part.sealed.key_id = "seal-police"
        assert await desk.outcomes(ask) == ["SUBJECT_UNDECIPHERABLE"]


async def test_other_subjects_than_those_committed_to_are_refused(world, desk):
    consent = world.consent()
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    for role in (Role.CHILD, Role.GUARDIAN):
        sealed = world.seal(part, signed, consent, people={**PEOPLE, role: GRANDMOTHER})
        ask = world.ask(consent, part=part, signed=signed, sealed=sealed)
        assert await desk.outcomes(ask) == ["COMMITMENT_MISMATCH"]
    assert desk.register.asked == []


@pytest.mark.parametrize(
    "roles",
    [[Role.CHILD], [Role.CHILD, Role.GUARDIAN, Role.CO_RESIDENT], [Role.CHILD, Role.CHILD, Role.GUARDIAN], []],
    ids=["too few", "too many", "one twice", "none"],
)
async def test_an_envelope_with_other_roles_than_the_parts_is_refused(world, desk, roles):
    consent = world.consent()
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    sealed = world.seal(part, signed, consent, roles=roles)
    ask = world.ask(consent, part=part, signed=signed, sealed=sealed)
    assert await desk.outcomes(ask) == ["COMMITMENT_MISMATCH"]


async def test_an_unknown_kind_of_document_is_refused(world, desk):
    consent = world.consent()
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    sealed = world.seal(part, signed, consent, id_type="library_card")
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed, sealed=sealed)) == ["IDENTIFIER_MALFORMED"]


async def test_a_subject_that_no_check_commits_to_the_grant_with_is_refused(world, desk):
    consent, other = world.consent(), world.consent()
    part = world.part(consent)
    foreign = replace(
        part,
        checks=tuple(
            replace(check, subjects=((Role.CHILD, other.commitments[Role.CHILD]),)) for check in part.checks[:1]
        ),
    )
    assert await desk.outcomes(world.ask(consent, part=foreign)) == ["GRANT_SUBJECT_MISSING"]


# -- uses, repetitions, budget ------------------------------------------------------------------------------


async def test_a_used_up_grant_is_refused(world, desk):
    consent = world.consent(max_uses=2)
    for _ in range(2):
        assert await desk.outcomes(world.ask(consent)) == ["YES", "YES"]
    assert await desk.outcomes(world.ask(consent)) == ["GRANT_USED_UP"]
    assert len(desk.register.asked) == 2


async def test_a_use_is_spent_once_among_the_asks_of_one_batch(world, desk):
    consent = world.consent(max_uses=1)
    (message,) = await desk.answer(*(world.ask(consent, ask_id=number) for number in range(3)))
    assert told(message, world) == [["YES", "YES"], ["GRANT_USED_UP"], ["GRANT_USED_UP"]]


async def test_a_repeated_query_returns_the_identical_statements_without_a_use(world, desk):
    ask = world.ask(world.consent(max_uses=1))
    (first,) = await desk.answer(ask)
    world.now += 7
    (second,) = await desk.answer(ask)
    for earlier, later in zip(first.replies[0].statements, second.replies[0].statements, strict=True):
        assert earlier.statement == later.statement
    assert len(desk.register.asked) == 1
    assert isinstance([entry.parts[0] for entry in desk.journal.entries()][1], Repeated)


async def test_a_forgotten_statement_is_not_made_anew(world, desk):
    ask = world.ask(world.consent(max_uses=1))
    await desk.outcomes(ask)
    desk.journal._connection.execute("UPDATE answers SET statements = NULL")
    assert await desk.outcomes(ask) == ["QUERY_EXPIRED"]
    assert len(desk.register.asked) == 1


async def test_the_same_ask_twice_in_one_batch_is_answered_once(world, desk):
    ask = world.ask(world.consent(max_uses=1))
    (message,) = await desk.answer(ask, ask)
    one, two = message.replies
    assert [proof.statement for proof in one.statements] == [proof.statement for proof in two.statements]
    assert told(message, world) == [["YES", "YES"]] * 2
    assert len(desk.register.asked[0]) == 2


async def test_one_request_id_does_not_buy_a_second_question(world, desk):
    consent = world.consent(max_uses=5)
    one = world.ask(consent, request_id=b"r" * 16)
    other = world.ask(consent, request_id=b"r" * 16)
    assert await desk.outcomes(one) == ["YES", "YES"]
    assert await desk.outcomes(other) == ["REQUEST_ID_CONFLICT"]
    both = [world.ask(consent, request_id=b"s" * 16, ask_id=number) for number in range(2)]
    (message,) = await desk.answer(*both)
    assert told(message, world) == [["YES", "YES"], ["REQUEST_ID_CONFLICT"]]


async def test_a_repetition_with_other_sealed_bytes_is_refused(world, desk):
    consent = world.consent(max_uses=5)
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed)) == ["YES", "YES"]
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed)) == ["REQUEST_ID_CONFLICT"]


async def test_a_refused_query_is_judged_anew_and_spent_nothing(world, desk):
    consent = world.consent(max_uses=1)
    part = world.part(consent)
    signed = world.sign(world.query(part, consent))
    spoiled = world.ask(consent, part=part, signed=signed, sealed=world.seal(part, signed, consent, evidence=[]))
    assert await desk.outcomes(spoiled) == ["EVIDENCE_MISSING"]
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed)) == ["YES", "YES"]


async def test_the_probing_budget_counts_found_and_not_found_alike(world, desk):
    for finding in (Finding(Standing.KNOWN, True), NOBODY, Finding(Standing.PROTECTED, False)):
        desk.register.findings[CHILD.id_number] = finding
        await desk.outcomes(world.ask())
    assert await desk.outcomes(world.ask()) == ["BUDGET_EXHAUSTED"]
    assert len(desk.register.asked) == 3


async def test_an_exhausted_budget_spends_no_use_and_recovers_as_the_window_slides(world, desk):
    consent = world.consent(max_uses=1)
    for _ in range(3):
        await desk.outcomes(world.ask())
        world.now += 10
    assert await desk.outcomes(world.ask(consent)) == ["BUDGET_EXHAUSTED"]
    world.now = NOW + desk.budget.window - 1
    assert await desk.outcomes(world.ask(world.consent(expires=NOW + 2 * desk.budget.window))) == ["BUDGET_EXHAUSTED"]
    world.now = NOW + desk.budget.window
    assert await desk.outcomes(world.ask(world.consent(expires=NOW + 2 * desk.budget.window))) == ["YES", "YES"]


async def test_the_budget_is_one_requesters_own(world, desk):
    for _ in range(3):
        await desk.outcomes(world.ask())
    consent = world.consent(requester=OTHER_REQUESTER)
    part = world.part(consent)
    signed = world.sign(world.query(part, consent, requester=OTHER_REQUESTER.uri), world.other_query_key)
    assert await desk.outcomes(world.ask(consent, part=part, signed=signed)) == ["YES", "YES"]


# -- faults -------------------------------------------------------------------------------------------------


async def test_a_register_fault_is_never_a_no_and_spends_nothing(world, desk):
    consent = world.consent(max_uses=1)
    ask = world.ask(consent)
    desk.register.fault = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    (message,) = await desk.answer(ask)
    assert told(message, world) == [["department_unreachable"]]
    assert message.batch.batch == b""
    desk.register.fault = None
    assert await desk.outcomes(ask) == ["YES", "YES"]


async def test_a_register_that_breaks_on_one_subject_costs_only_that_ask(world, desk):
    desk.register.chokes_on = GRANDMOTHER.id_number
    guardians = world.consent()
    grandmothers = world.consent(claims=(HOUSEHOLD,), beside=guardians)
    part = world.part(guardians, grandmothers, claims=(HOUSEHOLD,))
    with capture_logs() as logs:
        (message,) = await desk.answer(
            world.ask(ask_id=1), world.ask(guardians, grandmothers, part=part, ask_id=2), world.ask(ask_id=3)
        )
    assert told(message, world) == [["YES", "YES"], ["internal"], ["YES", "YES"]]
    assert GRANDMOTHER.id_number not in str(logs)


async def test_a_register_that_answers_another_number_of_questions_is_at_fault(world, desk):
    desk.register.find = lambda questions: [Finding(Standing.KNOWN, True)]
    assert await desk.outcomes(world.ask()) == ["department_unreachable"]


async def test_one_ask_on_which_the_node_itself_breaks_costs_only_that_ask(world, desk):
    class Breaking(dict):
        def get(self, kid):
            if kid == "seal-broken":
                raise ZeroDivisionError(CHILD.id_number)
            return super().get(kid)

    keys = desk.answerer._sources.keys
    keys.opened = Breaking(keys.opened)
    broken = world.ask(ask_id=1)
    broken.part.sealed.key_id = "seal-broken"
    with capture_logs() as logs:
        (message,) = await desk.answer(broken, world.ask(ask_id=2))
    assert told(message, world) == [["internal"], ["YES", "YES"]]
    assert CHILD.id_number not in str(logs)


async def test_a_journal_that_fails_midway_takes_everything_back(world, desk):
    consent = world.consent(max_uses=1)
    ask = world.ask(consent)
    for table in ("answers", "uses", "entries", "batches"):
        desk.journal._connection.execute(
            f"CREATE TEMP TRIGGER fails BEFORE INSERT ON {table} BEGIN SELECT raise(FAIL, 'full'); END"
        )
        assert await desk.outcomes(ask) == ["log_unavailable"], table
        desk.journal._connection.execute("DROP TRIGGER fails")
    assert list(desk.journal.entries()) == []
    assert await desk.outcomes(ask) == ["YES", "YES"]


async def test_a_fault_after_the_journals_does_not_make_the_node_think_it_can_write_again(world, desk, monkeypatch):
    def cannot_write():
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE)

    monkeypatch.setattr(desk.journal, "probe", cannot_write)
    desk.journal._connection.execute(
        "CREATE TEMP TRIGGER fails BEFORE INSERT ON answers BEGIN SELECT raise(FAIL, 'full'); END"
    )
    assert await desk.outcomes(world.ask()) == ["log_unavailable"]
    keys = desk.answerer._sources.keys
    signing = keys.signing
    keys.signing = raising(ForgedError(Reason.KEY_UNKNOWN))
    assert await desk.outcomes(world.ask()) == ["key_unknown"]
    keys.signing = signing
    assert await desk.answerer.complaints() == ("LOG_UNAVAILABLE",)
    monkeypatch.undo()
    assert await desk.answerer.complaints() == ()


def raising(error):
    def raise_it(*_):
        raise error

    return raise_it


async def test_an_expired_registry_stops_new_answers(world, desk):
    document = msgspec.structs.replace(world.registry.document, expires=int(NOW) - 6)
    world.registry = Registry(document, "expired")
    assert await desk.outcomes(world.ask()) == ["registry_expired"]
    assert await desk.answerer.complaints() == ("REGISTRY_EXPIRED",)


async def test_a_node_without_an_answer_key_states_nothing(world, desk):
    def no_key(registry, now):
        raise ForgedError(Reason.KEY_UNKNOWN)

    desk.answerer._sources.keys.signing = no_key
    assert await desk.outcomes(world.ask()) == ["key_unknown"]


async def test_a_gateway_that_owes_too_much_gets_faults_until_it_acknowledges(world, tmp_path):
    desk = Desk(world, tmp_path / "owed.db", max_owed=2)
    (message,) = await desk.answer(world.ask())
    assert await desk.outcomes(world.ask()) == ["gateway_owes_acknowledgements"]
    (other,) = await desk.answer(world.ask(), gateway=OTHER_GATEWAY)
    assert told(other, world) == [["QUERY_OTHER_GATEWAY"]]
    await acknowledge(desk, read_signed_batch(message.batch).digest, 2)
    assert await desk.outcomes(world.ask()) == ["YES", "YES"]
    desk.close()


async def test_an_acknowledgement_owed_for_a_day_stops_the_gateway(world, desk):
    await desk.answer(world.ask())
    world.now += 86_401
    assert await desk.outcomes(world.ask()) == ["gateway_owes_acknowledgements"]


# -- batches and the journal --------------------------------------------------------------------------------


async def test_origins_never_share_a_signed_batch(world, desk):
    incoming = [Incoming(origin, GATEWAY.uri, world.ask(ask_id=origin)) for origin in (1, 2, 1)]
    batches = await desk.answerer.answer(incoming)
    assert [(batch.origin, len(batch.message.replies)) for batch in batches] == [(1, 2), (2, 1)]
    assert len({batch.digest for batch in batches}) == 2


async def test_a_signed_batch_is_bounded_and_keeps_the_statements_of_an_ask_together(world, tmp_path):
    desk = Desk(world, tmp_path / "many.db", budget=Budget(10_000, 86_400.0))
    claims = (REGISTERED, GUARDIAN_OF, "hukou.guardian_registered@1")
    consent = world.consent(claims=claims, max_uses=1000)
    part = world.part(consent, claims=claims)
    messages = await desk.answer(*(world.ask(consent, part=part, ask_id=number) for number in range(90)))
    sizes = [len(opened_statements(message, world)) for message in messages]
    assert sum(sizes) == 270
    assert max(sizes) <= STATEMENTS_PER_BATCH
    assert all(len(reply.statements) == 3 for message in messages for reply in message.replies)
    desk.close()


async def test_journal_and_log_lines_hold_no_personal_data(world, desk, tmp_path):
    with capture_logs() as logs:
        await desk.outcomes(world.ask())
        await desk.outcomes(world.ask(world.consent(max_uses=1), purpose="audit"))
    (answered, refused) = [entry.parts[0] for entry in desk.journal.entries() if isinstance(entry, BatchSigned)]
    assert isinstance(answered, Answered)
    assert isinstance(refused, Refused)
    everything = str(logs).encode() + b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert answered.requester.encode() in everything
    for person in (CHILD, GUARDIAN):
        assert person.id_number.encode() not in everything
        assert person.name.encode() not in everything


async def test_an_answer_that_cannot_be_journalled_is_not_given(world, desk):
    consent = world.consent(max_uses=1)
    desk.journal._connection.execute("PRAGMA query_only = ON")
    (message,) = await desk.answer(world.ask(consent), world.ask(ask_id=2, purpose="marketing"))
    assert told(message, world) == [["log_unavailable"]] * 2
    assert message.batch.batch == b""
    assert await desk.answerer.complaints() == ("LOG_UNAVAILABLE",)
    desk.journal._connection.execute("PRAGMA query_only = OFF")
    assert await desk.answerer.complaints() == ()
    assert await desk.outcomes(world.ask(consent)) == ["YES", "YES"]


async def acknowledge(desk: Desk, batch: bytes, statements: int, **bent):
    item = read_acknowledgement(desk.world.acknowledgement(batch, statements, **bent))
    return await desk.answerer.acknowledge(GATEWAY.uri, [item])
