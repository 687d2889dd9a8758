"""What is kept for a time and then destroyed: the port of retention, erasure, and new key-encryption keys.

Durability contract, beside that of `gateway.stores.port`:

- An erasure is committed with the leaf that tells it, by `Store.commit`, or not at all. When that returns, the wrapped
  keys are in no row any more, nor is anything that they encrypt; `sweep` then takes them out of the write-ahead log.
- Of an erased grant stay its digest, and how often it was used, until it has expired for good: it is never usable
  afresh. Of a request that rested on it stays that there was one.
- A key is rewrapped only if it still is what it was when it was read: what was erased meanwhile stays erased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.stores.records import Evidence, RequestKey, Waiting


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A wrapped evidence key, and its position among all, which never changes."""

    position: int
    grant_digest: bytes
    wrapped_key: bytes


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """A key under another key-encryption key."""

    grant_digest: bytes
    before: bytes
    after: bytes


class Keeping(Protocol):
    """Reads from any thread; `rewrap`, `purge`, `set_mark` and `sweep` from the one that commits."""

    def due(self, before: float, skip: int, count: int) -> Sequence[Evidence]:
        """Up to `count` grants whose retention counts from before a time, oldest first, after `skip` of them."""
        ...

    def requests_on(self, grant_digest: bytes) -> Sequence[RequestKey]:
        """Every request that rests on a grant, also those of which nothing is left."""
        ...

    def grants_of(self, key: RequestKey) -> Sequence[bytes]:
        """The digests of the grants that a request rests on, the one of its state first; none if there is none."""
        ...

    def waiting_request(self, key: RequestKey) -> Waiting | None:
        """What a request waits for; None if for nothing."""
        ...

    def held_keys(self, after: int, count: int) -> Sequence[HeldKey]:
        """Up to `count` wrapped keys at positions after `after`, in their order."""
        ...

    def rewrap(self, keys: Sequence[Rewrapped]) -> int:
        """Put keys in the place of what they were, durably; how many still were that."""
        ...

    def purge(self, since: float, expired: float, erased: float, count: int) -> int:
        """Delete what no rule needs any more, of up to `count` grants or requests each, durably; how many rows.

        Uses of grants that expired before `expired`, among those whose retention counts from `since` on; requests
        that were asked until before `erased`, whose grant was erased and is remembered until before `expired`; such
        grants, once no request is left.
        """
        ...

    def mark(self, name: str) -> float | None:
        """A number that a recurring task left for the next time."""
        ...

    def set_mark(self, name: str, value: float) -> None:
        """Leave it, durably."""
        ...

    def sweep(self) -> bool:
        """Move everything out of the write-ahead log and empty it; False if somebody reads from it just now."""
        ...
