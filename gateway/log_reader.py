"""The log of a gateway over gRPC, as an auditor reads it: the adapter of `gateway.auditing.LogPort`.

What it brings is believed by nobody: `gateway.auditing` holds it against the gateway's signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.message import Message

from gateway.party.keyfiles import Watched
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import RenewingChannel, TlsMaterial, check_server
from gateway.protocol.codec import parse
from gateway.protocol.errors import UnreachableError
from gateway.protocol.identities import Identity
from gateway.protocol.limits import MAX_LEAVES_PER_PAGE, MAX_STATISTICS_PER_PAGE
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, StatisticsPage, read_rows, write_statistic
from heyan.v1 import log_service_pb2 as pb

_SERVICE = "/heyan.v1.LogService/"
DEADLINE = 30.0
"""Seconds of a call: a page of leaves is up to 8 MiB."""
MAX_RESPONSE = 16 << 20
"""Bytes of a page: what the transport takes."""


class LogReader:
    """Reads one log of a gateway, by default the one that grows. Use as an asynchronous context manager.

    Raises what the gateway's status stands for.
    """

    def __init__(self, gateway: Identity, target: str, tls: Watched[TlsMaterial], origin: str = "") -> None:
        self._gateway = gateway
        self._target = target
        self._tls = tls
        self._origin = origin
        self._connection: RenewingChannel | None = None

    def of(self, origin: str) -> LogReader:
        """A reader of the log of that origin, over the same connection."""
        reader = LogReader(self._gateway, self._target, self._tls, origin)
        reader._connection = self._connection
        return reader

    async def __aenter__(self) -> Self:
        """Check who answers at the target, and open the channel."""
        await check_server(self._target, self._gateway, self._tls)
        self._connection = RenewingChannel(self._target, self._gateway, self._tls, CLIENT_OPTIONS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channel."""
        if self._connection is not None:
            await self._connection.close()

    async def checkpoint(self) -> str:
        """See the port."""
        data = await self._call("GetCheckpoint", pb.GetCheckpointRequest(origin=self._origin))
        return parse(pb.GetCheckpointResponse, data, MAX_RESPONSE).checkpoint

    async def leaves(self, start: int) -> Sequence[bytes]:
        """See the port."""
        request = pb.ListLeavesRequest(start_index=start, page_size=MAX_LEAVES_PER_PAGE, origin=self._origin)
        return parse(pb.ListLeavesResponse, await self._call("ListLeaves", request), MAX_RESPONSE).leaves

    async def inclusion(self, index: int, size: int) -> Sequence[bytes]:
        """See the port."""
        request = pb.GetInclusionProofRequest(leaf_index=index, tree_size=size, origin=self._origin)
        return parse(pb.GetInclusionProofResponse, await self._call("GetInclusionProof", request), MAX_RESPONSE).path

    async def statistics(self, day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        """See the port."""
        request = pb.ListStatisticsRequest(day=day, page_size=MAX_STATISTICS_PER_PAGE, origin=self._origin)
        if after is not None:
            request.after.CopyFrom(write_statistic(after, 0))
        response = parse(pb.ListStatisticsResponse, await self._call("ListStatistics", request), MAX_RESPONSE)
        page = StatisticsPage(read_rows(response.rows), response.tree_size, response.changed_size)
        return page, len(page.rows) < MAX_STATISTICS_PER_PAGE

    async def evidence(self, requester: str, request_id: bytes, case_reference: str) -> pb.GetEvidenceResponse:
        """What is kept of a query; the gateway logs the access first. NotFoundError if nothing is (any more)."""
        request = pb.GetEvidenceRequest(requester=requester, request_id=request_id, case_reference=case_reference)
        return parse(pb.GetEvidenceResponse, await self._call("GetEvidence", request), MAX_RESPONSE)

    async def _call(self, method: str, request: Message) -> bytes:
        if self._connection is None:
            raise UnreachableError(Reason.INTERNAL, "the reader is not open")
        self._connection.renew()
        call = self._connection.channel.unary_unary(_SERVICE + method)  # type: ignore[call-arg]
        try:
            data = await call(request.SerializeToString(), timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        return bytes(data)
