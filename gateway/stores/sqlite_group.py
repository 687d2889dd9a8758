"""What the entries of one commit rest on, looked up at once, and what they write, written at once.

Entries are decided on one after the other, and each sees those before it: what was looked up is changed here as it will
be in the tables. All of it happens within the commit's transaction, so that no other writer comes between, and nothing
is remembered beyond it. What few entries do (tickets, disputes, erasures) reads and writes the tables themselves: they
`flush` before, and have `forget` what they may have changed.

Grants and requests get their numbers here, as SQLite would give them: one more than the largest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.stores import sqlite_deferrals
from gateway.stores.entries import grants_of, kept_of, requests_of, withdrawals_of
from gateway.stores.records import Entry, Evidence, RequestKey, StoredRequest, Use
from gateway.stores.sqlite_evidence import DAY, day_of
from gateway.stores.sqlite_key_slots import HELD, from_slot, to_slot
from gateway.stores.sqlite_leaves import to_row
from gateway.stores.sqlite_rows import insert, select

_GRANTS = (
    "SELECT digest, id, kept_day, wrapped_key IS NOT NULL, erased_until IS NOT NULL, wrapped, ciphertext FROM grants"
    " LEFT JOIN grant_keys ON grant_id = id WHERE digest IN"
)
_REQUESTS = (
    "SELECT uri, request_id, r.id, query_digest, state = x'',"
    " (SELECT count(*) FROM request_leaf_rows WHERE request = r.id)"
    " FROM request_rows r JOIN peers p ON p.id = peer WHERE request_id IN"
)
_KEPT = (
    "ON CONFLICT DO UPDATE SET kept_day = max(kept_day, excluded.kept_day), wrapped_key = excluded.wrapped_key,"
    " ciphertext = excluded.ciphertext"
)
_NEWEST_LOG = (
    "ON CONFLICT DO UPDATE SET leaf_index = excluded.leaf_index"
    " WHERE leaf_index < (SELECT first_position FROM shards WHERE ended = 0)"
)


@dataclass(slots=True)
class _Grant:
    number: int
    kept_day: int = 0
    held: bool = False
    """Whether its evidence is kept, or was until it was erased."""
    erased: bool = False
    wrapped: bytes = b""
    ciphertext: bytes = b""
    spent: dict[int, int] = field(default_factory=dict)
    """How often each authorization is."""


@dataclass(slots=True)
class _Request:
    number: int
    query_digest: bytes
    emptied: bool = False
    leaves: int = 0
    spent: set[tuple[int, int]] = field(default_factory=set)
    """Numbers of grants and authorizations."""


class Group:
    """The entries of one commit, within its transaction."""

    def __init__(self, writer: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        self._writer = writer
        self._digests = {digest for entry in entries for digest in grants_of(entry)}
        self._keys = {key for entry in entries for key in requests_of(entry)}
        self._standing = {(item.issuer, item.grant_digest) for entry in entries for item in withdrawals_of(entry)}
        self._next_grant, self._next_request = self._next("grants"), self._next("request_rows")
        self._peers: dict[str, int] = {}
        self._withdrawn: set[tuple[str, bytes]] = set()
        for issuer in {issuer for issuer, _ in self._standing}:
            digests = [digest for one, digest in self._standing if one == issuer]
            query = "SELECT grant_digest FROM withdrawals WHERE issuer = ? AND grant_digest IN"
            self._withdrawn.update((issuer, digest) for (digest,) in select(writer, query, digests, issuer))
        self._start()
        self.forget()

    def forget(self) -> None:
        """Look grants and requests up anew; nothing may wait to be written."""
        self._grants = {
            digest: _Grant(number, day, bool(held), bool(erased), from_slot(slot), text or b"")
            for digest, number, day, held, erased, slot, text in select(self._writer, _GRANTS, self._digests)
        }
        numbers = {grant.number: grant for grant in self._grants.values()}
        spent = "SELECT grant_id, authorization, spent FROM use_counts WHERE grant_id IN"
        for number, authorization, times in select(self._writer, spent, numbers):
            numbers[number].spent[authorization] = times
        self._requests = {
            key: _Request(number, query_digest, bool(emptied), leaves)
            for uri, request_id, number, query_digest, emptied, leaves in select(
                self._writer, _REQUESTS, {key.request_id for key in self._keys}
            )
            if (key := RequestKey(uri, request_id)) in self._keys
        }
        asked = {request.number: request for request in self._requests.values()}
        uses = "SELECT request, grant_id, authorization FROM request_use_rows WHERE request IN"
        for number, grant, authorization in select(self._writer, uses, asked):
            asked[number].spent.add((grant, authorization))

    # -- what an entry rests on -----------------------------------------------------------------------------------

    def is_erased(self, entry: Entry) -> bool:
        """Whether anything that the entry rests on was erased."""
        return any(grant.erased for digest in kept_of(entry) if (grant := self._grants.get(digest))) or any(
            request.emptied for key in requests_of(entry) if (request := self._requests.get(key))
        )

    def is_overtaken(self, entry: Entry) -> bool:
        """Whether the request has other leaves than the entry was made after."""
        if entry.request is None or entry.earlier_leaves is None:
            return False
        request = self._requests.get(entry.request.key)
        return entry.earlier_leaves != (request.leaves if request is not None else 0)

    def is_withdrawn(self, entry: Entry) -> bool:
        """Whether a grant that must stand was withdrawn."""
        return any((item.issuer, item.grant_digest) in self._withdrawn for item in entry.standing)

    def is_repeated(self, entry: Entry) -> bool:
        """Whether the withdrawal that the entry records is recorded already."""
        reported = entry.withdrawal
        return reported is not None and (reported.issuer, reported.grant_digest) in self._withdrawn

    def conflicts(self, request: StoredRequest) -> bool:
        """Whether another query stands under the request's id."""
        known = self._requests.get(request.key)
        return known is not None and known.query_digest != request.query_digest

    # -- what it writes -------------------------------------------------------------------------------------------

    def keep(self, entry: Entry) -> tuple[Evidence, ...]:
        """Keep the entry's evidence; what is there already under another key is returned, and nothing is kept."""
        held = [self._held(item.grant_digest) for item in entry.evidence]
        clash = tuple(
            Evidence(item.grant_digest, other.wrapped, other.ciphertext, float(other.kept_day * DAY))
            for item, other in zip(entry.evidence, held, strict=True)
            if other and (other.wrapped != item.wrapped_key or item.replaces not in (b"", other.ciphertext))
        )
        if clash:
            return clash
        for item, other in zip(entry.evidence, held, strict=True):
            grant, day = other or self._grant(item.grant_digest), day_of(item.kept_from)
            if other is None:
                grant.held, grant.wrapped, grant.ciphertext = True, item.wrapped_key, item.ciphertext
                grant.kept_day = max(grant.kept_day, day)
                self._kept[item.grant_digest] = grant
                continue
            if item.replaces:
                grant.ciphertext = item.ciphertext
                self._more[grant.number] = grant
            if day > grant.kept_day:
                grant.kept_day = day
                self._longer[grant.number] = grant
        return ()

    def spend(self, entry: Entry) -> bool:
        """Count the entry's uses that its request has not spent before; False, and none counted, if one is short."""
        if entry.request is None:
            return True
        request = self._requests.get(entry.request.key)
        fresh = [use for use in entry.uses if request is None or not self._has_spent(request, use)]
        if any(self._times(use) >= use.max_uses for use in fresh):
            return False
        for use in fresh:
            grant = self._grant(use.grant_digest)
            grant.spent[use.authorization] = grant.spent.get(use.authorization, 0) + 1
            self._counts.append((grant.number, use.authorization, 1, use.expire_time))
        return True

    def put(self, entry: Entry, position: int) -> None:
        """Write the entry's leaf, which stands at a position, its statements, its withdrawal and its request."""
        self._leaves.append((position, to_row(entry.leaf)))
        self._statements += [(digest, position) for digest in entry.statement_digests]
        if entry.withdrawal is not None:
            place = (entry.withdrawal.issuer, entry.withdrawal.grant_digest)
            self._withdrawals.append((*place, position))
            self._withdrawn.add(place)
        if entry.request is not None:
            self._put_request(entry, entry.request, position)

    def _put_request(self, entry: Entry, stored: StoredRequest, position: int) -> None:
        request, grant = self._requests.get(stored.key), self._grant(stored.grant_digest)
        is_new = request is None
        if request is None:
            request = self._requests[stored.key] = _Request(self._next_request, stored.query_digest)
            self._next_request += 1
            peer = self._peer(stored.key.requester)
            self._new_requests[request.number] = (
                request.number, peer, stored.key.request_id, stored.query_digest, stored.answer_until, grant.number,
            )  # fmt: skip
        request.leaves += 1
        self._states[request.number] = stored.state
        self._request_leaves.append((request.number, position))
        self._further += [
            (self._grant(item.grant_digest).number, request.number)
            for item in entry.evidence
            if item.grant_digest != stored.grant_digest
        ]
        places = [self._place(use) for use in entry.uses]
        request.spent.update(places)
        self._request_uses += [(request.number, *place) for place in places]
        if entry.deferral is not None or not is_new:  # what is new has not waited for anything
            sqlite_deferrals.keep(self._writer, stored.key, entry.deferral)

    def flush(self) -> None:
        """Write what waits to be written."""
        writer = self._writer
        insert(writer, "leaves", self._leaves)
        insert(writer, "statements", self._statements, _NEWEST_LOG)
        insert(writer, "withdrawals", self._withdrawals, "ON CONFLICT DO NOTHING")
        bare = [(grant.number, digest, 0) for digest, grant in self._bare.items() if digest not in self._kept]
        insert(writer, "grants (id, digest, kept_day)", bare)
        kept = [(grant.number, digest, grant.kept_day, HELD, grant.ciphertext) for digest, grant in self._kept.items()]
        insert(writer, "grants (id, digest, kept_day, wrapped_key, ciphertext)", kept, _KEPT)
        slots = [(grant.number, to_slot(grant.wrapped)) for grant in self._kept.values()]
        insert(writer, "grant_keys", slots, "ON CONFLICT DO UPDATE SET wrapped = excluded.wrapped")
        for number, grant in self._more.items():
            writer.execute("UPDATE grants SET ciphertext = ? WHERE id = ?", (grant.ciphertext, number))
        for number, grant in self._longer.items():
            writer.execute("UPDATE grants SET kept_day = ? WHERE id = ?", (grant.kept_day, number))
        insert(writer, "use_counts", self._counts, "ON CONFLICT DO UPDATE SET spent = spent + 1")
        new = [(*row, self._states.pop(number)) for number, row in self._new_requests.items()]
        insert(writer, "request_rows (id, peer, request_id, query_digest, answer_until, grant_id, state)", new)
        for number, state in self._states.items():
            writer.execute("UPDATE request_rows SET state = ? WHERE id = ?", (state, number))
        insert(writer, "request_leaf_rows", self._request_leaves)
        insert(writer, "further_grants", self._further, "ON CONFLICT DO NOTHING")
        insert(writer, "request_use_rows", self._request_uses, "ON CONFLICT DO NOTHING")
        self._start()

    def _start(self) -> None:
        """Nothing waits to be written."""
        self._leaves: list[tuple[int, bytes]] = []
        self._statements: list[tuple[bytes, int]] = []
        self._withdrawals: list[tuple[str, bytes, int]] = []
        self._bare: dict[bytes, _Grant] = {}
        self._kept: dict[bytes, _Grant] = {}
        self._more: dict[int, _Grant] = {}
        self._longer: dict[int, _Grant] = {}
        self._counts: list[tuple[int, int, int, float]] = []
        self._new_requests: dict[int, tuple[int, int, bytes, bytes, float, int]] = {}
        self._states: dict[int, bytes] = {}
        self._request_leaves: list[tuple[int, int]] = []
        self._further: list[tuple[int, int]] = []
        self._request_uses: list[tuple[int, int, int]] = []

    # -- numbers --------------------------------------------------------------------------------------------------

    def _held(self, digest: bytes) -> _Grant | None:
        grant = self._grants.get(digest)
        return grant if grant is not None and grant.held else None

    def _grant(self, digest: bytes) -> _Grant:
        """A grant, which gets a number if it has none."""
        grant = self._grants.get(digest)
        if grant is None:
            grant = self._grants[digest] = self._bare[digest] = _Grant(self._next_grant)
            self._next_grant += 1
        return grant

    def _times(self, use: Use) -> int:
        """How often an authorization is spent."""
        grant = self._grants.get(use.grant_digest)
        return grant.spent.get(use.authorization, 0) if grant is not None else 0

    def _has_spent(self, request: _Request, use: Use) -> bool:
        grant = self._grants.get(use.grant_digest)
        return grant is not None and (grant.number, use.authorization) in request.spent

    def _place(self, use: Use) -> tuple[int, int]:
        return self._grant(use.grant_digest).number, use.authorization

    def _peer(self, uri: str) -> int:
        number = self._peers.get(uri)
        if number is None:
            row = self._writer.execute("SELECT id FROM peers WHERE uri = ?", (uri,)).fetchone()
            number = row[0] if row else self._writer.execute("INSERT INTO peers (uri) VALUES (?)", (uri,)).lastrowid
            self._peers[uri] = number = int(number or 0)
        return number

    def _next(self, table: str) -> int:
        (largest,) = self._writer.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608 - names of tables
        return int(largest or 0) + 1
