"""Single calls to department nodes, for what is rare: each over a connection of its own, through the next channel if
one fails. What is asked all the time goes over the streams (`link`).
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from gateway.party.keyfiles import Watched
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import TlsMaterial, check_server, open_channel
from gateway.protocol.errors import BadDataError, HeyanError, UnreachableError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry

CALL_TIMEOUT = 5.0
"""Seconds for one channel."""

_OPEN_DISPUTE = "/heyan.v1.DepartmentService/OpenDispute"


class NodeCalls:
    """Calls the nodes of the registry. Used on one event loop."""

    def __init__(self, registry: Callable[[], Registry], tls: Watched[TlsMaterial]) -> None:
        self._registry = registry
        self._tls = tls

    async def open_dispute(self, department: str, message: bytes) -> None:
        """Bring a dispute (a serialized OpenDisputeRequest); the node has it durably when this returns.

        Raises the domain error with which the node refused, or UnreachableError.
        """
        await self._call(department, _OPEN_DISPUTE, message)

    async def _call(self, department: str, method: str, message: bytes) -> bytes:
        terms = self._registry().party_in_role(department, PartyRole.DEPARTMENT).department
        failure: HeyanError = UnreachableError(Reason.DEPARTMENT_UNREACHABLE, department, retry_after=1.0)
        expected = parse_identity(department)
        for address in terms.channels if terms is not None else ():
            try:
                await check_server(address, expected, self._tls)
                async with open_channel(address, expected, self._tls, CLIENT_OPTIONS) as channel:
                    call = channel.unary_unary(method)  # type: ignore[call-arg]
                    return bytes(await call(message, timeout=CALL_TIMEOUT))
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
                if isinstance(failure, BadDataError):
                    break  # the other channels share its journal, and would say the same
            except HeyanError as error:
                failure = error
        raise failure
