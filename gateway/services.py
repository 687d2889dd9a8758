"""The gateway's gRPC methods: decode, call the pipeline, encode. Who may call what stands here in one table."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consent.revocation import open_revocation
from gateway.admission import Admission, Place
from gateway.applications import Applications
from gateway.departments.links import DepartmentLinks
from gateway.disputes import Disputes
from gateway.events import Events
from gateway.log import Log
from gateway.party.process import Clock
from gateway.party.service import Context, Guard, Method, StreamMethod, stream_handlers, unary_handlers
from gateway.pipeline import Pipeline
from gateway.plans import make_plan
from gateway.protocol.codec import parse, to_timestamp
from gateway.protocol.errors import HeyanError, MalformedError, NotGrantedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.limits import MAX_LEAVES_PER_PAGE, MAX_MESSAGE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.rulebook import Rulebook
from gateway.statistics import Statistics
from gateway.stores.port import Store
from gateway.verify_stream import VerifyStreams
from heyan.v1 import gateway_service_pb2, log_service_pb2, receipt_pb2

REQUESTERS = frozenset({PartyRole.REQUESTER})
ISSUERS = frozenset({PartyRole.ISSUER})
AUDITORS = frozenset({PartyRole.AUDITOR})
READERS = frozenset({PartyRole.AUDITOR, PartyRole.REQUESTER, PartyRole.DEPARTMENT})


Watch = Callable[[gateway_service_pb2.GetVerificationRequest, Identity, float | None], Awaitable[None]]
"""Waits as a request says, within what is left of its call."""

BringUnder = Callable[
    [receipt_pb2.Receipt, gateway_service_pb2.GetVerificationRequest, Identity, float | None], Awaitable[None]
]
"""Proves the leaves of a receipt under a checkpoint of witnesses, waiting as a request says."""

WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: buckets of the time in line, around what is aimed at (`gateway.admission.pace`)."""

MAX_PAGE = 8 << 20
"""Bytes of leaves in one page, below what a client of ours receives."""


class Metrics:
    """What the gateway counts. Labels are methods and reasons: nothing of a person, a region or an outcome."""

    def __init__(self, registry: CollectorRegistry, admission: Admission, links: DepartmentLinks) -> None:
        self.calls = Counter(
            "heyan_calls", "Calls by method and reason (OK if none)", ["method", "reason"], registry=registry
        )
        self.seconds = Histogram("heyan_call_seconds", "Seconds of a call", ["method"], registry=registry)
        taken = Gauge("heyan_places_taken", "Places for requests that are taken", registry=registry)
        taken.set_function(lambda: admission.taken)
        in_line = Gauge("heyan_line", "Requests that are let in and have not begun", registry=registry)
        in_line.set_function(lambda: admission.in_line)
        bound = Gauge("heyan_line_bound", "Requests that may be in line at the measured pace", registry=registry)
        bound.set_function(lambda: admission.bound)
        waits = Histogram(
            "heyan_line_seconds", "Seconds in line before the work began", buckets=WAITS, registry=registry
        )
        admission.waited = waits.observe
        refused = Counter(
            "heyan_refused_at_the_door", "Requests refused before any work, by bound", ["bound"], registry=registry
        )
        admission.refused = lambda bound: refused.labels(bound).inc()
        connected = Gauge("heyan_departments_connected", "Department nodes whose stream is open", registry=registry)
        connected.set_function(links.connected)

    def item(self, reason: str, seconds: float) -> None:
        """Count one item of a VerifyStream, as a call of its own."""
        self.calls.labels("VerifyStream/item", reason).inc()
        self.seconds.labels("VerifyStream/item").observe(seconds)


class GatewayMethods:
    """`heyan.v1.GatewayService`."""

    def __init__(  # noqa: PLR0913 - what its methods call, by keyword
        self,
        *,
        pipeline: Pipeline,
        events: Events,
        registry: Callable[[], Registry],
        rulebook: Rulebook,
        applications: Applications,
        admission: Admission,
        clock: Clock,
        watch: Watch,
        on_withdrawal: Callable[[bytes], None],
        disputes: Disputes,
        bring_under: BringUnder,
    ) -> None:
        self._bring_under = bring_under
        self._pipeline = pipeline
        self._events = events
        self._registry = registry
        self._rulebook = rulebook
        self._applications = applications
        self._admission = admission
        self._clock = clock
        self._watch = watch
        self._on_withdrawal = on_withdrawal
        self._disputes = disputes

    def methods(self) -> tuple[Method, ...]:
        """Every method with the roles that may call it."""
        return (
            Method("GetPlan", REQUESTERS, self.get_plan),
            Method("Verify", REQUESTERS, self.verify),
            Method("GetVerification", REQUESTERS, self.get_verification),
            Method("ReportRevocation", ISSUERS, self.report_revocation),
            Method("DisputeAnswer", REQUESTERS | ISSUERS, self.dispute_answer),
        )

    async def get_plan(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(gateway_service_pb2.GetPlanRequest, message, MAX_MESSAGE)
        async with self._admission.admitted(peer):
            registry, now = self._registry(), self._clock()
            registry.require_current(now)
            return make_plan(request, self._rulebook, registry, now).SerializeToString()

    async def verify(self, message: bytes, peer: Identity, context: Context) -> bytes:
        """See the contract."""
        return (await self.carry(message, peer, context.time_remaining())).SerializeToString()

    async def carry(
        self, message: bytes, peer: Identity, time_left: float | None, place: Place | None = None
    ) -> gateway_service_pb2.VerifyResponse:
        """Answer one serialized VerifyRequest; see `Pipeline.verify`."""
        receipt = await self._pipeline.verify(message, peer, time_left, place)
        verdict = self._applications.verdict(receipt)
        return gateway_service_pb2.VerifyResponse(receipt=receipt, verdict=verdict)

    async def get_verification(self, message: bytes, peer: Identity, context: Context) -> bytes:
        """See the contract."""
        request = parse(gateway_service_pb2.GetVerificationRequest, message, MAX_MESSAGE)
        if request.HasField("wait"):
            await self._watch(request, peer, context.time_remaining())
        async with self._admission.admitted(peer):
            receipt = self._pipeline.get(request.request_id, peer)
            self._disputes.attach(receipt)
        if request.HasField("witness_wait"):
            await self._bring_under(receipt, request, peer, context.time_remaining())
        verdict = self._applications.verdict(receipt)
        return gateway_service_pb2.GetVerificationResponse(receipt=receipt, verdict=verdict).SerializeToString()

    async def report_revocation(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(gateway_service_pb2.ReportRevocationRequest, message, MAX_MESSAGE)
        revocation = open_revocation(request.statement, self._registry(), self._clock())
        if revocation.issuer != peer.uri:
            raise NotGrantedError(Reason.PEER_IDENTITY_MISMATCH, "a revocation by another issuer")
        async with self._admission.admitted(peer):
            log_time = await self._events.withdraw(revocation)
        self._on_withdrawal(revocation.grant_digest)
        return gateway_service_pb2.ReportRevocationResponse(log_time=to_timestamp(log_time)).SerializeToString()

    async def dispute_answer(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        async with self._admission.admitted(peer):
            response = await self._disputes.open(message, peer)
        return response.SerializeToString()


class LogMethods:
    """`heyan.v1.LogService`: read only. Leaves are for auditors, proofs for every party that holds a receipt."""

    def __init__(self, log: Log, store: Store) -> None:
        self._log = log
        self._store = store
        self._statistics = Statistics(store)

    def methods(self) -> tuple[Method, ...]:
        """Every method with the roles that may call it."""
        return (
            Method("GetCheckpoint", READERS, self.get_checkpoint),
            Method("ListLeaves", AUDITORS, self.list_leaves),
            Method("ListStatistics", AUDITORS, self._statistics.list_statistics),
            Method("GetInclusionProof", READERS, self.get_inclusion_proof),
            Method("GetConsistencyProof", READERS, self.get_consistency_proof),
        )

    async def get_checkpoint(self, message: bytes, _peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(log_service_pb2.GetCheckpointRequest, message, MAX_MESSAGE)
        head = self._log.head(request.origin)
        return log_service_pb2.GetCheckpointResponse(checkpoint=head.checkpoint).SerializeToString()

    async def list_leaves(self, message: bytes, _peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(log_service_pb2.ListLeavesRequest, message, MAX_MESSAGE)
        count = min(request.page_size or MAX_LEAVES_PER_PAGE, MAX_LEAVES_PER_PAGE)
        response = log_service_pb2.ListLeavesResponse()
        head, start = self._log.head(request.origin), _index("start_index", request.start_index)
        left, size = min(count, head.size - start), 0
        for leaf in self._store.leaves(head.first + start, left) if left > 0 else ():
            size += len(leaf)
            if response.leaves and size > MAX_PAGE:
                break  # the next page begins with this leaf
            response.leaves.append(leaf)
        return response.SerializeToString()

    async def get_inclusion_proof(self, message: bytes, _peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(log_service_pb2.GetInclusionProofRequest, message, MAX_MESSAGE)
        head = self._log.head(request.origin)
        size = _index("tree_size", request.tree_size) or head.size
        path = self._log.inclusion(_index("leaf_index", request.leaf_index), size, head.origin)
        return log_service_pb2.GetInclusionProofResponse(path=path, tree_size=size).SerializeToString()

    async def get_consistency_proof(self, message: bytes, _peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(log_service_pb2.GetConsistencyProofRequest, message, MAX_MESSAGE)
        head = self._log.head(request.origin)
        size = _index("new_size", request.new_size) or head.size
        path = self._log.consistency(_index("old_size", request.old_size), size, head.origin)
        return log_service_pb2.GetConsistencyProofResponse(path=path, new_size=size).SerializeToString()


def gateway_handlers(
    services: Mapping[str, Sequence[Method]], streams: VerifyStreams, guard: Guard, metrics: Metrics
) -> tuple[grpc.GenericRpcHandler, ...]:  # type: ignore[type-arg]
    """The generic handlers of services, by their full names, and of `VerifyStream`, counted and timed."""
    stream = _counted(streams.method(REQUESTERS), metrics)
    return (
        stream_handlers("heyan.v1.GatewayService", [stream], guard),
        *(
            unary_handlers(service, [_measured(method, metrics) for method in methods], guard)
            for service, methods in services.items()
        ),
    )


def _counted(method: StreamMethod, metrics: Metrics) -> StreamMethod:
    """A stream is counted by how it ends; its items are timed, each for itself."""

    async def call(peer: Identity, context: Context) -> None:
        reason = Reason.INTERNAL.value  # also of a stream that is cancelled
        try:
            await method.handler(peer, context)
            reason = "OK"
        except HeyanError as error:
            reason = error.reason.value
            raise
        finally:
            metrics.calls.labels(method.name, reason).inc()

    return StreamMethod(method.name, method.roles, call)


def _measured(method: Method, metrics: Metrics) -> Method:
    seconds, answered = metrics.seconds.labels(method.name), metrics.calls.labels(method.name, "OK")

    async def call(message: bytes, peer: Identity, context: Context) -> bytes:
        began = time.perf_counter()
        count = None
        try:
            answer = await method.handler(message, peer, context)
            count = answered
            return answer
        except HeyanError as error:
            count = metrics.calls.labels(method.name, error.reason.value)
            raise
        finally:  # also of a call that is cancelled
            (count or metrics.calls.labels(method.name, Reason.INTERNAL.value)).inc()
            seconds.observe(time.perf_counter() - began)

    return Method(method.name, method.roles, call)


def _index(field: str, value: int) -> int:
    """An index that SQLite can hold."""
    if value >= 1 << 63:
        raise MalformedError.at(field, "must be below 2^63")
    return value
