"""Grants and their evidence in the SQLite store: functions on its connections, within its transactions.

A grant has one row, which says one of three things: that its uses are counted and nothing else is kept (no key), what
is kept of it (its key in a slot), or that this was erased (an empty key, `erased_until`). Days are of UTC since 1970.
"""

from __future__ import annotations

import sqlite3

from gateway.stores.records import Entry, Evidence
from gateway.stores.sqlite_key_slots import from_slot

DAY = 86_400
"""Seconds: retention is counted in days, which makes its index small."""
ERASED = b""
"""A wrapped key that is none any more."""


def day_of(seconds: float) -> int:
    """The day of a time, in seconds since the epoch."""
    return int(seconds // DAY)


_RESTED_ON = (
    "SELECT grant_id FROM request_rows WHERE id = :request UNION SELECT grant_id FROM further_grants WHERE"
    " request = :request"
)


def keep_longer(writer: sqlite3.Connection, entry: Entry) -> None:
    """Count retention from no earlier than the entry's ticket, dispute or resolution, of all that its request rests on.

    The request goes with the first of them that is erased, and its ticket and dispute with it.
    """
    key = None
    if entry.ticket is not None:
        key = (entry.ticket.ticket.key.requester, entry.ticket.ticket.request_id)
    elif entry.dispute is not None:
        key = (entry.dispute.key.requester, entry.dispute.key.request_id)
    elif entry.resolution is not None:
        disputed = "SELECT requester, request_id FROM disputes WHERE dispute = ?"
        key = writer.execute(disputed, (entry.resolution.dispute_id,)).fetchone()
    if key is None:
        return
    number = "SELECT id FROM request_rows WHERE peer = (SELECT id FROM peers WHERE uri = ?) AND request_id = ?"
    row = writer.execute(number, key).fetchone()
    if row is not None:
        writer.execute(
            f"UPDATE grants SET kept_day = :day WHERE id IN ({_RESTED_ON}) AND kept_day < :day",  # noqa: S608
            {"day": day_of(entry.kept_from), "request": row[0]},
        )


def find(connection: sqlite3.Connection, grant_digest: bytes) -> Evidence | None:
    """A grant's evidence, or that it was erased."""
    row = connection.execute(
        "SELECT wrapped, ciphertext, kept_day FROM grants JOIN grant_keys ON grant_id = id WHERE digest = ?"
        " AND wrapped_key IS NOT NULL",
        (grant_digest,),
    ).fetchone()
    return Evidence(grant_digest, from_slot(row[0]), row[1], float(row[2] * DAY)) if row else None
