"""SQLite in trouble: a connection that fails or dies at a chosen statement, and a file that cannot be written.

Failing is an error of SQLite's, after which the process goes on: a full disk, a lock. Dying is what `kill -9` leaves:
no further statement of the process takes effect, not even a ROLLBACK; `abandon` then closes the file, as the system
does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from typing import Any


class When(Enum):
    """At which side of the statement."""

    BEFORE = "before"
    AFTER = "after"


class How(Enum):
    """What happens there."""

    FAILS = "fails"
    DIES = "dies"


class Dead(BaseException):
    """The process has ended: nothing handles this."""


class TrippedConnection:
    """Stands for `connection`. `steps` are the statements seen since the last `arm`, by their first words."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._trip: tuple[int | str, When, How] | None = None
        self._dead = False
        self.steps: list[str] = []

    def arm(self, step: int | str | None, when: When = When.BEFORE, how: How = How.FAILS) -> None:
        """Fail or die at the statement of that number, counted from now, or with those first words; None counts."""
        self._trip = None if step is None else (step, when, how)
        self.steps = []

    def abandon(self) -> None:
        """Close the file without a word."""
        self._connection.close()

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        number = self._enter(sql)
        cursor = self._connection.execute(sql, parameters)
        self._leave(number, cursor)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        number = self._enter(sql)
        cursor = self._connection.executemany(sql, parameters)
        self._leave(number, cursor)
        return cursor

    def __getattr__(self, name: str) -> Any:
        if self._dead and name in ("commit", "rollback"):
            raise Dead
        return getattr(self._connection, name)

    def _enter(self, sql: str) -> int:
        if self._dead:
            raise Dead
        number = len(self.steps)
        self.steps.append(" ".join(sql.split()[:3]))
        self._act(number, When.BEFORE)
        return number

    def _leave(self, number: int, cursor: sqlite3.Cursor) -> None:
        try:
            self._act(number, When.AFTER)
        except BaseException:
            cursor.close()  # a statement in progress would hold up the next ones
            raise

    def _act(self, number: int, when: When) -> None:
        if self._trip is None or self._trip[1] is not when or self._trip[0] not in (number, self.steps[number]):
            return
        how, self._trip = self._trip[2], None
        if how is How.DIES:
            self._dead = True
            raise Dead
        raise sqlite3.OperationalError("planted")


Trouble = Callable[[sqlite3.Connection], AbstractContextManager[None]]


@contextmanager
def full_disk(connection: sqlite3.Connection) -> Iterator[None]:
    """The file may not grow by a page."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    yield
    connection.execute("PRAGMA max_page_count = 4294967294")


@contextmanager
def locked(connection: sqlite3.Connection) -> Iterator[None]:
    """Somebody else holds the database for longer than anybody waits."""
    connection.execute("PRAGMA busy_timeout = 1")
    (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def read_only(connection: sqlite3.Connection) -> Iterator[None]:
    """What a file system that was remounted read-only does to writers."""
    connection.execute("PRAGMA query_only = ON")
    yield
    connection.execute("PRAGMA query_only = OFF")


TROUBLES: tuple[Trouble, ...] = (full_disk, locked, read_only)


def use_free_pages(connection: sqlite3.Connection) -> None:
    """Fill the pages that the file still has, so that whatever is written next needs a new one."""
    connection.execute("CREATE TABLE IF NOT EXISTS ballast (data BLOB)")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    connection.execute("INSERT INTO ballast VALUES (zeroblob(?))", ((free + 4) * size,))


def grow_with(connection: sqlite3.Connection, table: str) -> None:
    """From now on a row in `table` needs a new page, also where there is room for it in the last one."""
    use_free_pages(connection)
    connection.execute(
        f"CREATE TEMP TRIGGER grow AFTER INSERT ON {table} BEGIN INSERT INTO ballast VALUES (zeroblob(9000)); END"  # noqa: S608 - a name of the schema
    )
