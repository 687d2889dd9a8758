"""Requests, and the uses of consent that they spend, in the SQLite store: functions on its connections.

Requesters and grants stand in rows by number, so that what stands in thousands of rows is not their names. A request
knows the grants that it rests on: that of its state, and further ones (of co-residents).
"""

from __future__ import annotations

import sqlite3

from gateway.stores.records import RequestKey, StoredRequest

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


def newest_leaf(connection: sqlite3.Connection, key: RequestKey) -> int | None:
    """The newest leaf of a request."""
    row = connection.execute(
        "SELECT max(leaf_index) FROM request_leaf_rows WHERE request = ?", (number_of(connection, key),)
    ).fetchone()
    return None if row[0] is None else int(row[0])


def spent(connection: sqlite3.Connection, grant_digest: bytes, authorization: int) -> int:
    """How often an authorization is spent."""
    row = connection.execute(
        "SELECT spent FROM use_counts WHERE grant_id = (SELECT id FROM grants WHERE digest = ?) AND authorization = ?",
        (grant_digest, authorization),
    ).fetchone()
    return int(row[0]) if row else 0
