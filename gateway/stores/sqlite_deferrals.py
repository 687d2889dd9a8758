"""What requests wait for, in SQLite: one row for each that does, replaced or deleted with the request's newest leaf."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from gateway.protocol.digests import DIGEST_BYTES
from gateway.stores.records import Deferral, RequestKey, Waiting

_SEPARATOR = " "
"""No SPIFFE ID holds one."""
_WAITING = "SELECT requester, request_id, departments, grants, answer_until, length(message) FROM deferrals"


def keep(connection: sqlite3.Connection, key: RequestKey, deferral: Deferral | None) -> None:
    """Keep what a request waits for, in place of what it waited for before; None: nothing."""
    if deferral is None:
        connection.execute(
            "DELETE FROM deferrals WHERE requester = ? AND request_id = ?", (key.requester, key.request_id)
        )
        return
    waiting = deferral.waiting
    connection.execute(
        "INSERT INTO deferrals VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET departments = excluded.departments,"
        " message = excluded.message",
        (
            key.requester,
            key.request_id,
            _SEPARATOR.join(waiting.departments),
            b"".join(waiting.grants),
            waiting.answer_until,
            deferral.message,
        ),
    )


def waiting_after(connection: sqlite3.Connection, after: RequestKey | None, count: int) -> Sequence[Waiting]:
    """See the port."""
    start = ("", b"") if after is None else (after.requester, after.request_id)
    rows = connection.execute(
        f"{_WAITING} WHERE (requester, request_id) > (?, ?) ORDER BY requester, request_id LIMIT ?", (*start, count)
    )
    return [_waiting(row) for row in rows.fetchall()]


def waiting_of(connection: sqlite3.Connection, key: RequestKey) -> Waiting | None:
    """What one request waits for."""
    row = connection.execute(
        f"{_WAITING} WHERE requester = ? AND request_id = ?", (key.requester, key.request_id)
    ).fetchone()
    return _waiting(row) if row else None


def message_of(connection: sqlite3.Connection, key: RequestKey) -> bytes | None:
    """See the port."""
    row = connection.execute(
        "SELECT message FROM deferrals WHERE requester = ? AND request_id = ?", (key.requester, key.request_id)
    ).fetchone()
    return bytes(row[0]) if row else None


def _waiting(row: tuple[Any, ...]) -> Waiting:
    requester, request_id, departments, grants, answer_until, size = row
    return Waiting(
        RequestKey(requester, request_id),
        tuple(departments.split(_SEPARATOR)),
        tuple(grants[at : at + DIGEST_BYTES] for at in range(0, len(grants), DIGEST_BYTES)),
        answer_until,
        size,
    )
