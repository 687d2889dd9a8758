"""The Answer stream over one channel to a department node.

One long-lived stream, opened again with growing delays whenever it ends. What is sent is batched by `outbox`. A
reply batch's signature is verified once, on arrival; each waiter then holds its statements against what it asked.
When the stream breaks, what was sent on it fails at once as unreachable, never as an answer.

Statements that nobody waits for any more (late, answered by another channel, or sent again by the node) are handed
to `on_orphans`, because whatever a department answered must be logged. What comes after the stream has been told
to end is not lost either: it is not acknowledged, so the node sends it again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc
import structlog

from gateway.departments.breaker import Breaker
from gateway.departments.in_flight import InFlight
from gateway.departments.outbox import Outbox
from gateway.departments.port import Acknowledgement, Ask, OnBatch, OnOrphans, Orphans, Reply
from gateway.departments.replies import fault_of, open_reply_batch
from gateway.departments.traffic import NodeTraffic
from gateway.party.process import Clock
from gateway.party.service import internal_error
from gateway.protocol.codec import parse
from gateway.protocol.errors import BadDataError, HeyanError, MalformedError, UnreachableError
from gateway.protocol.limits import MAX_ASKS_PER_BATCH
from gateway.protocol.presentation import write_presentation, write_presented_part, write_signed_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2 as pb

_log = structlog.get_logger(__name__)

ANSWER_METHOD = "/heyan.v1.DepartmentService/Answer"
MAX_REPLY = 6 << 20
"""Bytes of one message from a node: 256 asks of 16 checks at about 1,500 bytes."""
OPEN_TIMEOUT = 10.0
"""Seconds for a node to answer that the stream is open."""
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
"""Seconds between attempts to open a stream, doubling."""
ORPHANS_AT_ONCE = 64
"""Batches of statements that nobody waited for, being logged; beyond it the stream is not read."""
_LOOK = 0.05
"""Seconds between looks at whether a stream that shall end has nothing left to do."""


class DepartmentStream:
    """The Answer stream over one channel. `run` is a task of its link's; all else is called on its event loop."""

    def __init__(
        self,
        department: str,
        open_channel: Callable[[], Awaitable[grpc.aio.Channel]],
        *,
        registry: Callable[[], Registry],
        clock: Clock,
        on_batch: OnBatch,
        on_orphans: OnOrphans,
        traffic: NodeTraffic,
    ) -> None:
        self.department = department
        self.breaker = Breaker(traffic.trips.inc)
        self._open_channel = open_channel
        self._registry = registry
        self._clock = clock
        self._on_batch = on_batch
        self._on_orphans = on_orphans
        self._traffic = traffic
        self._time = asyncio.get_running_loop().time
        self._outbox = Outbox()
        self._stirred = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._in_flight = InFlight(self._time())
        self._next_id = 1
        self._connected = False
        self._tried = False
        self._finishing = False
        self._orphans: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether the stream is open."""
        return self._connected

    @property
    def tried(self) -> bool:
        """Whether the first attempt to open the stream has ended, well or not."""
        return self._tried or self._connected

    @property
    def idle(self) -> bool:
        """Whether nothing waits for an answer or to be sent."""
        return not self._waiting and not self._outbox

    def silence(self, now: float) -> float:
        """See `in_flight`."""
        return self._in_flight.silence(now)

    def send(self, ask: Ask) -> asyncio.Future[Reply]:
        """Send an ask; UnreachableError if the stream cannot take it. Cancel the future to give the answer up.

        The future fails with UnreachableError if the stream breaks or the node reports a fault, and with BadDataError
        if what answers it does not verify.
        """
        now = self._time()
        message = pb.Ask(
            ask_id=self._next_id,
            query=write_signed_query(ask.signed),
            part=write_presented_part(ask.part),
            grants=[write_presentation(grant) for grant in ask.grants],
        )
        if not self._connected or self._finishing or not self._outbox.add_ask(message, now):
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, self.department, retry_after=1.0)
        self._next_id += 1
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[message.ask_id] = future
        future.add_done_callback(lambda _: self._forget(message.ask_id))
        self._stir()
        return future

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Send an acknowledgement, or drop it if the stream cannot take it."""
        if self._connected:
            message = pb.Acknowledgement(
                batch_digest=acknowledgement.batch_digest,
                leaf_indexes=acknowledgement.leaf_indexes,
                checkpoint=acknowledgement.checkpoint,
            )
            self._outbox.add_acknowledgement(message, self._time())
            self._stir()

    async def finish(self, grace: float) -> None:
        """Take nothing new, end once all is answered, sent and read, and wait for that, at most `grace` seconds."""
        self._finishing = True
        self._stirred.set()
        until = self._time() + grace
        while self._connected and self._time() < until:  # noqa: ASYNC110 - the node's end of it is heard by the reader
            await asyncio.sleep(_LOOK)

    async def run(self) -> None:
        """Keep the stream open until it is finished, or cancelled."""
        delay = FIRST_DELAY
        while True:
            began = self._time()
            try:
                await self._converse()
            except (HeyanError, grpc.RpcError, OSError) as error:
                detail = error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
                _log.warning("department_stream_ended", department=self.department, detail=detail)
            except Exception as error:  # noqa: BLE001 - whatever a node sends, its stream is opened again
                internal_error(ANSWER_METHOD, error)
            finally:
                self._tried = True
                self._fail_waiting()
            if self._finishing:
                return
            if self._time() - began > LONGEST_DELAY:
                delay = FIRST_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - so that links do not move in step
            delay = min(delay * 2, LONGEST_DELAY)

    async def _converse(self) -> None:
        channel = await self._open_channel()
        try:
            call = channel.stream_stream(ANSWER_METHOD)()  # type: ignore[call-arg]
            writer: asyncio.Task[None] | None = None
            try:
                async with asyncio.timeout(OPEN_TIMEOUT):
                    await call.wait_for_connection()
                self._outbox, self._in_flight = Outbox(), InFlight(self._time())
                self._connected = True
                _log.info("department_stream_open", department=self.department)
                writer = asyncio.create_task(self._write(call))
                await self._read(call)
            finally:
                self._connected = False
                call.cancel()
                if writer is not None:
                    writer.cancel()
                    await asyncio.gather(writer, return_exceptions=True)
        finally:
            await channel.close(None)

    # -- sending --------------------------------------------------------------------------------------------

    async def _write(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        """Send what waits whenever it is due; the transport's flow control holds it up where the node does not read."""
        while True:
            self._stirred.clear()
            wait = self._outbox.due(self._time(), in_flight=len(self._in_flight), exchange=self._in_flight.exchange)
            if self._finishing and self.idle:
                await call.done_writing()
                return
            if wait is None or wait > 0:
                await self._rest(wait)
                continue
            now = self._time()
            message = self._outbox.take(now)
            self._in_flight.sent((ask.ask_id for ask in message.asks), now)
            self._traffic.messages.inc()
            self._traffic.asks.inc(len(message.asks))
            await call.write(message.SerializeToString())

    async def _rest(self, seconds: float | None) -> None:
        """Wait until something stirs, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return  # what waits is due

    def _stir(self) -> None:
        """Have the writer look again, where that can make a difference."""
        if self._outbox.is_news or not self._in_flight or self._outbox.is_full:
            self._stirred.set()

    def _forget(self, ask_id: int) -> None:
        """An ask has ended, one way or another."""
        self._waiting.pop(ask_id, None)
        self._outbox.drop_ask(ask_id)
        self._in_flight.end(ask_id)
        if not self._in_flight:
            self._stirred.set()

    # -- receiving ------------------------------------------------------------------------------------------

    async def _read(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        while True:
            data = await call.read()
            if not isinstance(data, bytes):
                raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "the node ended the stream")
            message = parse(pb.AnswerResponse, data, MAX_REPLY)
            if len(message.replies) > MAX_ASKS_PER_BATCH:
                raise MalformedError.at("replies", f"must be at most {MAX_ASKS_PER_BATCH}")
            ask_ids = () if message.recovered else (reply.ask_id for reply in message.replies)
            expected = self._in_flight.hear(ask_ids, self._time())
            for reply in message.replies:
                if reply.fault:
                    self._settle(reply.ask_id, fault_of(reply))
            if message.HasField("batch"):
                self._deliver(message, expected=expected)
            elif expected:
                self.breaker.succeed()
            if len(self._orphans) >= ORPHANS_AT_ONCE:
                await asyncio.wait(self._orphans, return_when=asyncio.FIRST_COMPLETED)

    def _deliver(self, message: pb.AnswerResponse, *, expected: bool) -> None:
        try:
            batch = open_reply_batch(message, self.department, self._registry(), self._clock())
        except BadDataError as error:
            _log.error("batch_refused", department=self.department, detail=error.detail)
            if message.recovered:
                return  # it comes again at each opening: that must not end the stream for good
            self.breaker.fail(self._time())
            for reply in message.replies:
                self._settle(reply.ask_id, error)
            raise  # opened anew, so that the node sends again what it did sign
        if expected:
            self.breaker.succeed()
        self._traffic.replies.inc()
        self._on_batch(self.department, batch.signed, batch.proofs)
        orphans = [
            proof
            for ask_id, reply in batch.replies
            if message.recovered or not self._settle(ask_id, reply)
            for proof in reply.proofs
        ]
        if orphans:
            task = asyncio.create_task(self._hand_over(Orphans(self.department, tuple(orphans), batch.signed)))
            self._orphans.add(task)
            task.add_done_callback(self._orphans.discard)

    async def _hand_over(self, orphans: Orphans) -> None:
        try:
            await self._on_orphans(orphans)
        except HeyanError as error:
            # Not acknowledged, so the node sends them again when the stream next opens.
            _log.warning("orphans_not_logged", department=self.department, detail=error.detail)

    def _settle(self, ask_id: int, outcome: Reply | HeyanError) -> bool:
        """Hand an outcome to its waiter; False if nobody waits."""
        future = self._waiting.get(ask_id)
        if future is None or future.done():
            return False
        if isinstance(outcome, Reply):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
        return True

    def _fail_waiting(self) -> None:
        if self._waiting:
            self.breaker.fail(self._time())
        for ask_id in list(self._waiting):
            self._settle(ask_id, UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "the stream ended", retry_after=1.0))
