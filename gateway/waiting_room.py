"""What waits for departments, in memory: how much may wait, and whose turn it is. The store has the whole of it.

    reserve ──► committed (waits) ──► next_for a department, or next_due ──► done ──► …
       │             ▲                                                        │
       └─ release    └────────── committed again: waits for fewer ────────────┤
                                 committed (waits for nothing): gone ◄────────┘

A request waits for its turn with each of its departments at once, and is tried for one of them at a time. After a
try it rests: FIRST_REST seconds, then twice as long each time that a try changed nothing. What must end (its time is
over, or a try was refused, or a grant was withdrawn) is due whatever departments do.

Rests are seconds of the steady clock that is given, ends are seconds since the epoch. Used on one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from gateway.protocol.limits import EXPIRY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.stores.records import RequestKey, Waiting

FIRST_REST = 2.0
LONGEST_REST = 300.0
"""Seconds between tries of one request: soon after a hiccup, and not a storm after an outage."""

AFTER_THE_END = EXPIRY_TOLERANCE + 1.0
"""Seconds after answer_until at which a request is over beyond doubt."""


MOST_STALE = 1_000
"""Turns in one queue that are no more, before they are swept out."""

Turn = tuple[float, int, RequestKey]
"""When, which turn, whose: in a heap."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many requests may wait, and how many bytes they may hold: all together, and of each requester."""

    requests: int
    size: int
    requests_each: int
    size_each: int


@dataclass(slots=True, eq=False)
class _Place:
    """A request that waits. `turn` is its number in the queues: another number there is a turn that is no more."""

    waiting: Waiting
    tries: int = 0
    turn: int = -1
    under_way: bool = False
    must_end: bool = False


@dataclass(slots=True)
class _Held:
    """How much waits: counts of requests and of bytes, by requester."""

    requests: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)

    def add(self, key: RequestKey, size: int, sign: int = 1) -> None:
        """Count one request more, or less."""
        for counted, amount in ((self.requests, sign), (self.size, sign * size)):
            counted[key.requester] += amount
            counted[""] += amount  # of all; no requester has that name


class WaitingRoom:
    """Its length is how many requests wait. `on_gone` is told of each that does no longer: why, or None if answered."""

    def __init__(
        self,
        limits: Limits,
        steady: Callable[[], float],
        jitter: Callable[[], float],
        on_gone: Callable[[Reason | None], None] = lambda _: None,
    ) -> None:
        self._limits = limits
        self._steady = steady
        self._jitter = jitter
        self._on_gone = on_gone
        self._places: dict[RequestKey, _Place] = {}
        self._reserved: dict[RequestKey, int] = {}
        self._held = _Held()
        self._by_grant: dict[bytes, set[RequestKey]] = {}
        self._queues: dict[str, list[Turn]] = {}
        self._ends: list[Turn] = []
        self._must_end: list[Turn] = []
        self._turns = count()

    def __len__(self) -> int:
        return len(self._places)

    def keys(self) -> set[RequestKey]:
        """The requests that wait."""
        return set(self._places)

    @property
    def departments(self) -> Iterable[str]:
        """The departments for which anything waits, or did of late."""
        return tuple(department for department, queue in self._queues.items() if queue)

    def waits_for(self, key: RequestKey, department: str) -> bool:
        """Whether a request waits for a department."""
        place = self._places.get(key)
        return place is not None and department in place.waiting.departments

    # -- room ---------------------------------------------------------------------------------------------------

    def reserve(self, key: RequestKey, size: int) -> bool:
        """Hold room for a request until `committed` or `release`; False if there is none. One that waits has room."""
        if key in self._places or key in self._reserved:
            return True
        limits, held, who = self._limits, self._held, key.requester
        fits = (
            held.requests[""] < limits.requests
            and held.size[""] + size <= limits.size
            and held.requests[who] < limits.requests_each
            and held.size[who] + size <= limits.size_each
        )
        if fits:
            self._reserved[key] = size
            held.add(key, size)
        return fits

    def release(self, key: RequestKey) -> None:
        """Give reserved room back, if it was not used."""
        size = self._reserved.pop(key, None)
        if size is not None:
            self._held.add(key, size, -1)

    # -- what the store has ---------------------------------------------------------------------------------------

    def committed(self, key: RequestKey, waiting: Waiting | None, ended: Reason | None = None) -> None:
        """The store keeps this of a request now: what it waits for; or nothing, because it was answered or ended."""
        place = self._places.get(key)
        if waiting is None:
            if place is not None:
                self._leave(place)
                self._on_gone(ended)
            return
        self.release(key)
        if place is None:
            self._enter(waiting)
        else:
            self._held.add(key, place.waiting.size, -1)
            self._held.add(key, waiting.size)
            place.waiting, place.tries = waiting, 0
            if not place.under_way:
                self._rest(place, FIRST_REST)

    def found(self, waiting: Waiting) -> None:
        """The store was read, and this waits in it; known or not."""
        if waiting.key not in self._places:
            self.release(waiting.key)
            self._enter(waiting)

    def lost(self, key: RequestKey) -> None:
        """The store was read, and this does not wait in it: another process has seen to it."""
        place = self._places.get(key)
        if place is not None:
            self._leave(place)

    def withdrawn(self, grant_digest: bytes) -> bool:
        """What rests on a grant is due at once, to be refused; whether anything does."""
        keys = self._by_grant.get(grant_digest, ())
        for key in keys:
            place = self._places[key]
            place.must_end = True
            if not place.under_way:  # else once its try is done
                self._rest(place, 0.0)
        return bool(keys)

    # -- turns ----------------------------------------------------------------------------------------------------

    def next_due(self, now: float) -> Waiting | None:
        """A request that must end, or whose end has passed (`now`: seconds since the epoch); None if there is none."""
        found = self._pop(self._must_end, self._steady())
        return found if found is not None else self._pop_end(now)

    def next_for(self, department: str) -> Waiting | None:
        """The request that has waited longest for its turn with a department; None if all are at rest."""
        return self._pop(self._queues.get(department, []), self._steady())

    def done(self, key: RequestKey, *, refused: bool = False) -> None:
        """A try is over. Refused for good, it is tried again though no department is ready, until it has ended."""
        place = self._places.get(key)
        if place is None:
            return
        place.under_way = False
        rest = min(FIRST_REST * 2**place.tries, LONGEST_REST) * (0.5 + 0.5 * self._jitter())
        place.tries = min(place.tries + 1, 16)
        place.must_end |= refused
        self._rest(place, rest)

    def _enter(self, waiting: Waiting) -> None:
        place = self._places[waiting.key] = _Place(waiting)
        self._held.add(waiting.key, waiting.size)
        for grant in waiting.grants:
            self._by_grant.setdefault(grant, set()).add(waiting.key)
        heappush(self._ends, self._end_of(waiting))
        if len(self._ends) > 2 * len(self._places) + MOST_STALE:
            self._ends = sorted(self._end_of(each.waiting) for each in self._places.values() if not each.must_end)
        self._rest(place, FIRST_REST * self._jitter())

    def _end_of(self, waiting: Waiting) -> Turn:
        return waiting.answer_until + AFTER_THE_END, next(self._turns), waiting.key

    def _leave(self, place: _Place) -> None:
        waiting = place.waiting
        del self._places[waiting.key]
        self._held.add(waiting.key, waiting.size, -1)
        for grant in waiting.grants:
            self._by_grant[grant].discard(waiting.key)
            if not self._by_grant[grant]:
                del self._by_grant[grant]

    def _rest(self, place: _Place, rest: float) -> None:
        """Give a request its turn after so many seconds."""
        place.turn = next(self._turns)
        item = (self._steady() + rest, place.turn, place.waiting.key)
        if place.must_end:
            self._must_end = self._with(item, self._must_end)
            return
        for department in place.waiting.departments:
            self._queues[department] = self._with(item, self._queues.get(department, []))

    def _with(self, item: Turn, queue: list[Turn]) -> list[Turn]:
        """A queue with one turn more, without those that are no more if there are many: perhaps nobody takes any here,
        because another process of the gateway asks again for all of them.
        """
        heappush(queue, item)
        if len(queue) > 2 * len(self._places) + MOST_STALE:
            return sorted(item for item in queue if self._is_turn(item))
        return queue

    def _is_turn(self, item: Turn) -> bool:
        place = self._places.get(item[2])
        return place is not None and place.turn == item[1] and not place.under_way

    def _pop(self, queue: list[Turn], until: float) -> Waiting | None:
        """The first of a queue that is due; turns that are no more are dropped on the way."""
        while queue and queue[0][0] <= until:
            item = heappop(queue)
            if self._is_turn(item):
                place = self._places[item[2]]
                place.under_way = True
                return place.waiting
        return None

    def _pop_end(self, now: float) -> Waiting | None:
        while self._ends and self._ends[0][0] <= now:
            _, _, key = heappop(self._ends)
            place = self._places.get(key)
            if place is None or place.waiting.answer_until + AFTER_THE_END > now:
                continue  # gone; or another request came under the same key
            place.must_end = True
            if not place.under_way:
                place.under_way = True
                return place.waiting
        return None
