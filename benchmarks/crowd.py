"""Callers of a gateway that is offered more than it can do: those who keep to what it says, and those who do not.

All send messages that were prepared, as raw bytes, and look at nothing while they run but the status; answers are held
against the truth afterwards (`judged`), and every VERIFY_EVERYth receipt is verified whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.applicants import Applicant
from benchmarks.load import OK, PARTIAL, VERIFY_EVERY, pause_of
from benchmarks.ways import Ready, ThroughGateway, judge
from gateway.cli.endpoints import open_client
from gateway.client import Client
from gateway.party.statuses import from_status
from gateway.protocol.codec import parse
from gateway.protocol.errors import HeyanError
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT
from heyan.v1 import gateway_service_pb2 as pb

IN_FLIGHT = 64
"""Items that a stream's client has under way: as many as the gateway reads before it answers."""
DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """One application: when it was meant to be sent, seconds until it ended, its status, and its response if OK."""

    ready: Ready
    due: float
    latency: float
    status: str
    response: bytes = b""


@dataclass
class Outcome:
    """What came of callers."""

    ended: list[Ended] = field(default_factory=list)
    retries: int = 0

    def add(self, ready: Ready, due: float, status: str, response: bytes = b"") -> None:
        """One has ended now."""
        self.ended.append(Ended(ready, due, time.perf_counter() - due, status, response))

    def answered(self, until: float = float("inf")) -> list[float]:
        """Seconds that each took that was answered before a time, in order of size."""
        return sorted(one.latency for one in self.ended if one.status == OK and one.due + one.latency <= until)


class Callers:
    """Sends as one requester, over some connections."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.clients = clients
        self._way = ThroughGateway(*clients)

    def prepare(self, applicants: Sequence[Applicant], count: int) -> list[Ready]:
        """So many applications, of all applicants in turn."""
        return [self._way.prepare(applicants[number % len(applicants)]) for number in range(count)]

    async def open_loop(self, ready: Sequence[Ready], rate: float, outcome: Outcome) -> None:
        """Send one every 1/`rate` seconds, whatever becomes of the others, and none again."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(ready):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._once(number, one, due, outcome))

    async def unary(self, ready: Sequence[Ready], concurrency: int, until: float, outcome: Outcome) -> None:
        """Keep so many under way; who is refused comes back when it was told to."""
        waiting = iter(enumerate(ready))

        async def work() -> None:
            for number, one in waiting:
                began = time.perf_counter()
                if began >= until:
                    return
                while (pause := await self._once(number, one, began, outcome, again_before=until)) is not None:
                    outcome.retries += 1
                    await asyncio.sleep(pause)

        await asyncio.gather(*(work() for _ in range(concurrency)))

    async def stream(self, ready: Sequence[Ready], until: float, outcome: Outcome) -> None:
        """One stream with IN_FLIGHT items under way; who is refused is sent again when it was told to."""
        call = self.clients[0].open_stream("VerifyStream")
        waiting, under_way = iter(ready), dict[int, tuple[Ready, float]]()
        number = 0

        async def send() -> bool:
            nonlocal number
            one = next(waiting, None)
            if one is None or time.perf_counter() >= until:
                return False
            number += 1
            under_way[number] = one, time.perf_counter()
            await call.write(_item(number, one))
            return True

        try:
            for _ in range(IN_FLIGHT):
                await send()
            while under_way:
                data = await call.read()
                assert isinstance(data, bytes), "the gateway ended a stream on which items were under way"
                answer = parse(pb.VerifyStreamResponse, data, MAX_RECEIPT)
                one, began = under_way.pop(answer.item)
                if answer.HasField("error"):
                    error = from_status(answer.error)
                    if error.retry_after is not None and time.perf_counter() < until:
                        outcome.retries += 1
                        await asyncio.sleep(pause_of(error))
                        under_way[answer.item] = one, began
                        await call.write(_item(answer.item, one))
                        continue
                    outcome.add(one, began, error.reason.value)
                else:
                    outcome.add(one, began, OK, answer.response.SerializeToString())
                await send()
            await call.done_writing()
        finally:
            call.cancel()

    async def _once(
        self, number: int, one: Ready, due: float, outcome: Outcome, again_before: float = 0.0
    ) -> float | None:
        """One call; the seconds after which to come back, if it was told to and there is time."""
        client = self.clients[number % len(self.clients)]
        try:
            outcome.add(one, due, OK, await client.call("Verify", one.message, deadline=DEADLINE))
        except HeyanError as error:
            if error.retry_after is not None and time.perf_counter() < again_before:
                return pause_of(error)
            outcome.add(one, due, _status_of(error))
        return None

    def judged(self, outcome: Outcome) -> tuple[Counter[str], int]:
        """How often each status, answers held against the truth; and how many receipts were verified whole.

        HeyanError for one that does not verify.
        """
        statuses, verified = Counter[str](), 0
        for number, one in enumerate(outcome.ended):
            status = one.status
            if status == OK:
                receipt = parse(pb.VerifyResponse, one.response, MAX_RECEIPT).receipt
                said = (attested.proof.statement for attested in receipt.statements)
                status = PARTIAL if receipt.unavailable else judge(said, one.ready.truth)
                if number % VERIFY_EVERY == 0:
                    self.clients[0].check(one.ready.submission, receipt)
                    verified += 1
            statuses[status] += 1
        return statuses, verified


@asynccontextmanager
async def callers(folder: Path, requester: str, connections: int) -> AsyncIterator[Callers]:
    """Callers that are connected to the gateway of the federation in `folder`."""
    async with AsyncExitStack() as stack:
        yield Callers([await stack.enter_async_context(open_client(folder, requester)) for _ in range(connections)])


def _status_of(error: HeyanError) -> str:
    """The reason, and of a call that the transport ended, what the transport said."""
    return f"{error.reason.value} ({error.detail})" if error.reason is Reason.PEER_UNREACHABLE else error.reason.value


def _item(number: int, one: Ready) -> bytes:
    """An item of a stream, without parsing what was prepared: field 1 is its number, field 2 its request."""
    head = pb.VerifyStreamRequest(item=number).SerializeToString()
    return head + b"\x12" + _varint(len(one.message)) + one.message


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
