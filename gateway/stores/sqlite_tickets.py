"""Offline tickets in the SQLite store: functions on a connection, called by `gateway.stores.sqlite`.

A ticket is written twice at most: when it is opened, and when it is resolved. Both are one row and one leaf in the
transaction of the commit; a second opening, or a second result, finds the row taken and writes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from gateway.stores.records import RequestKey, StoredTicket, TicketKey, TicketWrite
from gateway.stores.sqlite_requests import newest_leaf

_COLUMNS = "requester, ticket_id, request_id, query_digest, grant_digest, state, opened_leaf, resolved_leaf"


def is_stale(connection: sqlite3.Connection, write: TicketWrite) -> bool:
    """Whether the ticket is open already, or judged by what is not the newest; of a result, whether it is not open."""
    ticket = write.ticket
    held = find(connection, ticket.key)
    if write.judged_by is None:
        return held is None or held.resolved_leaf is not None
    newest = newest_leaf(connection, RequestKey(ticket.key.requester, ticket.request_id))
    asked_again = connection.execute(
        "SELECT 1 FROM disputes WHERE dispute = ? AND reverified IS NOT NULL", (write.rests_on,)
    ).fetchone()
    return held is not None or newest != write.judged_by or asked_again is not None


def put(connection: sqlite3.Connection, write: TicketWrite, leaf_index: int) -> None:
    """Write the ticket as opened or resolved by the leaf at `leaf_index`."""
    ticket = write.ticket
    key = (ticket.key.requester, ticket.key.ticket_id)
    if write.judged_by is None:
        connection.execute(
            "UPDATE tickets SET state = ?, resolved_leaf = ? WHERE requester = ? AND ticket_id = ?",
            (ticket.state, leaf_index, *key),
        )
        return
    connection.execute(
        "INSERT INTO tickets VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        (*key, ticket.request_id, ticket.query_digest, ticket.grant_digest, ticket.state, leaf_index),
    )


def find(connection: sqlite3.Connection, key: TicketKey) -> StoredTicket | None:
    """A stored ticket."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM tickets WHERE requester = ? AND ticket_id = ?",  # noqa: S608 - a constant
        (key.requester, key.ticket_id),
    ).fetchone()
    return _ticket(row) if row else None


def of_query(connection: sqlite3.Connection, query_digest: bytes) -> Sequence[StoredTicket]:
    """The tickets of a query in the order of their leaves."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM tickets WHERE query_digest = ? ORDER BY opened_leaf",  # noqa: S608 - a constant
        (query_digest,),
    )
    return [_ticket(row) for row in rows]


def open_ones(connection: sqlite3.Connection, requester: str, after_leaf: int, count: int) -> Sequence[StoredTicket]:
    """Up to `count` open tickets of a requester whose leaves come after `after_leaf`, in that order."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM tickets WHERE requester = ? AND opened_leaf > ?"  # noqa: S608 - a constant
        " AND resolved_leaf IS NULL ORDER BY opened_leaf LIMIT ?",
        (requester, after_leaf, count),
    )
    return [_ticket(row) for row in rows]


def _ticket(row: tuple[Any, ...]) -> StoredTicket:
    requester, ticket_id, *rest = row
    return StoredTicket(TicketKey(requester, ticket_id), *rest)
