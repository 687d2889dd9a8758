"""A node's journal as a file for auditors: every chained entry byte for byte, and the chain's end, signed.

The form is that of `gateway.protocol.journal`. The journal's file is opened to be read only, beside a node that serves:
the end is read first, then what leads up to it, a page at a time, so that nothing waits for it and memory does not
grow. An export is signed only if the chain leads to its end. What entries hold back stays behind; entries of before
that was so are given out only if the caller says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.journal import FORMAT, GENESIS, Header, JournalHead, SignedHead, link, sign_head, write_line
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from sandbox_departments.journal import SCHEMA_VERSION, Head
from sandbox_departments.journal_entries import is_open, read_entry
from sandbox_departments.ledger import faults_as_log_unavailable

PAGE = 500
"""Entries that are read at once: a few megabytes."""

Progress = Callable[[int, int], None]
"""Told how many entries are written, of how many."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Whose journal it is, and with what its end is signed.

    `now` is seconds since the epoch, of before the end is read: whatever was stated by then is in the journal.
    """

    department: str
    key: SigningKey
    registry_version: int
    now: int


class OpenEntriesError(MalformedError):
    """The journal has entries that say what is held back of others; `first` and `last` are their numbers."""


class JournalReader:
    """A journal's chain, read beside the node that writes it. LogUnavailableError for every fault of the file."""

    def __init__(self, path: Path) -> None:
        with faults_as_log_unavailable():
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
            try:
                self._connection.execute("PRAGMA busy_timeout = 5000")
                (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            except BaseException:
                self._connection.close()
                raise
        if version > SCHEMA_VERSION:
            self._connection.close()
            raise MalformedError.at(
                str(path), "was written by a newer version: update heyan", Reason.CONFIGURATION_INVALID
            )

    def head(self) -> Head:
        """The end of the chain, as it stands in the file."""
        with faults_as_log_unavailable():
            row = self._connection.execute(
                "SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
        return Head(0, GENESIS) if row is None else Head(*row)

    def at(self, sequence: int) -> Head | None:
        """Where the chain was after so many entries; None if it never was."""
        if sequence == 0:
            return Head(0, GENESIS)
        with faults_as_log_unavailable():
            row = self._connection.execute(
                "SELECT sequence, hash FROM entries WHERE sequence = ?", (sequence,)
            ).fetchone()
        return None if row is None else Head(*row)

    def entries(self, start: Head, end: Head) -> Iterator[bytes]:
        """The bytes of the entries after `start`, to `end`.

        ForgedError (PROOF_INVALID) once they do not lead there: whoever takes them must take all or none.
        """
        last = start
        while last.sequence < end.sequence:
            with faults_as_log_unavailable():
                rows = self._connection.execute(
                    "SELECT sequence, entry FROM entries WHERE sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?",
                    (last.sequence + 1, end.sequence, PAGE),
                ).fetchall()
            if not rows:
                break
            for sequence, data in rows:
                if sequence != last.sequence + 1:
                    raise ForgedError(Reason.PROOF_INVALID, f"journal: broken at entry {last.sequence + 1}")
                last = Head(sequence, link(last.hash, data))
                yield data
        if last != end:
            raise ForgedError(Reason.PROOF_INVALID, "journal: the entries do not lead to its end")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def export_lines(
    path: Path,
    seal: Seal,
    *,
    after: int = 0,
    whole: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Iterator[bytes]:
    """The lines of an export, without newlines: the entries after number `after`, all of them by default.

    Raises MalformedError if the journal has not so many entries, OpenEntriesError for an entry that holds back nothing
    unless `whole`, ForgedError if the chain is broken, LogUnavailableError. The last line is there only if all is well.
    """
    with closing(JournalReader(path)) as reader:
        end = reader.head()
        start = reader.at(after)
        if start is None:
            raise MalformedError.at(
                "--after", f"must be at most {end.sequence}: the journal has no more", Reason.CONFIGURATION_INVALID
            )
        yield write_line(Header(FORMAT, seal.department, after + 1, end.sequence, start.hash, float(seal.now)))
        for number, data in enumerate(reader.entries(start, end), after + 1):
            if b"\n" in data:
                raise ForgedError(Reason.PROOF_INVALID, f"journal: entry {number} is not one line")
            if not whole and is_open(read_entry(data)):
                raise OpenEntriesError.at(
                    "--whole",
                    f"is needed: entry {number} was written before pseudonyms and finer reasons were held back,"
                    " and the chain has them inside",
                    Reason.CONFIGURATION_INVALID,
                )
            yield data
            progress(number - after, end.sequence - after)
        yield write_line(_sealed(seal, end))


def signed_head(path: Path, seal: Seal) -> SignedHead:
    """The journal's end under the department's signature, for somebody to keep; nothing but its last entry is read."""
    with closing(JournalReader(path)) as reader:
        return _sealed(seal, reader.head())


def _sealed(seal: Seal, end: Head) -> SignedHead:
    head = JournalHead(seal.department, end.sequence, end.hash, seal.now, seal.registry_version)
    return sign_head(head, seal.key)
