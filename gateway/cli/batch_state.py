"""What a batch knows of itself: a SQLite file beside its results, from which a run that was killed goes on.

- The lines of the file come in all together, in one transaction: a state holds a whole batch, or nothing yet.
- A query is durable here, byte for byte and with its consent, before it is sent. So whatever a killed run may have
  asked, the next one can ask again in the same bytes, under the same request_id: the gateway answers it from its log,
  and no use is spent twice.
- A result need not be durable before the next query is sent: without it the query is only asked again.
- A query and its consent are erased once there is a result that needs no further asking: then nothing here tells of a
  person. Until then it does; the file has mode 0600.
- One run at a time has the file open; it is of one input file, federation and requester, and refuses others.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.cli.batch_file import Line
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.stores.sqlite_connection import transaction

_FORMAT = 1
_PRIVATE = 0o600
_MAGIC = b"SQLite format 3\x00"
_LEAST_BYTES = 4096
"""One page."""
_SCHEMA = """
CREATE TABLE batch (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE items (line INTEGER PRIMARY KEY, family TEXT NOT NULL UNIQUE, consent_file TEXT NOT NULL,
    family_group TEXT NOT NULL, place INTEGER, consent BLOB, submission BLOB, request_id BLOB,
    asked INTEGER NOT NULL DEFAULT 0, status TEXT, is_open INTEGER NOT NULL DEFAULT 1, result TEXT) STRICT;
CREATE INDEX open_items ON items (line) WHERE is_open
"""


@dataclass(frozen=True, slots=True)
class BatchIdentity:
    """What a state is of: SHA-256 of the input file, the federation's operator key, its folder, the requester's id."""

    input: str
    federation: str
    folder: str
    requester: str


@dataclass(frozen=True, slots=True)
class Item:
    """One application. `place` is its family's in the truth file; `asked` says how many queries were made for it."""

    line: int
    family: str
    consent_file: str
    group: str
    place: int
    consent: bytes | None
    submission: bytes | None
    request_id: bytes | None
    asked: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query that is about to be sent, as it will be sent, with the consent that it rests on."""

    line: int
    consent: bytes
    submission: bytes
    request_id: bytes


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """How an item stands: "OK" or a reason; whether another run may bring more; the row of the results, as JSON."""

    line: int
    status: str
    is_open: bool
    result: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What the results show of an item."""

    family: str
    request_id: bytes | None
    status: str
    is_open: bool
    result: str


class BatchState:
    """The state in `file`, which is made if there is none; a context manager. Raises MalformedError for a bad one."""

    def __init__(self, file: Path, identity: BatchIdentity) -> None:
        self._file = file
        with self._readable():
            _make_private(file)
            self._connection = sqlite3.connect(file, timeout=0.0, isolation_level=None)
            try:
                self._open(identity)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        version = self._version()
        self._connection.close()
        if version == 0:
            self._file.unlink()  # there is nothing in it

    @property
    def is_filled(self) -> bool:
        """Whether the batch's lines are here."""
        return self._version() == _FORMAT

    # -- filling ------------------------------------------------------------------------------------------------

    @contextmanager
    def filling(self, identity: BatchIdentity) -> Iterator[Self]:
        """Take all lines, in one transaction: if it is left by an exception, there are none."""
        with self._transaction():
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)
            values = [(name, getattr(identity, name)) for name in BatchIdentity.__dataclass_fields__]
            self._connection.executemany("INSERT INTO batch VALUES (?, ?)", values)
            yield self
            self._connection.execute(f"PRAGMA user_version = {_FORMAT}")

    def add(self, line: Line) -> int | None:
        """Take one line; the number of the line on which its family stands already, if so."""
        earlier = self._connection.execute("SELECT line FROM items WHERE family = ?", (line.family,)).fetchone()
        if earlier is not None:
            return int(earlier[0])
        self._connection.execute(
            "INSERT INTO items (line, family, consent_file, family_group) VALUES (?, ?, ?, ?)",
            (line.number, line.family, str(line.consent or ""), line.group),
        )
        return None

    def locate(self, family: str, place: int) -> None:
        """Note where a family stands in the truth file, if it is of this batch."""
        self._connection.execute("UPDATE items SET place = ? WHERE family = ?", (place, family))

    def unlocated(self) -> Iterator[int]:
        """The lines whose family was not found."""
        for (line,) in self._connection.execute("SELECT line FROM items WHERE place IS NULL ORDER BY line"):
            yield line

    # -- asking -------------------------------------------------------------------------------------------------

    def open_items(self, size: int) -> Iterator[Sequence[Item]]:
        """The items that were open when this was called and are so still, in order, `size` at a time."""
        last = 0
        while True:
            rows = self._connection.execute(
                "SELECT line, family, consent_file, family_group, place, consent, submission, request_id, asked"
                " FROM items WHERE is_open AND line > ? ORDER BY line LIMIT ?",
                (last, size),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [Item(*row) for row in rows]

    def save_prepared(self, prepared: Iterable[Prepared]) -> None:
        """Make queries durable; only then may they be sent."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE items SET consent = ?, submission = ?, request_id = ?, asked = asked + 1 WHERE line = ?",
                [(each.consent, each.submission, each.request_id, each.line) for each in prepared],
            )

    def save_outcomes(self, outcomes: Iterable[BatchOutcome]) -> None:
        """Keep what became of items; the queries of those that are done are erased, from the side file too."""
        with self._transaction():
            for each in outcomes:
                self._connection.execute(
                    "UPDATE items SET status = ?, is_open = ?, result = ? WHERE line = ?",
                    (each.status, each.is_open, each.result, each.line),
                )
                if not each.is_open:
                    self._connection.execute(
                        "UPDATE items SET consent = NULL, submission = NULL WHERE line = ?", (each.line,)
                    )
        with self._readable():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # it holds what was erased

    # -- telling ------------------------------------------------------------------------------------------------

    def statuses(self) -> dict[tuple[str, bool], int]:
        """How many items stand how: by status ("" if not asked yet), and whether another run may bring more."""
        found = self._connection.execute("SELECT coalesce(status, ''), is_open, count(*) FROM items GROUP BY 1, 2")
        return {(status, bool(is_open)): count for status, is_open, count in found}

    def rows(self) -> Iterator[Row]:
        """Every item, in the order of the file; what was not asked yet has the status ""."""
        found = self._connection.execute(
            "SELECT family, request_id, coalesce(status, ''), is_open, coalesce(result, '') FROM items ORDER BY line"
        )
        for family, request_id, status, is_open, result in found:
            yield Row(family, request_id, status, bool(is_open), result)

    # -- the file -----------------------------------------------------------------------------------------------

    def _open(self, identity: BatchIdentity) -> None:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN EXCLUSIVE")
        self._connection.execute("COMMIT")
        version = self._version()
        if version not in (0, _FORMAT):
            raise self._bad("is of another version of this program")
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        if version == _FORMAT:
            held = dict(self._connection.execute("SELECT name, value FROM batch"))
            for name in BatchIdentity.__dataclass_fields__:
                if held.get(name) != getattr(identity, name):
                    raise self._bad(f"is of {_OTHER[name]}: name other --results, or finish that batch first")

    def _version(self) -> int:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._readable(), transaction(self._connection):
            yield

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise self._bad("is in use: another run of this batch is under way") from None
            raise self._bad(f"cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._bad(
                "is damaged: bring it back from a copy. A batch without it asks all anew, and spends other uses"
            ) from error

    def _bad(self, description: str) -> MalformedError:
        return MalformedError.at(str(self._file), description, Reason.CONFIGURATION_INVALID)


_OTHER = {
    "input": "another input file, or this one was changed",
    "federation": "another federation",
    "folder": "a federation in another folder",
    "requester": "another requester",
}


def _make_private(file: Path) -> None:
    """Make the file with its mode if there is none; refuse one that others could read."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE))
    except FileExistsError:
        if file.stat().st_mode & 0o077:
            raise MalformedError.at(
                str(file), "may be read by others: chmod 600 it", Reason.CONFIGURATION_INVALID
            ) from None
        with file.open("rb") as opened:
            begins = opened.read(_LEAST_BYTES)
        if begins and (len(begins) < _LEAST_BYTES or not begins.startswith(_MAGIC)):
            raise sqlite3.DatabaseError("no database") from None  # SQLite would take one without a head for a new one
