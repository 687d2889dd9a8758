"""Counts of what each peer holds of a bounded thing, and who may hold more: no more than is free.

Alone a peer gets half; n that all want more get an equal share each, and as much stays free for the next one who
comes. This is the dynamic threshold of Choudhury and Hahne (IEEE/ACM Transactions on Networking 6, 1998) with factor 1;
it needs no list of who is there.
"""

from __future__ import annotations

from collections import Counter


class Shares:
    """What each peer holds. The bound is told at each question, because it may move."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self.taken = 0

    def of(self, peer: str) -> int:
        """What `peer` holds."""
        return self._held.get(peer, 0)

    def fits(self, peer: str, count: int, bound: int) -> bool:
        """Whether `peer` may hold `count` more of `bound`."""
        return self.of(peer) + count <= bound - self.taken

    def add(self, peer: str, count: int) -> None:
        """`peer` holds so many more."""
        self.taken += count
        self._held[peer] += count

    def remove(self, peer: str, count: int) -> None:
        """`peer` holds so many less."""
        self.taken -= count
        self._held[peer] -= count
        if not self._held[peer]:
            del self._held[peer]
