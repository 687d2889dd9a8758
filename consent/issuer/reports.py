"""Bringing withdrawals to gateways at once, ahead of the status list.

Best effort: a gateway that cannot be told now learns it from the status list within seconds, which is the guarantee.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import structlog

from gateway.party.keyfiles import Watched
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import TlsMaterial, open_channel
from gateway.protocol.errors import HeyanError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.registry import Registry
from heyan.v1 import gateway_service_pb2
from heyan.v1.gateway_service_pb2_grpc import GatewayServiceStub

REPORT_TIMEOUT = 3.0
"""Seconds for one channel of a gateway."""

_log = structlog.get_logger(__name__)


class RevocationReporter:
    """Reports statements in tasks of its own; `close` waits for those under way."""

    def __init__(self, *, registry: Callable[[], Registry], tls: Watched[TlsMaterial]) -> None:
        self._registry = registry
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    def report(self, statement: str, gateway: str) -> None:
        """Bring a statement to a gateway, by its SPIFFE ID."""
        task = asyncio.get_running_loop().create_task(self._report(statement, gateway))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the reports under way; each ends in its own time."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _report(self, statement: str, gateway: str) -> None:
        request = gateway_service_pb2.ReportRevocationRequest(statement=statement)
        try:
            terms = self._registry().party_in_role(gateway, PartyRole.GATEWAY).gateway
        except HeyanError as error:
            _log.warning("withdrawal_not_reported", gateway=gateway, reason=error.reason.value)
            return
        for target in terms.channels if terms is not None else ():
            async with open_channel(target, parse_identity(gateway), self._tls) as channel:
                try:
                    await GatewayServiceStub(channel).ReportRevocation(request, timeout=REPORT_TIMEOUT)
                except grpc.aio.AioRpcError as error:
                    reason = from_rpc_error(error).reason.value
                    _log.warning("withdrawal_not_reported", gateway=gateway, channel=target, reason=reason)
                else:
                    return
