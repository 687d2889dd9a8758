"""Disputes are brought to departments until each has them; none that is slow, down or unwilling holds up another."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dispute_relay import LONGEST_TURN
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import require_disputable
from gateway.protocol.errors import LogUnavailableError, NotGrantedError, UnreachableError
from gateway.protocol.reasons import Reason
from heyan.v1 import dispute_pb2
from tests import federation as fed
from tests.gateway.conftest import PEER, Gateway, department_of, open_gateway
from tests.gateway.disputing import HUKOU, answered


async def test_dispute_whose_commit_failed_though_durable_is_brought_all_the_same(gateway: Gateway) -> None:
    asked = await answered(gateway)
    gateway.store.fail_after = True
    with pytest.raises(LogUnavailableError):
        await asked.open()
    gateway.store.fail_after = False
    await asked.open()
    await gateway.relay.run_once()
    assert len(gateway.brought.messages) == 1
    assert gateway.relay.waiting == 0


async def test_department_is_brought_what_it_can_verify_for_itself(gateway: Gateway) -> None:
    asked = await answered(gateway)
    message = asked.signed()
    await asked.open(message)
    for _ in range(3):
        await gateway.relay.run_once()
    ((department, brought),) = gateway.brought.messages
    request = dispute_pb2.OpenDisputeRequest.FromString(brought)
    assert department == department_of(gateway, HUKOU).department
    assert request.proof == dispute_pb2.DisputeAnswerRequest.FromString(message).proof
    assert require_disputable(asked.dispute(), request.statement)


async def test_gateway_killed_between_log_and_relay_brings_the_dispute_after_its_restart(
    tmp_path: Path, federation: fed.Federation
) -> None:
    async with open_gateway(tmp_path, federation) as first:
        asked = await answered(first)
        dispute_id = await asked.open()
    async with open_gateway(tmp_path, federation) as second:
        assert second.relay.waiting == 1
        await second.relay.run_once()
        ((_, message),) = second.brought.messages
        assert digest(Kind.STATEMENT, dispute_pb2.OpenDisputeRequest.FromString(message).statement) == dispute_id
        assert second.relay.waiting == 0


async def test_department_that_is_down_is_tried_again_and_holds_up_no_other(gateway: Gateway) -> None:
    asked = await answered(gateway)
    down = department_of(gateway, HUKOU).department
    tried: list[str] = []

    async def bring(department: str, _message: bytes) -> None:
        tried.append(department)
        if department == down:
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE)

    gateway.brought.on_bring = bring
    for check in ("c1", "c2", "c3"):
        await gateway.disputes.open(asked.signed(check), PEER)
    await gateway.relay.run_once()
    await gateway.relay.run_once()  # pausing
    assert sorted(tried) == sorted([down, asked.dispute("c3").department])
    assert gateway.relay.waiting == 2
    gateway.brought.on_bring = None
    gateway.clock.now += 2
    await gateway.relay.run_once()
    assert gateway.relay.waiting == 0


async def test_dispute_that_its_department_refuses_holds_up_none_of_its_others(gateway: Gateway) -> None:
    asked = await answered(gateway)
    first = await asked.open()

    async def bring(_department: str, message: bytes) -> None:
        if digest(Kind.STATEMENT, dispute_pb2.OpenDisputeRequest.FromString(message).statement) == first:
            raise NotGrantedError(Reason.ANSWER_NOT_DISPUTABLE)

    gateway.brought.on_bring = bring
    await gateway.disputes.open(asked.signed("c2"), PEER)
    await gateway.relay.run_once()
    assert (len(gateway.brought.messages), gateway.relay.waiting) == (1, 1)


async def test_department_that_takes_its_time_to_refuse_does_not_keep_others_from_their_turn(gateway: Gateway) -> None:
    asked = await answered(gateway)
    slow = department_of(gateway, HUKOU).department
    assert asked.dispute("c2").department == slow

    async def bring(department: str, _message: bytes) -> None:
        if department == slow:
            gateway.clock.now += LONGEST_TURN + 1
            raise NotGrantedError(Reason.ANSWER_NOT_DISPUTABLE)

    gateway.brought.on_bring = bring
    for check in ("c1", "c2", "c3"):
        await gateway.disputes.open(asked.signed(check), PEER)
    began = gateway.clock.now
    await gateway.relay.run_once()
    assert gateway.clock.now == began + LONGEST_TURN + 1, "one refusal, and the turn is over"
    assert [department for department, _ in gateway.brought.messages] == [asked.dispute("c3").department]


async def test_what_waits_for_the_department_is_not_readable_in_the_store(gateway: Gateway) -> None:
    asked = await answered(gateway)
    await asked.open()
    statement = next(
        item.proof.statement
        for item in asked.receipt.statements
        if digest(Kind.STATEMENT, item.proof.statement) == asked.dispute().statement_digest
    )
    kept = gateway.store.dispute(asked.dispute().statement_digest)
    assert kept is not None
    stored = b"".join([kept.relay, *gateway.store.leaves(0, 10)])
    assert statement[:64] not in stored
    for _, commitment in asked.verified.answers[0].check.subjects:
        assert commitment not in stored
