"""What a monitor keeps, in one SQLite file: its state, its alarms, what became of them. One process at a time.

Durability: `commit` is one transaction (rollback journal, synchronous=FULL) of state, alarms and deferred queries, so
that the state never moves without the alarms, nor they without it. An alarm's row stays for good: what is raised again
is neither stored nor told twice. Evidence is written beside, before the commit: `FILE.evidence/<id>/<what>.checkpoint`.

A file that is damaged, cut short or of another log is refused, never replaced: a monitor that begins anew forgets what
it saw.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.monitor.alarms import Alarm, encode_document
from gateway.monitor.state import MonitorState, digest_of
from gateway.party.keyfiles import FOLDER_MODE, PRIVATE_MODE, sync_folder, write_atomic
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.reasons import Reason
from gateway.stores.sqlite_connection import transaction

_SCHEMA = """
CREATE TABLE state (only INTEGER PRIMARY KEY CHECK (only = 1), text TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE alarms (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
    told INTEGER NOT NULL DEFAULT 0, posted INTEGER NOT NULL
) STRICT;
CREATE INDEX alarms_untold ON alarms (number) WHERE told = 0;
CREATE INDEX alarms_unposted ON alarms (number) WHERE posted = 0;
CREATE TABLE deferred (tag BLOB PRIMARY KEY, until REAL NOT NULL) STRICT, WITHOUT ROWID;
"""

Told = tuple[int, dict[str, Any]]
"""An alarm's number in the file, and its document."""


class MonitorStore:
    """The file of one monitor. Calls block for one write to disk at most; failures are UnreachableError."""

    def __init__(self, path: Path, origin: str, *, posts: bool = False) -> None:
        """Open the file, or make it. `posts`: alarms are for a webhook too.

        Raises MalformedError (CONFIGURATION_INVALID) that says what is wrong with it, or that it is in use.
        """
        self._path = path
        self._origin = origin
        self._posts = posts
        if not path.exists():
            _make(path, MonitorState(origin))
        self._lock: int | None = _lock(path)
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self.state = self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others use the file; once is enough."""
        self._database.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def evidence(self) -> Path:
        """The folder of evidence."""
        return self._path.with_name(self._path.name + ".evidence")

    def commit(self, state: MonitorState, alarms: Iterable[Alarm], deferred: Mapping[bytes, float]) -> list[Alarm]:
        """Keep all of it, or nothing; those of the alarms that were not stored before."""
        raised = list(alarms)
        for alarm in raised:
            self._write_evidence(alarm)
        text = state.encode()
        fresh: list[Alarm] = []
        with self._transaction():
            self._database.execute("UPDATE state SET text = ?, digest = ?", (text, digest_of(text)))
            for alarm in raised:
                body = encode_document(alarm.document())
                row = self._database.execute(
                    "INSERT OR IGNORE INTO alarms (id, body, posted) VALUES (?, ?, ?)",
                    (alarm.id, body, 0 if self._posts else 1),
                )
                if row.rowcount:
                    fresh.append(alarm)
            self._database.executemany("INSERT OR REPLACE INTO deferred VALUES (?, ?)", deferred.items())
            if deferred and state.watcher is not None:
                self._database.execute("DELETE FROM deferred WHERE until <= ?", (state.watcher["latest"],))
        self.state = state
        return fresh

    def deferred(self) -> dict[bytes, float]:
        """Deferred queries that are remembered, the earliest first."""
        with _as_unreachable():
            return dict(self._database.execute("SELECT tag, until FROM deferred ORDER BY until").fetchall())

    def untold(self) -> list[Told]:
        """Alarms that were not printed yet, in their order."""
        return self._alarms("told = 0")

    def unposted(self, limit: int) -> list[Told]:
        """Alarms that the webhook has not taken yet, in their order."""
        return self._alarms("posted = 0", limit)

    def count_unposted(self) -> int:
        """How many those are."""
        with _as_unreachable():
            return int(self._database.execute("SELECT count(*) FROM alarms WHERE posted = 0").fetchone()[0])

    def mark_told(self, numbers: Iterable[int]) -> None:
        """These are printed."""
        with self._transaction():
            self._database.executemany("UPDATE alarms SET told = 1 WHERE number = ?", [(each,) for each in numbers])

    def mark_posted(self, number: int) -> None:
        """The webhook took this one."""
        with self._transaction():
            self._database.execute("UPDATE alarms SET posted = 1 WHERE number = ?", (number,))

    def _alarms(self, which: str, limit: int = -1) -> list[Told]:
        query = f"SELECT number, body FROM alarms WHERE {which} ORDER BY number LIMIT ?"  # noqa: S608 - ours
        with _as_unreachable():
            return [(number, json.loads(body)) for number, body in self._database.execute(query, (limit,))]

    def _read(self) -> MonitorState:
        try:
            self._database.execute("PRAGMA synchronous = FULL")
            sound = self._database.execute("PRAGMA quick_check").fetchone() == ("ok",)
            text, digest = self._database.execute("SELECT text, digest FROM state").fetchone()
            state = MonitorState.decode(text)
        except (sqlite3.Error, TypeError, MalformedError):
            raise self._unusable("is damaged or no monitor's") from None
        if not sound or digest != digest_of(text):
            raise self._unusable("is damaged")
        if state.origin != self._origin:
            advice = "keep it for that log (--origin, or its --vkey), and name another file for this one"
            raise self._unusable(f"is of the log {state.origin}, not {self._origin}", advice)
        return state

    def _unusable(
        self, what: str, advice: str = "keep it as evidence, and name another file only if you know why"
    ) -> MalformedError:
        return MalformedError.at("--state", f"{self._path} {what}: {advice}", Reason.CONFIGURATION_INVALID)

    def _write_evidence(self, alarm: Alarm) -> None:
        for name, note in alarm.evidence.items():
            file = self.evidence / alarm.id / f"{name}.checkpoint"
            if not file.exists():
                with _as_unreachable():
                    write_atomic(file, note.encode())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _as_unreachable(), transaction(self._database):
            yield


def read_seen(path: Path, origin: str) -> str:
    """The newest checkpoint of the log `origin` in a monitor's file, which may be in use; empty if it saw none.

    Raises MalformedError (CONFIGURATION_INVALID) if the file is none, damaged, or of another log.
    """
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            text, digest = database.execute("SELECT text, digest FROM state").fetchone()
        finally:
            database.close()
        state = MonitorState.decode(text)
    except (sqlite3.Error, TypeError, MalformedError):
        raise MalformedError.at("--state", f"{path} is no monitor's file", Reason.CONFIGURATION_INVALID) from None
    if digest != digest_of(text):
        raise MalformedError.at("--state", f"{path} is damaged", Reason.CONFIGURATION_INVALID)
    if state.origin != origin:
        raise MalformedError.at("--state", f"{path} is of the log {state.origin}", Reason.CONFIGURATION_INVALID)
    return state.seen


def _make(path: Path, state: MonitorState) -> None:
    """Make the file whole before it has its name: one that is cut short is then never a new one."""
    text = state.encode()
    with _as_unreachable():
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE))
            database = sqlite3.connect(temporary, isolation_level=None)
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            database.execute("INSERT INTO state VALUES (1, ?, ?)", (text, digest_of(text)))
            database.close()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def _lock(path: Path) -> int:
    """Keep other monitors off the file until this descriptor is closed, or the process ends."""
    with _as_unreachable():
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        description = f"{path} is in use by another monitor"
        raise MalformedError.at("--state", description, Reason.CONFIGURATION_INVALID) from None
    return descriptor


@contextmanager
def _as_unreachable() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise UnreachableError(Reason.INTERNAL, f"the monitor's file: {type(error).__name__}") from error
