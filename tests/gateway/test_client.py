"""The client believes departments and the log, never the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from consent.consent_file import ConsentFile
from gateway.asking import Question
from gateway.client import Client, ClientSettings
from gateway.plans import make_plan
from gateway.protocol.claims import Role
from gateway.protocol.errors import ForgedError, MalformedError, NotGrantedError
from gateway.protocol.identifiers import resident_id
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import open_part, read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.sealing import open_sealed
from gateway.protocol.subjects import IdType, Subject
from gateway.rulebook import Rulebook
from heyan.v1 import attestation_pb2, check_pb2, receipt_pb2
from heyan.v1 import gateway_service_pb2 as pb
from tests import federation as fed
from tests.gateway.conftest import PEER, PLAN, QUESTIONS, Gateway, department_of
from tests.gateway.disputing import answered


class LyingConnection:
    """A connection to a gateway that says whatever it is told to say."""

    def __init__(self, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._answer = answer

    def renew(self) -> None:
        """Nothing to renew."""

    @property
    def channel(self) -> LyingConnection:
        return self

    def unary_unary(self, _path: str) -> Callable[..., Awaitable[bytes]]:
        async def call(message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
            return await self._answer(message)

        return call


def client_of(gateway: Gateway, answer: Callable[[bytes], Awaitable[bytes]]) -> Client:
    settings = ClientSettings(
        requester=fed.REQUESTER,
        gateway=fed.GATEWAY,
        target="127.0.0.1:1",
        tls=None,  # type: ignore[arg-type] # no connection is made
        signing_key=lambda: gateway.federation.signing_keys[fed.REQUESTER],
        operator=gateway.federation.operator.public_key(),
    )
    client = Client(settings, lambda: gateway.federation.registry, gateway.clock, lambda: False)
    client._connection = LyingConnection(answer)  # type: ignore[assignment]
    return client


def honest(gateway: Gateway, bend: Callable[[receipt_pb2.Receipt], None] = lambda _: None) -> Any:
    """An answer by the real pipeline, bent afterwards."""

    async def answer(message: bytes) -> bytes:
        receipt = await gateway.pipeline.verify(message, PEER, None)
        bend(receipt)
        return pb.VerifyResponse(receipt=receipt).SerializeToString()

    return answer


async def test_registry_by_which_a_dispute_was_recorded_is_fetched_before_it_is_judged(gateway: Gateway) -> None:
    asked, held = await answered(gateway), [gateway.federation.registry]
    gateway.federation = gateway.federation.changed(lambda document: document)
    await asked.open()

    async def answer(_message: bytes) -> bytes:
        receipt = gateway.pipeline.get(asked.request_id, PEER)
        gateway.disputes.attach(receipt)
        return pb.GetVerificationResponse(receipt=receipt).SerializeToString()

    def refresh() -> bool:
        held.append(gateway.federation.registry)
        return True

    client = client_of(gateway, answer)
    client._registry, client._refresh_registry = lambda: held[-1], refresh
    assert len((await client.get(asked.request_id)).verified.disputes) == 1
    assert len(held) == 2


async def test_honest_gateway_is_believed(gateway: Gateway) -> None:
    result = await client_of(gateway, honest(gateway)).verify(QUESTIONS, gateway.federation.issue(), PLAN)
    assert [answer.outcome for answer in result.verified.answers] == [Outcome.YES] * 3


async def test_gateway_that_turns_a_yes_into_a_no_is_caught(gateway: Gateway) -> None:
    def bend(receipt: receipt_pb2.Receipt) -> None:
        statement = attestation_pb2.Statement.FromString(receipt.statements[0].proof.statement)
        statement.attestation.outcome = check_pb2.OUTCOME_NO
        receipt.statements[0].proof.statement = statement.SerializeToString()

    with pytest.raises(ForgedError) as caught:
        await client_of(gateway, honest(gateway, bend)).verify(QUESTIONS, gateway.federation.issue(), PLAN)
    assert caught.value.reason is Reason.PROOF_INVALID


async def test_gateway_that_hides_an_answer_as_unavailable_is_caught(gateway: Gateway) -> None:
    def bend(receipt: receipt_pb2.Receipt) -> None:
        statement = attestation_pb2.Statement.FromString(receipt.statements[0].proof.statement).attestation
        del receipt.statements[0]
        gap = receipt.unavailable.add(
            check_id=statement.check.check_id,
            department=statement.department,
            reason="DEPARTMENT_TIMED_OUT",
            next_step=check_pb2.NEXT_STEP_RETRY,
        )
        gap.ask_time.CopyFrom(statement.issue_time)
        gap.end_time.CopyFrom(statement.issue_time)

    with pytest.raises(ForgedError) as caught:
        await client_of(gateway, honest(gateway, bend)).verify(QUESTIONS, gateway.federation.issue(), PLAN)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_receipt_of_another_query_is_caught(gateway: Gateway) -> None:
    other = gateway.submission()
    held = await gateway.send(other)

    async def answer(_message: bytes) -> bytes:
        return pb.VerifyResponse(receipt=held).SerializeToString()

    with pytest.raises(ForgedError) as caught:
        await client_of(gateway, answer).verify(QUESTIONS, gateway.federation.issue(), PLAN)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_gateway_that_puts_garbage_for_a_sealed_subject_is_caught(gateway: Gateway) -> None:
    """The node then rightly refuses what it cannot open; the client sees that it was shown something else."""
    department_of(gateway, "property.owns_home@1").refusal = Reason.SUBJECT_UNDECIPHERABLE

    async def answer(message: bytes) -> bytes:
        request = pb.VerifyRequest.FromString(message)
        request.parts[-1].sealed.ciphertext = bytes(len(request.parts[-1].sealed.ciphertext))
        receipt = await gateway.pipeline.verify(request.SerializeToString(), PEER, None)
        return pb.VerifyResponse(receipt=receipt).SerializeToString()

    with pytest.raises(ForgedError) as caught:
        await client_of(gateway, answer).verify(QUESTIONS, gateway.federation.issue(), PLAN)
    assert "sealed subject" in caught.value.detail


async def test_registry_that_the_gateway_hands_over_is_not_taken(gateway: Gateway) -> None:
    """A forged registry would name the gateway's own keys; the client puts its own copy in its place."""

    def bend(receipt: receipt_pb2.Receipt) -> None:
        receipt.registry = fed.Federation.create(gateway.clock.now, seed="the gateway's own").registry.token

    result = await client_of(gateway, honest(gateway, bend)).verify(QUESTIONS, gateway.federation.issue(), PLAN)
    assert result.receipt.registry == gateway.federation.registry.token


async def test_sealing_key_and_department_of_a_lying_plan_are_not_taken(gateway: Gateway) -> None:
    """The plan names the gateway's own key and node; the client seals to the registry's."""
    request = pb.GetPlanRequest(region=fed.REGION, school=School.PUBLIC_PRIMARY.value, group=Group.HOME_AND_HUKOU.value)
    plan = make_plan(request, Rulebook(None), gateway.federation.registry, gateway.clock.now)
    for check in plan.checks:
        check.department = "spiffe://heyan/department/the-gateways-own"
        check.sealing_key_ids[:] = ["the-gateways-own"]
    client = client_of(gateway, honest(gateway))
    submission = client.prepare(replace(PLAN, message=plan).questions(fed.FAMILY), gateway.federation.issue(), PLAN)
    for part in submission.parts:
        department = open_part(part.part).part.department
        key = gateway.federation.opening_keys[department]
        assert open_sealed(part.sealed, key, department, submission.signed.digest).subjects


async def test_each_department_is_sealed_only_the_roles_of_its_part(gateway: Gateway) -> None:
    submission = gateway.submission()
    roles = {}
    for part in submission.parts:
        department = open_part(part.part).part.department
        key = gateway.federation.opening_keys[department]
        envelope = open_sealed(part.sealed, key, department, submission.signed.digest)
        roles[department.rpartition("/")[2]] = {subject.role for subject in envelope.subjects}
    assert roles == {"police": {"child", "guardian"}, "land": {"guardian"}}


@pytest.mark.parametrize(
    "number", ["", "123", "439900201809010010", "43990020180901001", "439900201813010017", "abcdefghijklmnopqr"]
)
async def test_malformed_id_number_stops_in_the_client(gateway: Gateway, number: str) -> None:
    consent = gateway.federation.issue()
    child = Subject(IdType.RESIDENT_ID, number, "张小明")
    wrong = ConsentFile((replace(consent.grants[0], subjects={**consent.grants[0].subjects, Role.CHILD: child}),))
    asked: list[bytes] = []

    async def answer(message: bytes) -> bytes:
        asked.append(message)
        return b""

    with pytest.raises(MalformedError) as caught:
        await client_of(gateway, answer).verify(QUESTIONS, wrong, PLAN)
    assert caught.value.reason is Reason.IDENTIFIER_MALFORMED
    assert caught.value.violations[0].field == "subjects.child.id_number"
    assert not number or number not in str(caught.value)
    assert asked == []


async def test_child_born_after_the_query_stops_in_the_client(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    day = datetime.fromtimestamp(gateway.clock.now, timezone(timedelta(hours=8))).date()
    numbers = (resident_id("439900", day + timedelta(days=ahead), 1) for ahead in (0, 1))
    today, tomorrow = (
        ConsentFile((replace(consent.grants[0], subjects={**consent.grants[0].subjects, Role.CHILD: child}),))
        for child in (Subject(IdType.RESIDENT_ID, number, "张小明") for number in numbers)
    )
    client = client_of(gateway, honest(gateway))
    client.prepare(QUESTIONS, today, PLAN)
    with pytest.raises(MalformedError) as caught:
        client.prepare(QUESTIONS, tomorrow, PLAN)
    assert caught.value.violations[0].field == "subjects.child.id_number"


async def test_question_without_footing_in_the_consent_stops_in_the_client(gateway: Gateway) -> None:
    question = Question("c1", "property.co_resident_owns_home@1", fed.REGION, {})
    with pytest.raises(NotGrantedError):
        client_of(gateway, honest(gateway)).prepare([question], gateway.federation.issue(), PLAN)


async def test_resent_submission_is_the_same_request(gateway: Gateway) -> None:
    sent: list[bytes] = []
    answer = honest(gateway)

    async def listen(message: bytes) -> bytes:
        sent.append(message)
        return await answer(message)

    client = client_of(gateway, listen)
    submission = client.prepare(QUESTIONS, gateway.federation.issue(), PLAN)
    first, second = await client.send(submission), await client.send(submission)
    assert first.verified.answers == second.verified.answers
    assert sent[0] == sent[1]
    assert len(gateway.leaves()) == 1


async def test_receipt_of_another_request_is_not_taken_for_the_one_asked_for(gateway: Gateway) -> None:
    mine, other = gateway.submission(), gateway.submission()
    held = await gateway.send(mine)
    await gateway.send(other)

    async def answer(_message: bytes) -> bytes:
        return pb.GetVerificationResponse(receipt=held).SerializeToString()

    client = client_of(gateway, answer)
    assert (await client.get(read_query(mine.signed.query).request_id)).verified.answers
    with pytest.raises(ForgedError) as caught:
        await client.get(read_query(other.signed.query).request_id)
    assert caught.value.reason is Reason.RECEIPT_INVALID
