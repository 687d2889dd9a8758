"""What a node counts and keeps, within one transaction of its journal: uses, budgets, statements, owed batches.

A `Ledger` is open only inside `Journal.transaction`, which makes all of it durable or none. It implements
`past.Past`. Each method raises LogUnavailableError on a fault of the file.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.protocol.disputes import Disputed
from gateway.protocol.errors import LogUnavailableError, NotFoundError
from gateway.protocol.journal import GENESIS, link
from gateway.protocol.reasons import Reason
from sandbox_departments.cases import CaseFile, read_case_file, write_case_file
from sandbox_departments.dispute_ledger import DISPUTES_SCHEMA, DisputeLedger
from sandbox_departments.journal_entries import Entry, Randomness, hold_back, write_entry
from sandbox_departments.past import Answers, Spent

CLOCK_MARGIN = 7 * 86_400.0
"""Seconds by which a clock may be ahead before uses and budgets are forgotten that still bind once it is right."""

_FIRST_SCHEMA = """
    CREATE TABLE entries (sequence INTEGER PRIMARY KEY, hash BLOB NOT NULL, entry BLOB NOT NULL) STRICT;
    CREATE TABLE batches (
        digest BLOB PRIMARY KEY, gateway TEXT NOT NULL, sign_time REAL NOT NULL, size INTEGER NOT NULL,
        message BLOB -- the reply as it is sent again; dropped once it is acknowledged
    ) STRICT;
    CREATE INDEX batches_owed ON batches (gateway, sign_time, size) WHERE message IS NOT NULL;
    CREATE TABLE answers (
        requester TEXT NOT NULL, request_id BLOB NOT NULL, query BLOB NOT NULL, part BLOB NOT NULL,
        sealed BLOB NOT NULL, statements BLOB, answer_until REAL NOT NULL, keep_until REAL NOT NULL,
        PRIMARY KEY (requester, request_id)
    ) STRICT;
    CREATE INDEX answers_repeatable ON answers (answer_until) WHERE statements IS NOT NULL;
    CREATE INDEX answers_kept ON answers (keep_until);
    CREATE TABLE uses (
        grant_digest BLOB NOT NULL, authorization INTEGER NOT NULL, request_id BLOB NOT NULL, keep_until REAL NOT NULL,
        PRIMARY KEY (grant_digest, authorization, request_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uses_kept ON uses (keep_until);
    CREATE TABLE probes (
        subject BLOB NOT NULL, requester TEXT NOT NULL, request_id BLOB NOT NULL, time REAL NOT NULL,
        PRIMARY KEY (subject, requester, request_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX probes_kept ON probes (time);
    CREATE TABLE checkpoints (
        origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, seen REAL NOT NULL,
        PRIMARY KEY (origin, size)
    ) STRICT, WITHOUT ROWID;
"""

_WITHHELD_SCHEMA = """
    CREATE TABLE withheld (sequence INTEGER PRIMARY KEY, records BLOB NOT NULL) STRICT; -- of entries, beside the chain
"""

SCHEMAS = (_FIRST_SCHEMA, DISPUTES_SCHEMA, _WITHHELD_SCHEMA)
"""Each brings a journal from one version to the next, the first a new file to version 1."""


@dataclass(frozen=True, slots=True)
class OwedBatch:
    """A reply batch that its gateway has not acknowledged: `message` is the AnswerResponse that is sent again."""

    digest: bytes
    gateway: str
    sign_time: float
    size: int
    message: bytes


class Ledger:
    """The open transaction of a journal."""

    def __init__(self, connection: sqlite3.Connection, randomness: Randomness = secrets.token_bytes) -> None:
        self._connection = connection
        self._randomness = randomness

    # -- what was answered and counted ------------------------------------------------------------------------

    def answers_to(self, requester: str, request_id: bytes) -> Answers | None:
        """What was answered under a request_id of a requester."""
        row = self._one(
            "SELECT query, part, sealed, statements FROM answers WHERE requester = ? AND request_id = ?",
            (requester, request_id),
        )
        if row is None:
            return None
        query, part, sealed, statements = row
        kept = () if statements is None else msgspec.msgpack.decode(statements, type=tuple[bytes, ...])
        return Answers(query, part, sealed, kept)

    def keep_answers(self, spent: Spent, answers: Answers, case_file: CaseFile) -> None:
        """Keep the statements of a request_id for repetitions, and the request_id itself as long as its uses.

        As long, its answers can be disputed: by `case_file` they are found again.
        """
        statements = msgspec.msgpack.encode(answers.statements)
        digests = (answers.query, answers.part, answers.sealed)
        self._run(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                spent.requester,
                spent.request_id,
                *digests,
                statements,
                spent.answer_until,
                spent.keep_until,
                write_case_file(case_file),
            ),
        )

    def case_file(self, requester: str, request_id: bytes) -> CaseFile | None:
        """By what the answers to a request_id of a requester are found again; None if there are none."""
        row = self._one(
            "SELECT case_file FROM answers WHERE requester = ? AND request_id = ? AND case_file IS NOT NULL",
            (requester, request_id),
        )
        return None if row is None else read_case_file(row[0])

    def uses_of(self, grant_digest: bytes, authorization: int) -> int:
        """How many request_ids have used an authorization."""
        return self._count(
            "SELECT count(*) FROM uses WHERE grant_digest = ? AND authorization = ?", (grant_digest, authorization)
        )

    def probes_of(self, subject: bytes, requester: str, since: float) -> int:
        """How many request_ids of a requester have asked about a subject after `since`."""
        return self._count(
            "SELECT count(*) FROM probes WHERE subject = ? AND requester = ? AND time > ?", (subject, requester, since)
        )

    def spend(self, spent: Spent) -> None:
        """Count one request_id against the authorizations and the subjects that it rests on."""
        for use in spent.uses:
            self._run(
                "INSERT OR IGNORE INTO uses VALUES (?, ?, ?, ?)",
                (use.grant_digest, use.authorization, spent.request_id, spent.keep_until),
            )
        for subject in spent.subjects:
            self._run(
                "INSERT OR IGNORE INTO probes VALUES (?, ?, ?, ?)",
                (subject, spent.requester, spent.request_id, spent.time),
            )
        for dispute_id in spent.corrections:
            self.disputes.reverify(dispute_id, spent.request_id)

    @property
    def disputes(self) -> DisputeLedger:
        """The node's disputes, in the same transaction."""
        return DisputeLedger(self._connection)

    def disputed(self, dispute_id: bytes, department: str) -> Disputed | None:
        """A dispute as far as asking once more depends on it."""
        return self.disputes.disputed(dispute_id, department)

    @contextmanager
    def reservation(self) -> Iterator[None]:
        """What is spent inside is taken back if an exception leaves it."""
        self._run("SAVEPOINT reservation")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK TO reservation")
            raise
        finally:
            self._run("RELEASE reservation")

    def purge(self, now: float, budget_window: float) -> None:
        """Forget what no rule asks for any more: the entries of the chain stay.

        What is counted is kept for CLOCK_MARGIN longer: the clock may be wrong.
        """
        self._run("UPDATE answers SET statements = NULL WHERE statements IS NOT NULL AND answer_until < ?", (now,))
        past = now - CLOCK_MARGIN
        self._run("DELETE FROM answers WHERE keep_until < ?", (past,))
        self._run("DELETE FROM uses WHERE keep_until < ?", (past,))
        self._run("DELETE FROM probes WHERE time <= ?", (past - budget_window,))

    # -- batches and their acknowledgements -------------------------------------------------------------------

    def keep_batch(self, batch: OwedBatch) -> None:
        """Keep a signed batch until it is acknowledged; the same statements signed in the same tick are one batch."""
        self._run(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (batch.digest, batch.gateway, batch.sign_time, batch.size, batch.message),
        )

    def owed_size(self, gateway: str, batch: bytes) -> int | None:
        """How many statements of this batch the gateway owes; None if it is acknowledged.

        Raises NotFoundError if no such batch was signed for this gateway.
        """
        row = self._one("SELECT size, message IS NULL FROM batches WHERE digest = ? AND gateway = ?", (batch, gateway))
        if row is None:
            raise NotFoundError(Reason.NOT_FOUND, "no such batch was signed for this gateway")
        size, settled = row
        return None if settled else int(size)

    def settle(self, batch: bytes) -> None:
        """The batch is in the log: it is not sent again."""
        self._run("UPDATE batches SET message = NULL WHERE digest = ?", (batch,))

    def root_seen(self, origin: str, size: int) -> bytes | None:
        """The root that a checkpoint of this log had at `size`, if one was seen."""
        row = self._one("SELECT root FROM checkpoints WHERE origin = ? AND size = ?", (origin, size))
        return None if row is None else bytes(row[0])

    def largest_seen(self, origin: str, until: float) -> int:
        """The size of the largest checkpoint of this log seen up to a time; 0 if none."""
        return self._count(
            "SELECT coalesce(max(size), 0) FROM checkpoints WHERE origin = ? AND seen <= ?", (origin, until)
        )

    def see_checkpoint(self, origin: str, size: int, root: bytes, now: float, until: float) -> None:
        """Remember a checkpoint, and of those seen up to a time only the largest."""
        self._run("INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?, ?)", (origin, size, root, now))
        largest = self.largest_seen(origin, until)
        self._run("DELETE FROM checkpoints WHERE origin = ? AND size < ?", (origin, largest))

    # -- the chain --------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Chain entries, in order, without what is held back of them."""
        sequence, previous = self._one("SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1", ()) or (
            0,
            GENESIS,
        )
        for entry in entries:
            chained, withheld = hold_back(entry, self._randomness)
            data = write_entry(chained)
            sequence, previous = sequence + 1, link(previous, data)
            self._run("INSERT INTO entries VALUES (?, ?, ?)", (sequence, previous, data))
            if withheld:
                self._run("INSERT INTO withheld VALUES (?, ?)", (sequence, write_records(withheld)))

    # Not `faults_as_log_unavailable`: a generator's context costs as much as the statement, eight times a part.

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> None:
        try:
            self._connection.execute(statement, values)
        except (sqlite3.Error, OSError) as fault:
            raise _log_unavailable(fault) from None

    def _one(self, statement: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        except (sqlite3.Error, OSError) as fault:
            raise _log_unavailable(fault) from None
        return row

    def _count(self, statement: str, values: tuple[object, ...]) -> int:
        row = self._one(statement, values)
        return int(row[0]) if row else 0


def write_records(records: Sequence[bytes]) -> bytes:
    """What is held back of one entry, as a row of it."""
    return msgspec.msgpack.encode(records)


def read_records(row: bytes | None) -> tuple[bytes, ...]:
    """What `write_records` wrote; nothing, if there is no row."""
    return () if row is None else msgspec.msgpack.decode(row, type=tuple[bytes, ...])


@contextmanager
def faults_as_log_unavailable() -> Iterator[None]:
    """Turn a fault of SQLite or of the file into LogUnavailableError."""
    try:
        yield
    except (sqlite3.Error, OSError) as fault:
        raise _log_unavailable(fault) from None


def _log_unavailable(fault: sqlite3.Error | OSError) -> LogUnavailableError:
    # Its text may quote what was bound, so only its kind is told.
    return LogUnavailableError(Reason.LOG_UNAVAILABLE, f"journal: {type(fault).__name__}", retry_after=1.0)
