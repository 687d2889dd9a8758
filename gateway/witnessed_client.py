"""Receipts under checkpoints of witnesses, in the client SDK: beside `gateway.client`, whose rule holds here too.

    async with WitnessedClient(settings, keeper.current, time.time, keeper.refresh) as client:
        result = await client.witnessed(request_id, policy, within=30.0)

`result.verified.witnessed` is by the caller's own policy, whatever the gateway's says.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from gateway.client import DEADLINE, WATCH, Client, Verification
from gateway.protocol.errors import UnreachableError
from gateway.protocol.policy import Policy
from gateway.protocol.receipt import judge_witnesses
from heyan.v1 import gateway_service_pb2 as pb

PAUSE = 1.0
"""Seconds between calls, where the gateway does not wait: it may know of no witnesses, or of others."""


class WitnessedClient(Client):
    """A client that waits for witnesses."""

    async def witnessed(self, request_id: bytes, policy: Policy, within: float) -> Verification:
        """An earlier query of ours under a checkpoint that a quorum of `policy` cosigned.

        If that takes longer than `within` seconds, what there is then: `verified.witnessed` says which. Raises what
        `get` raises, UnreachableError only if time is up before the gateway answers.
        """
        time = asyncio.get_running_loop().time
        until = time() + within
        while True:
            wait = max(0.0, min(until - time(), WATCH))
            request = pb.GetVerificationRequest(request_id=request_id)
            request.witness_wait.FromTimedelta(timedelta(seconds=wait))
            try:
                result = await self._get(request, wait + DEADLINE)
            except UnreachableError as fault:
                pause = fault.retry_after or PAUSE
                if time() + pause > until:
                    raise
                await asyncio.sleep(pause)
                continue
            verified = judge_witnesses(result.verified, policy)
            if verified.witnessed or time() + PAUSE > until:
                return replace(result, verified=verified)
            await asyncio.sleep(PAUSE)
