"""Refusals of authenticated peers, in the log: each as a leaf, and beyond a rate as summaries.

A peer that floods the gateway with what must be refused would otherwise grow the log at will. So each peer has
a quota of single leaves a minute; what exceeds it is counted, with the Merkle root of the refused messages'
digests, and becomes one leaf when the minute ends. The quota is apart from answers: refusals never take theirs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.party.process import Clock
from gateway.protocol.errors import HeyanError, OverloadedError
from gateway.protocol.identities import Identity
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry
from heyan.v1 import log_pb2

PERIOD = 60.0
"""Seconds of one quota."""

SINGLE_LEAVES = 60
"""Refusals of one peer in a period that get a leaf of their own."""

MAX_SUMMARISED = 100_000
"""Digests kept for one summary (3.2 MB); the summary is logged early when they are full."""

MAX_PEERS = 10_000


@dataclass(slots=True)
class _Period:
    began: float
    singles: int = 0
    summarised: list[tuple[str, str, bytes]] = field(default_factory=list)


class Refusals:
    """Records refusals, of each peer `singles` in a period as leaves of their own.

    `record` is awaited before the refusal is sent; `flush` on a timer and at the end.
    """

    def __init__(self, log: Log, stamp: LeafStamp, clock: Clock, *, singles: int = SINGLE_LEAVES) -> None:
        self._log = log
        self._singles = singles
        self._stamp = stamp
        self._clock = clock
        self._periods: dict[str, _Period] = {}

    async def record(self, peer: Identity, method: str, error: HeyanError, message: bytes) -> None:
        """Log one refusal; LogUnavailableError if that cannot be had, and then that is what the peer is told."""
        now = self._clock()
        period = self._periods.get(peer.uri)
        if period is None:
            if len(self._periods) >= MAX_PEERS:
                raise OverloadedError(Reason.OVERLOADED, "peers being refused", retry_after=PERIOD)
            period = self._periods[peer.uri] = _Period(now)
        digest = sha256(message).digest()
        if period.singles < self._singles:
            period.singles += 1
            event = log_pb2.RefusalEvent(
                peer=peer.uri, method=method, reason=error.reason.value, message_digest=digest, region=error.region
            )
            await self._log.append(Entry(self._stamp(log_pb2.LogLeaf(refusal=event))))
            return
        if len(period.summarised) >= MAX_SUMMARISED:
            await self._summarise(peer.uri, period)
        period.summarised.append((error.reason.value, error.region, digest))

    async def flush(self, *, everything: bool = False) -> None:
        """Log the summaries of periods that have ended, or of all; what cannot be logged now is kept for the next."""
        now = self._clock()
        for peer, period in list(self._periods.items()):
            if everything or now - period.began >= PERIOD:
                await self._summarise(peer, period)
                if not period.summarised:
                    self._periods.pop(peer, None)

    async def _summarise(self, peer: str, period: _Period) -> None:
        """Log what the period holds beyond its single leaves, and forget it once that is durable."""
        taken, period.summarised = period.summarised, []  # whoever comes meanwhile begins another summary
        if not taken:
            return
        counts = Counter((reason, region) for reason, region, _ in taken)
        event = log_pb2.RefusalSummaryEvent(
            peer=peer,
            counts=[
                log_pb2.ReasonCount(reason=reason, count=count, region=region)
                for (reason, region), count in sorted(counts.items())
            ],
            digests_root=root_of([leaf_hash(digest) for _, _, digest in taken]),
        )
        try:
            await self._log.append(Entry(self._stamp(log_pb2.LogLeaf(refusal_summary=event))))
        except HeyanError:
            period.summarised[:0] = taken
            raise
