"""The wire of a node's streams, bent as the switch says; straight while it says nothing.

Only answers to asks are bent: what a gateway never acknowledged is sent again as it was journalled, but for a node
that hangs, which writes nothing at all (and reads no more, either, once the stream's places are taken). What is held
back when a stream ends by itself is written first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
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

_ON_ASKS = frozenset({Kind.DIES_ASKED, Kind.LATE})
"""Which faults begin with a message of asks."""
_ON_RECOVERED = frozenset({Kind.HANGS})
"""Which bend a message that is sent again."""
_ONLY_ON_SIGNED = _SIGNED_FORGERIES.keys() | {Kind.WRONG_SIGNATURE, Kind.ALTERED_OUTCOME, Kind.OTHER_ANSWER}
"""Which bend nothing but a signed batch."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Bent:
    """A message that a fault bends: as it was to be written, and as it was read."""

    fault: Fault
    message: bytes
    response: pb.AnswerResponse


class FaultyNode:
    """What the wires of one node share, and what opens them: the switch, how much has passed, what was sent last.

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

    def __init__(self, node: FaultyNode, context: Wire) -> None:
        self._node = node
        self._context = context
        self._ask_times: dict[int, float] = {}
        self._held_back: bytes | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._bends: Mapping[Kind, Callable[[_Bent], Awaitable[None]]] = {
            Kind.SLOW: self._hold,
            Kind.HANGS: self._hold,
            Kind.LATE: self._hold,
            Kind.TWICE: self._send_twice,
            Kind.OUT_OF_ORDER: self._send_out_of_order,
            Kind.OTHER_ANSWER: self._answer_another,
            Kind.DIES_REPLYING: self._die_halfway,
            **dict.fromkeys(_FORGERIES, self._forge),
            **dict.fromkeys(_SIGNED_FORGERIES, self._forge_and_sign),
        }

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
        fault = self._node.due(self._bending(response))
        if fault is None:
            await self._send(message)
        else:
            await self._bends[fault.kind](_Bent(fault, message, response))
        self._node.remember(response)

    def _bending(self, response: pb.AnswerResponse) -> Set[Kind]:
        """The faults that bend such a message."""
        if response.recovered:
            return _ON_RECOVERED
        return self._bends.keys() if response.HasField("batch") else self._bends.keys() - _ONLY_ON_SIGNED

    async def _send(self, message: bytes) -> None:
        async with self._sending:
            await self._context.write(message)

    async def _forge(self, bent: _Bent) -> None:
        await self._send(_FORGERIES[bent.fault.kind](bent.response))

    async def _forge_and_sign(self, bent: _Bent) -> None:
        await self._send(_SIGNED_FORGERIES[bent.fault.kind](bent.response, self._node.key_named))

    async def _send_twice(self, bent: _Bent) -> None:
        await self._send(bent.message)
        await self._send(bent.message)

    async def _die_halfway(self, bent: _Bent) -> None:
        await self._send(bent.message[: len(bent.message) // 2])
        self._node.die()

    async def _hold(self, bent: _Bent) -> None:
        """Wait as a node that is slow, late or hanging, but not after the fault is lifted; then send."""
        fault = bent.fault
        seconds: float | None = fault.seconds
        if fault.kind is Kind.HANGS:
            seconds = None
        elif fault.kind is Kind.LATE:
            now = asyncio.get_running_loop().time()
            asked = min((self._ask_times.pop(reply.ask_id, now) for reply in bent.response.replies), default=now)
            seconds = asked + fault.seconds - now
        await self._node.switch.outlast(fault, seconds)
        await self._send(bent.message)

    async def _answer_another(self, bent: _Bent) -> None:
        """Nothing is sent as long as there is nothing else to pass off."""
        other = self._node.other_than(bent.response)
        if other is not None:
            await self._send(other_answer(bent.response, other))

    async def _send_out_of_order(self, bent: _Bent) -> None:
        message = reversed_replies(bent.response)
        if self._held_back is None:
            self._held_back = message
            self._releasing = asyncio.create_task(self._release_after(bent.fault.seconds))
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
