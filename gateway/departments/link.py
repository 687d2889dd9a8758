"""The link to one department node: the adapter of `DepartmentPort`, over one stream for each of its channels.

The registry lists a node's channels in order: the primary first, then standbys, which share its journal and so
answer a repeated query alike. An ask goes to the first that can take it, and then

- to the next one at once, if that fails (failover);
- to the next one as well, if no answer has come for longer than all but one in twenty took of late (a hedge; see
  `latency`). Answers that come too late to be the first are orphans, and logged.

A channel whose node fails time after time, or says nothing while asked, is left alone by its breaker. A certificate
of ours that was renewed is put to use by a new stream beside the old one, which ends once it has nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from gateway.departments.latency import HedgeBudget, Latencies
from gateway.departments.port import Acknowledgement, Ask, Reply
from gateway.departments.stream import DepartmentStream
from gateway.departments.traffic import NodeTraffic
from gateway.party.process import cancel_all
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.protocol.reasons import Reason

_log = structlog.get_logger(__name__)

RETIRE_GRACE = 15.0
"""Seconds for what is under way on a stream that is replaced; longer than any ask waits."""
CLOSE_GRACE = 1.0
"""Seconds for acknowledgements that still wait when the gateway stops."""

Sent = dict[asyncio.Future[Reply], DepartmentStream]
"""Where an ask was sent, by the future of its reply."""

OpenStream = Callable[[str], DepartmentStream]
"""Makes the stream over the channel at an address (host:port)."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream, the task that runs it, and which of our certificates it was opened with."""

    stream: DepartmentStream
    task: asyncio.Task[None]
    generation: int


@dataclass(slots=True)
class _Channel:
    """The stream over one channel, and the one that will replace it."""

    current: _Opened
    successor: _Opened | None = None

    @property
    def opened(self) -> list[_Opened]:
        return [self.current] if self.successor is None else [self.current, self.successor]


class DepartmentLink:
    """The link to one node. Used on one event loop."""

    def __init__(self, department: str, open_stream: OpenStream, traffic: NodeTraffic) -> None:
        self.department = department
        self._open_stream = open_stream
        self._traffic = traffic
        self._time = asyncio.get_running_loop().time
        self._channels: dict[str, _Channel] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._latencies = Latencies()
        self._hedges = HedgeBudget()

    @property
    def connected(self) -> bool:
        """Whether any stream is open."""
        return any(channel.current.stream.connected for channel in self._channels.values())

    @property
    def ready(self) -> bool:
        """Whether an ask would be sent now: a stream is open, and its breaker closed or due for a probe."""
        now = self._time()
        streams = [channel.current.stream for channel in self._channels.values()]
        return any(stream.connected and stream.breaker.would_admit(now) for stream in streams)

    @property
    def tried(self) -> bool:
        """Whether an attempt to open each stream has ended, well or not."""
        return all(channel.current.stream.tried for channel in self._channels.values())

    def reconcile(self, addresses: Sequence[str], generation: int) -> None:
        """Follow the registry's list of channels, and our own certificate, whose `generation` counts renewals."""
        for address in self._channels.keys() - set(addresses):
            for opened in self._channels.pop(address).opened:
                self._retire(opened)
        # In the registry's order, which is that in which they are asked.
        self._channels = {
            address: self._channels.get(address) or _Channel(self._start(address, generation))
            for address in dict.fromkeys(addresses)
        }
        for address, channel in self._channels.items():
            if channel.successor is not None and channel.successor.stream.connected:
                self._retire(channel.current)
                channel.current, channel.successor = channel.successor, None
            if channel.current.generation != generation and channel.successor is None:
                channel.successor = self._start(address, generation)

    async def ask(self, ask: Ask, timeout: float) -> tuple[Reply, ...]:  # noqa: ASYNC109
        """See the port."""
        began = self._time()
        deadline, hedge_at = began + timeout, began + self._latencies.hedge_delay
        self._hedges.ask()
        sent: Sent = {}
        untried = self._ready()
        failure: HeyanError = UnreachableError(Reason.DEPARTMENT_UNREACHABLE, self.department, retry_after=1.0)
        self._send(ask, untried, sent)
        try:
            while sent:
                until = min(hedge_at, deadline) - self._time()
                done, _ = await asyncio.wait(sent, timeout=max(0.0, until), return_when=asyncio.FIRST_COMPLETED)
                failures = [error for future in done if (error := future.exception()) is not None]
                if len(done) > len(failures):
                    self._latencies.add(taken := self._time() - began)
                    self._traffic.seconds.observe(taken)
                    return tuple(future.result() for future in done if future.exception() is None)
                for future in done:
                    del sent[future]
                for error in failures:
                    assert isinstance(error, HeyanError)  # noqa: S101 - the stream fails its futures with these
                    failure = error
                    if self._send(ask, untried, sent):
                        self._traffic.failovers.inc()
                if self._time() >= deadline:
                    if self._time() - began >= self._latencies.longest_silence:  # else the caller was in a hurry
                        for stream in sent.values():
                            stream.breaker.fail(self._time())
                    failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT, self.department, retry_after=1.0)
                    break
                if not done:
                    hedge_at = deadline
                    self._hedge(ask, untried, sent)
        finally:
            for future in sent:
                future.cancel()
        raise failure

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """See the port."""
        for channel in self._channels.values():
            if channel.current.stream.connected:
                channel.current.stream.acknowledge(acknowledgement)
                return

    async def close(self) -> None:
        """End all streams, after what still waits to be sent."""
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.current.stream.finish(CLOSE_GRACE) for channel in channels))
        await cancel_all([*(opened.task for channel in channels for opened in channel.opened), *self._retiring])

    # -- which channel --------------------------------------------------------------------------------------

    def _ready(self) -> Iterator[DepartmentStream]:
        """The streams that may be asked now, in order; each is looked at when it is come to."""
        for channel in list(self._channels.values()):
            stream, now = channel.current.stream, self._time()
            if not stream.breaker.is_open and stream.silence(now) > self._latencies.longest_silence:
                _log.warning("department_silent", department=self.department)
                stream.breaker.trip(now)
            if stream.connected and stream.breaker.admits(now):
                yield stream

    def _send(self, ask: Ask, untried: Iterator[DepartmentStream], sent: Sent) -> bool:
        """Send the ask through the next stream that takes it; whether there was one."""
        for stream in untried:
            try:
                sent[stream.send(ask)] = stream
            except UnreachableError:
                continue  # its queue is full, or it broke meanwhile: the next one
            return True
        return False

    def _hedge(self, ask: Ask, untried: Iterator[DepartmentStream], sent: Sent) -> None:
        if self._hedges.allows and self._send(ask, untried, sent):
            self._hedges.spend()
            self._traffic.hedges.inc()

    # -- opening and ending ---------------------------------------------------------------------------------

    def _start(self, address: str, generation: int) -> _Opened:
        stream = self._open_stream(address)
        return _Opened(stream, asyncio.create_task(stream.run()), generation)

    def _retire(self, opened: _Opened) -> None:
        async def retire() -> None:
            try:
                await opened.stream.finish(RETIRE_GRACE)
            finally:
                await cancel_all([opened.task])

        retiring = asyncio.create_task(retire())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
