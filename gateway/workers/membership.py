"""How a process of a gateway stands to the others on its port and store: its share of bounds, and who leads.

A bound on the gateway as a whole is divided: each of N processes has an Nth of it, rounded up. Connections are spread
by the system without looking at load, so that a requester with one connection has an Nth of what it has alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.allowance import Allowance
from gateway.protocol.reasons import Reason


async def _at_once() -> None:
    """A process that is alone leads from the beginning."""


def _to_nobody(_grant_digest: bytes) -> None:
    """There is nobody else to tell."""


@dataclass(frozen=True, slots=True)
class Membership:
    """One of `workers` processes.

    `lead` returns once this one leads, which it does until it ends; `tell_withdrawn` has the others told of a grant
    (its digest) that was reported here as withdrawn.
    """

    workers: int = 1
    lead: Callable[[], Awaitable[None]] = _at_once
    tell_withdrawn: Callable[[bytes], None] = _to_nobody

    @property
    def is_alone(self) -> bool:
        """Whether nobody else uses the port and, as far as is known, the store."""
        return self.workers == 1

    def share(self, whole: int) -> int:
        """This process's part of a bound on all; at least 1."""
        return -(-whole // self.workers)

    def allowance(self, burst: float, per_second: float, reason: Reason) -> Allowance:
        """This process's part of what a peer may do so often and no more."""
        return Allowance(max(1.0, burst / self.workers), per_second / self.workers, reason)


ALONE = Membership()
"""The one process of a gateway that has no workers."""
