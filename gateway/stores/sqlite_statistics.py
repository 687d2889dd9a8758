"""The statistics of the SQLite store: counted in the transaction of the leaves, read as of one moment.

Each log has its own, so that whoever reads all leaves of one can hold them against these.
A group's tallies are added up before they are written: a commit writes each row once, however many entries count
under it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable

from gateway.protocol.statistics import StatisticKey, StatisticsPage, Tallies
from gateway.stores.records import Head
from gateway.stores.sqlite_rows import insert

_COLUMNS = "region, department, claim, status, verified, reason, bucket"


def add_tallies(connection: sqlite3.Connection, tallies: Iterable[Tallies], head: Head) -> None:
    """Count what a group of leaves adds to a log, within its transaction; `head` is the log's with the group."""
    days: defaultdict[str, Counter[StatisticKey]] = defaultdict(Counter)
    for each in tallies:
        days[each.day].update(each.keys)
    insert(
        connection,
        "statistics",
        [(head.number, day, *key, count) for day, counts in days.items() for key, count in counts.items()],
        "ON CONFLICT DO UPDATE SET count = count + excluded.count",
    )
    insert(
        connection,
        "statistics_days",
        [(head.number, day, head.size) for day in days],
        "ON CONFLICT DO UPDATE SET changed_size = excluded.changed_size",
    )


def read_page(
    connection: sqlite3.Connection, day: str, after: StatisticKey | None, count: int, shard: int | None
) -> StatisticsPage:
    """Up to `count` rows of a day, the first of them or those after a row, and the log that they are as of."""
    connection.execute("BEGIN")  # one snapshot for all three
    try:
        number, size = connection.execute(
            "SELECT number, size FROM shards WHERE number = ? OR ? IS NULL ORDER BY number DESC LIMIT 1", (shard, shard)
        ).fetchone() or (0, 0)
        changed = connection.execute(
            "SELECT changed_size FROM statistics_days WHERE shard = ? AND day = ?", (number, day)
        ).fetchone()
        beyond = f" AND ({_COLUMNS}) > (?, ?, ?, ?, ?, ?, ?)" if after is not None else ""
        rows = connection.execute(
            f"SELECT {_COLUMNS}, count FROM statistics WHERE shard = ? AND day = ?{beyond} ORDER BY {_COLUMNS} LIMIT ?",  # noqa: S608 - names of columns
            (number, day, *(after or ()), count),
        ).fetchall()
    finally:
        connection.execute("COMMIT")
    found = [
        (StatisticKey(region, department, claim, status, bool(verified), reason, bucket), number)
        for region, department, claim, status, verified, reason, bucket, number in rows
    ]
    return StatisticsPage(found, size, changed[0] if changed else 0)
