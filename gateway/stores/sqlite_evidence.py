"""Evidence in the SQLite store: functions on its connections, within its transactions."""

from __future__ import annotations

import sqlite3

from gateway.stores.port import Entry, Evidence


def keep(writer: sqlite3.Connection, entry: Entry) -> tuple[Evidence, ...]:
    """Store the entry's evidence; what is there already under another key is returned and nothing is stored."""
    held = [find(writer, item.grant_digest) for item in entry.evidence]
    clash = tuple(
        other
        for item, other in zip(entry.evidence, held, strict=True)
        if other is not None and other.wrapped_key != item.wrapped_key
    )
    if not clash:
        rows = [
            (item.grant_digest, item.wrapped_key, item.ciphertext)
            for item, other in zip(entry.evidence, held, strict=True)
            if other is None
        ]
        writer.executemany("INSERT INTO evidence VALUES (?, ?, ?)", rows)
    return clash


def find(connection: sqlite3.Connection, grant_digest: bytes) -> Evidence | None:
    """A grant's evidence."""
    row = connection.execute(
        "SELECT grant_digest, wrapped_key, ciphertext FROM evidence WHERE grant_digest = ?", (grant_digest,)
    ).fetchone()
    return Evidence(*row) if row else None
