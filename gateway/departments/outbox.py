"""What waits to be sent to a node, and when it goes: asks and acknowledgements, batched by `gateway.batching`.

Acknowledgements keep nobody waiting, so they ride with the next asks, or go by themselves after a while. Both are
bounded in number, and asks in bytes too: whoever comes when it is full is told so at once. No I/O and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.batching import Batching
from gateway.protocol.limits import MAX_ASKS_PER_BATCH, MAX_MESSAGE
from heyan.v1 import department_service_pb2 as pb

ASK_LIMIT = 2_048
"""Asks that wait for one channel: several times what all places of a gateway usually ask of one node."""
BYTE_LIMIT = 64 << 20
"""Bytes of asks that wait for one channel; an ordinary ask has about 8 KiB."""
ACKNOWLEDGEMENT_LIMIT = 4_096
"""Acknowledgements that wait. Beyond it they are dropped: the node sends their batches again."""
MESSAGE_BUDGET = MAX_MESSAGE * 3 // 4
"""Bytes of one message, below the node's limit for it."""
ACKNOWLEDGEMENT_PATIENCE = 0.1
"""Seconds that an acknowledgement waits for asks to ride with."""
ACKNOWLEDGEMENTS_PER_MESSAGE = 256
"""As many; fewer where their checkpoints are large, with post-quantum signatures and many witnesses."""
_FRAMING = 8
"""Bytes around a message within another, at most."""

BATCHING = Batching(full=MAX_ASKS_PER_BATCH, longest=0.025)


@dataclass(frozen=True, slots=True)
class _Waiting:
    message: pb.Ask
    size: int
    since: float


class Outbox:
    """Waiting asks by ask_id, oldest first, and waiting acknowledgements. Times are seconds of a steady clock."""

    def __init__(self, batching: Batching = BATCHING) -> None:
        self._batching = batching
        self._asks: dict[int, _Waiting] = {}
        self._bytes = 0
        self._acknowledgements: list[pb.Acknowledgement] = []
        self._acknowledging_since = 0.0

    def __len__(self) -> int:
        return len(self._asks) + len(self._acknowledgements)

    @property
    def is_news(self) -> bool:
        """Whether what was added last can have changed when the next message goes."""
        return len(self._asks) == 1 or len(self) == 1

    @property
    def is_full(self) -> bool:
        """Whether a batch is full: it need not wait for anything more."""
        return (
            len(self._asks) >= self._batching.full
            or self._bytes >= MESSAGE_BUDGET
            or len(self._acknowledgements) >= ACKNOWLEDGEMENTS_PER_MESSAGE
        )

    def add_ask(self, message: pb.Ask, now: float) -> bool:
        """Queue an ask; False if there is no room."""
        size = message.ByteSize()
        if len(self._asks) >= ASK_LIMIT or self._bytes + size > BYTE_LIMIT:
            return False
        self._asks[message.ask_id] = _Waiting(message, size, now)
        self._bytes += size
        return True

    def drop_ask(self, ask_id: int) -> None:
        """Forget an ask that nobody waits for any more, if it is still here."""
        waiting = self._asks.pop(ask_id, None)
        if waiting is not None:
            self._bytes -= waiting.size

    def add_acknowledgement(self, message: pb.Acknowledgement, now: float) -> bool:
        """Queue an acknowledgement; False if there is no room."""
        if len(self._acknowledgements) >= ACKNOWLEDGEMENT_LIMIT:
            return False
        if not self._acknowledgements:
            self._acknowledging_since = now
        self._acknowledgements.append(message)
        return True

    def due(self, now: float, *, in_flight: int, exchange: float) -> float | None:
        """Seconds until the next message shall go (0 for at once); None if nothing waits."""
        times = []
        if self._asks:
            patience = self._batching.patience(waiting=len(self._asks), in_flight=in_flight, exchange=exchange)
            times.append(next(iter(self._asks.values())).since + patience)
        if self._acknowledgements:
            times.append(self._acknowledging_since + ACKNOWLEDGEMENT_PATIENCE)
        if not times:
            return None
        return 0.0 if self.is_full else max(0.0, min(times) - now)

    def take(self, now: float) -> pb.AnswerRequest:
        """The next message: everything that waits, oldest first, as far as it fits."""
        message = pb.AnswerRequest()
        size = 0
        for acknowledgement in self._acknowledgements[:ACKNOWLEDGEMENTS_PER_MESSAGE]:
            size += acknowledgement.ByteSize() + _FRAMING
            if message.acknowledgements and size > MESSAGE_BUDGET:
                break
            message.acknowledgements.append(acknowledgement)
        del self._acknowledgements[: len(message.acknowledgements)]
        self._acknowledging_since = now
        size = message.ByteSize()
        for ask_id, waiting in list(self._asks.items())[: self._batching.full]:
            size += waiting.size
            if message.asks and size > MESSAGE_BUDGET:
                break
            message.asks.append(waiting.message)
            self.drop_ask(ask_id)
        return message
