"""Auditors' look at evidence: recorded first, shown to nobody else, verified whole, and free of what names a person."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from consent.selection import select_disclosures
from gateway.audit.evidence_view import Wanted, verify_evidence
from gateway.evidence.desk import BURST, EvidenceDesk, evidence_allowance
from gateway.evidence.erasing import Ground
from gateway.party.service import Guard, unary_handlers
from gateway.protocol.errors import (
    BadDataError,
    ForgedError,
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotFoundError,
    OverloadedError,
)
from gateway.protocol.identities import parse_identity
from gateway.protocol.leaf import Tags
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import open_part
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from heyan.v1 import log_pb2
from heyan.v1 import log_service_pb2 as pb
from tests import federation as fed
from tests.attacks.front_door import Caller, RefusedError
from tests.evidence.erasures import eraser_of, is_erased, request_id_of
from tests.gateway.conftest import QUESTIONS, Gateway, department_of
from tests.gateway.deferrals import DOWN, LAND, deferrable
from tests.gateway.disputing import answered
from tests.gateway.offline_desk import OfflineDesk

AUDITOR = parse_identity(fed.AUDITOR)
CASE = "2027-0042"


@pytest.fixture
def desk(gateway: Gateway) -> EvidenceDesk:
    return EvidenceDesk(
        store=gateway.store,
        log=gateway.log,
        requests=gateway.requests,
        disputes=gateway.disputes,
        stamp=gateway.stamp,
        allowance=evidence_allowance(),
    )


def asking(request_id: bytes, **changes: Any) -> bytes:
    values = {"requester": fed.REQUESTER, "request_id": request_id, "case_reference": CASE, **changes}
    return pb.GetEvidenceRequest(**values).SerializeToString()


async def look(desk: EvidenceDesk, request_id: bytes, **changes: Any) -> pb.GetEvidenceResponse:
    data = await desk.get_evidence(asking(request_id, **changes), AUDITOR, None)  # type: ignore[arg-type]
    return pb.GetEvidenceResponse.FromString(data)


def accesses(gateway: Gateway) -> list[log_pb2.EvidenceAccessEvent]:
    return [leaf.evidence_access for leaf in gateway.leaves() if leaf.HasField("evidence_access")]


def wanted(request_id: bytes, **changes: Any) -> Wanted:
    return replace(Wanted(fed.AUDITOR, fed.REQUESTER, request_id, CASE), **changes)


async def test_auditor_sees_what_verifies_and_the_log_has_it(gateway: Gateway, desk: EvidenceDesk) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    request_id = request_id_of(submission)
    response = await look(desk, request_id)
    found = verify_evidence(response, wanted(request_id), gateway.federation.registry, operator(gateway))
    assert {answer.outcome for answer in found.receipt.answers} == {Outcome.YES}
    assert [grant.digest for grant in found.grants] == [grant.digest for grant in submission.grants]
    assert found.access_index == 1
    (access,) = accesses(gateway)
    tag = Tags(response.receipt.leaf_key).query(submission.signed.digest)
    assert (access.auditor, access.query_tag, access.case_reference) == (fed.AUDITOR, tag, CASE)
    kept = receipt_from_json(receipt_to_json(response.receipt))  # as a file, offline
    assert verify_receipt(kept, operator(gateway)).answers


def operator(gateway: Gateway):
    return gateway.federation.operator.public_key()


def showing(submission: Submission) -> Submission:
    """With no more of each grant than the checks use."""
    uses: dict[bytes, set[int]] = {}
    for part in submission.parts:
        for check in open_part(part.part).part.checks:
            for use in check.authorizations:
                uses.setdefault(use.grant_digest, set()).add(use.authorization)
    return replace(
        submission, grants=tuple(select_disclosures(grant, uses[grant.digest]) for grant in submission.grants)
    )


async def test_consent_that_a_later_request_shows_more_of_is_in_the_evidence_of_each(
    gateway: Gateway, desk: EvidenceDesk
) -> None:
    consent = gateway.federation.issue(max_uses=3)
    submissions = [showing(gateway.submission(consent, [question])) for question in QUESTIONS]
    assert len({submission.grants[0].disclosures for submission in submissions}) > 1
    for submission in submissions:
        await gateway.verify(submission)
    for submission in submissions:
        request_id = request_id_of(submission)
        response = await look(desk, request_id)
        assert verify_evidence(response, wanted(request_id), gateway.federation.registry, operator(gateway)).grants


async def test_gateway_that_asked_without_a_consent_or_hides_it_is_found(gateway: Gateway, desk: EvidenceDesk) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    request_id = request_id_of(submission)
    response = await look(desk, request_id)
    del response.grants[0].disclosures[:]
    with pytest.raises(ForgedError, match="without consent") as told:
        verify_evidence(response, wanted(request_id), gateway.federation.registry, operator(gateway))
    assert told.value.reason is Reason.GRANT_INVALID


async def test_evidence_shown_again_without_being_logged_again_is_found(gateway: Gateway, desk: EvidenceDesk) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    request_id = request_id_of(submission)
    asked, earlier = gateway.clock.now, await look(desk, request_id)
    registry = gateway.federation.registry
    assert verify_evidence(earlier, wanted(request_id, asked=asked), registry, operator(gateway)).grants
    with pytest.raises(ForgedError, match="earlier look"):
        verify_evidence(earlier, wanted(request_id, asked=asked + 3_600), registry, operator(gateway))


async def test_disputes_and_tickets_are_in_it(gateway: Gateway, desk: EvidenceDesk) -> None:
    asked = await answered(gateway)
    await asked.resolved()
    response = await look(desk, asked.request_id)
    found = verify_evidence(response, wanted(asked.request_id), gateway.federation.registry, operator(gateway))
    assert len(found.receipt.disputes) == 1
    paper = OfflineDesk(gateway)
    request_id, _ = await paper.asked(Outcome.UNDETERMINED)
    await paper.open(request_id)
    assert len((await look(desk, request_id)).receipt.tickets) == 1


async def test_nothing_in_it_names_a_person_or_opens_a_commitment(gateway: Gateway, desk: EvidenceDesk) -> None:
    """Not even of a request that waits, whose kept message has the sealed subjects."""
    department_of(gateway, LAND).failure = DOWN
    consent = gateway.federation.issue()
    submission = deferrable(gateway, consent=consent)
    await gateway.send(submission)
    shown = (await look(desk, request_id_of(submission))).SerializeToString()
    for part in submission.parts:
        assert part.sealed.ciphertext not in shown
        assert open_part(part.part).part.salt in shown  # of the part's digest, which is no secret of a person
    for grant in consent.grants:
        for salt in grant.salts.values():
            assert salt not in shown
        assert grant.evidence not in shown
        for subject in grant.subjects.values():
            for text in (subject.id_number, subject.name):
                assert text.encode() not in shown


@pytest.mark.parametrize("durable", [False, True])
async def test_nothing_is_shown_if_the_access_cannot_be_recorded(
    gateway: Gateway, desk: EvidenceDesk, *, durable: bool
) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    setattr(gateway.store, "fail_after" if durable else "fail_before", True)
    with pytest.raises(LogUnavailableError):
        await look(desk, request_id_of(submission))
    assert len(accesses(gateway)) == int(durable)


async def test_who_asks_in_vain_is_recorded_too(gateway: Gateway, desk: EvidenceDesk) -> None:
    await gateway.verify(gateway.submission())
    with pytest.raises(NotFoundError) as told:
        await look(desk, bytes(16))
    assert told.value.reason is Reason.REQUEST_NOT_FOUND
    (access,) = accesses(gateway)
    assert (access.auditor, access.query_tag) == (fed.AUDITOR, b"")


async def test_what_was_erased_is_told_as_erased_and_the_access_recorded(gateway: Gateway, desk: EvidenceDesk) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    await gateway.verify(submission)
    await eraser_of(gateway).erase([consent.grants[0].digest], Ground.LAWFUL_REQUEST)
    with pytest.raises(NotFoundError) as told:
        await look(desk, request_id_of(submission))
    assert is_erased(told.value)
    assert len(accesses(gateway)) == 1


async def test_evidence_erased_between_the_record_and_the_look_is_not_shown(
    gateway: Gateway, desk: EvidenceDesk
) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    await gateway.verify(submission)
    append = gateway.log.append

    async def append_and_erase(entry: Any) -> Any:
        committed = await append(entry)
        if not entry.erasure:
            await eraser_of(gateway).erase([consent.grants[0].digest], Ground.LAWFUL_REQUEST)
        return committed

    gateway.log.append = append_and_erase  # type: ignore[method-assign]
    with pytest.raises(NotFoundError) as told:
        await look(desk, request_id_of(submission))
    assert is_erased(told.value)


@pytest.mark.parametrize(
    "case",
    [
        "",
        "x" * 41,
        "a case",
        "案件一",
        "11010519491231002X",
        "110105-19491231-002X",
        "1101.05.491231.002",
        "13800138000",
        "138-0013-8000",
        "C_8613800138000",
        "0086.138.0013.8000",
        "ABC123456789012",
    ],
)
async def test_case_that_is_none_or_could_be_a_persons_number_is_refused_unrecorded(
    gateway: Gateway, desk: EvidenceDesk, case: str
) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    with pytest.raises(MalformedError) as refused:
        await look(desk, request_id_of(submission), case_reference=case)
    assert not case or case not in str(refused.value)
    assert accesses(gateway) == []


@pytest.mark.parametrize(
    "changes",
    [{"requester": "edu"}, {"requester": fed.GATEWAY}, {"request_id": b"short"}, {"request_id": bytes(500)}],
)
async def test_request_that_names_nothing_definite_is_refused(desk: EvidenceDesk, changes: dict[str, Any]) -> None:
    with pytest.raises(HeyanError):
        await look(desk, changes.pop("request_id", bytes(16)), **changes)


async def test_evidence_of_another_requester_is_not_found_under_this_one(gateway: Gateway, desk: EvidenceDesk) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    with pytest.raises(NotFoundError):
        await look(desk, request_id_of(submission), requester=fed.REQUESTER + "x")


async def test_auditor_who_reads_everything_is_told_to_come_back(gateway: Gateway, desk: EvidenceDesk) -> None:
    await gateway.verify(gateway.submission())
    for _ in range(BURST):
        with pytest.raises(NotFoundError):
            await look(desk, bytes(16))
    with pytest.raises(OverloadedError) as refused:
        await look(desk, bytes(16))
    assert refused.value.retry_after
    assert len(accesses(gateway)) == BURST


@pytest.mark.parametrize("peer", [fed.REQUESTER, fed.GATEWAY, fed.ISSUER, next(iter(fed.DEPARTMENTS.values()))])
async def test_nobody_but_an_auditor_is_let_in(gateway: Gateway, desk: EvidenceDesk, peer: str) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)

    async def unrecorded(*_: object) -> None:
        return None

    guard = Guard(lambda: gateway.federation.registry, unrecorded)
    handlers = unary_handlers("heyan.v1.LogService", desk.methods(), guard)
    details = SimpleNamespace(method="/heyan.v1.LogService/GetEvidence", invocation_metadata=())
    behavior = handlers.service(details).unary_unary
    with pytest.raises(RefusedError) as refused:
        await behavior(asking(request_id_of(submission)), Caller(peer))
    assert refused.value.reason == Reason.PEER_ROLE_NOT_ALLOWED
    assert accesses(gateway) == []


async def test_evidence_that_was_bent_on_the_way_is_not_believed(gateway: Gateway, desk: EvidenceDesk) -> None:
    submissions = [gateway.submission(), gateway.submission()]
    for submission in submissions:
        await gateway.verify(submission)
    request_id, other_id = map(request_id_of, submissions)
    other = await look(desk, other_id)

    def swap_grants(response: pb.GetEvidenceResponse) -> None:
        response.grants[0].CopyFrom(other.grants[0])

    def drop_grants(response: pb.GetEvidenceResponse) -> None:
        del response.grants[:]

    def bend_grant(response: pb.GetEvidenceResponse) -> None:
        response.grants[0].disclosures[0] += "A"

    def swap_access(response: pb.GetEvidenceResponse) -> None:
        response.access.CopyFrom(other.access)

    def answer_as_access(response: pb.GetEvidenceResponse) -> None:
        response.access.CopyFrom(response.receipt.leaves[0])

    def swap_receipt(response: pb.GetEvidenceResponse) -> None:
        response.receipt.CopyFrom(other.receipt)

    def bend_statement(response: pb.GetEvidenceResponse) -> None:
        proof = response.receipt.statements[0].proof
        proof.statement = proof.statement[:-1] + b"\x00"

    for bend in (swap_grants, drop_grants, bend_grant, swap_access, answer_as_access, swap_receipt, bend_statement):
        response = await look(desk, request_id)
        bend(response)
        with pytest.raises(BadDataError):
            verify_evidence(response, wanted(request_id), gateway.federation.registry, operator(gateway))
    for change in ({"auditor": fed.AUDITOR + "x"}, {"case_reference": "other"}, {"request_id": other_id}):
        response, asked = await look(desk, request_id), wanted(**{"request_id": request_id, **change})
        with pytest.raises(BadDataError):
            verify_evidence(response, asked, gateway.federation.registry, operator(gateway))
