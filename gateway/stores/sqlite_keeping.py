"""Erasing, rewrapping and purging in the SQLite store: the adapter of `gateway.stores.keeping.Keeping`.

Keys stand in slots that are overwritten where they are (`sqlite_key_slots`), so that no page keeps a destroyed one; the
write-ahead log does until it is emptied (`sweep`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from gateway.stores import sqlite_deferrals, sqlite_key_slots, sqlite_requests
from gateway.stores.keeping import HeldKey, Rewrapped
from gateway.stores.records import Erasure, Evidence, RequestKey, Waiting
from gateway.stores.sqlite_evidence import DAY, ERASED, day_of
from gateway.stores.sqlite_key_slots import from_slot, to_slot

T = TypeVar("T")
_HELD = "wrapped_key IS NOT NULL AND erased_until IS NULL"
_EVIDENCE = "SELECT digest, wrapped, ciphertext, kept_day FROM grants JOIN grant_keys ON grant_id = id"
_KEYS = "SELECT id, digest, wrapped FROM grants JOIN grant_keys ON grant_id = id"
_OF_GRANT = (
    "SELECT id FROM request_rows WHERE grant_id = :grant UNION SELECT request FROM further_grants WHERE"
    " grant_id = :grant"
)
_RESTING = (
    "SELECT r.id, uri, request_id, query_digest FROM request_rows r JOIN peers p ON p.id = r.peer WHERE r.id IN"
    " (SELECT id FROM request_rows WHERE grant_id = :grant UNION SELECT request FROM further_grants WHERE"
    " grant_id = :grant)"
)


class Connections(Protocol):
    """The store whose connections are used."""

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work on the connection for reads."""
        ...

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work in one durable transaction."""
        ...

    def checkpoint(self) -> bool:
        """Empty the write-ahead log; False if somebody reads from it."""
        ...


class SqliteKeeping:
    """Keeping, over a `gateway.stores.sqlite.SqliteStore`."""

    def __init__(self, store: Connections) -> None:
        self._store = store

    def due(self, before: float, skip: int, count: int) -> Sequence[Evidence]:
        """See the port."""
        query = f"{_EVIDENCE} WHERE kept_day < ? AND {_HELD} ORDER BY kept_day, id LIMIT ? OFFSET ?"
        rows = self._store.read(lambda reader: reader.execute(query, (day_of(before), count, skip)).fetchall())
        return [Evidence(digest, from_slot(slot), text, float(day * DAY)) for digest, slot, text, day in rows]

    def requests_on(self, grant_digest: bytes) -> Sequence[RequestKey]:
        """See the port."""

        def find(reader: sqlite3.Connection) -> Sequence[RequestKey]:
            row = reader.execute("SELECT id FROM grants WHERE digest = ?", (grant_digest,)).fetchone()
            return [key for _, key, _ in _resting_on(reader, row[0])] if row else []

        return self._store.read(find)

    def grants_of(self, key: RequestKey) -> Sequence[bytes]:
        """See the port."""

        def find(reader: sqlite3.Connection) -> Sequence[bytes]:
            number = sqlite_requests.number_of(reader, key)
            rows = reader.execute(
                "SELECT digest FROM request_rows r JOIN grants g ON g.id = r.grant_id WHERE r.id = ?1 UNION ALL"
                " SELECT digest FROM further_grants f JOIN grants g ON g.id = f.grant_id WHERE f.request = ?1",
                (number,),
            )
            return [digest for (digest,) in rows]

        return self._store.read(find)

    def waiting_request(self, key: RequestKey) -> Waiting | None:
        """See the port."""
        return self._store.read(lambda reader: sqlite_deferrals.waiting_of(reader, key))

    def held_keys(self, after: int, count: int) -> Sequence[HeldKey]:
        """See the port."""
        query = f"{_KEYS} WHERE id > ? AND {_HELD} ORDER BY id LIMIT ?"
        rows = self._store.read(lambda reader: reader.execute(query, (after, count)).fetchall())
        return [HeldKey(number, digest, from_slot(slot)) for number, digest, slot in rows]

    def rewrap(self, keys: Sequence[Rewrapped]) -> int:
        """See the port."""
        rows = [(to_slot(item.after), item.grant_digest, to_slot(item.before)) for item in keys]
        grant = f"SELECT id FROM grants WHERE digest = ? AND {_HELD}"  # noqa: S608 - a constant
        update = f"UPDATE grant_keys SET wrapped = ? WHERE grant_id = ({grant}) AND wrapped = ?"  # noqa: S608
        return self._store.write(lambda writer: writer.executemany(update, rows).rowcount)

    def purge(self, since: float, expired: float, erased: float, count: int) -> int:
        """See the port."""
        return self._store.write(
            lambda writer: _purge_uses(writer, since, expired, count) + _purge_erased(writer, expired, erased, count)
        )

    def mark(self, name: str) -> float | None:
        """See the port."""
        query = "SELECT value FROM marks WHERE name = ?"
        row = self._store.read(lambda reader: reader.execute(query, (name,)).fetchone())
        return float(row[0]) if row else None

    def set_mark(self, name: str, value: float) -> None:
        """See the port."""
        upsert = "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        self._store.write(lambda writer: writer.execute(upsert, (name, value)))

    def sweep(self) -> bool:
        """See the port."""
        return self._store.checkpoint()


def is_late(writer: sqlite3.Connection, erasure: Erasure | None) -> bool:
    """Whether anything that is to be erased is not held (any more)."""
    if erasure is None:
        return False
    held = f"SELECT 1 FROM grants WHERE digest = ? AND {_HELD}"  # noqa: S608 - a constant
    return any(writer.execute(held, (digest,)).fetchone() is None for digest in erasure.grants)


def is_waited_for(writer: sqlite3.Connection, erasure: Erasure | None) -> bool:
    """Whether a request that rests on what is to be erased waits, and is not told as one that cannot be ended."""
    if erasure is None:
        return False
    resting = "SELECT id FROM grants WHERE digest = ?"
    for digest in erasure.grants:
        row = writer.execute(resting, (digest,)).fetchone()
        for _, key, _ in _resting_on(writer, row[0]) if row else ():
            if key not in erasure.unended and sqlite_deferrals.waiting_of(writer, key) is not None:
                return True
    return False


def erase(writer: sqlite3.Connection, erasure: Erasure) -> None:
    """Destroy the keys of grants, and all that stands under them and of the requests that rest on them."""
    for digest, until in erasure.grants.items():
        (grant,) = writer.execute("SELECT id FROM grants WHERE digest = ?", (digest,)).fetchone()
        writer.execute(
            "UPDATE grants SET wrapped_key = ?, ciphertext = ?, erased_until = ? WHERE id = ?",
            (ERASED, b"", until, grant),
        )
        sqlite_key_slots.put(writer, grant, ERASED)
        for number, key, query_digest in _resting_on(writer, grant):
            name = (key.requester, key.request_id)
            writer.execute("UPDATE request_rows SET state = ? WHERE id = ?", (b"", number))
            writer.execute("DELETE FROM deferrals WHERE requester = ? AND request_id = ?", name)
            writer.execute(
                "DELETE FROM tickets WHERE requester = ? AND query_digest = ?", (key.requester, query_digest)
            )
            writer.execute(
                "UPDATE disputes SET relay = ?, resolution = NULL WHERE requester = ? AND request_id = ?",
                (b"", *name),
            )


def _resting_on(connection: sqlite3.Connection, grant: int) -> list[tuple[int, RequestKey, bytes]]:
    rows = connection.execute(_RESTING, {"grant": grant})
    return [(number, RequestKey(uri, request_id), digest) for number, uri, request_id, digest in rows.fetchall()]


def _purge_uses(writer: sqlite3.Connection, since: float, expired: float, count: int) -> int:
    over = writer.execute(
        "SELECT id FROM grants g WHERE kept_day >= ? AND kept_day < ?"
        " AND EXISTS (SELECT 1 FROM use_counts WHERE grant_id = g.id)"
        " AND NOT EXISTS (SELECT 1 FROM use_counts WHERE grant_id = g.id AND expire_time >= ?) LIMIT ?",
        (day_of(since), day_of(expired), expired, count),
    ).fetchall()
    deleted = 0
    for (grant,) in over:
        deleted += writer.execute("DELETE FROM use_counts WHERE grant_id = ?", (grant,)).rowcount
        deleted += writer.execute(
            f"DELETE FROM request_use_rows WHERE grant_id = :grant AND request IN ({_OF_GRANT})",  # noqa: S608
            {"grant": grant},
        ).rowcount
    return deleted


def _purge_erased(writer: sqlite3.Connection, expired: float, erased: float, count: int) -> int:
    gone = writer.execute(
        "SELECT r.id FROM grants g CROSS JOIN request_rows r ON r.grant_id = g.id"
        " WHERE g.erased_until < ? AND r.answer_until < ? LIMIT ?",
        (expired, erased, count),
    ).fetchall()
    deleted = 0
    for (number,) in gone:
        for table in ("request_leaf_rows", "request_use_rows"):
            deleted += writer.execute(f"DELETE FROM {table} WHERE request = ?", (number,)).rowcount  # noqa: S608
        deleted += writer.execute("DELETE FROM further_grants WHERE request = ?", (number,)).rowcount
        deleted += writer.execute("DELETE FROM request_rows WHERE id = ?", (number,)).rowcount
    return (
        deleted
        + writer.execute(
            "DELETE FROM grants WHERE id IN (SELECT id FROM grants g WHERE erased_until < ?"
            " AND NOT EXISTS (SELECT 1 FROM request_rows WHERE grant_id = g.id)"
            " AND NOT EXISTS (SELECT 1 FROM further_grants WHERE grant_id = g.id)"
            " AND NOT EXISTS (SELECT 1 FROM use_counts WHERE grant_id = g.id) LIMIT ?)",
            (expired, count),
        ).rowcount
    )
