"""Bringing disputes to departments until each has confirmed that it has them.

What is confirmed is known to this process only: after a restart every dispute that is not resolved is brought once
more, which changes nothing at a node that has it, and mends one that was restored from an older copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from gateway.protocol.errors import BadDataError, HeyanError
from gateway.requests import Requests
from gateway.stores.port import Store

FIRST_DELAY, LONGEST_DELAY = 1.0, 300.0
"""Seconds until a department is tried again, doubling. A dispute that it refuses waits the longest at once."""
AT_ONCE = 64
LONGEST_TURN = 5.0
"""Disputes that one department is brought in a row, and seconds after which it is brought no more of them: others wait
for their next turn until it has had its own."""

BringDispute = Callable[[str, bytes], Awaitable[None]]
"""Brings a department (its SPIFFE ID) a serialized OpenDisputeRequest; returns once it is durable there."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Pause:
    """Until when something is not tried, in seconds of the monotonic clock, and how long that was."""

    until: float
    delay: float


class DisputeRelay:
    """The disputes that departments have not confirmed. `run_once` once a second; used on one event loop."""

    def __init__(
        self,
        store: Store,
        requests: Requests,
        bring: BringDispute,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._requests = requests
        self._bring = bring
        self._time = monotonic
        self._unconfirmed: dict[bytes, str] = dict(store.open_disputes())
        self._confirmed: set[bytes] = set()
        self._paused: dict[str | bytes, _Pause] = {}

    @property
    def waiting(self) -> int:
        """How many disputes no department has confirmed since this process started."""
        return len(self._unconfirmed)

    def load(self) -> None:
        """Learn from the store of disputes that other processes opened, or that a commit which seemed to fail has."""
        still_open = self._store.open_disputes()
        self._confirmed.intersection_update(still_open)
        for dispute_id, department in still_open.items():
            if dispute_id not in self._confirmed:
                self._unconfirmed.setdefault(dispute_id, department)

    def add(self, dispute_id: bytes, department: str) -> None:
        """A dispute that is durable in the store."""
        self._unconfirmed[dispute_id] = department

    def end(self, dispute_id: bytes) -> None:
        """A dispute that its department has, or has resolved."""
        self._unconfirmed.pop(dispute_id, None)
        self._paused.pop(dispute_id, None)

    async def run_once(self) -> None:
        """Bring departments what they have not confirmed, as far as it is time to try; departments side by side."""
        by_department: dict[str, list[bytes]] = {}
        for name, department in self._unconfirmed.items():
            if not self._pausing(department) and not self._pausing(name):
                by_department.setdefault(department, []).append(name)
        await asyncio.gather(*(self._bring_to(department, names) for department, names in by_department.items()))

    async def _bring_to(self, department: str, names: list[bytes]) -> None:
        until = self._time() + LONGEST_TURN
        for name in names[:AT_ONCE]:
            if self._time() > until:
                return
            stored = self._store.dispute(name)
            if stored is None or stored.disputed.corrected is not None or not stored.relay:  # or it was erased
                self.end(name)
                continue
            try:
                message = self._requests.kept.decrypt(stored.grant_digest, stored.relay, bound_to(name))
            except HeyanError as error:
                _log.error("dispute_unreadable", department=department, detail=error.detail)
                self._pause(name, LONGEST_DELAY)
                continue
            try:
                await self._bring(department, message)
            except BadDataError as error:
                _log.error("dispute_refused", department=department, reason=error.reason.value, detail=error.detail)
                self._pause(name, LONGEST_DELAY)
            except HeyanError as error:
                _log.warning("dispute_not_brought", department=department, reason=error.reason.value)
                self._pause(department, FIRST_DELAY)
                return
            else:
                self._paused.pop(department, None)
                self._confirmed.add(name)
                self.end(name)

    def _pausing(self, what: str | bytes) -> bool:
        pause = self._paused.get(what)
        return pause is not None and self._time() < pause.until

    def _pause(self, what: str | bytes, first: float) -> None:
        earlier = self._paused.get(what)
        delay = first if earlier is None else min(2 * earlier.delay, LONGEST_DELAY)
        self._paused[what] = _Pause(self._time() + delay, delay)


def bound_to(dispute_id: bytes) -> bytes:
    """What the encrypted message of a dispute is bound to."""
    return b"dispute\x00" + dispute_id
