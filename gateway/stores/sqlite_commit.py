"""One group of entries in the SQLite store: which of them are committed and how, and all that is written with them.

Within the transaction of `gateway.stores.sqlite`. Entries are decided on in their order, each seeing those before it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, repeat

from gateway.protocol.appended import appended_paths
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.reasons import Reason
from gateway.stores import sqlite_disputes, sqlite_evidence, sqlite_keeping, sqlite_tickets
from gateway.stores.records import Committed, Entry, Head, SignCheckpoint
from gateway.stores.sqlite_group import Group
from gateway.stores.sqlite_shards import GrowingTree
from gateway.stores.sqlite_statistics import add_tallies

_NO_HEAD = Head(0, b"", "")


def append(
    writer: sqlite3.Connection, tree: GrowingTree, entries: Sequence[Entry], sign: SignCheckpoint
) -> list[Committed]:
    """Append what can be committed of `entries` to the log that grows, and write all that goes with it."""
    old, frontier = tree.look(writer)
    deciding = _Deciding(writer, Group(writer, entries), old.end)
    left_out = {at: out for at, entry in enumerate(entries) if (out := deciding.take(entry)) is not None}
    accepted, reasons = deciding.accepted, deciding.reasons
    if not accepted:
        return [replace(left_out[at], head=old) for at in range(len(entries))]
    deciding.group.flush()
    hashes = [leaf_hash(entry.leaf) for entry in accepted]
    head = tree.grow(writer, old, frontier, hashes, sign)
    add_tallies(writer, (entry.tallies for entry in accepted if entry.tallies is not None), head)
    leaves = [entry.leaf for entry in accepted]
    results = map(Committed, count(old.end), repeat(head), reasons, leaves, appended_paths(frontier, hashes))
    return [replace(left_out[at], head=head) if at in left_out else next(results) for at in range(len(entries))]


class _Deciding:
    """Decides on entries in their order."""

    def __init__(self, writer: sqlite3.Connection, group: Group, end: int) -> None:
        self.group = group
        self.accepted: list[Entry] = []
        self.reasons: list[Reason | None] = []
        self._writer = writer
        self._end = end

    def take(self, entry: Entry) -> Committed | None:
        """Write an entry, for those after it to see; or why it is not committed, the head left out."""
        if self.group.is_erased(entry):
            return Committed(-1, _NO_HEAD, erased=True)
        if self._is_overtaken(entry):
            return Committed(-1, _NO_HEAD, overtaken=True)
        if clash := self.group.keep(entry):
            return Committed(-1, _NO_HEAD, foreign_keys=clash)
        if entry.ticket is not None or entry.dispute is not None or entry.resolution is not None:
            self.group.flush()
            sqlite_evidence.keep_longer(self._writer, entry)
            self.group.forget()
        reason = self._kept_back(entry)
        kept = entry if reason is None else entry.kept_back(reason)
        write(self._writer, self.group, kept, self._end + len(self.accepted))
        self.accepted.append(kept)
        self.reasons.append(reason)
        return None

    def _is_overtaken(self, entry: Entry) -> bool:
        """Whether another entry came first: for the same request, ticket, dispute, withdrawal or registry version."""
        if self.group.is_repeated(entry) or self._is_adopted(entry.registry_version):
            return True
        if entry.ticket is not None:
            self.group.flush()
            if sqlite_tickets.is_stale(self._writer, entry.ticket):
                return True
        if sqlite_disputes.is_late(self._writer, entry):
            return True
        if entry.erasure is not None:
            self.group.flush()
            if sqlite_keeping.is_late(self._writer, entry.erasure):
                return True
            if sqlite_keeping.is_waited_for(self._writer, entry.erasure):
                return True
        return self.group.is_overtaken(entry)

    def _is_adopted(self, version: int | None) -> bool:
        if version is None:
            return False
        found = self._writer.execute("SELECT 1 FROM registries WHERE version = ?", (version,))
        return found.fetchone() is not None

    def _kept_back(self, entry: Entry) -> Reason | None:
        """Why the entry is withheld, if it is; otherwise its uses are spent."""
        if self.group.is_withdrawn(entry):
            return Reason.GRANT_REVOKED
        if entry.request is not None and self.group.conflicts(entry.request):
            return Reason.REQUEST_ID_CONFLICT
        if not sqlite_disputes.may_reverify(self._writer, entry):
            return Reason.DISPUTE_SPENT
        if not self.group.spend(entry):
            return Reason.GRANT_USED_UP
        sqlite_disputes.reverify(self._writer, entry)
        return None


def write(writer: sqlite3.Connection, group: Group, entry: Entry, position: int) -> None:
    """Write what an entry, whose leaf stands at a position, says; its group is to be flushed at the end."""
    group.put(entry, position)
    sqlite_disputes.keep_disputes(writer, entry, position)
    if entry.registry_version is not None:
        writer.execute(
            "INSERT INTO registries VALUES (?, ?) ON CONFLICT DO NOTHING", (entry.registry_version, position)
        )
    if entry.ticket is not None:
        sqlite_tickets.put(writer, entry.ticket, position)
    if entry.erasure is not None:
        group.flush()
        sqlite_keeping.erase(writer, entry.erasure)
        group.forget()
