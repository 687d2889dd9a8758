"""The gateway process: wires its parts, serves until told to stop, and drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import SystemRandom

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, Gauge

from consent.status_follower import StatusFollower
from consent.verified import GenuineGrants
from gateway.admission import Admission
from gateway.allowance import Allowance
from gateway.applications import Applications
from gateway.config import GatewayConfig
from gateway.deferral import DeferralTraffic, DeferralWorker
from gateway.departments.acknowledgements import Acknowledgements
from gateway.departments.links import DepartmentLinks
from gateway.departments.node_calls import NodeCalls
from gateway.departments.traffic import Traffic, Unanswered
from gateway.dispute_relay import DisputeRelay
from gateway.disputes import Disputes, dispute_allowance
from gateway.events import Events
from gateway.evidence.keeping import EvidenceKeeping
from gateway.evidence.key_settings import open_keks
from gateway.evidence.vault import Vault
from gateway.fan_out import FanOut
from gateway.leaves import LeafStamp
from gateway.log_keeping import LogKeeping
from gateway.log_marks import SEEN_EVERY
from gateway.offline_service import OfflineMethods
from gateway.party.probes import Probes
from gateway.party.process import Clock, repeat
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.service import SERVER_OPTIONS, Guard
from gateway.party.tls import client_ssl_context, server_credentials, watch_tls
from gateway.pipeline import Pipeline
from gateway.protocol.errors import HeyanError
from gateway.protocol.reasons import Reason
from gateway.recording import Recording
from gateway.reflection import add_reflection
from gateway.refusals import Refusals
from gateway.requests import Requests
from gateway.rulebook import Rulebook
from gateway.services import GatewayMethods, LogMethods, Metrics, gateway_handlers
from gateway.tickets import Tickets
from gateway.verify_stream import Desk, VerifyStreams
from gateway.waiting_room import WaitingRoom
from gateway.watching import Watchers

_logger = structlog.get_logger(__name__)


MAX_CALLS = 4_096
"""Calls that the transport hands over at once, of any kind; those beyond it get RESOURCE_EXHAUSTED unread."""
WITHDRAWAL_BURST = 10_000
"""Withdrawals that one issuer may report at once: a morning's worth of a province, should it have been held up."""
WITHDRAWALS_PER_SECOND = 50.0
"""And in the long run: far more than guardians withdraw, far less than would make the log theirs."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a started process listens."""

    grpc: int
    probes: int
    log: int | None
    """Of the static log; None if none is published."""


async def serve(
    config: GatewayConfig,
    stop: asyncio.Event,
    clock: Clock = time.time,
    on_ready: Callable[[Ports], None] = lambda _ports: None,
) -> None:
    """Run the gateway of `config` until `stop` is set; raises a domain error if it cannot start."""
    process = GatewayProcess(config, clock)
    try:
        on_ready(await process.start())
        await stop.wait()
    finally:
        await process.drain()


class GatewayProcess:
    """One gateway: its parts wired, and what it does besides serving."""

    def __init__(self, config: GatewayConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._keeper = keeper = RegistryKeeper(config.registry, clock)
        self._tls = watch_tls(config.tls)
        metrics = CollectorRegistry()
        self._log_keeping = LogKeeping(
            config=config, registry=keeper.current, tls=self._tls, clock=clock, metrics=metrics
        )
        self._store, self._log = self._log_keeping.store, self._log_keeping.log
        deferrals = DeferralTraffic(metrics)
        room = WaitingRoom(config.deferral_limits, time.monotonic, SystemRandom().random, deferrals.gone)
        deferrals.waiting.set_function(lambda: len(room))
        vault = Vault(open_keks(config))
        requests = Requests(
            self._store,
            self._log,
            vault,
            keeper.current,
            (room.committed, lambda key, *_: self._watchers.committed(key)),
        )
        self._watchers = Watchers(config.max_watchers, requests.leaves_of)
        self._witnesses = self._log_keeping.witnesses(self._watchers)
        self._publication = self._log_keeping.publication
        self._status = StatusFollower(
            registry=keeper.current, ssl_context=lambda: client_ssl_context(self._tls.value), clock=clock
        )
        self._links = DepartmentLinks(keeper, self._tls, clock, Traffic(metrics))
        self._acknowledgements = Acknowledgements(self._links.link)
        stamp = LeafStamp(config.identity, keeper.current, clock)
        withdrawals = Allowance(WITHDRAWAL_BURST, WITHDRAWALS_PER_SECOND, Reason.OVERLOADED)
        self._events = Events(self._log, requests, self._acknowledgements, stamp, withdrawals)
        self._relay = DisputeRelay(self._store, requests, NodeCalls(keeper.current, self._tls).open_dispute)
        Gauge("heyan_disputes_unconfirmed", "Disputes that no department confirmed", registry=metrics).set_function(
            lambda: self._relay.waiting
        )
        self._disputes = Disputes(
            log=self._log,
            store=self._store,
            requests=requests,
            events=self._events,
            stamp=stamp,
            relay=self._relay,
            allowance=dispute_allowance(),
        )
        self._admission = Admission(config.max_requests)
        self._rulebook = Rulebook(config.rules)
        applications = Applications(self._rulebook)
        unanswered = Allowance(config.unanswered_burst, config.unanswered_per_second, Reason.TOO_MANY_UNANSWERED)
        recording = Recording(
            identity=config.identity,
            clock=clock,
            requests=requests,
            events=self._events,
            unanswered=unanswered,
        )
        self._pipeline = Pipeline(
            identity=config.identity,
            registry=keeper.current,
            clock=clock,
            requests=requests,
            applications=applications,
            status=self._status,
            grant_cache=GenuineGrants(),
            departments=FanOut(self._links.link, clock, Unanswered(metrics).count),
            recording=recording,
            admission=self._admission,
            unanswered=unanswered,
            disputes=self._disputes,
            waiting=room,
        )
        self._deferral = DeferralWorker(
            room=room,
            requests=requests,
            pipeline=self._pipeline,
            ready=self._links.ready,
            busy=lambda: self._admission.busy,
            clock=clock,
            traffic=deferrals,
            at_once=config.deferred_at_once,
        )
        tickets = Tickets(
            requests=requests,
            applications=applications,
            registry=keeper.current,
            stamp=stamp,
            patience=config.offline_after_seconds,
        )
        self._evidence = EvidenceKeeping(
            config=config,
            clock=clock,
            store=self._store,
            log=self._log,
            requests=requests,
            disputes=self._disputes,
            stamp=stamp,
            vault=vault,
            clock_complaint=lambda: self._status.clock_complaint,
            metrics=metrics,
        )
        self._refusals = Refusals(self._log, stamp, clock)
        self._probes = Probes(config.probes, self.complaints, metrics)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        methods = GatewayMethods(
            pipeline=self._pipeline,
            events=self._events,
            registry=keeper.current,
            rulebook=self._rulebook,
            applications=applications,
            admission=self._admission,
            clock=clock,
            watch=self._watchers.watch,
            on_withdrawal=self._deferral.withdrawn,
            disputes=self._disputes,
            bring_under=self._witnesses.bring_under,
        )
        self._streams = self._add_services(methods, tickets, metrics)
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False

    def _add_services(self, methods: GatewayMethods, tickets: Tickets, metrics: CollectorRegistry) -> VerifyStreams:
        """Put what peers may call behind the guard; the streams among it, which are told when to end."""
        guard = Guard(self._keeper.current, self._refusals.record)
        counts = Metrics(metrics, self._admission, self._links)
        streams = VerifyStreams(Desk(methods.carry, self._admission, guard, counts.item))
        self._server.add_generic_rpc_handlers(
            gateway_handlers(
                {
                    "heyan.v1.GatewayService": methods.methods(),
                    "heyan.v1.LogService": (*LogMethods(self._log, self._store).methods(), *self._evidence.methods()),
                    "heyan.v1.OfflineService": OfflineMethods(tickets, self._admission).methods(),
                },
                streams,
                guard,
                counts,
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._config.reflection:
            add_reflection(self._server)
        return streams

    async def start(self) -> Ports:
        """Serve; the bound ports."""
        await self._log_keeping.check(self._witnesses)
        self._log.start()
        if not self._log.is_halted:
            await self._follow_registry()
            await self._log_keeping.sign_anew()
        await self._deferral.load()
        port = self._server.add_secure_port(self._config.listen, server_credentials(self._tls))
        await self._server.start()
        probe_port = await self._probes.start()
        log_port = await self._publication.start()
        self._witnesses.start()
        self._tasks = [
            *self._evidence.start(),
            asyncio.create_task(self._keeper.run()),
            asyncio.create_task(repeat(1.0, self._look_after, "look after keys and health")),
            asyncio.create_task(repeat(1.0, self._follow_registry, "follow the registry")),
            asyncio.create_task(repeat(1.0, self._catch_up, "log what is owed")),
            asyncio.create_task(repeat(5.0, self._refusals.flush, "summarise refusals")),
            asyncio.create_task(repeat(SEEN_EVERY, self._log_keeping.keep_seen, "remember how far the log has come")),
            asyncio.create_task(repeat(60.0, self._deferral.load, "look for deferred requests")),
            asyncio.create_task(repeat(1.0, self._deferral.run, "ask again for what was deferred")),
            asyncio.create_task(repeat(1.0, self._relay.run_once, "bring disputes to departments")),
        ]
        _logger.info("gateway_serves", listen=self._config.listen, port=port, probes=probe_port, log=log_port)
        return Ports(port, probe_port, log_port)

    async def drain(self) -> None:
        """Let nobody in, finish what is under way, record what is owed, and close; a failing step keeps none back."""
        self._draining = True
        self._streams.stop()
        self._admission.close()
        self._watchers.close()
        async with AsyncExitStack() as steps:  # run in the opposite order
            steps.push_async_callback(self._probes.stop)
            steps.callback(self._store.close)
            steps.push_async_callback(self._publication.stop)
            steps.push_async_callback(self._publication.finish)
            steps.push_async_callback(self._log_keeping.keep_seen)
            steps.push_async_callback(self._log.stop)
            steps.push_async_callback(self._status.close)
            steps.push_async_callback(self._links.close)
            steps.push_async_callback(self._flush_refusals)
            steps.push_async_callback(self._cancel_tasks)
            steps.push_async_callback(self._witnesses.stop)
            steps.push_async_callback(self._pipeline.drain)
            steps.push_async_callback(self._server.stop, self._config.drain_seconds)
            steps.push_async_callback(self._deferral.stop)
            await self._health.enter_graceful_shutdown()
        _logger.info("gateway_stopped")

    async def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _flush_refusals(self) -> None:
        try:
            await self._refusals.flush(everything=True)
        except HeyanError as error:
            _logger.error("refusals_not_summarised", detail=error.detail)

    def complaints(self) -> list[str]:
        """Why the gateway wants no work now."""
        found = [self._log.complaint] if self._log.complaint else []
        for check in (
            self._log_keeping.require_signers,
            lambda: self._keeper.current().require_current(self._clock()),
        ):
            try:
                check()
            except HeyanError as error:
                found.append(str(error))
        found += self._evidence.complaints
        if self._status.clock_complaint:
            found.append(self._status.clock_complaint)
        if (overload := self._admission.complaint()) is not None:
            found.append(overload)
        if self._links.untried():
            found.append("connecting to departments")
        return found + (["draining"] if self._draining else [])

    async def _look_after(self) -> None:
        """What a second brings: renewed keys and certificates, health."""
        self._tls.refresh()
        self._log_keeping.refresh_keys()
        self._rulebook.refresh()
        status = health_pb2.HealthCheckResponse
        await self._health.set("", status.NOT_SERVING if self.complaints() else status.SERVING)
        await self._log_keeping.sign_anew()

    async def _catch_up(self) -> None:
        """After the log could not record: find out whether it can, and log what is owed."""
        await self._log.probe()
        await self._events.settle_owed()

    async def _follow_registry(self) -> None:
        """Log the adoption of each version, and keep the links in step."""
        current = self._keeper.current()
        await self._events.adopt(current)
        self._links.reconcile(current, self._acknowledgements.expect, self._disputes.take_orphans)
