"""Disputes in the SQLite store: functions on its connections, within its transactions."""

from __future__ import annotations

import sqlite3

from gateway.protocol.disputes import Disputed
from gateway.stores.records import Entry, RequestKey, StoredDispute

_COLUMNS = (
    "dispute, department, requester, request_id, grant_digest, question, relay, leaf_index, corrected, resolution,"
    " resolution_index, reverified"
)


def is_late(writer: sqlite3.Connection, entry: Entry) -> bool:
    """Whether the dispute that an entry opens is there already, or the one that it resolves is resolved, or is none."""
    if entry.dispute is not None and find_dispute(writer, entry.dispute.dispute_id) is not None:
        return True
    if entry.resolution is None:
        return False
    disputed = find_dispute(writer, entry.resolution.dispute_id)
    return disputed is None or disputed.disputed.corrected is not None


def keep_disputes(writer: sqlite3.Connection, entry: Entry, index: int) -> None:
    """Keep what an entry that is not late, and whose leaf stands at `index`, says of disputes."""
    if entry.dispute is not None:
        new = entry.dispute
        writer.execute(
            f"INSERT INTO disputes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)",  # noqa: S608
            (
                new.dispute_id,
                new.disputed.department,
                new.key.requester,
                new.key.request_id,
                new.grant_digest,
                new.disputed.question,
                new.relay,
                index,
            ),
        )
    if entry.resolution is not None:
        resolved = entry.resolution
        writer.execute(
            # What was erased stays so: nothing is kept of a resolution but that it was logged, and which way it went.
            "UPDATE disputes SET corrected = ?, resolution = CASE length(relay) WHEN 0 THEN NULL ELSE ? END,"
            " resolution_index = ? WHERE dispute = ?",
            (int(resolved.corrected), resolved.statement, index, resolved.dispute_id),
        )


def may_reverify(writer: sqlite3.Connection, entry: Entry) -> bool:
    """Whether the disputes that the entry asks after are corrected, and asked after by no other request."""
    if entry.request is None:
        return True
    request_id = entry.request.key.request_id
    free = "SELECT 1 FROM disputes WHERE dispute = ? AND corrected = 1 AND (reverified IS NULL OR reverified = ?)"
    return all(writer.execute(free, (dispute_id, request_id)).fetchone() for dispute_id in entry.reverifies)


def reverify(writer: sqlite3.Connection, entry: Entry) -> None:
    """Count the entry's request against the disputes that it asks after."""
    if entry.request is not None and entry.reverifies:
        rows = [(entry.request.key.request_id, dispute_id) for dispute_id in entry.reverifies]
        writer.executemany("UPDATE disputes SET reverified = ? WHERE dispute = ?", rows)


def find_dispute(connection: sqlite3.Connection, dispute_id: bytes) -> StoredDispute | None:
    """A dispute."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM disputes WHERE dispute = ?",  # noqa: S608 - the names above
        (dispute_id,),
    ).fetchone()
    if row is None:
        return None
    name, department, requester, request_id, grant, question, relay, leaf, corrected, resolution, at, reverified = row
    return StoredDispute(
        dispute_id=name,
        key=RequestKey(requester, request_id),
        grant_digest=grant,
        disputed=Disputed(department, requester, question, None if corrected is None else bool(corrected), reverified),
        relay=relay,
        leaf_index=leaf,
        resolution=resolution,
        resolution_index=-1 if at is None else at,
    )


def find_open(connection: sqlite3.Connection) -> dict[bytes, str]:
    """The departments of disputes that are not resolved, by id, oldest first."""
    query = "SELECT dispute, department FROM disputes WHERE corrected IS NULL ORDER BY leaf_index"
    return dict(connection.execute(query).fetchall())
