"""Grants and their evidence in the SQLite store: functions on its connections, within its transactions.

A grant has one row, which says one of three things: that its uses are counted and nothing else is kept (no key), what
is kept of it (its key in a slot), or that this was erased (an empty key, `erased_until`). Days are of UTC since 1970.
"""

from __future__ import annotations

import sqlite3

from gateway.stores import sqlite_key_slots
from gateway.stores.records import Entry, Evidence
from gateway.stores.sqlite_key_slots import HELD, from_slot

DAY = 86_400
"""Seconds: retention is counted in days, which makes its index small."""
ERASED = b""
"""A wrapped key that is none any more."""


def day_of(seconds: float) -> int:
    """The day of a time, in seconds since the epoch."""
    return int(seconds // DAY)


def number_of(writer: sqlite3.Connection, grant_digest: bytes) -> int:
    """The number of a grant, which gets one if it has none."""
    row = writer.execute("SELECT id FROM grants WHERE digest = ?", (grant_digest,)).fetchone()
    if row is not None:
        return int(row[0])
    return int(writer.execute("INSERT INTO grants (digest, kept_day) VALUES (?, 0)", (grant_digest,)).lastrowid or 0)


def is_erased(connection: sqlite3.Connection, entry: Entry) -> bool:
    """Whether anything that the entry rests on was erased."""
    digests = {item.grant_digest for item in entry.evidence}
    keys = set()
    if entry.request is not None:
        digests.add(entry.request.grant_digest)
        keys.add((entry.request.key.requester, entry.request.key.request_id))
    if entry.ticket is not None:
        digests.add(entry.ticket.ticket.grant_digest)
        keys.add((entry.ticket.ticket.key.requester, entry.ticket.ticket.request_id))
    if entry.dispute is not None:
        digests.add(entry.dispute.grant_digest)
        keys.add((entry.dispute.key.requester, entry.dispute.key.request_id))
    erased = "SELECT 1 FROM grants WHERE digest = ? AND erased_until IS NOT NULL"
    emptied = (
        "SELECT 1 FROM request_rows WHERE peer = (SELECT id FROM peers WHERE uri = ?) AND request_id = ?"
        " AND state = x''"
    )
    return any(connection.execute(erased, (digest,)).fetchone() for digest in digests) or any(
        connection.execute(emptied, key).fetchone() for key in keys
    )


def keep(writer: sqlite3.Connection, entry: Entry) -> tuple[Evidence, ...]:
    """Store the entry's evidence; what is there already under another key is returned and nothing is stored."""
    held = [find(writer, item.grant_digest) for item in entry.evidence]
    clash = tuple(
        other
        for item, other in zip(entry.evidence, held, strict=True)
        if other is not None and (other.wrapped_key != item.wrapped_key or item.replaces not in (b"", other.ciphertext))
    )
    if clash:
        return clash
    for item, other in zip(entry.evidence, held, strict=True):
        if other is None:
            writer.execute(
                "INSERT INTO grants (digest, kept_day, wrapped_key, ciphertext) VALUES (?, ?, ?, ?) ON CONFLICT"
                " DO UPDATE SET kept_day = max(kept_day, excluded.kept_day), wrapped_key = excluded.wrapped_key,"
                " ciphertext = excluded.ciphertext",
                (item.grant_digest, day_of(item.kept_from), HELD, item.ciphertext),
            )
            sqlite_key_slots.put(writer, number_of(writer, item.grant_digest), item.wrapped_key)
            continue
        if item.replaces:
            writer.execute("UPDATE grants SET ciphertext = ? WHERE digest = ?", (item.ciphertext, item.grant_digest))
        day = day_of(item.kept_from)
        writer.execute(
            "UPDATE grants SET kept_day = ? WHERE digest = ? AND kept_day < ?", (day, item.grant_digest, day)
        )
    keep_longer(writer, entry)
    return ()


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
