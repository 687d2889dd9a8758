"""The department node as a process: wires its parts, serves until told to stop, and answers what is under way.

A real department calls `serve` with `open_register`, which makes its own `Register`; all else stays the same.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, Gauge

from consent.status_follower import StatusFollower
from gateway.party.probes import Probes
from gateway.party.process import Clock, cancel_all, close_all, repeat
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.service import SERVER_OPTIONS, Guard
from gateway.party.tls import client_ssl_context, server_credentials, watch_tls
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import PartyRole
from gateway.protocol.reasons import Reason
from sandbox_departments.answerer import Answerer, Sources, Terms
from sandbox_departments.answering import Budget
from sandbox_departments.config import NodeConfig
from sandbox_departments.corrections import open_register as open_sandbox_register
from sandbox_departments.disputes import DisputeDesk
from sandbox_departments.journal import Journal
from sandbox_departments.node import SERVICE, Description, Node, OpenWire
from sandbox_departments.node_keys import NodeKeys, load_secret
from sandbox_departments.register import Register
from sandbox_departments.worker import Worker

LOOK_INTERVAL = 1.0
PURGE_INTERVAL = 60.0

_log = structlog.get_logger(__name__)

OpenRegister = Callable[[NodeConfig], Register]
ServerOptions = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a started process listens."""

    grpc: int
    probes: int


async def serve(
    config: NodeConfig,
    stop: asyncio.Event,
    *,
    open_register: OpenRegister = open_sandbox_register,
    open_wire: OpenWire = nullcontext,
    server_options: ServerOptions = SERVER_OPTIONS,
    clock: Clock = time.time,
    on_ready: Callable[[Ports], None] = lambda _: None,
) -> None:
    """Run the node of `config` until `stop` is set; raises a domain error if it cannot start."""
    process = NodeProcess(
        config, register=open_register(config), clock=clock, open_wire=open_wire, server_options=server_options
    )
    try:
        on_ready(await process.start())
        await stop.wait()
    finally:
        await process.stop()


class NodeProcess:
    """One node: its parts wired, and what it does besides answering."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        register: Register,
        clock: Clock,
        open_wire: OpenWire = nullcontext,
        server_options: ServerOptions = SERVER_OPTIONS,
    ) -> None:
        if config.identity.role is not PartyRole.DEPARTMENT:
            raise MalformedError.at("spiffe_id", "must be a department's", Reason.CONFIGURATION_INVALID)
        self._config = config
        self._clock = clock
        self._complaints: tuple[str, ...] = ("STARTING",)
        self._keeper = RegistryKeeper(config.registry, clock)
        self._tls = watch_tls(config.tls)
        self._keys = NodeKeys(config.spiffe_id, answer_keys=config.answer_keys, sealing_keys=config.sealing_keys)
        secret = load_secret(config.secret, journal=config.journal)
        self._journal = Journal(config.journal)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")
        self._follower = StatusFollower(
            registry=self._keeper.current, ssl_context=lambda: client_ssl_context(self._tls.value), clock=clock
        )
        self._answerer = Answerer(
            Terms(
                department=config.spiffe_id,
                secret=secret,
                budget=Budget(config.budget_requests, config.budget_window),
                max_owed=config.max_owed,
                max_owed_age=config.max_owed_age,
                status_wait=config.status_wait,
            ),
            sources=Sources(
                registry=self._keeper.current, keys=self._keys, register=register, standings=self._follower
            ),
            journal=self._journal,
            thread=self._thread,
            clock=clock,
            randomness=secrets.token_bytes,
        )
        self._disputes = DisputeDesk(
            config.spiffe_id,
            registry=self._keeper.current,
            keys=self._keys,
            journal=self._journal,
            thread=self._thread,
            clock=clock,
            randomness=secrets.token_bytes,
        )
        self._worker = Worker(self._answerer)
        self._node = Node(
            Description(config.spiffe_id, self._keeper.current, clock),
            guard=Guard(self._keeper.current),
            worker=self._worker,
            answerer=self._answerer,
            disputes=self._disputes,
            open_wire=open_wire,
        )
        metrics = CollectorRegistry()
        self._open_disputes = Gauge("heyan_disputes_open", "Disputes that staff have not decided", registry=metrics)
        self._overdue_disputes = Gauge("heyan_disputes_overdue", "Disputes past their due time", registry=metrics)
        self._probes = Probes(config.probes, self.complaints, metrics)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._server = grpc.aio.server(options=server_options)
        self._server.add_generic_rpc_handlers(self._node.handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Ports:
        """Serve; the bound ports."""
        await self._look_after()
        port = self._server.add_secure_port(self._config.listen, server_credentials(self._tls))
        self._tasks = [
            asyncio.create_task(self._worker.run()),
            asyncio.create_task(self._keeper.run()),
            asyncio.create_task(repeat(LOOK_INTERVAL, self._look_after, "look after keys and health")),
            asyncio.create_task(repeat(LOOK_INTERVAL, self._look_at_disputes, "look at disputes")),
            asyncio.create_task(repeat(PURGE_INTERVAL, self._answerer.purge, "purge the journal")),
        ]
        await self._server.start()
        probe_port = await self._probes.start()
        _log.info("node_serves", department=self._config.spiffe_id, port=port, probes=probe_port)
        return Ports(port, probe_port)

    async def stop(self) -> None:
        """Take nothing new, answer what was asked, and close."""
        await close_all(
            self._health.enter_graceful_shutdown,
            self._stop_answering,
            lambda: self._server.stop(self._config.stop_grace),
            lambda: cancel_all(self._tasks),
            self._follower.close,
            self._probes.stop,
            self._thread.shutdown,
            self._journal.close,
        )
        _log.info("node_stopped", department=self._config.spiffe_id)

    def complaints(self) -> tuple[str, ...]:
        """Why the node wants no work now, as reasons; as of the last look."""
        return (*self._complaints, "SHUTTING_DOWN") if self._node.stopping else self._complaints

    async def _stop_answering(self) -> None:
        if self._tasks:
            await self._node.stop()

    async def _look_at_disputes(self) -> None:
        """Sign what staff decided, and count what they have not."""
        await self._disputes.sign_decided()
        undecided, overdue = await self._disputes.count(self._config.calendar)
        self._open_disputes.set(undecided)
        self._overdue_disputes.set(overdue)

    async def _look_after(self) -> None:
        """What a second brings: renewed keys and certificates, ended sealing keys, health."""
        self._tls.refresh()
        try:
            self._keys.look_after(self._keeper.current(), self._clock())
        except OSError as error:
            _log.error("keys_not_looked_after", error=error.strerror)
        skewed = ("CLOCK_SKEWED",) if self._follower.clock_complaint else ()
        self._complaints = (*await self._answerer.complaints(), *skewed)
        status = health_pb2.HealthCheckResponse
        serving = status.NOT_SERVING if self.complaints() else status.SERVING
        for service in ("", SERVICE):
            await self._health.set(service, serving)
