"""Keys, certificates and windows are renewed while everything runs; a stop finishes what is under way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2

from consent.selection import presentations_for
from gateway.cli.correctness import is_right
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.cli.rehearsals import write_rules
from gateway.cli.sandbox import GATEWAY
from gateway.cli.sandbox_renew import renew
from gateway.cli.verify import ask
from gateway.client import Client
from gateway.departments.port import Ask
from gateway.party.keyfiles import write_atomic
from gateway.party.tls import check_server, open_channel, watch_tls
from gateway.protocol.attestation import Refusal, read_statement
from gateway.protocol.errors import NotCurrentError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.jws import read_jws
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import write_presentation, write_presented_part, write_signed_query
from gateway.protocol.query import open_part, read_query
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2
from sandbox_departments.truth import Truth
from tests.e2e.channels import channel_as, tls_of
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GATEWAY_URI = "spiffe://heyan/gateway/main"
POLICE_URI = "spiffe://heyan/department/police-4301"


async def answered(running: Running, number: int) -> bool:
    """Whether one application is answered in full and rightly."""
    truth = running.families[number]
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(truth.application, running.requester)
        result = await ask(client, truth.application, consent)
    return is_right(result, truth)


def rotate(running: Running, what: str, party: str, folder: Path) -> None:
    """Rotate as an operator would."""
    desk = str(running.sandbox.desk_folder)
    done = running.heyan("registry", "rotate", what, party, "--folder", str(folder), "--desk", desk, "--delay", "2")
    assert done.returncode == 0, done.stderr
    if what != "certificate":
        done = running.heyan("registry", "sign", "--desk", desk)
        assert done.returncode == 0, done.stderr


async def test_renewed_certificate_is_served_without_a_restart(running: Running) -> None:
    tls = watch_tls(tls_of(running, "requesters", running.requester))
    process = running.pid("gateway")
    before = await check_server(running.endpoints.gateway.grpc, GATEWAY, tls)
    await asyncio.to_thread(rotate, running, "certificate", GATEWAY_URI, running.folder / "gateway")
    after = before
    began = time.monotonic()
    while after == before and time.monotonic() - began < 20:
        after = await check_server(running.endpoints.gateway.grpc, GATEWAY, tls)
    assert after.serial_number != before.serial_number
    assert isinstance(after, x509.Certificate)
    assert running.pid("gateway") == process
    assert await answered(running, 310)


@pytest.mark.parametrize(
    ("what", "party", "folder"),
    [
        ("log", GATEWAY_URI, "gateway"),
        ("answer", POLICE_URI, "departments/police-4301"),
        ("sealing", POLICE_URI, "departments/police-4301"),
        ("grant", "spiffe://heyan/issuer/citizen-app", "consent"),
        ("query", "spiffe://heyan/requester/edu-4301", "requesters/edu-4301"),
    ],
)
async def test_rotated_key_is_used_without_a_restart_or_a_failed_call(
    running: Running, what: str, party: str, folder: str
) -> None:
    keys = running.folder / folder / ("sealing" if what == "sealing" else "keys")
    before = set(keys.iterdir())
    await asyncio.to_thread(rotate, running, what, party, running.folder / folder)
    (fresh,) = set(keys.iterdir()) - before
    began, number, signers = time.monotonic(), 400, set[str]()
    while fresh.stem not in signers and time.monotonic() - began < 30:
        truth = next(truth for truth in running.families[number:] if truth.application.region.startswith("4301"))
        number += 1
        async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
            consent = await guardians.consent(truth.application, running.requester)
            result = await ask(client, truth.application, consent)
        assert all(answer.outcome.value <= Outcome.UNDETERMINED for answer in result.verified.answers)
        receipt = result.receipt
        signers.add(receipt.query.signature.key_id)
        signers.update(item.batch.signature.key_id for item in receipt.statements)
        header, _ = read_jws(consent.grants[0].token, "heyan-grant+jwt", 1 << 16, frozenset({"evidence"}))
        signers.add(header["kid"])
        if what in ("log", "sealing"):
            break  # which key signed or opened is not shown; that the answers hold is
        await asyncio.sleep(0.3)
    assert what in ("log", "sealing") or fresh.stem in signers


async def test_department_refuses_a_withdrawn_grant_within_five_seconds(running: Running) -> None:
    """Asked directly over the gateway's certificate, as a gateway would that ignores withdrawals."""
    application = next(
        truth.application for truth in running.families[200:] if truth.application.region.startswith("4301")
    )
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(application, running.requester)
        plan = await client.plan(application.region, application.school, application.group)

        async def reasons() -> set[Reason]:
            submission = client.prepare(plan.questions(application.subjects), consent, plan)
            part = next(part for part in submission.parts if open_part(part.part).part.department == POLICE_URI)
            shown = presentations_for(open_part(part.part).part, read_query(submission.signed.query), submission.grants)
            return await ask_directly(running, Ask(submission.signed, part, shown))

        assert await reasons() == set()
        await guardians.withdraw(application.family, consent)
        began = time.monotonic()
        found: set[Reason] = set()
        while not found and time.monotonic() - began < 4.5:
            await asyncio.sleep(1.1)  # the grant has five uses
            found = await reasons()
        assert found == {Reason.GRANT_REVOKED}
        assert time.monotonic() - began < 5


async def ask_directly(running: Running, ask_: Ask) -> set[Reason]:
    """Reasons of the refusals with which police-4301 answers; empty if it attests."""
    gateway_tls = tls_of(running, "", "gateway")
    identity = parse_identity(POLICE_URI)
    channel = open_channel(running.endpoints.departments[identity.name].grpc, identity, watch_tls(gateway_tls))
    request = department_service_pb2.AnswerOneRequest(
        ask=department_service_pb2.Ask(
            query=write_signed_query(ask_.signed),
            part=write_presented_part(ask_.part),
            grants=[write_presentation(grant) for grant in ask_.grants],
        )
    )
    data = await channel.unary_unary("/heyan.v1.DepartmentService/AnswerOne")(request.SerializeToString(), timeout=10)
    await channel.close(None)
    response = department_service_pb2.AnswerOneResponse.FromString(data)
    statements = [read_statement(proof.statement) for proof in response.statements]
    return {statement.reason for statement in statements if isinstance(statement, Refusal)}


async def test_health_says_serving(running: Running) -> None:
    channel = channel_as(running, tls_of(running, "requesters", running.requester))
    data = await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
    assert health_pb2.HealthCheckResponse.FromString(data).status == health_pb2.HealthCheckResponse.SERVING
    await channel.close(None)


async def test_stopping_gateway_finishes_what_is_under_way(running: Running) -> None:
    """Calls before, during and after a stop: each is answered or told to come back, and a retry gets its answer."""
    truth = running.families[300]
    application = truth.application
    outcomes: list[str] = []
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consents = [await guardians.consent(application, running.requester) for _ in range(6)]
        plan = await client.plan(application.region, application.school, application.group)
        submissions = [client.prepare(plan.questions(application.subjects), consent, plan) for consent in consents]

        async def send(delay: float, number: int) -> None:
            await asyncio.sleep(delay)
            began = time.monotonic()
            while time.monotonic() - began < 40:
                try:
                    result = await client.send(submissions[number])
                except UnreachableError as error:
                    outcomes.append("come back")
                    await asyncio.sleep(error.retry_after or 0.5)
                    continue
                if any(answer.outcome is Outcome.UNAVAILABLE for answer in result.verified.answers):
                    await asyncio.sleep(0.3)
                    continue
                assert is_right(result, truth)
                outcomes.append("answered")
                return

        calls = [asyncio.create_task(send(0.02 * number, number)) for number in range(6)]
        await asyncio.sleep(0.03)
        old = running.pid("gateway")
        os.kill(old, signal.SIGTERM)
        await asyncio.gather(*calls)
    assert outcomes.count("answered") == 6
    log = (running.folder / "gateway" / "process.log").read_text()
    lines = [line for line in log.splitlines() if line.startswith("{")]  # gRPC's core writes lines of its own
    assert any(json.loads(line).get("message") == "gateway_stopped" for line in lines)


async def test_enrolment_window_that_has_ended_is_moved_along_while_everything_runs(
    running: Running, tmp_path: Path
) -> None:
    """A sandbox left running for a month: refused once the window is over, and open again after the renewal."""
    made, rules = running.sandbox.made, running.sandbox.rules_folder
    truth = next(truth for truth in running.families if truth.application.region == "430111")
    write_rules(tmp_path / "rules", made.prefectures, made.closed, time.time() - 60 * 86_400)
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(truth.application, running.requester)
        write_atomic(rules / "430111.toml", (tmp_path / "rules/430111.toml").read_bytes())
        await until_planned_as(client, truth, is_open=False)
        with pytest.raises(NotCurrentError) as caught:
            await ask(client, truth.application, consent)
        assert caught.value.reason is Reason.WINDOW_CLOSED
        assert "rehearsal window of 430111" in renew(running.sandbox, time.time())
        await until_planned_as(client, truth, is_open=True)
        assert is_right(await ask(client, truth.application, consent), truth)


async def until_planned_as(client: Client, truth: Truth, *, is_open: bool) -> None:
    """Wait until the gateway has taken up the county's rules."""
    application, began = truth.application, time.monotonic()
    while True:
        plan = await client.plan(application.region, application.school, application.group)
        if plan.message.HasField("window_end_time") == is_open:
            return
        assert time.monotonic() - began < 30, "the gateway did not take the rules up"
        await asyncio.sleep(0.2)
