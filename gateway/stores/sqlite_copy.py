"""Copies of a SQLite store: made while others write to it, and held against their own trees.

The source is read in one read transaction, so the copy is the store of one moment, and in steps, so that it can be
told how far it is. Commits go on meanwhile: in WAL mode a reader holds up no writer; the write-ahead log grows until
the copy is made.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from sqlite_utils import Database

from gateway.party.keyfiles import PRIVATE_MODE, sync_file
from gateway.protocol.errors import ForgedError, LogUnavailableError
from gateway.protocol.merkle import Frontier, frontier_nodes, leaf_hash
from gateway.protocol.reasons import Reason
from gateway.stores import sqlite_shards
from gateway.stores.records import Head
from gateway.stores.sqlite_connection import BUSY_TIMEOUT_MS, as_unavailable, connect
from gateway.stores.sqlite_leaves import from_row
from gateway.stores.sqlite_schema import migrations

PAGES_AT_ONCE = 2_048
"""Pages of 4 KiB in one step of a copy: 8 MiB."""
LEAVES_AT_ONCE = 4_096

Progress = Callable[[int, int], None]
"""Told of what is done and of how much there is, in whatever is counted."""


def copy_store(source: Path, target: Path, progress: Progress) -> None:
    """Copy the store at `source` as of now into the new file `target`, mode 0600, durably; counts pages.

    LogUnavailableError if the source cannot be read or the target not written. Raises OSError.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE))
    with as_unavailable(), closing(open_reading(source)) as reader, closing(sqlite3.connect(target)) as copy:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it is the store of this moment
        reader.backup(copy, pages=PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total))
        reader.execute("ROLLBACK")
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log
    sync_file(target)


def check_copy(path: Path, progress: Progress, *, every_leaf: bool) -> list[Head]:
    """The heads of a copy's logs, whose trees have the roots that they say and all their leaves; counts leaves.

    With `every_leaf` each is hashed, and every node of the trees compared. ForgedError (BACKUP_INVALID) if anything
    does not fit, or the file is no store. Nothing is written.
    """
    with _as_invalid(), closing(open_reading(path, immutable=True)) as copy:
        if every_leaf and copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise _invalid("the database is damaged")
        heads = sqlite_shards.every(copy)
        if not heads or [head.number for head in heads if not head.ended] != [len(heads) - 1]:
            raise _invalid("it has no log that grows")
        for position, head in enumerate(heads):
            if head.first != (heads[position - 1].end if position else 0):
                raise _invalid("its logs do not follow one another")
            hashes = [sqlite_shards.read_node(copy, head.number, *place) for place in frontier_nodes(head.size)]
            if Frontier(head.size, tuple(hashes)).root() != head.root:
                raise _invalid(f"the tree of {head.origin} does not have its root")
        (count,) = copy.execute("SELECT count(*) FROM leaves WHERE leaf_index >= 0").fetchone()
        (last,) = copy.execute("SELECT max(leaf_index) FROM leaves").fetchone()
        if (count, last) != (heads[-1].end, heads[-1].end - 1):
            raise _invalid("leaves are missing, or too many")
        if every_leaf:
            for head in heads:
                _check_leaves(copy, head, progress, heads[-1].end)
        return heads


def _check_leaves(copy: sqlite3.Connection, head: Head, progress: Progress, total: int) -> None:
    frontier = Frontier()
    query = "SELECT data FROM leaves WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index"
    rows = copy.execute(query, (head.first, head.end))
    while chunk := rows.fetchmany(LEAVES_AT_ONCE):
        frontier, added = frontier.append([leaf_hash(from_row(leaf)) for (leaf,) in chunk])
        for level, nodes in groupby(added, key=itemgetter(0)):
            indexes, computed = zip(*((index, node) for _, index, node in nodes), strict=True)
            held = sqlite_shards.read_nodes(copy, head.number, level, indexes[0], len(computed))
            if held != list(computed):
                raise _invalid(f"a leaf of {head.origin} below {frontier.size} is not the one of its tree")
        progress(head.first + frontier.size, total)
    if frontier.root() != head.root:
        raise _invalid(f"the leaves of {head.origin} do not give its root")


def migrate_copy(path: Path) -> None:
    """Bring a copy that an older Heyan made to the schema of this one; ForgedError (BACKUP_INVALID) of a newer one."""
    with _as_invalid(), closing(open_reading(path, immutable=True)) as copy:
        applied = {migration.name for migration in migrations.applied(Database(copy))}
    with closing(sqlite3.connect(":memory:")) as nothing:
        known = {migration.name for migration in migrations.pending(Database(nothing))}
    if applied - known:
        raise _invalid(f"a newer Heyan made it ({', '.join(sorted(applied - known))}): restore it with that one")
    with as_unavailable(), closing(connect(path)) as copy:
        migrations.apply(Database(copy))


def open_reading(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that changes nothing; a store in use must be opened as one that is shared."""
    mode = "mode=ro&immutable=1" if immutable else "mode=rw"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def _as_invalid() -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, LogUnavailableError) as error:
        raise _invalid(f"the store's copy cannot be read: {type(error).__name__}") from None


def _invalid(detail: str) -> ForgedError:
    return ForgedError(Reason.BACKUP_INVALID, detail)
