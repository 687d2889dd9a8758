"""The parts of a gateway process, wired together. Nothing runs yet: `gateway.serve` starts and ends them.

A bound that is one of the whole gateway is divided here among its processes (`gateway.workers.membership`), where there
are several; what they share is in the store, and what one of them does for all is in `gateway.duties`.
"""

from __future__ import annotations

import time
from random import SystemRandom

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from prometheus_client import CollectorRegistry, Gauge

from consent.status_follower import StatusFollower
from consent.verified import GenuineGrants
from gateway.admission import LEAST_PLACES, Admission
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
from gateway.evidence.desk import evidence_allowance
from gateway.evidence.keeping import EvidenceKeeping
from gateway.evidence.key_settings import open_keks
from gateway.evidence.vault import Vault
from gateway.fan_out import FanOut
from gateway.leaves import LeafStamp
from gateway.log_keeping import LogKeeping
from gateway.offline_service import OfflineMethods
from gateway.party.process import Clock
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.service import Guard, server_options
from gateway.party.tls import client_ssl_context, watch_tls
from gateway.pipeline import Pipeline
from gateway.protocol.errors import HeyanError
from gateway.protocol.reasons import Reason
from gateway.recording import Recording
from gateway.reflection import add_reflection
from gateway.refusals import SINGLE_LEAVES, Refusals
from gateway.requests import Requests
from gateway.rulebook import Rulebook
from gateway.services import GatewayMethods, LogMethods, Metrics, gateway_handlers
from gateway.tickets import Tickets
from gateway.verify_stream import Desk, VerifyStreams
from gateway.waiting_room import WaitingRoom
from gateway.watching import Watchers
from gateway.workers.membership import Membership

MAX_CALLS = 4_096
"""Calls that the transport hands over at once, of any kind; those beyond it get RESOURCE_EXHAUSTED unread."""
WITHDRAWAL_BURST = 10_000
"""Withdrawals that one issuer may report at once: a morning's worth of a province, should it have been held up."""
WITHDRAWALS_PER_SECOND = 50.0
"""And in the long run: far more than guardians withdraw, far less than would make the log theirs."""


class Parts:
    """What one gateway process is made of. Raises a domain error if settings, store, keys and registry do not fit."""

    def __init__(self, config: GatewayConfig, clock: Clock, member: Membership) -> None:
        self.clock = clock
        self.is_draining = False
        self.keeper = keeper = RegistryKeeper(config.registry, clock)
        self.tls = watch_tls(config.tls)
        self.metrics = metrics = CollectorRegistry()
        self.log_keeping = LogKeeping(
            config=config,
            registry=keeper.current,
            tls=self.tls,
            clock=clock,
            metrics=metrics,
            processes=member.workers,
        )
        self.store, self.log = self.log_keeping.store, self.log_keeping.log
        deferrals = DeferralTraffic(metrics)
        room = WaitingRoom(config.deferral_limits, time.monotonic, SystemRandom().random, deferrals.gone)
        deferrals.waiting.set_function(lambda: len(room))
        vault = Vault(open_keks(config))
        requests = Requests(
            self.store,
            self.log,
            vault,
            keeper.current,
            (room.committed, lambda key, *_: self.watchers.committed(key)),
        )
        self.watchers = Watchers(member.share(config.max_watchers), requests.leaves_of)
        self.witnesses = self.log_keeping.witnesses(self.watchers)
        self.publication = self.log_keeping.publication
        self.status = StatusFollower(
            registry=keeper.current, ssl_context=lambda: client_ssl_context(self.tls.value), clock=clock
        )
        self.links = DepartmentLinks(keeper, self.tls, clock, Traffic(metrics))
        self.acknowledgements = Acknowledgements(self.links.link)
        stamp = LeafStamp(config.identity, keeper.current, clock)
        withdrawals = member.allowance(WITHDRAWAL_BURST, WITHDRAWALS_PER_SECOND, Reason.OVERLOADED)
        self.events = Events(self.log, requests, self.acknowledgements, stamp, withdrawals)
        self.relay = DisputeRelay(self.store, requests, NodeCalls(keeper.current, self.tls).open_dispute)
        Gauge("heyan_disputes_unconfirmed", "Disputes that no department confirmed", registry=metrics).set_function(
            lambda: self.relay.waiting
        )
        self.disputes = Disputes(
            log=self.log,
            store=self.store,
            requests=requests,
            events=self.events,
            stamp=stamp,
            relay=self.relay,
            allowance=dispute_allowance(member.workers),
        )
        places = max(LEAST_PLACES, member.share(config.max_requests))
        self.admission = Admission(places)
        self.rulebook = Rulebook(config.rules)
        applications = Applications(self.rulebook)
        unanswered = member.allowance(config.unanswered_burst, config.unanswered_per_second, Reason.TOO_MANY_UNANSWERED)
        recording = Recording(
            identity=config.identity,
            clock=clock,
            requests=requests,
            events=self.events,
            unanswered=unanswered,
        )
        self.pipeline = Pipeline(
            identity=config.identity,
            registry=keeper.current,
            clock=clock,
            requests=requests,
            applications=applications,
            status=self.status,
            grant_cache=GenuineGrants(),
            departments=FanOut(self.links.link, clock, Unanswered(metrics).count),
            recording=recording,
            admission=self.admission,
            unanswered=unanswered,
            disputes=self.disputes,
            waiting=room,
        )
        self.deferral = DeferralWorker(
            room=room,
            requests=requests,
            pipeline=self.pipeline,
            ready=self.links.ready,
            busy=lambda: self.admission.busy,
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
        self.evidence = EvidenceKeeping(
            config=config,
            clock=clock,
            store=self.store,
            log=self.log,
            requests=requests,
            disputes=self.disputes,
            stamp=stamp,
            vault=vault,
            allowance=evidence_allowance(member.workers),
            clock_complaint=lambda: self.status.clock_complaint,
            metrics=metrics,
        )
        self.refusals = Refusals(self.log, stamp, clock, singles=member.share(SINGLE_LEAVES))
        self.health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self.server = grpc.aio.server(
            options=server_options(shares_port=not member.is_alone), maximum_concurrent_rpcs=member.share(MAX_CALLS)
        )

        def withdrawn(grant_digest: bytes) -> None:
            self.deferral.withdrawn(grant_digest)
            member.tell_withdrawn(grant_digest)

        methods = GatewayMethods(
            pipeline=self.pipeline,
            events=self.events,
            registry=keeper.current,
            rulebook=self.rulebook,
            applications=applications,
            admission=self.admission,
            clock=clock,
            watch=self.watchers.watch,
            on_withdrawal=withdrawn,
            disputes=self.disputes,
            bring_under=self.witnesses.bring_under,
        )
        self.streams = self._serve_by(methods, OfflineMethods(tickets, self.admission))
        if config.reflection:
            add_reflection(self.server)

    def _serve_by(self, methods: GatewayMethods, offline: OfflineMethods) -> VerifyStreams:
        """Put what peers may call behind the guard; the streams among it, which are told when to end."""
        guard = Guard(self.keeper.current, self.refusals.record)
        counts = Metrics(self.metrics, self.admission, self.links)
        streams = VerifyStreams(Desk(methods.carry, self.admission, guard, counts.item))
        self.server.add_generic_rpc_handlers(
            gateway_handlers(
                {
                    "heyan.v1.GatewayService": methods.methods(),
                    "heyan.v1.LogService": (*LogMethods(self.log, self.store).methods(), *self.evidence.methods()),
                    "heyan.v1.OfflineService": offline.methods(),
                },
                streams,
                guard,
                counts,
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        return streams

    async def follow_registry(self) -> None:
        """Log the adoption of each version, and keep the links in step."""
        current = self.keeper.current()
        await self.events.adopt(current)
        self.links.reconcile(current, self.acknowledgements.expect, self.disputes.take_orphans)

    def complaints(self) -> list[str]:
        """Why the gateway wants no work now."""
        found = [self.log.complaint] if self.log.complaint else []
        for check in (
            self.log_keeping.require_signers,
            lambda: self.keeper.current().require_current(self.clock()),
        ):
            try:
                check()
            except HeyanError as error:
                found.append(str(error))
        found += self.evidence.complaints
        if self.status.clock_complaint:
            found.append(self.status.clock_complaint)
        if (overload := self.admission.complaint()) is not None:
            found.append(overload)
        if self.links.untried():
            found.append("connecting to departments")
        return found + (["draining"] if self.is_draining else [])
