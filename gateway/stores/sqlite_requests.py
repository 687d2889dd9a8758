"""Requests, and the uses of consent that they spend, in the SQLite store: functions on its connections.

Requesters and grants stand in rows by number, so that what stands in thousands of rows is not their names. A request
knows the grants that it rests on: that of its state, and further ones (of co-residents).
"""

from __future__ import annotations

import sqlite3

from gateway.stores import sqlite_evidence
from gateway.stores.records import Entry, RequestKey, StoredRequest, Use

_NUMBER = "SELECT id FROM request_rows WHERE peer = (SELECT id FROM peers WHERE uri = ?) AND request_id = ?"


def number_of(connection: sqlite3.Connection, key: RequestKey) -> int | None:
    """The number of a stored request."""
    row = connection.execute(_NUMBER, (key.requester, key.request_id)).fetchone()
    return int(row[0]) if row else None


def find(connection: sqlite3.Connection, key: RequestKey) -> StoredRequest | None:
    """A stored request with its leaves."""
    row = connection.execute(
        "SELECT r.id, query_digest, answer_until, digest, state FROM request_rows r JOIN grants g ON g.id = grant_id"
        " WHERE peer = (SELECT id FROM peers WHERE uri = ?) AND request_id = ?",
        (key.requester, key.request_id),
    ).fetchone()
    if row is None:
        return None
    number, query_digest, answer_until, grant_digest, state = row
    leaves = connection.execute(
        "SELECT leaf_index FROM request_leaf_rows WHERE request = ? ORDER BY leaf_index", (number,)
    ).fetchall()
    return StoredRequest(key, query_digest, answer_until, grant_digest, state, tuple(index for (index,) in leaves))


def is_overtaken(connection: sqlite3.Connection, entry: Entry) -> bool:
    """Whether the request has other leaves than the entry was made after."""
    if entry.request is None or entry.earlier_leaves is None:
        return False
    number = number_of(connection, entry.request.key)
    (count,) = connection.execute("SELECT count(*) FROM request_leaf_rows WHERE request = ?", (number,)).fetchone()
    return bool(count != entry.earlier_leaves)


def conflicts(connection: sqlite3.Connection, request: StoredRequest) -> bool:
    """Whether another query stands under the request's id."""
    row = connection.execute(
        f"SELECT query_digest FROM request_rows WHERE id = ({_NUMBER})",  # noqa: S608 - a constant
        (request.key.requester, request.key.request_id),
    ).fetchone()
    return row is not None and row[0] != request.query_digest


def newest_leaf(connection: sqlite3.Connection, key: RequestKey) -> int | None:
    """The newest leaf of a request."""
    row = connection.execute(
        "SELECT max(leaf_index) FROM request_leaf_rows WHERE request = ?", (number_of(connection, key),)
    ).fetchone()
    return None if row[0] is None else int(row[0])


def spend(writer: sqlite3.Connection, entry: Entry) -> bool:
    """Count the entry's uses that its request has not spent before; False, and none counted, if one is short."""
    if entry.request is None or not entry.uses:
        return True
    number = number_of(writer, entry.request.key)
    fresh = [use for use in entry.uses if not _has_spent(writer, number, use)]
    if any(spent(writer, use.grant_digest, use.authorization) >= use.max_uses for use in fresh):
        return False
    for use in fresh:
        writer.execute(
            "INSERT INTO use_counts VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET spent = spent + 1",
            (sqlite_evidence.number_of(writer, use.grant_digest), use.authorization, use.expire_time),
        )
    # The rows that say by whom are written with the request, which may have no number yet.
    return True


def put(writer: sqlite3.Connection, entry: Entry, index: int) -> None:
    """Write the entry's request, whose newest leaf stands at `index`, and which uses it has spent."""
    request = entry.request
    assert request is not None  # noqa: S101 - the caller looked
    key = request.key
    writer.execute("INSERT INTO peers (uri) VALUES (?) ON CONFLICT DO NOTHING", (key.requester,))
    grant = sqlite_evidence.number_of(writer, request.grant_digest)
    writer.execute(
        "INSERT INTO request_rows (peer, request_id, query_digest, answer_until, grant_id, state)"
        " VALUES ((SELECT id FROM peers WHERE uri = ?), ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET state = excluded.state",
        (key.requester, key.request_id, request.query_digest, request.answer_until, grant, request.state),
    )
    number = number_of(writer, key)
    writer.execute("INSERT INTO request_leaf_rows VALUES (?, ?)", (number, index))
    further = [item.grant_digest for item in entry.evidence if item.grant_digest != request.grant_digest]
    writer.executemany(
        "INSERT INTO further_grants VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(sqlite_evidence.number_of(writer, digest), number) for digest in further],
    )
    writer.executemany(
        "INSERT INTO request_use_rows VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(number, sqlite_evidence.number_of(writer, use.grant_digest), use.authorization) for use in entry.uses],
    )


def spent(connection: sqlite3.Connection, grant_digest: bytes, authorization: int) -> int:
    """How often an authorization is spent."""
    row = connection.execute(
        "SELECT spent FROM use_counts WHERE grant_id = (SELECT id FROM grants WHERE digest = ?) AND authorization = ?",
        (grant_digest, authorization),
    ).fetchone()
    return int(row[0]) if row else 0


def _has_spent(connection: sqlite3.Connection, number: int | None, use: Use) -> bool:
    return number is not None and (
        connection.execute(
            "SELECT 1 FROM request_use_rows WHERE request = ? AND authorization = ?"
            " AND grant_id = (SELECT id FROM grants WHERE digest = ?)",
            (number, use.authorization, use.grant_digest),
        ).fetchone()
        is not None
    )
