"""The door: who is let in, and what becomes of what nobody should send."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.cli.correctness import is_right
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.cli.sandbox import GATEWAY
from gateway.operator.desk import Desk
from gateway.operator.enrolment import PartyFolder, enrol_certificate
from gateway.party.tls import open_channel, watch_tls
from gateway.protocol.errors import NotGrantedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.leaf import read_leaf
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2, gateway_service_pb2, log_service_pb2
from tests.e2e.channels import LIST_LEAVES, channel_as, tls_of
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

VERIFY = "/heyan.v1.GatewayService/Verify"
GET_PLAN = "/heyan.v1.GatewayService/GetPlan"
BUF = Path(__file__).parents[2] / "protos" / "node_modules" / ".bin" / "buf"


@pytest.fixture
async def requester(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    channel = channel_as(running, tls_of(running, "requesters", running.requester))
    yield channel
    await channel.close(None)


@pytest.fixture
async def auditor(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    channel = channel_as(running, tls_of(running, "auditors", "auditor"))
    yield channel
    await channel.close(None)


async def refusal(channel: grpc.aio.Channel, method: str, message: bytes) -> tuple[grpc.StatusCode, str]:
    """Status and reason of a refused call, whose status must be whole and tell nothing internal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(method)(message, timeout=10)
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info, texts = error_details_pb2.ErrorInfo(), []
    for detail in status.details:
        text = error_details_pb2.LocalizedMessage()
        if detail.Unpack(text):
            texts.append(text.locale)
        detail.Unpack(info)
    assert info.domain == "heyan"
    assert texts == ["zh-CN", "en"]
    for word in ("Traceback", "site-packages", ".py", "Error(", "sqlite", "/tmp"):  # noqa: S108
        assert word not in str(status)
    return caught.value.code(), info.reason


async def newest_leaf(auditor: grpc.aio.Channel) -> object:
    request = log_service_pb2.ListLeavesRequest()
    start, newest = 0, b""
    while True:
        request.start_index = start
        data = await auditor.unary_unary(LIST_LEAVES)(request.SerializeToString(), timeout=10)
        leaves = log_service_pb2.ListLeavesResponse.FromString(data).leaves
        if not leaves:
            return read_leaf(newest)
        newest, start = leaves[-1], start + len(leaves)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (os.urandom(200), "MESSAGE_MALFORMED"),
        (b"", "MESSAGE_MALFORMED"),
        (bytes(MAX_MESSAGE + 1), "MESSAGE_TOO_LARGE"),
        (gateway_service_pb2.VerifyRequest(grants=[{}]).SerializeToString(), "MESSAGE_MALFORMED"),  # type: ignore[list-item]
    ],
    ids=["garbage", "empty", "oversized", "without a query"],
)
async def test_message_that_nobody_should_send_is_refused_and_logged(
    requester: grpc.aio.Channel, auditor: grpc.aio.Channel, message: bytes, reason: str
) -> None:
    assert await refusal(requester, VERIFY, message) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    leaf = await newest_leaf(auditor)
    assert leaf.refusal.reason == reason  # type: ignore[attr-defined]
    assert leaf.refusal.method == VERIFY  # type: ignore[attr-defined]


async def test_message_over_the_transport_limit_ends_the_call_and_not_the_gateway(
    requester: grpc.aio.Channel,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await requester.unary_unary(VERIFY)(bytes(4 * MAX_MESSAGE), timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await refusal(requester, VERIFY, b""))[1] == "MESSAGE_MALFORMED"


async def test_truncated_request_is_refused(running: Running, requester: grpc.aio.Channel) -> None:
    application = running.families[0].application
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(application, running.requester)
        plan = await client.plan(application.region, application.school, application.group)
        submission = client.prepare(plan.questions(application.subjects), consent, plan)
    from gateway.protocol.presentation import write_submission  # noqa: PLC0415

    whole = write_submission(submission).SerializeToString()
    for length in range(0, len(whole), len(whole) // 25):
        code, _ = await refusal(requester, VERIFY, whole[:length])
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)


async def test_wrong_role_is_refused_and_logged(auditor: grpc.aio.Channel, requester: grpc.aio.Channel) -> None:
    code, reason = await refusal(auditor, VERIFY, b"")
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PEER_ROLE_NOT_ALLOWED")
    leaf = await newest_leaf(auditor)
    assert leaf.refusal.peer == "spiffe://heyan/auditor/auditor"  # type: ignore[attr-defined]
    code, reason = await refusal(requester, LIST_LEAVES, b"")
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PEER_ROLE_NOT_ALLOWED")


async def test_peer_that_the_registry_does_not_know_is_refused(running: Running, tmp_path: Path) -> None:
    """A certificate of the right CA, for a party that was never registered."""
    authority = Desk.open(running.sandbox.desk_folder).authority
    stranger = Identity(PartyRole.REQUESTER, "stranger")
    enrol_certificate(authority, stranger, PartyFolder(tmp_path), time.time())
    channel = channel_as(running, PartyFolder(tmp_path).tls)
    code, reason = await refusal(channel, VERIFY, b"")
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PEER_UNKNOWN")
    await channel.close(None)


async def test_peer_without_a_certificate_does_not_get_in(running: Running) -> None:
    ca = (running.folder / "operator/ca.pem").read_bytes()
    options = [("grpc.ssl_target_name_override", GATEWAY.dns_name)]
    channel = grpc.aio.secure_channel(running.endpoints.gateway.grpc, grpc.ssl_channel_credentials(ca), options=options)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(GET_PLAN)(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await channel.close(None)


async def test_certificate_of_another_node_is_not_taken_for_the_gateway(running: Running) -> None:
    """A client that expects the gateway does not talk to a department node, whatever the address says."""
    node = next(iter(running.endpoints.departments.values()))
    channel = open_channel(node.grpc, GATEWAY, watch_tls(tls_of(running, "requesters", running.requester)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(GET_PLAN)(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await channel.close(None)


async def test_department_serves_no_requester(running: Running) -> None:
    name, node = next(iter(running.endpoints.departments.items()))
    channel = open_channel(
        node.grpc,
        Identity(PartyRole.DEPARTMENT, name),
        watch_tls(tls_of(running, "requesters", running.requester)),
    )
    request = department_service_pb2.AnswerOneRequest().SerializeToString()
    code, reason = await refusal(channel, "/heyan.v1.DepartmentService/AnswerOne", request)
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PEER_ROLE_NOT_ALLOWED")
    await channel.close(None)


async def test_withdrawn_consent_is_refused_within_five_seconds(running: Running) -> None:
    application = running.families[2].application
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(application, running.requester)
        plan = await client.plan(application.region, application.school, application.group)
        questions = plan.questions(application.subjects)
        assert (await client.verify(questions, consent, plan)).verified.answers
        await guardians.withdraw(application.family, consent)
        began = time.monotonic()
        reason = None
        while reason is None and time.monotonic() - began < 30:
            try:
                await client.verify(questions, consent, plan)
            except NotGrantedError as error:
                reason = error.reason
        assert reason is Reason.GRANT_REVOKED
        assert time.monotonic() - began < 5


async def test_dead_department_is_unavailable_and_never_a_no(running: Running) -> None:
    """The node is killed; its checks are unavailable, the others are answered; and it comes back."""
    truth = next(
        truth
        for truth in running.families
        if truth.application.region.startswith("4301")
        and any(answer.claim == "property.owns_home@1" for answer in truth.answers)
    )
    application = truth.application
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(application, running.requester)
        plan = await client.plan(application.region, application.school, application.group)
        submission = client.prepare(plan.questions(application.subjects), consent, plan)
        os.kill(running.pid("land-4301"), 9)
        first = await client.send(submission)
        for answer in first.verified.answers:
            if "land" in answer.department:
                assert answer.outcome is Outcome.UNAVAILABLE
            else:
                assert answer.outcome in (Outcome.YES, Outcome.NO, Outcome.UNDETERMINED)
        began = time.monotonic()
        while time.monotonic() - began < 40:
            again = await client.send(submission)
            if all(answer.outcome is not Outcome.UNAVAILABLE for answer in again.verified.answers):
                break
        assert is_right(again, truth)


@pytest.mark.skipif(not BUF.exists(), reason="make buf installs it")
def test_buf_curl_over_mtls_gets_a_plan(running: Running) -> None:
    files = tls_of(running, "requesters", running.requester)
    command = [
        str(BUF), "curl", "--protocol", "grpc", "--schema", str(BUF.parents[2]),
        "--cacert", str(files.ca), "--cert", str(files.certificate), "--key", str(files.key),
        "--servername", GATEWAY.dns_name,
        "-d", json.dumps({"region": "430102", "school": "public_primary", "group": "home_and_hukou"}),
        f"https://{running.endpoints.gateway.grpc}{GET_PLAN}",
    ]  # fmt: skip
    assert shutil.which(command[0])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [check["claim"] for check in plan["checks"]] == [
        "enrolment.of_school_age@1",
        "property.owns_home@1",
        "hukou.child_registered@1",
        "identity.valid@1",
        "guardianship.guardian_of@1",
    ]
