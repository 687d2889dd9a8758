"""The client SDK for a backlog: thousands of submissions over one stream, answered as they become ready.

    async with aclosing(verify_stream(client, submissions)) as results:
        async for submission, result in results: ...

- Every receipt is checked as `Client.send` checks it. An answer counts for the item that it names and only if its
  receipt is of that item's query; a second one to an item, or one to an item that was never sent, counts for nothing.
- At most `Pace.in_flight` submissions are between source and consumer: the source is not asked for more, and a consumer
  that takes its time is waited for.
- When the stream ends before all is answered (the gateway drains, the network breaks), another one is opened after a
  pause, and what has no answer is sent again, the same bytes with the same request_id: no use is spent twice.
- An item whose error says "try again" is tried again until `Pace.patience` is over; then it ends with its last error,
  and others go on. A receipt with checks UNAVAILABLE is an answer: whether to send it again is the consumer's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress
from dataclasses import dataclass

import grpc

from gateway.client import Client, Verification, spread
from gateway.party.statuses import from_rpc_error, from_status
from gateway.protocol.codec import parse
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError, UnreachableError
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.presentation import Submission, write_submission
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT
from heyan.v1 import gateway_service_pb2 as pb

Ended = tuple[Submission, Verification | HeyanError]
"""A submission with what became of it."""


LAST_WORD = 1.0
"""Seconds for the gateway to end a stream on which all is answered and our side is closed; then it is hung up."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many at once, how long an item is tried (a query is accepted for a minute), pauses between streams (seconds).

    More in flight than the gateway's window of one stream only wait on the way.
    """

    in_flight: int = 64
    patience: float = 60.0
    least_pause: float = 0.2
    most_pause: float = 5.0
    retry: float = 1.0
    """Pause before an item is tried again whose error does not say how long."""


DEFAULT_PACE = Pace()


@dataclass(slots=True)
class _Item:
    number: int
    submission: Submission
    message: bytes
    patience: asyncio.TimerHandle | None = None
    again: asyncio.TimerHandle | None = None
    """Set while the item waits to be sent again."""
    failure: HeyanError | None = None


async def verify_stream(
    client: Client, submissions: AsyncIterable[Submission], pace: Pace = DEFAULT_PACE
) -> AsyncGenerator[Ended]:
    """Each submission with what became of it, in the order in which that is known.

    Raises what `submissions` raises, and the BadDataError with which the gateway refuses the stream as such
    (PEER_UNKNOWN …). Close it (`aclosing`) if it is not read to its end.
    """
    backlog = _Backlog(client, pace)
    tasks = (asyncio.create_task(backlog.feed(submissions)), asyncio.create_task(backlog.carry()))
    for task in tasks:
        task.add_done_callback(backlog.ended)
    try:
        while (ended := await backlog.next()) is not None:
            yield ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        backlog.close()


class _Backlog:
    def __init__(self, client: Client, pace: Pace) -> None:
        self._client = client
        self._pace = pace
        self._slots = asyncio.Semaphore(pace.in_flight)
        self._open: dict[int, _Item] = {}
        self._outbox: asyncio.Queue[_Item | None] = asyncio.Queue()
        self._results: asyncio.Queue[Ended | BaseException | None] = asyncio.Queue()
        self._fed = False
        self._progress = False

    # -- source and consumer ------------------------------------------------------------------------------------

    async def feed(self, submissions: AsyncIterable[Submission]) -> None:
        """Take submissions as long as there are slots for them."""
        number = 0
        source = aiter(submissions)
        while True:
            await self._slots.acquire()
            try:
                submission = await anext(source)
            except StopAsyncIteration:
                break
            number += 1
            self._add(number, submission)
        self._fed = True
        self._end_if_all_is_answered()

    async def next(self) -> Ended | None:
        """The next result; None after the last one. Raises what ended feeding or carrying."""
        result = await self._results.get()
        if isinstance(result, BaseException):
            raise result
        self._slots.release()
        return result

    def ended(self, task: asyncio.Task[None]) -> None:
        """Tell the consumer of a task that failed."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._results.put_nowait(error)

    def close(self) -> None:
        """Let no timer outlive the backlog."""
        for number in list(self._open):
            self._forget(number)

    # -- items --------------------------------------------------------------------------------------------------

    def _add(self, number: int, submission: Submission) -> None:
        request = pb.VerifyStreamRequest(item=number, request=write_submission(submission))
        item = _Item(number, submission, request.SerializeToString())
        self._open[number] = item
        if len(item.message) > MAX_MESSAGE:
            self._settle(item, MalformedError(Reason.MESSAGE_TOO_LARGE, f"{len(item.message)} bytes"))
            return
        loop = asyncio.get_running_loop()
        item.patience = loop.call_later(self._pace.patience, self._give_up, item)
        self._outbox.put_nowait(item)

    def _take(self, data: bytes) -> None:
        try:
            answer = parse(pb.VerifyStreamResponse, data, MAX_RECEIPT)
        except MalformedError:
            raise ForgedError(Reason.RECEIPT_INVALID, "an answer that cannot be read") from None
        item = self._open.get(answer.item)
        if item is None:
            return
        self._progress = True
        result = self._result(item, answer)
        if isinstance(result, UnreachableError):
            item.failure = result
            if item.again is None:
                pause = spread(result.retry_after or self._pace.retry)
                item.again = asyncio.get_running_loop().call_later(pause, self._send_again, item)
            return
        self._settle(item, result)

    def _result(self, item: _Item, answer: pb.VerifyStreamResponse) -> Verification | HeyanError:
        if answer.HasField("error"):
            return from_status(answer.error)
        try:
            return self._client.check(item.submission, answer.response.receipt)
        except HeyanError as error:
            return error

    def _send_again(self, item: _Item) -> None:
        item.again = None
        self._outbox.put_nowait(item)

    def _give_up(self, item: _Item) -> None:
        unanswered = UnreachableError(Reason.PEER_UNREACHABLE, "no answer in time", retry_after=self._pace.retry)
        self._settle(item, item.failure or unanswered)

    def _settle(self, item: _Item, result: Verification | HeyanError) -> None:
        self._forget(item.number)
        self._results.put_nowait((item.submission, result))
        self._end_if_all_is_answered()

    def _forget(self, number: int) -> None:
        item = self._open.pop(number)
        for timer in (item.patience, item.again):
            if timer is not None:
                timer.cancel()

    def _end_if_all_is_answered(self) -> None:
        if self._all_is_answered():
            self._outbox.put_nowait(None)

    def _all_is_answered(self) -> bool:
        return self._fed and not self._open

    # -- streams ------------------------------------------------------------------------------------------------

    async def carry(self) -> None:
        """Stream after stream, until all is answered."""
        pause = self._pace.least_pause
        while not self._all_is_answered():
            try:
                await self._one_stream()
            except UnreachableError as error:
                if self._all_is_answered():
                    break
                self._note(error)
                pause = self._pace.least_pause if self._progress else min(2 * pause, self._pace.most_pause)
                await asyncio.sleep(spread(max(pause, min(error.retry_after or 0.0, self._pace.most_pause))))
        self._results.put_nowait(None)

    def _note(self, error: UnreachableError) -> None:
        """Remember why there is no answer, for whom it comes too late."""
        for item in self._open.values():
            item.failure = error

    async def _one_stream(self) -> None:
        """Send what has no answer and take answers until all is answered; UnreachableError if it ends before."""
        self._progress = False
        self._outbox = asyncio.Queue()
        for item in self._open.values():
            if item.again is None:
                self._outbox.put_nowait(item)
        self._end_if_all_is_answered()
        call = self._client.open_stream("VerifyStream")
        writing = asyncio.create_task(self._write(call))
        reading = asyncio.create_task(self._read(call))
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                if not writing.cancelled():
                    writing.result()
                await asyncio.wait({reading}, timeout=LAST_WORD if self._all_is_answered() else None)
            if reading.cancelled():  # by gRPC: our certificate was renewed, and the old channel has closed
                raise UnreachableError(Reason.PEER_UNREACHABLE, "the channel was closed")
            if reading.done():
                reading.result()
        finally:
            for task in (writing, reading):
                task.cancel()
            call.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)

    async def _write(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the stream has ended; reading says why
            while (item := await self._outbox.get()) is not None:
                if item.number in self._open:
                    await call.write(item.message)
            await call.done_writing()

    async def _read(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        try:
            while isinstance(data := await call.read(), bytes):
                self._take(data)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        if not self._all_is_answered():
            raise UnreachableError(Reason.PEER_UNREACHABLE, "the gateway ended the stream", retry_after=None)
