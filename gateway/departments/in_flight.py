"""What a node was asked and has not answered: how long exchanges take, and how long the node has been silent.

Only an answer to what was asked breaks a silence; whatever else a node sends does not. Times are seconds of a steady
clock, given by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.batching import smooth


class InFlight:
    """Asks that were sent over one stream, by ask_id, oldest first. A new one is made for each opening."""

    def __init__(self, now: float) -> None:
        self._sent: dict[int, float] = {}
        self._heard = now
        self._exchange = 0.0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def exchange(self) -> float:
        """The usual time, in seconds, from sending an ask to its answer; 0 before the first."""
        return self._exchange

    def sent(self, ask_ids: Iterable[int], now: float) -> None:
        """These asks have just been sent."""
        self._sent.update(dict.fromkeys(ask_ids, now))

    def hear(self, ask_ids: Iterable[int], now: float) -> bool:
        """A message speaks of these asks; whether any of them was waited for."""
        asked = [self._sent[ask_id] for ask_id in ask_ids if ask_id in self._sent]
        if not asked:
            return False
        self._heard = now
        self._exchange = smooth(self._exchange, now - min(asked))
        return True

    def end(self, ask_id: int) -> None:
        """An ask has ended, one way or another."""
        self._sent.pop(ask_id, None)

    def silence(self, now: float) -> float:
        """Seconds for which the node has said nothing, although it was asked something; 0 if it owes nothing."""
        asked = next(iter(self._sent.values()), None)
        return 0.0 if asked is None else now - max(asked, self._heard)
