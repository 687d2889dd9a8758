"""The closed loop keeps so many calls under way, and loses none."""

from __future__ import annotations

import asyncio

import grpc

from benchmarks.closed_loop import closed_loop
from gateway.party.statuses import DETAILS_KEY, to_status
from gateway.protocol.errors import OverloadedError
from gateway.protocol.reasons import Reason


class Calls:
    """Answers in a later turn of the loop, and counts how many are under way."""

    def __init__(self, *refused):
        self.refused = list(refused)
        self.under_way = 0
        self.most = 0

    async def __call__(self, message, **_options):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if message in self.refused:
            self.refused.remove(message)
            status = to_status(OverloadedError(Reason.OVERLOADED, retry_after=0.001))
            details = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), details, status.message)
        if message == b"away":
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
        return message * 2


async def test_every_message_has_its_own_reply_in_order():
    calls = [Calls(), Calls()]
    messages = [b"%d" % number for number in range(50)]
    run = await closed_loop(calls, messages, 8)
    assert run.replies == [message * 2 for message in messages]
    assert len(run.latencies) == 50
    assert all(latency > 0 for latency in run.latencies)
    assert [call.most for call in calls] == [4, 4]


async def test_a_failed_call_is_told_by_its_reason():
    run = await closed_loop([Calls()], [b"a", b"away", b"b"], 2)
    assert run.replies == [b"aa", Reason.PEER_UNREACHABLE, b"bb"]


async def test_what_is_refused_as_too_much_is_sent_again_and_counted():
    run = await closed_loop([Calls(b"b", b"b", b"c")], [b"a", b"b", b"c"], 2)
    assert run.replies == [b"aa", b"bb", b"cc"]
    assert run.retries == 3


async def test_more_workers_than_messages_do_no_harm():
    assert (await closed_loop([Calls()], [b"a"], 8)).replies == [b"aa"]
