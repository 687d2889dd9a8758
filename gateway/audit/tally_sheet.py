"""Leaves and statistics counted side by side, day by day, and where they differ.

The gateway counts when it commits; whoever has all leaves can count for themselves. What the leaves do not say (the
verdict, the latency's bucket) is summed over, so that every count of the statistics is held against the leaves:
one that was dropped, added, changed or moved to another day is a `Difference`. A day's statistics are as of one size
of the log; leaves from there on are not counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey
from heyan.v1 import log_pb2

MAX_ROWS = 2_000_000
"""Rows of a window: a province has up to 10,000 a day. Beyond it a gateway feeds its auditor without end."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where statistics and leaves of a day disagree: what the statistics say, and how many the leaves hold."""

    day: str
    key: StatisticKey
    """Without verdict and bucket."""
    counted: int
    logged: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many rows were compared, and how many are alike."""

    alike: int
    compared: int


class TallySheet:
    """The days of a window. Statistics first, then leaves in order."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._counted: dict[str, Counter[StatisticKey]] = {}
        self._logged: defaultdict[str, Counter[StatisticKey]] = defaultdict(Counter)
        self._rows = 0
        self._keys: dict[StatisticKey, StatisticKey] = {}
        """Each key once, whatever the number of days: 150 days of a province are half a million rows."""

    def add_day(self, day: str, rows: Iterable[tuple[StatisticKey, int]], size: int) -> None:
        """The statistics of a day, as of a log of `size` leaves; ForgedError if a row stands twice or out of order."""
        counts: Counter[StatisticKey] = Counter()
        latest: StatisticKey | None = None
        for key, count in rows:
            if latest is not None and key <= latest:
                raise ForgedError(Reason.STATISTICS_INVALID, f"{day}: a row stands twice, or out of order")
            self._admit_row()
            latest = key
            counts[self._once(key)] = count
        self._counted[day] = counts
        self._sizes[day] = size

    @property
    def largest(self) -> int:
        """The largest size of the log that a day's statistics are as of."""
        return max(self._sizes.values(), default=0)

    def covers(self, day: str, index: int) -> bool:
        """Whether the leaf of that index and day is one that the statistics count."""
        return index < self._sizes.get(day, 0)

    def add_leaf(self, day: str, event: log_pb2.VerificationEvent) -> None:
        """Count the rows of a leaf as the gateway should have."""
        logged = self._logged[day]
        for key in keys_of(event):
            if key not in logged:
                self._admit_row()
            logged[self._once(key)] += 1

    def rows(self) -> Iterator[tuple[StatisticKey, int]]:
        """All statistics, summed over the days."""
        total: Counter[StatisticKey] = Counter()
        for counts in self._counted.values():
            total.update(counts)
        yield from total.items()

    def differences(self) -> list[Difference]:
        """Every row of a day on which the two disagree, in order."""
        return [
            Difference(day, key, counted.get(key, 0), logged.get(key, 0))
            for day, counted, logged in self._sides()
            for key in sorted(counted.keys() | logged.keys())
            if counted.get(key, 0) != logged.get(key, 0)
        ]

    def agreement(self) -> dict[tuple[str, str], Agreement]:
        """By county and department (empty: the whole application), summed over the days."""
        compared: Counter[tuple[str, str]] = Counter()
        alike: Counter[tuple[str, str]] = Counter()
        for _, counted, logged in self._sides():
            for key in counted.keys() | logged.keys():
                compared[key.region, key.department] += 1
                alike[key.region, key.department] += counted.get(key, 0) == logged.get(key, 0)
        return {place: Agreement(alike[place], count) for place, count in compared.items()}

    def _sides(self) -> Iterator[tuple[str, Mapping[StatisticKey, int], Mapping[StatisticKey, int]]]:
        for day in sorted(self._counted):
            counted: Counter[StatisticKey] = Counter()
            for key, count in self._counted[day].items():
                counted[key._replace(verified=False, bucket=0)] += count
            yield day, counted, self._logged.get(day, Counter())

    def _admit_row(self) -> None:
        """Leaves and statistics of an honest gateway have the same rows, so each side may have as many."""
        self._rows += 1
        if self._rows > 2 * MAX_ROWS:
            raise ForgedError(Reason.STATISTICS_INVALID, "more rows than a province has")

    def _once(self, key: StatisticKey) -> StatisticKey:
        return self._keys.setdefault(key, key)


def keys_of(event: log_pb2.VerificationEvent) -> Iterator[StatisticKey]:
    """What a leaf adds to the statistics, without verdict and bucket (`gateway.protocol.statistics`)."""
    spoke: dict[str, str] = {}
    for row in event.checks:
        status = CheckStatus(int(row.status))
        yield StatisticKey(row.region, row.department, row.claim, int(status), reason=row.reason)
        if status.is_spoken:
            spoke.setdefault(row.department, row.region)
    for department, region in spoke.items():
        yield StatisticKey(region, department)
    if spoke:
        yield StatisticKey(event.checks[0].region, "")
