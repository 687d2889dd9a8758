"""Statistics of a log: how often checks ended how, and how long answers took, by Beijing day, county and department.

The log hides outcomes on purpose, so what an assessment needs of them is counted beside it. A row names no person,
request, grant or leaf, and does not tell YES from NO: a county with one application on a day would otherwise publish
its answer. Gateway and auditor count by the same rules, which stand here:

- the day is that of the leaf's `log_time` in Beijing (UTC+8 all year), in whole seconds, so that a fraction rounds
  into no other day;
- each row of a verification leaf counts once, under its own county;
- a department's latency counts once for each leaf in which it spoke, the application's once for each leaf in which any
  did; the county is that of the department's first row, or of the leaf's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Reason
from heyan.v1 import log_service_pb2

DAY = 86_400
_BEIJING_OFFSET = 8 * 3_600
_EPOCH = date(1970, 1, 1).toordinal()

BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)
"""Upper bounds of the latency buckets in seconds, each included; one more bucket is open. Part of the contract."""

MAX_COUNT = (1 << 63) - 1
"""What a signed 64-bit column holds."""


class StatisticKey(NamedTuple):
    """What a row counts, and with it the order of rows. SPIFFE ID of the node, empty for the whole application.

    A row of latencies has no claim, status, verdict or reason; any other has no bucket.
    """

    region: str
    department: str
    claim: str = ""
    status: int = 0
    verified: bool = False
    """Of an answered check: whether the answer was YES or NO."""
    reason: str = ""
    bucket: int = 0

    @property
    def is_latency(self) -> bool:
        """Whether the row counts answers by how long they took."""
        return not self.claim


@dataclass(frozen=True, slots=True)
class Tallies:
    """What one leaf adds: each key counts one, on `day` (YYYY-MM-DD)."""

    day: str
    keys: tuple[StatisticKey, ...]

    def kept_back(self, reason: Reason) -> Tallies:
        """The same for the leaf that records every statement as not released."""
        return Tallies(self.day, tuple(_kept_back(key, reason) for key in self.keys))


@dataclass(frozen=True, slots=True)
class StatisticsPage:
    """Rows of one day with their counts, ascending.

    They are as of a log of `tree_size` leaves; `changed_size` is its size when the day last changed, 0 if never.
    """

    rows: Sequence[tuple[StatisticKey, int]]
    tree_size: int
    changed_size: int


def _kept_back(key: StatisticKey, reason: Reason) -> StatisticKey:
    if key.is_latency or not CheckStatus(key.status).has_statement:
        return key
    return key._replace(status=int(CheckStatus.WITHHELD), verified=False, reason=reason.value)


def beijing_day(seconds: int) -> str:
    """The day (YYYY-MM-DD) of whole seconds since the epoch, from midnight to midnight in Beijing."""
    return _day_of((seconds + _BEIJING_OFFSET) // DAY)


@lru_cache(maxsize=1024)
def _day_of(number: int) -> str:
    return date.fromordinal(_EPOCH + number).isoformat()


def read_day(text: str, field: str = "day", reason: Reason = Reason.MESSAGE_MALFORMED) -> str:
    """A day as YYYY-MM-DD and no other way of writing it; MalformedError naming `field`."""
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass  # said below, as for the other ways of writing a day
    raise MalformedError.at(field, "must be a day, YYYY-MM-DD / 应为日期，如 2027-06-01", reason)


def days_between(first: str, end: str) -> tuple[str, ...]:
    """The days from `first` on, before `end`."""
    ordinals = range(date.fromisoformat(first).toordinal(), date.fromisoformat(end).toordinal())
    return tuple(date.fromordinal(number).isoformat() for number in ordinals)


# -- latencies ----------------------------------------------------------------------------------------------


def bucket_of(seconds: float) -> int:
    """The bucket of a latency; one below 0, of a clock that was set back, is in the first."""
    return bisect_left(BUCKETS, seconds)


def percentile(counts: Sequence[int], share: float) -> float | None:
    """The latency in seconds that `share` (0 to 1) of the counted answers did not exceed; None if there is none.

    Answers are taken to lie evenly within their bucket (linear interpolation). What lies in the open bucket took
    longer than the last bound, and that bound is returned.
    """
    total = sum(counts)
    if total == 0:
        return None
    wanted, below = share * total, 0
    for count, (lower, upper) in zip(counts, pairwise((0.0, *BUCKETS)), strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * max(0.0, wanted - below) / count
        below += count
    return BUCKETS[-1]


# -- on the wire --------------------------------------------------------------------------------------------


def write_statistic(key: StatisticKey, count: int) -> log_service_pb2.Statistic:
    """The message of a row."""
    return log_service_pb2.Statistic(
        region=key.region,
        department=key.department,
        claim=key.claim,
        status=key.status,  # type: ignore[arg-type]
        verified=key.verified,
        reason=key.reason,
        bucket=key.bucket,
        count=count,
    )


def read_key(message: log_service_pb2.Statistic) -> StatisticKey:
    """What a row counts; MalformedError for one that no leaf could have added."""
    key = StatisticKey(
        message.region,
        message.department,
        message.claim,
        int(message.status),
        message.verified,
        message.reason,
        message.bucket,
    )
    if key.is_latency:
        well = not (key.status or key.verified or key.reason) and key.bucket <= len(BUCKETS)
    else:
        known = key.status in _STATUSES and not key.bucket
        well = known and (not key.verified or key.status == CheckStatus.ANSWERED)
    if not well:
        raise MalformedError.at("statistic", "must be of checks with their status, or of latencies with their bucket")
    return key


def read_rows(messages: Iterable[log_service_pb2.Statistic]) -> tuple[tuple[StatisticKey, int], ...]:
    """Rows with their counts, at least 1 each; MalformedError."""
    rows = tuple((read_key(message), message.count) for message in messages)
    if any(not 0 < count <= MAX_COUNT for _, count in rows):
        raise MalformedError.at("statistic.count", "must be at least 1 and below 2^63")
    return rows


_STATUSES = frozenset(int(status) for status in CheckStatus)
