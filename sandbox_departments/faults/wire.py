"""The wire of a node's streams, bent as the switch says; straight while it says nothing.

Only answers to asks are bent: what a gateway never acknowledged is sent again as it was journalled, but for a node
that hangs, which writes nothing at all (and reads no more, either, once the stream's places are taken). What is held
back when a stream ends by itself is written first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Set
from types import TracebackType

import structlog

from gateway.party.service import SERVER_OPTIONS
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.faults.forgeries import (
    KeyNamed,
    altered_outcome,
    changed_outcome,
    garbage,
    other_answer,
    over_claiming,
    over_full,
    over_long,
    reversed_replies,
    statements_of,
    wrong_signature,
)
from sandbox_departments.faults.kinds import Fault, Kind
from sandbox_departments.faults.switch import Switch
from sandbox_departments.streams import Wire

UNBOUNDED_SENDING = (
    *(option for option in SERVER_OPTIONS if option[0] != "grpc.max_send_message_length"),
    ("grpc.max_send_message_length", -1),
)
"""Options of a server that can send what no gateway reads."""

_FORGERIES: Mapping[Kind, Callable[[pb.AnswerResponse], bytes]] = {
    Kind.GARBAGE: garbage,
    Kind.OVER_LONG: over_long,
    Kind.WRONG_SIGNATURE: wrong_signature,
    Kind.ALTERED_OUTCOME: altered_outcome,
}
_SIGNED_FORGERIES: Mapping[Kind, Callable[[pb.AnswerResponse, KeyNamed], bytes]] = {
    Kind.CHANGED_OUTCOME: changed_outcome,
    Kind.OVER_FULL: over_full,
    Kind.OVER_CLAIMING: over_claiming,
}
_HELD = frozenset({Kind.SLOW, Kind.HANGS, Kind.LATE})

_ON_ASKS = frozenset({Kind.DIES_ASKED, Kind.LATE})
_ON_RECOVERED = frozenset({Kind.HANGS})
_ON_UNSIGNED = _HELD | {Kind.DIES_REPLYING, Kind.TWICE, Kind.OUT_OF_ORDER, Kind.GARBAGE, Kind.OVER_LONG}
_ON_SIGNED = _ON_UNSIGNED | _FORGERIES.keys() | _SIGNED_FORGERIES.keys() | {Kind.OTHER_ANSWER}
"""Which faults begin with a message of asks; which bend one sent again, one without a signed batch, one with."""

_log = structlog.get_logger(__name__)


class FaultyWires:
    """Opens the wires of one node, which share how much has passed and what was sent last.

    `die` ends the process at once; `key_named` gives the node's own answer keys.
    """

    def __init__(self, switch: Switch, *, key_named: KeyNamed, die: Callable[[], None]) -> None:
        self.switch = switch
        self.key_named = key_named
        self.die = die
        self._fault: Fault | None = None
        self._passed = 0
        self._earlier: deque[pb.AnswerResponse] = deque(maxlen=2)

    def open(self, context: Wire) -> FaultyWire:
        """The wire of one stream over gRPC's context: an asynchronous context manager."""
        return FaultyWire(self, context)

    def due(self, kinds: Set[Kind]) -> Fault | None:
        """The fault, if it is one of `kinds` and as many messages have passed as may; else one more has passed."""
        fault = self.switch.fault()
        if fault != self._fault:
            self._fault, self._passed = fault, 0
            _log.warning("fault_switched", fault=fault.kind.value if fault is not None else None)
        if fault is None or fault.kind not in kinds:
            return None
        if self._passed < fault.after:
            self._passed += 1
            return None
        return fault

    def remember(self, response: pb.AnswerResponse) -> None:
        """Keep a signed reply batch, as one that may be passed off as the answer to something else."""
        known = map(statements_of, self._earlier)
        if response.HasField("batch") and statements_of(response) not in known:
            self._earlier.append(response)

    def other_than(self, response: pb.AnswerResponse) -> pb.AnswerResponse | None:
        """The newest reply batch kept that shares no statement with this one."""
        own = statements_of(response)
        return next((other for other in reversed(self._earlier) if not own & statements_of(other)), None)


class FaultyWire:
    """The wire of one stream."""

    def __init__(self, node: FaultyWires, context: Wire) -> None:
        self._node = node
        self._context = context
        self._ask_times: dict[int, float] = {}
        self._held_back: bytes | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()

    async def __aenter__(self) -> Wire:
        """The wire itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is held back, unless the stream broke; nothing is left running."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.gather(self._releasing, return_exceptions=True)
        if error is None:
            await self._release()

    async def read(self) -> object:
        """The gateway's next message, unless the node dies of it."""
        data = await self._context.read()
        fault = self._node.switch.fault()
        if fault is not None and fault.kind in _ON_ASKS and isinstance(data, bytes):
            asks = pb.AnswerRequest.FromString(data).asks
            if asks and self._node.due({Kind.DIES_ASKED}) is not None:
                self._node.die()
            if fault.kind is Kind.LATE:
                now = asyncio.get_running_loop().time()
                self._ask_times.update((ask.ask_id, now) for ask in asks)
        return data

    async def write(self, message: bytes) -> None:
        """Send a message of the node, or what the fault makes of it."""
        response = pb.AnswerResponse.FromString(message)
        signed = response.HasField("batch")
        fault = self._node.due(_ON_RECOVERED if response.recovered else _ON_SIGNED if signed else _ON_UNSIGNED)
        if fault is None:
            await self._send(message)
        elif fault.kind in _HELD:
            await self._hold(fault, response)
            await self._send(message)
        elif fault.kind in _FORGERIES:
            await self._send(_FORGERIES[fault.kind](response))
        elif fault.kind in _SIGNED_FORGERIES:
            await self._send(_SIGNED_FORGERIES[fault.kind](response, self._node.key_named))
        elif fault.kind is Kind.OUT_OF_ORDER:
            await self._send_out_of_order(response, fault.seconds)
        elif fault.kind is Kind.OTHER_ANSWER:
            await self._answer_another(response)
        elif fault.kind is Kind.TWICE:
            await self._send(message)
            await self._send(message)
        else:
            await self._send(message[: len(message) // 2])
            self._node.die()
        self._node.remember(response)

    async def _send(self, message: bytes) -> None:
        async with self._sending:
            await self._context.write(message)

    async def _hold(self, fault: Fault, response: pb.AnswerResponse) -> None:
        """Wait as a node that is slow, late or hanging, but not after the fault is lifted."""
        seconds: float | None = fault.seconds
        if fault.kind is Kind.HANGS:
            seconds = None
        elif fault.kind is Kind.LATE:
            now = asyncio.get_running_loop().time()
            asked = min((self._ask_times.pop(reply.ask_id, now) for reply in response.replies), default=now)
            seconds = asked + fault.seconds - now
        await self._node.switch.outlast(fault, seconds)

    async def _answer_another(self, response: pb.AnswerResponse) -> None:
        """Nothing is sent as long as there is nothing else to pass off."""
        other = self._node.other_than(response)
        if other is not None:
            await self._send(other_answer(response, other))

    async def _send_out_of_order(self, response: pb.AnswerResponse, seconds: float) -> None:
        message = reversed_replies(response)
        if self._held_back is None:
            self._held_back = message
            self._releasing = asyncio.create_task(self._release_after(seconds))
        else:
            await self._send(message)
            await self._release()

    async def _release_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._release()

    async def _release(self) -> None:
        message, self._held_back = self._held_back, None
        if message is not None:
            await self._send(message)
