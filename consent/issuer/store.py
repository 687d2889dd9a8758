"""What an issuer keeps, in one SQLite file: accounts, drafts for five minutes, and grants.

- An account holds a person and their children in plain: the issuer knows them anyway, it is their app.
- A grant's row holds no person: account, requester, digest, status index, and what a co-resident's grant must repeat.
- A draft holds salts; approving or expiry deletes it, so that no salt outlives the private consent file's making by
  more than the time until the next purge, which empties SQLite's side file.
- `take_draft` gives a draft to one caller only. Accounts, grants and withdrawals are durable when their method
  returns (synchronous=FULL for their transaction); a draft may be lost with the power, and is then made again.

Each method is one step that no other thread's interleaves with. Another process may read and enrol meanwhile (WAL).
A fault of the file is LogUnavailableError, after which nothing of the step is there: whoever asked comes again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database, Migrations

from consent.issuer.accounts import Account, Child
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Assurance
from gateway.protocol.subjects import IdType, Subject

PRIVATE_MODE = 0o600
KEEP_EXPIRED_GRANTS = 8 * 86_400
"""Seconds after its expiry for which a grant's row is kept: a clock that was a week ahead forgets no withdrawal."""
_BUSY_TIMEOUT_MS = 5_000

migrations = Migrations("heyan.consent")

P = ParamSpec("P")
R = TypeVar("R")

_FIRST = """
CREATE TABLE accounts (account_id TEXT PRIMARY KEY, id_type TEXT NOT NULL, id_number TEXT NOT NULL, name TEXT NOT NULL,
    public_key BLOB NOT NULL, credential_id BLOB NOT NULL, assurance TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE children (account_id TEXT NOT NULL REFERENCES accounts, place INTEGER NOT NULL, id_type TEXT NOT NULL,
    id_number TEXT NOT NULL, name TEXT NOT NULL, relation TEXT NOT NULL,
    PRIMARY KEY (account_id, place)) STRICT, WITHOUT ROWID;
CREATE TABLE drafts (draft TEXT PRIMARY KEY, expire_time REAL NOT NULL, approvable INTEGER NOT NULL,
    content BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX drafts_by_expiry ON drafts (expire_time);
CREATE TABLE grants (jti TEXT PRIMARY KEY, digest BLOB NOT NULL, account_id TEXT NOT NULL, requester TEXT NOT NULL,
    gateway TEXT NOT NULL, expires INTEGER NOT NULL, status_list INTEGER NOT NULL, status_index INTEGER NOT NULL,
    child_pseudonym TEXT NOT NULL, child_commitment BLOB NOT NULL, txn TEXT NOT NULL, guardian INTEGER NOT NULL,
    revoked REAL, statement TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_grants ON grants (status_list, status_index) WHERE revoked IS NOT NULL;
CREATE TABLE status_indexes (status_list INTEGER NOT NULL, status_index INTEGER NOT NULL, draft TEXT,
    PRIMARY KEY (status_list, status_index)) STRICT, WITHOUT ROWID;
CREATE INDEX status_indexes_by_draft ON status_indexes (draft) WHERE draft IS NOT NULL
"""


@migrations()
def create_store(db: Database) -> None:
    """The first schema. A row of status_indexes with a draft is given back when that draft goes."""
    for statement in _FIRST.split(";"):
        db.execute(statement)


_DISPUTES = """
CREATE TABLE reports (statement BLOB PRIMARY KEY, jti TEXT NOT NULL, gateway TEXT NOT NULL, report TEXT NOT NULL,
    made REAL NOT NULL, ended REAL, refusal TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX reports_by_grant ON reports (jti);
CREATE INDEX reports_unended ON reports (made) WHERE ended IS NULL;
CREATE INDEX grants_by_digest ON grants (digest)
"""


@migrations()
def create_reports(db: Database) -> None:
    """Disputes of guardians, as they are reported to gateways; `ended` is NULL until one has taken or refused it."""
    for statement in _DISPUTES.split(";"):
        db.execute(statement)


@migrations()
def name_reports_by_all_they_say(db: Database) -> None:
    """One report for each grant and claimed answer, so that nobody's report stands in the way of another's."""
    db.execute("ALTER TABLE reports RENAME COLUMN statement TO said")


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A guardian's dispute: a digest of what it says of grant and answer, and the signed report for the gateway."""

    said: bytes
    jti: str
    gateway: str
    report: str


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """What is kept of a grant. `guardian` tells a guardian's from a co-resident's; `statement` is its revocation."""

    jti: str
    digest: bytes
    account_id: str
    requester: str
    gateway: str
    expires: int
    status_list: int
    status_index: int
    child_pseudonym: str = field(repr=False)
    child_commitment: bytes
    txn: str
    guardian: bool
    revoked: float | None = None
    statement: str | None = None


def _alone(
    method: Callable[Concatenate[IssuerStore, P], R],
) -> Callable[Concatenate[IssuerStore, P], R]:
    """`method` of a store, while no other thread is in one: they share a connection, and so its transaction."""

    @wraps(method)
    def locked(self: IssuerStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            try:
                return method(self, *args, **kwargs)
            except sqlite3.Error as fault:
                self._db.rollback()  # whatever the fault left open would swallow the next step
                error = _unavailable(fault)
                self.complaint = str(error)
                raise error from None

    return locked


class IssuerStore:
    """The issuer's file, mode 0600; made and migrated when opened."""

    def __init__(self, path: Path) -> None:
        self.lock = RLock()
        self.complaint: str | None = None
        """The last fault of the file, until `probe` has found that it can be written again."""
        try:
            self._db = _open(path)
        except (sqlite3.Error, OSError) as fault:
            raise _unavailable(fault) from None

    @_alone
    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @_alone
    def probe(self) -> None:
        """After a fault, write a little to learn whether the file can be written again; LogUnavailableError if not."""
        if self.complaint is not None:
            with self._durable():
                self._db.execute("PRAGMA user_version = 0")
            self.complaint = None

    @contextmanager
    def _durable(self) -> Iterator[None]:
        """One transaction that is on disk, with all before it, when the block ends."""
        self._db.execute("PRAGMA synchronous = FULL")
        try:
            with self._db.atomic():
                yield
        finally:
            self._db.execute("PRAGMA synchronous = NORMAL")

    # -- accounts -------------------------------------------------------------------------------------------

    @_alone
    def put_accounts(self, accounts: Iterable[Account]) -> None:
        """Enrol accounts, or renew those of the same id (another passkey, another child), in one transaction."""
        with self._durable():
            for account in accounts:
                key = (account.account_id,)
                self._db.execute("DELETE FROM children WHERE account_id = ?", key)
                self._db.execute(
                    "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        account.account_id,
                        *_columns(account.subject),
                        account.public_key,
                        account.credential_id,
                        account.assurance.value,
                    ),
                )
                self._db.conn.executemany(
                    "INSERT INTO children VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (account.account_id, place, *_columns(child.subject), child.relation)
                        for place, child in enumerate(account.children)
                    ],
                )

    @_alone
    def account(self, account_id: str) -> Account | None:
        """The account of an id."""
        row = self._row("SELECT * FROM accounts WHERE account_id = ?", account_id)
        if row is None:
            return None
        children = self._db.execute("SELECT * FROM children WHERE account_id = ? ORDER BY place", (account_id,))
        return Account(
            account_id=row["account_id"],
            subject=_subject(row),
            public_key=row["public_key"],
            credential_id=row["credential_id"],
            children=tuple(Child(_subject(child), child["relation"]) for child in children),
            assurance=Assurance(row["assurance"]),
        )

    # -- drafts ---------------------------------------------------------------------------------------------

    @_alone
    def reserve_status_index(self, draft: str, status_list: int, status_index: int) -> bool:
        """Take an index of a list for a draft; False if it is taken. Given back if the draft expires."""
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO status_indexes VALUES (?, ?, ?)", (status_list, status_index, draft)
        )
        return bool(cursor.rowcount)

    @_alone
    def newest_status_list(self) -> int:
        """The list that new grants go to; 0 at first."""
        return self._count("SELECT coalesce(max(status_list), 0) FROM status_indexes")

    @_alone
    def put_draft(self, draft: str, expire_time: float, content: bytes, *, approvable: bool) -> None:
        """Keep a draft until `expire_time`."""
        self._db.execute("INSERT INTO drafts VALUES (?, ?, ?, ?)", (draft, expire_time, approvable, content))

    @_alone
    def take_draft(self, draft: str, now: float) -> tuple[bytes, bool] | None:
        """A draft's content and whether it may be approved at all, once: it is gone afterwards. None if expired."""
        row = self._row("DELETE FROM drafts WHERE draft = ? RETURNING expire_time, approvable, content", draft)
        if row is None or now > row["expire_time"]:
            return None
        return row["content"], bool(row["approvable"])

    @_alone
    def count_drafts(self) -> int:
        """How many drafts wait."""
        return self._count("SELECT count(*) FROM drafts")

    @_alone
    def purge(self, now: float) -> None:
        """Delete expired drafts, salts and all, and give their status indexes back; delete grants long expired.

        The index of a grant is never given again: a reader may remember that it was withdrawn.
        """
        with self._db.atomic():
            self._db.execute("DELETE FROM drafts WHERE expire_time < ?", (now,))
            self._db.execute(
                "DELETE FROM status_indexes WHERE draft IS NOT NULL AND draft NOT IN (SELECT draft FROM drafts)"
            )
            self._db.execute("DELETE FROM grants WHERE expires < ?", (now - KEEP_EXPIRED_GRANTS,))
            self._db.execute("DELETE FROM reports WHERE ended IS NOT NULL AND jti NOT IN (SELECT jti FROM grants)")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the side file holds what was deleted

    # -- grants ---------------------------------------------------------------------------------------------

    @_alone
    def put_grant(self, grant: StoredGrant, draft: str) -> None:
        """Keep a grant that was just signed from `draft`; its status index is taken for good."""
        with self._durable():
            self._db.execute("UPDATE status_indexes SET draft = NULL WHERE draft = ?", (draft,))
            self._db.table("grants").insert({name: getattr(grant, name) for name in StoredGrant.__slots__})

    @_alone
    def grant(self, jti: str) -> StoredGrant | None:
        """The grant of a jti."""
        row = self._row("SELECT * FROM grants WHERE jti = ?", jti)
        return None if row is None else StoredGrant(**{**dict(row), "guardian": bool(row["guardian"])})

    @_alone
    def grant_of(self, grant_digest: bytes) -> StoredGrant | None:
        """The grant of a digest."""
        row = self._row("SELECT * FROM grants WHERE digest = ?", grant_digest)
        return None if row is None else StoredGrant(**{**dict(row), "guardian": bool(row["guardian"])})

    @_alone
    def revoke(self, jti: str, now: float, statement: str) -> None:
        """Mark a grant withdrawn, with the statement that says so; durable when this returns."""
        with self._durable():
            self._db.execute("UPDATE grants SET revoked = ?, statement = ? WHERE jti = ?", (now, statement, jti))

    @_alone
    def revoked_indexes(self, status_list: int) -> tuple[int, ...]:
        """The indexes of a list whose grants are withdrawn."""
        rows = self._db.execute(
            "SELECT status_index FROM grants WHERE status_list = ? AND revoked IS NOT NULL", (status_list,)
        )
        return tuple(row["status_index"] for row in rows)

    # -- disputes -------------------------------------------------------------------------------------------

    @_alone
    def put_report(self, report: StoredReport, now: float) -> None:
        """Keep a report that was just signed; durable when this returns."""
        with self._durable():
            values = (report.said, report.jti, report.gateway, report.report, now)
            self._db.execute("INSERT INTO reports VALUES (?, ?, ?, ?, ?, NULL, NULL)", values)

    @_alone
    def report_of(self, said: bytes) -> str | None:
        """The report that says this of a grant and an answer."""
        row = self._row("SELECT report FROM reports WHERE said = ?", said)
        return None if row is None else row["report"]

    @_alone
    def count_reports(self, jti: str) -> int:
        """How many answers were disputed on the strength of a grant."""
        return self._count("SELECT count(*) FROM reports WHERE jti = ?", jti)

    @_alone
    def unreported(self, most: int, besides: Collection[str] = ()) -> tuple[StoredReport, ...]:
        """Reports that no gateway has taken or refused, the oldest first, leaving out those for `besides`."""
        others = ", ".join("?" * len(besides))
        named = f"ended IS NULL AND gateway NOT IN ({others})"
        query = f"SELECT said, jti, gateway, report FROM reports WHERE {named} ORDER BY made LIMIT ?"  # noqa: S608
        return tuple(StoredReport(*row) for row in self._db.execute(query, (*besides, most)))

    @_alone
    def end_report(self, said: bytes, now: float, refusal: str | None) -> None:
        """The gateway took a report, or refused it for a reason."""
        with self._durable():
            values = (now, refusal, said)
            self._db.execute("UPDATE reports SET ended = ?, refusal = ? WHERE said = ?", values)

    def _row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
        return row

    def _count(self, sql: str, *values: Any) -> int:
        return int(self._db.execute(sql, values).fetchone()[0])


def _open(path: Path) -> Database:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=PRIVATE_MODE, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten: salts
    db = Database(connection)
    migrations.apply(db)
    return db


def _unavailable(fault: Exception) -> LogUnavailableError:
    """A fault of the file; its text may quote what was bound, so only its kind is told."""
    return LogUnavailableError(Reason.LOG_UNAVAILABLE, f"store: {type(fault).__name__}", retry_after=1.0)


def _columns(subject: Subject) -> tuple[str, str, str]:
    return subject.id_type.value, subject.id_number, subject.name


def _subject(row: sqlite3.Row) -> Subject:
    return Subject(IdType(row["id_type"]), row["id_number"], row["name"])
