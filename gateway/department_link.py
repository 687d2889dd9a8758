"""The Answer stream to one department node: the adapter of `DepartmentPort`.

One long-lived stream to each node. Whatever is queued when the stream can take a message goes into it, so that
asks coalesce under load and none waits when nothing is in flight. A reply batch's signature is verified once,
on arrival; each waiter then holds its statements against what it asked. When the stream breaks, its pending
asks fail at once as unreachable (never as an answer), and it is opened again with growing delays.

Statements that nobody waits for any more (late, or sent again by the node) are handed to `on_orphans`, because
whatever a department answered must be logged.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc
import structlog

from gateway.departments import Acknowledgement, Ask, OnBatch, OnOrphans, Orphans, Reply
from gateway.party.process import Clock
from gateway.party.service import internal_error
from gateway.protocol.attestation import (
    open_batch,
    read_proof,
    read_signed_batch,
    require_in_batch,
)
from gateway.protocol.codec import parse
from gateway.protocol.errors import BadDataError, ForgedError, HeyanError, UnreachableError
from gateway.protocol.limits import MAX_ASKS_PER_BATCH, MAX_MESSAGE
from gateway.protocol.presentation import (
    write_presentation,
    write_presented_part,
    write_signed_query,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2 as pb

_log = structlog.get_logger(__name__)

ANSWER_METHOD = "/heyan.v1.DepartmentService/Answer"
QUEUE_LIMIT = 2048
"""Messages that wait for one node's stream. Beyond it asks fail as unreachable at once, and acknowledgements are
dropped: the node sends their batches again."""
MAX_REPLY = 16 << 20
"""Bytes of one reply batch: 256 asks of 16 checks at about 1,500 bytes, with room."""
MESSAGE_BUDGET = MAX_MESSAGE * 3 // 4
"""Bytes of asks in one message, below the node's limit for a message."""
OPEN_TIMEOUT = 10.0
"""Seconds for a node to answer that the stream is open."""
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
"""Seconds between attempts to open a stream, doubling."""


class DepartmentLink:
    """The Answer stream to one node."""

    def __init__(
        self,
        department: str,
        open_channel: Callable[[], Awaitable[grpc.aio.Channel]],
        registry: Callable[[], Registry],
        clock: Clock,
        on_batch: OnBatch,
        on_orphans: OnOrphans,
    ) -> None:
        self.department = department
        self._open_channel = open_channel
        self._registry = registry
        self._clock = clock
        self._on_batch = on_batch
        self._on_orphans = on_orphans
        self._outgoing: asyncio.Queue[pb.Ask | pb.Acknowledgement] = asyncio.Queue(QUEUE_LIMIT)
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._next_id = 1
        self._connected = False
        self._tried = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether the stream is open."""
        return self._connected

    @property
    def tried(self) -> bool:
        """Whether the first attempt to open the stream has ended, well or not."""
        return self._tried or self._connected

    async def ask(self, ask: Ask, timeout: float) -> Reply:  # noqa: ASYNC109
        """See the port."""
        if not self._connected or self._outgoing.full():
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, self.department, retry_after=1.0)
        ask_id = self._next_id
        self._next_id += 1
        message = pb.Ask(
            ask_id=ask_id,
            query=write_signed_query(ask.signed),
            part=write_presented_part(ask.part),
            grants=[write_presentation(grant) for grant in ask.grants],
        )
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[ask_id] = future
        self._outgoing.put_nowait(message)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise UnreachableError(Reason.DEPARTMENT_TIMED_OUT, self.department, retry_after=1.0) from None
        finally:
            self._pending.pop(ask_id, None)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """See the port."""
        if self._connected and not self._outgoing.full():
            self._outgoing.put_nowait(
                pb.Acknowledgement(
                    batch_digest=acknowledgement.batch_digest,
                    leaf_indexes=acknowledgement.leaf_indexes,
                    checkpoint=acknowledgement.checkpoint,
                )
            )

    async def run(self) -> None:
        """Keep the stream open until cancelled."""
        delay = FIRST_DELAY
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._converse()
            except (HeyanError, grpc.RpcError, OSError) as error:
                detail = error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
                _log.warning("department_stream_ended", department=self.department, detail=detail)
            except Exception as error:  # noqa: BLE001 - whatever a node sends, its stream is opened again
                internal_error(ANSWER_METHOD, error)
            finally:
                self._tried = True
                self._fail_pending()
            if asyncio.get_running_loop().time() - began > LONGEST_DELAY:
                delay = FIRST_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - so that links do not move in step
            delay = min(delay * 2, LONGEST_DELAY)

    async def _converse(self) -> None:
        channel = await self._open_channel()
        try:
            stream = channel.stream_stream(ANSWER_METHOD)()  # type: ignore[call-arg]
            writer: asyncio.Task[None] | None = None
            try:
                async with asyncio.timeout(OPEN_TIMEOUT):
                    await stream.wait_for_connection()
                self._outgoing = asyncio.Queue(QUEUE_LIMIT)
                self._connected = True
                _log.info("department_stream_open", department=self.department)
                writer = asyncio.create_task(self._write(stream))
                await self._read(stream)
            finally:
                self._connected = False
                stream.cancel()
                if writer is not None:
                    writer.cancel()
                    await asyncio.gather(writer, return_exceptions=True)
        finally:
            await channel.close(None)

    async def _write(self, stream: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        """Send whatever is queued, as much as fits one message, whenever the stream can take it."""
        held: pb.Ask | pb.Acknowledgement | None = None
        while True:
            item = held or await self._outgoing.get()
            held = None
            message = pb.AnswerRequest()
            size = 0
            while True:
                size += item.ByteSize()
                if isinstance(item, pb.Acknowledgement):
                    message.acknowledgements.append(item)
                elif item.ask_id in self._pending:
                    message.asks.append(item)
                if self._outgoing.empty():
                    break
                item = self._outgoing.get_nowait()
                if size + item.ByteSize() > MESSAGE_BUDGET or len(message.asks) >= MAX_ASKS_PER_BATCH:
                    held = item
                    break
            if message.asks or message.acknowledgements:
                await stream.write(message.SerializeToString())

    async def _read(self, stream: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        while True:
            data = await stream.read()
            if not isinstance(data, bytes):
                raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "the node ended the stream")
            message = parse(pb.AnswerResponse, data, MAX_REPLY)
            for reply in message.replies:
                if reply.fault:
                    self._fail(reply)
            if message.HasField("batch"):
                self._deliver(message)

    def _deliver(self, message: pb.AnswerResponse) -> None:
        signed = read_signed_batch(message.batch)
        statements = [(reply.ask_id, tuple(map(read_proof, reply.statements))) for reply in message.replies]
        proofs = tuple(proof for _, found in statements for proof in found)
        try:
            batch = open_batch(signed, self._registry(), self._clock())
            if batch.department != self.department or batch.size != len(proofs):
                raise ForgedError(Reason.ATTESTATION_INVALID, "not the whole batch of this node")
            if sorted(proof.index for proof in proofs) != list(range(len(proofs))):
                raise ForgedError(Reason.ATTESTATION_INVALID, "a statement twice, another not at all")
            for proof in proofs:
                require_in_batch(proof, batch)
        except BadDataError as error:
            _log.error("batch_refused", department=self.department, detail=error.detail)
            for ask_id, _ in statements:
                self._settle(ask_id, error)
            return
        self._on_batch(self.department, signed, proofs)
        orphans = [
            proof
            for ask_id, found in statements
            if found and (message.recovered or not self._settle(ask_id, Reply(signed, batch, found)))
            for proof in found
        ]
        if orphans:
            task = asyncio.create_task(self._hand_over(Orphans(self.department, tuple(orphans))))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hand_over(self, orphans: Orphans) -> None:
        try:
            await self._on_orphans(orphans)
        except HeyanError as error:
            # Not acknowledged, so the node sends them again when the stream next opens.
            _log.warning("orphans_not_logged", department=self.department, detail=error.detail)

    def _settle(self, ask_id: int, outcome: Reply | HeyanError) -> bool:
        """Hand an outcome to its waiter; False if nobody waits."""
        future = self._pending.get(ask_id)
        if future is None or future.done():
            return False
        if isinstance(outcome, Reply):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
        return True

    def _fail(self, reply: pb.Reply) -> None:
        reason = Reason[reply.fault] if reply.fault in Reason.__members__ else Reason.DEPARTMENT_UNREACHABLE
        self._settle(reply.ask_id, UnreachableError(reason, "fault at the node", retry_after=1.0))

    def _fail_pending(self) -> None:
        for ask_id in list(self._pending):
            self._settle(ask_id, UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "the stream ended", retry_after=1.0))
