"""A node's journal: what it stated, to whom, and what it may still state, in one SQLite file.

Invariants:

- an entry's hash covers the hash of the one before it (digest of JournalEntry over previous hash ‖ entry), so that
  none can be changed, removed or slipped in unnoticed; cutting off the end shows against a `Head` noted elsewhere;
- what is held back of an entry stands beside the chain, which has its digest;
- `transaction` is all or nothing, and durable when it returns: statements, uses, budgets and the entry that tells
  of them are written together, before anything is replied;
- a fault of the file is LogUnavailableError, after which nothing of the transaction is there: nothing is replied
  that is not journalled.

It judges nothing: what may be answered is `answering`'s, what acknowledges is `acknowledgements`'s. Called from one
thread at a time, which need not be the one that opened it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.protocol.errors import BadDataError, ForgedError, LogUnavailableError
from gateway.protocol.journal import GENESIS, link
from gateway.protocol.reasons import Reason
from sandbox_departments.journal_entries import Entry, give_back, read_entry
from sandbox_departments.ledger import SCHEMAS, Ledger, OwedBatch, faults_as_log_unavailable, read_records

SCHEMA_VERSION = len(SCHEMAS)


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain: its number, from 1, and its hash; 0 and GENESIS for an empty one."""

    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Debt:
    """What a gateway has not acknowledged: how many statements, and when the oldest batch of them was signed."""

    statements: int
    oldest: float | None


class Journal:
    """The journal in the file at `path`, made if there is none; LogUnavailableError if it is of another kind."""

    def __init__(self, path: Path) -> None:
        with faults_as_log_unavailable():
            path.touch(mode=0o600)  # SQLite gives its side files the same mode
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with faults_as_log_unavailable():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA busy_timeout = 5000")
            self._make_schema()
        except BaseException:
            self._connection.close()
            raise

    def _make_schema(self) -> None:
        with faults_as_log_unavailable():
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version < SCHEMA_VERSION:
                missing = " ".join(SCHEMAS[version:])
                self._connection.executescript(f"BEGIN; {missing} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            elif version > SCHEMA_VERSION:
                raise LogUnavailableError(Reason.LOG_UNAVAILABLE, f"journal: schema {version}, not {SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[Ledger]:
        """A change of the journal: durable when it returns, undone if anything is raised inside."""
        with faults_as_log_unavailable():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield Ledger(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def probe(self) -> None:
        """Write a little, durably, to learn whether the file can be written again."""
        with faults_as_log_unavailable():
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def debt(self, gateway: str) -> Debt:
        """What a gateway has not acknowledged."""
        with faults_as_log_unavailable():
            statements, oldest = self._connection.execute(
                "SELECT coalesce(sum(size), 0), min(sign_time) FROM batches WHERE gateway = ? AND message IS NOT NULL",
                (gateway,),
            ).fetchone()
        return Debt(statements, oldest)

    def unacknowledged(self, gateway: str, until: float = float("inf")) -> tuple[bytes, ...]:
        """Digests of the batches that a gateway owes and that were signed by `until`, oldest first."""
        with faults_as_log_unavailable():
            rows = self._connection.execute(
                "SELECT digest FROM batches WHERE gateway = ? AND message IS NOT NULL AND sign_time <= ?"
                " ORDER BY sign_time, rowid",
                (gateway, until),
            ).fetchall()
        return tuple(row[0] for row in rows)

    def unasked(self, gateway: str) -> tuple[bytes, ...]:
        """Digests of the batches of resolutions that a gateway owes: nobody asked for them."""
        with faults_as_log_unavailable():
            rows = self._connection.execute(
                "SELECT digest FROM batches WHERE gateway = ? AND message IS NOT NULL"
                " AND digest IN (SELECT batch FROM disputes WHERE batch IS NOT NULL) ORDER BY sign_time, rowid",
                (gateway,),
            ).fetchall()
        return tuple(row[0] for row in rows)

    def owed_batch(self, batch: bytes) -> OwedBatch | None:
        """A batch that its gateway still owes; None if it is acknowledged."""
        with faults_as_log_unavailable():
            row = self._connection.execute(
                "SELECT digest, gateway, sign_time, size, message FROM batches"
                " WHERE digest = ? AND message IS NOT NULL",
                (batch,),
            ).fetchone()
        return None if row is None else OwedBatch(*row)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """The entries after a number, in order, with what is held back of them from others."""
        with faults_as_log_unavailable():
            rows = self._connection.execute(
                "SELECT entry, records FROM entries LEFT JOIN withheld USING (sequence) WHERE sequence > ?"
                " ORDER BY sequence",
                (after,),
            ).fetchall()
        return (give_back(read_entry(data), read_records(records)) for data, records in rows)

    def chain(self) -> Iterator[bytes]:
        """The bytes of all entries, in order: what an auditor is given, who follows the chain for itself."""
        with faults_as_log_unavailable():
            rows = self._connection.execute("SELECT entry FROM entries ORDER BY sequence").fetchall()
        return (bytes(row[0]) for row in rows)

    def verify_chain(self, noted: Head | None = None) -> Head:
        """Walk the whole chain, with what is held back beside it, and return its end.

        `noted` is an end seen earlier that must still be in it.
        Raises ForgedError (PROOF_INVALID) naming the first entry that does not follow from the one before it.
        """
        head = Head(0, GENESIS)
        found = noted is None or noted == head
        with faults_as_log_unavailable():
            for sequence, kept, entry, records in self._connection.execute(
                "SELECT sequence, hash, entry, records FROM entries LEFT JOIN withheld USING (sequence)"
                " ORDER BY sequence"
            ):
                if sequence != head.sequence + 1 or kept != link(head.hash, entry):
                    raise ForgedError(Reason.PROOF_INVALID, f"journal: broken at entry {head.sequence + 1}")
                if records is not None:
                    _check_records(sequence, entry, records)
                head = Head(sequence, kept)
                found = found or head == noted
        if not found:
            raise ForgedError(Reason.PROOF_INVALID, "journal: an end that was noted earlier is not in it")
        return head

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _check_records(sequence: int, entry: bytes, records: bytes) -> None:
    """Hold what stands beside an entry against the entry; ForgedError (PROOF_INVALID)."""
    try:
        give_back(read_entry(entry), read_records(records))
    except (BadDataError, msgspec.DecodeError):
        detail = f"journal: broken at entry {sequence}, in what is held back of it"
        raise ForgedError(Reason.PROOF_INVALID, detail) from None
