"""Statistics beside the log: what a settlement adds to them, and the method by which auditors read them.

They are committed with the leaf that they count, so that an auditor who reads all leaves can hold one against the
other, and finds what was left out. What they may hold is said in `gateway.protocol.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.party.service import Context
from gateway.protocol.codec import parse, to_timestamp
from gateway.protocol.errors import NotFoundError
from gateway.protocol.identities import Identity
from gateway.protocol.limits import MAX_MESSAGE, MAX_STATISTICS_PER_PAGE
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import (
    StatisticKey,
    Tallies,
    beijing_day,
    bucket_of,
    read_day,
    read_key,
    write_statistic,
)
from gateway.settlement import Row, Settlement
from gateway.stores.port import Store
from heyan.v1 import log_service_pb2

_VERIFIED = frozenset({Outcome.YES, Outcome.NO})


def tally(settlement: Settlement, log_time: float) -> Tallies:
    """What the leaf of a settlement adds, recorded at `log_time` (seconds since the epoch)."""
    return Tallies(
        beijing_day(to_timestamp(log_time).seconds),
        (*(_counted(row) for row in settlement.rows), *_latencies(settlement, log_time)),
    )


def _counted(row: Row) -> StatisticKey:
    return StatisticKey(
        row.check.region,
        row.result.part.part.department,
        row.check.claim,
        int(row.status),
        row.outcome in _VERIFIED,
        row.reason.value if row.reason else "",
    )


def _latencies(settlement: Settlement, log_time: float) -> Iterator[StatisticKey]:
    """How long each department that spoke took and, if any did, the whole from the first ask to the record."""
    spoke: dict[str, Row] = {}
    for row in settlement.rows:
        if row.status.is_spoken:
            spoke.setdefault(row.result.part.part.department, row)
    for department, row in spoke.items():
        took = row.result.end_time - row.result.ask_time
        yield StatisticKey(row.check.region, department, bucket=bucket_of(took))
    if spoke:
        began = min(row.result.ask_time for row in settlement.rows)
        yield StatisticKey(settlement.rows[0].check.region, "", bucket=bucket_of(log_time - began))


class Statistics:
    """`LogService.ListStatistics`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_statistics(self, message: bytes, _peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(log_service_pb2.ListStatisticsRequest, message, MAX_MESSAGE)
        day = read_day(request.day)
        after = read_key(request.after) if request.HasField("after") else None
        count = min(request.page_size or MAX_STATISTICS_PER_PAGE, MAX_STATISTICS_PER_PAGE)
        page = self._store.statistics(day, after, count, self._shard(request.origin) if request.origin else None)
        response = log_service_pb2.ListStatisticsResponse(
            rows=[write_statistic(key, number) for key, number in page.rows],
            tree_size=page.tree_size,
            changed_size=page.changed_size,
        )
        return response.SerializeToString()

    def _shard(self, origin: str) -> int:
        found = next((head.number for head in self._store.shards() if head.origin == origin), None)
        if found is None:
            raise NotFoundError(Reason.NOT_FOUND, "no log of that origin")
        return found
