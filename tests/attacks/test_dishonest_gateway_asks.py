"""A gateway that bends what it passes on to departments: they refuse, journal it, and nobody takes it for an answer.

Each lie goes between the real pipeline and a real node. The node's refusal is signed over what it received, which is
not what the requester asked; so it fits no receipt, and the gateway can say no more than "unavailable". The refusal
stands in the journal, and in the log as recovered, or the auditor misses it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.audit.findings import Reconciliation
from gateway.protocol.attestation import (
    Refusal,
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
    sealed_digest,
)
from gateway.protocol.codec import b64url
from gateway.protocol.digests import Kind
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import write_presentation, write_presented_part
from gateway.protocol.query import Check, Part, SignedQuery, open_part, read_query, write_part, write_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import SealingKeyTerms, Suite
from gateway.protocol.sealing import fresh_seed, public_bytes, seal
from heyan.v1 import department_service_pb2 as pb
from heyan.v1 import query_pb2
from tests import federation as fed
from tests.dishonest_gateway import LAND, POLICE, DishonestGateway

Bend = Callable[[DishonestGateway, pb.Ask], None]


def part_with(change: Callable[[Part], Part]) -> Bend:
    """Change the part, and leave the query as the requester signed it."""

    def bend(_liar: DishonestGateway, ask: pb.Ask) -> None:
        ask.part.part = write_part(change(open_part(ask.part.part).part))

    return bend


def first_check_with(**changes: object) -> Bend:
    def change(part: Part) -> Part:
        return replace(part, checks=(replace(part.checks[0], **changes), *part.checks[1:]))  # type: ignore[arg-type]

    return part_with(change)


def added(part: Part) -> Part:
    more: Check = replace(part.checks[0], check_id="more", claim="hukou.guardian_registered@1")
    return replace(part, checks=(*part.checks, more))


def query_with(signer: str | None = None, **changes: object) -> Bend:
    """Change the query; its old signature stays unless `signer` signs it anew."""

    def bend(liar: DishonestGateway, ask: pb.Ask) -> None:
        ask.query.query = write_query(replace(read_query(ask.query.query), **changes))  # type: ignore[arg-type]
        if signer is not None:
            ask.query.signature.value = liar.gateway.federation.signing_keys[signer].sign(Kind.QUERY, ask.query.query)

    return bend


def part_of_the_land_office(liar: DishonestGateway, ask: pb.Ask) -> None:
    ask.part.CopyFrom(write_presented_part(liar.sent_for(LAND)))


def subject_of_the_land_office(liar: DishonestGateway, ask: pb.Ask) -> None:
    ask.part.sealed.CopyFrom(write_presented_part(liar.sent_for(LAND)).sealed)


def earlier_part(liar: DishonestGateway, ask: pb.Ask) -> None:
    ask.part.CopyFrom(liar.police.asks[0].part)


def earlier_subject(liar: DishonestGateway, ask: pb.Ask) -> None:
    """The same family's, sealed by the same requester on the same consent, for an earlier query."""
    ask.part.sealed.CopyFrom(liar.police.asks[0].part.sealed)


def subject_of_its_choice(liar: DishonestGateway, ask: pb.Ask) -> None:
    """The right people, sealed to the right key for this very query, by somebody who does not have the salts."""
    people = [
        query_pb2.SubjectOpening(
            role=role.value, id_type=person.id_type.value, id_number=person.id_number, name=person.name, salt=bytes(32)
        )
        for role, person in sorted(fed.FAMILY.items())
    ]
    terms = liar.gateway.federation.registry.sealing_keys(POLICE, liar.gateway.clock.now)[0]
    sealed = seal(query_pb2.SubjectEnvelope(subjects=people), terms, POLICE, digest_of(ask))
    ask.part.sealed.ciphertext = sealed.ciphertext


def subject_sealed_to_its_own_key(liar: DishonestGateway, ask: pb.Ask) -> None:
    """Under the key id that the registry gives the node."""
    public, now = b64url(public_bytes(Suite.HYBRID, fresh_seed(Suite.HYBRID, bytes(96)))), int(liar.gateway.clock.now)
    terms = SealingKeyTerms("seal-1", Suite.HYBRID, public, now - 60, now + 600)
    ask.part.sealed.ciphertext = seal(query_pb2.SubjectEnvelope(), terms, POLICE, digest_of(ask)).ciphertext


def digest_of(ask: pb.Ask) -> bytes:
    return SignedQuery(ask.query.query, "", b"").digest


BENT_ASKS: dict[str, tuple[Bend, Reason]] = {
    "another department's part": (part_of_the_land_office, Reason.PART_OTHER_DEPARTMENT),
    "another query's part": (earlier_part, Reason.QUERY_PARTS_MISMATCH),
    "another department's subject": (subject_of_the_land_office, Reason.SUBJECT_UNDECIPHERABLE),
    "another query's subject": (earlier_subject, Reason.SUBJECT_UNDECIPHERABLE),
    "a subject of its choice": (subject_of_its_choice, Reason.COMMITMENT_MISMATCH),
    "its own sealing key": (subject_sealed_to_its_own_key, Reason.SUBJECT_UNDECIPHERABLE),
    "a check more": (part_with(added), Reason.QUERY_PARTS_MISMATCH),
    "a check less": (part_with(lambda part: replace(part, checks=part.checks[1:])), Reason.QUERY_PARTS_MISMATCH),
    "another claim": (first_check_with(claim="hukou.guardian_registered@1"), Reason.QUERY_PARTS_MISMATCH),
    "another region": (first_check_with(region="430103"), Reason.QUERY_PARTS_MISMATCH),
    "a wider region": (first_check_with(region="43"), Reason.MESSAGE_MALFORMED),
    "a parameter": (first_check_with(parameters=(("months", "6"),)), Reason.QUERY_PARTS_MISMATCH),
    "another purpose": (query_with(purpose="audit"), Reason.QUERY_SIGNATURE_INVALID),
    "a later end": (query_with(answer_until_time=1_800_000_600.0), Reason.QUERY_SIGNATURE_INVALID),
    "a new request_id": (query_with(request_id=bytes(16)), Reason.QUERY_SIGNATURE_INVALID),
    "a query of its own": (query_with(fed.OTHER_REQUESTER, request_id=bytes(16)), Reason.QUERY_SIGNATURE_INVALID),
    "another requester": (
        query_with(fed.OTHER_REQUESTER, requester=fed.OTHER_REQUESTER),
        Reason.GRANT_OTHER_REQUESTER,
    ),
}


@pytest.mark.parametrize("lie", BENT_ASKS)
async def test_bent_ask_is_refused_and_journalled_and_never_an_answer(liar: DishonestGateway, lie: str) -> None:
    bend, reason = BENT_ASKS[lie]
    consent = liar.gateway.federation.issue(max_uses=3)
    await liar.verify(consent)
    node, asked = liar.police.node, len(liar.police.node.register.asked)

    def bent(ask: pb.Ask) -> pb.Ask:
        bend(liar, ask)
        return ask

    liar.police.bend = bent
    result = await liar.verify(consent)
    # The department: refused, nobody looked up.
    assert [told for _, told in node.refused()] == [reason]
    assert len(node.register.asked) == asked
    # The client: nothing is known of the police's checks, and the land office's answer stands.
    assert {answer.check.check_id: answer.outcome for answer in result.verified.answers} == {
        "c1": Outcome.UNAVAILABLE,
        "c2": Outcome.UNAVAILABLE,
        "c3": Outcome.YES,
    }
    # The evidence: the department's signature over what it was shown, which is not what the requester signed.
    refusal = signed_refusal(liar)
    sent = liar.sent_for(POLICE)
    sent_digest = open_part(sent.part).digest
    shown = (refusal.query_digest, refusal.part_digest, refusal.sealed_digest)
    assert refusal.reason is reason
    assert shown != (result.verified.query_digest, sent_digest, sealed_digest(sent.sealed.ciphertext))
    # The log and the journal: the refusal is in both.
    await liar.settle()
    assert liar.audit() == Reconciliation((), owed=0, recovered=1)
    # And nothing is spent at the node: the next honest application is answered.
    liar.police.bend = lambda ask: ask
    honest = await liar.verify(consent)
    assert {answer.outcome for answer in honest.verified.answers} == {Outcome.YES}


def signed_refusal(liar: DishonestGateway) -> Refusal:
    response = liar.police.replies[-1]
    batch = open_batch(read_signed_batch(response.batch), liar.gateway.federation.registry, liar.gateway.clock.now)
    statement = open_statement(read_proof(response.replies[0].statements[0]), batch)
    assert isinstance(statement, Refusal)
    return statement


async def test_refusal_of_a_bent_ask_that_the_gateway_hides_is_missed_by_the_auditor(liar: DishonestGateway) -> None:
    def bent(ask: pb.Ask) -> pb.Ask:
        first_check_with(region="43")(liar, ask)
        return ask

    liar.police.bend, liar.police.hides = bent, True
    await liar.verify()
    await liar.settle()
    assert liar.found() == [("UNLOGGED", POLICE)]


def other_familys_grant(liar: DishonestGateway, ask: pb.Ask) -> None:
    ask.grants[0].CopyFrom(write_presentation(liar.gateway.federation.issue().grants[0].presentation))


def no_disclosures(_liar: DishonestGateway, ask: pb.Ask) -> None:
    del ask.grants[0].disclosures[:]


def grant_more(liar: DishonestGateway, ask: pb.Ask) -> None:
    ask.grants.append(write_presentation(liar.gateway.federation.issue().grants[0].presentation))


def altered_grant(_liar: DishonestGateway, ask: pb.Ask) -> None:
    ask.grants[0].grant = ask.grants[0].grant[:-4] + "AAAA"


@pytest.mark.parametrize(
    ("bend", "reason"),
    [
        (other_familys_grant, Reason.QUERY_PARTS_MISMATCH),
        (grant_more, Reason.QUERY_PARTS_MISMATCH),
        (altered_grant, Reason.QUERY_PARTS_MISMATCH),
        (no_disclosures, Reason.AUTHORIZATION_NOT_DISCLOSED),
    ],
)
async def test_consent_that_the_gateway_swaps_is_refused_in_the_requesters_sight(
    liar: DishonestGateway, bend: Bend, reason: Reason
) -> None:
    """Query, part and subject are what the requester sent, so the refusal fits: the requester knows what it sent."""

    def bent(ask: pb.Ask) -> pb.Ask:
        bend(liar, ask)
        return ask

    liar.police.bend = bent
    result = await liar.verify()
    refused = [answer for answer in result.verified.answers if answer.department == POLICE]
    assert {(answer.outcome, answer.reason) for answer in refused} == {(Outcome.REFUSED, reason)}
    assert liar.police.node.refused() == [(fed.REQUESTER, reason)]
    await liar.settle()
    assert liar.audit() == Reconciliation((), owed=0, recovered=0)
