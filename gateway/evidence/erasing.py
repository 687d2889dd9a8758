"""Erasing evidence: keys of grants destroyed for good, on the record, and what was waiting under them ended first.

    end what waits → leaf and destruction in one transaction → forget the keys here → empty the write-ahead log

- The leaf names each grant by the tag that its own leaves bear, so that an auditor sees which rows have nothing behind
  them any more. The tags follow from the keys, so a key that cannot be unwrapped now is not erased now.
- What waits for departments is ended on the record first (UNAVAILABLE, EVIDENCE_ERASED); if the process ends between
  the two commits, erasing again goes on where it stopped.
- Offline tickets and what departments were to be brought of disputes go with the keys. The leaves that record them
  stand, and so do the counts that keep a valid grant from being used afresh.

Used by the gateway (retention) and beside it (`heyan gateway erase`): two processes may erase at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, unique

import structlog

from consent.grant import peek
from gateway.ending import Endings
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.protocol.errors import HeyanError, LogUnavailableError
from gateway.protocol.leaf import Tags, derive_leaf_key
from gateway.protocol.leaf_events import MAX_ERASED
from gateway.protocol.reasons import Reason
from gateway.requests import Requests
from gateway.stores.keeping import Keeping
from gateway.stores.port import Store
from gateway.stores.records import Entry, Erasure, Evidence, RequestKey
from heyan.v1 import log_pb2


@unique
class Ground(IntEnum):
    """Why evidence is destroyed. Numbers are those of `heyan.v1.ErasureGround`."""

    RETENTION_OVER = 1
    LAWFUL_REQUEST = 2


REMEMBERED = 30 * 86_400.0
"""Seconds for which at least it is remembered that evidence was erased, so that whoever asks is told what became of it;
longer for a grant that is still valid."""
_ATTEMPTS = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure destroyed: how many keys, of how many grants that were asked for, and where its leaves stand."""

    grants: int
    leaf_indexes: tuple[int, ...]


class Eraser:
    """Erases grants, on one event loop; `forget` is told of each whose key is destroyed."""

    def __init__(
        self,
        *,
        store: Store,
        keeping: Keeping,
        log: Log,
        requests: Requests,
        stamp: LeafStamp,
        endings: Endings,
        forget: Callable[[bytes], None],
    ) -> None:
        self._store = store
        self._keeping = keeping
        self._log = log
        self._requests = requests
        self._stamp = stamp
        self._endings = endings
        self._forget = forget

    async def erase(self, grant_digests: Sequence[bytes], ground: Ground) -> Erased:
        """Erase what is held of these grants, up to MAX_ERASED at once; durable when this returns.

        What is erased already, or was never here, is passed over. LogUnavailableError, and nothing of the group is
        erased, if the log cannot record or a key cannot be unwrapped.
        """
        done, indexes = 0, list[int]()
        for start in range(0, len(grant_digests), MAX_ERASED):
            erased, index = await self._erase_group(grant_digests[start : start + MAX_ERASED], ground)
            done += erased
            indexes += [] if index is None else [index]
        return Erased(done, tuple(indexes))

    async def _erase_group(self, digests: Sequence[bytes], ground: Ground) -> tuple[int, int | None]:
        for _ in range(_ATTEMPTS):
            held = self._held(digests)
            if not held:
                return 0, None
            await self._unwrap(held.values())
            unended: frozenset[RequestKey] = frozenset()
            for digest in held:
                unended |= await self._end_what_waits(digest)
            tags = sorted(self._tag(evidence) for evidence in held.values())
            event = log_pb2.ErasureEvent(ground=ground.value, grant_tags=tags)  # type: ignore[arg-type]
            entry = Entry(self._stamp(log_pb2.LogLeaf(erasure=event)), erasure=Erasure(self._remembered(held), unended))
            committed = await self._log.append(entry)
            for digest in held:
                self._forget(digest)
            if not committed.overtaken:  # by whoever erased some of them, or began to wait for something
                _log.info("evidence_erased", grants=len(held), leaf=committed.leaf_index)
                return len(held), committed.leaf_index
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "others erase the same", retry_after=1.0)

    def _held(self, digests: Sequence[bytes]) -> Mapping[bytes, Evidence]:
        found = {digest: self._store.evidence(digest) for digest in digests}
        return {digest: held for digest, held in found.items() if held is not None and not held.is_erased}

    def _tag(self, evidence: Evidence) -> bytes:
        key = self._requests.kept.key_of(evidence)
        return Tags(derive_leaf_key(key)).grant(evidence.grant_digest)

    def _remembered(self, held: Mapping[bytes, Evidence]) -> Mapping[bytes, float]:
        least = self._stamp.clock() + REMEMBERED
        return {digest: max(least, self._expiry(evidence)) for digest, evidence in held.items()}

    def _expiry(self, evidence: Evidence) -> float:
        """When the grant expires; as far as retention counted, that is never later than what it counts from."""
        try:
            return float(peek(self._requests.kept.presentation(evidence).grant).exp)
        except HeyanError:  # the text was changed, and its key is to be destroyed all the same
            _log.error("evidence_unreadable", detail="a grant was changed; its key is destroyed")
            return evidence.kept_from + REMEMBERED

    async def _unwrap(self, held: Iterable[Evidence]) -> None:
        """Have the keys at hand: a device is asked beside the event loop."""
        if self._requests.kept.waits:
            await asyncio.to_thread(lambda: [self._requests.kept.key_of(evidence) for evidence in held])

    async def _end_what_waits(self, digest: bytes) -> frozenset[RequestKey]:
        """End it on the record; the requests of which that cannot be done, because what is kept does not open."""
        unended = set()
        for key in self._keeping.requests_on(digest):
            waiting = self._keeping.waiting_request(key)
            if waiting is None:
                continue
            try:
                self._requests.find(key)
                message = self._requests.deferred_message(waiting)
            except LogUnavailableError as error:  # a row was changed, which must not keep what the law has end
                if self._log.complaint is not None:
                    raise
                _log.error("evidence_unreadable", detail=error.detail)
                unended.add(key)
                continue
            if message is not None:
                await self._endings.end_message(message, key, Reason.EVIDENCE_ERASED)
        return frozenset(unended)
