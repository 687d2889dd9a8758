"""What a peer may do so often and no more: a token bucket for each peer, on a clock that is given.

Bounds what costs the log a leaf and the peer nothing: queries that no department answered, which spend no use, and
withdrawals. An ordinary requester never meets it; one that probes or loops is told when to come back.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.protocol.errors import OverloadedError
from gateway.protocol.reasons import Reason


@dataclass(slots=True)
class _Bucket:
    spent: float
    at: float


class Allowance:
    """`burst` at once, and `per_second` in the long run, for each peer (SPIFFE ID; a registry lists only so many)."""

    def __init__(self, burst: float, per_second: float, reason: Reason) -> None:
        self._burst = burst
        self._per_second = per_second
        self._reason = reason
        self._buckets: dict[str, _Bucket] = {}

    def require(self, peer: str, now: float) -> None:
        """OverloadedError (the reason given) with the seconds after which something is left, if nothing is."""
        over = self._spent(peer, now) + 1 - self._burst
        if over > 0:
            raise OverloadedError(self._reason, "allowance", retry_after=over / self._per_second)

    def spend(self, peer: str, now: float) -> None:
        """Count one; may go beyond what is left, for something that turned out so only in the end."""
        self._buckets[peer] = _Bucket(self._spent(peer, now) + 1, now)

    def _spent(self, peer: str, now: float) -> float:
        bucket = self._buckets.get(peer)
        if bucket is None:
            return 0.0
        bucket.at = min(bucket.at, now)  # a clock set back refills nothing, and what comes back does so from now on
        elapsed = now - bucket.at
        return max(0.0, bucket.spent - elapsed * self._per_second)
