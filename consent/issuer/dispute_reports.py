"""Bringing guardians' disputes to gateways: again and again, until each has been recorded or refused for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import structlog

from consent.issuer.store import IssuerStore, StoredReport
from gateway.party.keyfiles import Watched
from gateway.party.process import Clock
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import TlsMaterial, open_channel
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import dispute_pb2

REPORT_TIMEOUT = 3.0
"""Seconds for one channel of a gateway."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 300.0
"""Seconds until a gateway is tried again, doubling."""
AT_ONCE = 64
"""Reports that are brought in one look."""

FINAL = frozenset({Reason.ANSWER_NOT_DISPUTABLE, Reason.MESSAGE_MALFORMED, Reason.QUERY_OTHER_GATEWAY})
"""Refusals that no later attempt changes. Others may come of a registry that one of the two does not hold yet."""

_METHOD = "/heyan.v1.GatewayService/DisputeAnswer"

_log = structlog.get_logger(__name__)


class DisputeReporter:
    """Reports what the store has unreported; `run_once` once a second. Used on one event loop."""

    def __init__(
        self,
        store: IssuerStore,
        *,
        registry: Callable[[], Registry],
        tls: Watched[TlsMaterial],
        clock: Clock,
    ) -> None:
        self._store = store
        self._registry = registry
        self._tls = tls
        self._clock = clock
        self._paused: dict[str, tuple[float, float]] = {}
        """Until when a gateway is not tried, in seconds of the loop's clock, and how long that was."""

    async def run_once(self) -> None:
        """Bring what waits, as far as it is time to try."""
        loop = asyncio.get_running_loop()
        pausing = [gateway for gateway, (until, _) in self._paused.items() if loop.time() < until]
        for report in await asyncio.to_thread(self._store.unreported, AT_ONCE, pausing):
            until, delay = self._paused.get(report.gateway, (0.0, FIRST_DELAY / 2))
            if loop.time() < until:
                continue
            refusal = None
            try:
                await self._report(report)
            except HeyanError as error:
                _log.warning("dispute_not_reported", gateway=report.gateway, reason=error.reason.value)
                if error.reason not in FINAL:
                    longer = min(2 * delay, LONGEST_DELAY)
                    self._paused[report.gateway] = (loop.time() + longer, longer)
                    continue
                refusal = error.reason.value
            self._paused.pop(report.gateway, None)
            await asyncio.to_thread(self._store.end_report, report.said, self._clock(), refusal)

    async def _report(self, report: StoredReport) -> None:
        proof = dispute_pb2.DisputeProof(report=report.report)
        message = dispute_pb2.DisputeAnswerRequest(proof=proof).SerializeToString()
        terms = self._registry().party_in_role(report.gateway, PartyRole.GATEWAY).gateway
        failure: HeyanError = UnreachableError(Reason.PEER_UNREACHABLE, report.gateway)
        for target in terms.channels if terms is not None else ():
            async with open_channel(target, parse_identity(report.gateway), self._tls) as channel:
                call = channel.unary_unary(_METHOD)  # type: ignore[call-arg]
                try:
                    await call(message, timeout=REPORT_TIMEOUT)
                except grpc.aio.AioRpcError as error:
                    failure = from_rpc_error(error)
                else:
                    return
        raise failure
