"""A store against a model: groups of entries, failures before and after they are durable, restarts, a second writer.

Held after every step: the tree of each log is the model's, of those that ended too, and every earlier root of the one
that grows leads to it; no use beyond `max_uses`; one query for each request_id; what was kept back stands in its
withheld leaf and in its count, and nothing else of it.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.merkle import consistency_proof, leaf_hash, root_of, verify_consistency
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, Tallies
from gateway.stores.records import (
    KEPT_BACK,
    Deferral,
    Entry,
    Evidence,
    Freeze,
    RequestKey,
    StoredRequest,
    Use,
    Waiting,
    Withdrawal,
)
from tests.fakes import STORE_ORIGIN, FailingStore, sign
from tests.stateful.profile import profile

GRANTS = tuple(bytes([number]) * 32 for number in (1, 2, 3))
MAX_USES = {(GRANTS[0], 0): 1, (GRANTS[0], 1): 2, (GRANTS[1], 0): 2, (GRANTS[2], 0): 3}
_NAMES = tuple(f"spiffe://heyan/requester/{name}" for name in "ab")
REQUESTS = tuple(RequestKey(name, bytes([number]) * 16) for name in _NAMES for number in (1, 2, 3))
ISSUER = "spiffe://heyan/issuer/app"
COUNTED = StatisticKey("430102", "spiffe://heyan/department/police", "hukou.child_registered@1", 1, True)

failures = st.sampled_from(("none", "none", "none", "before", "signing", "after"))
asked = st.tuples(
    st.sampled_from(REQUESTS),
    st.sampled_from((b"q" * 32, b"q" * 32, b"r" * 32)),
    st.frozensets(st.sampled_from(sorted(MAX_USES)), max_size=3),
    st.sampled_from((b"wrapped", b"wrapped", b"wrapped otherwise")),
)


@dataclass
class Model:
    """What must be in the store."""

    leaves: list[bytes] = field(default_factory=list)
    """At their positions, of all logs."""
    ends: list[int] = field(default_factory=list)
    """Where the logs that ended did."""
    uses: dict[tuple[bytes, int], set[RequestKey]] = field(default_factory=lambda: {use: set() for use in MAX_USES})
    requests: dict[RequestKey, tuple[bytes, tuple[int, ...]]] = field(default_factory=dict)
    withdrawn: set[bytes] = field(default_factory=set)
    wrapped: dict[bytes, bytes] = field(default_factory=dict)
    deferrals: dict[RequestKey, bytes] = field(default_factory=dict)
    counts: Counter[tuple[int, StatisticKey]] = field(default_factory=Counter)

    def copy(self) -> Model:
        uses = {use: set(keys) for use, keys in self.uses.items()}
        return Model(
            [*self.leaves],
            [*self.ends],
            uses,
            dict(self.requests),
            set(self.withdrawn),
            dict(self.wrapped),
            dict(self.deferrals),
            self.counts.copy(),
        )

    @property
    def first(self) -> int:
        """The position at which the log that grows began."""
        return self.ends[-1] if self.ends else 0

    def logs(self) -> list[list[bytes]]:
        """The leaves of each log."""
        bounds = [0, *self.ends, len(self.leaves)]
        return [self.leaves[start:end] for start, end in itertools.pairwise(bounds)]

    def commit(self, entry: Entry) -> tuple[int, Reason | None]:
        """Where the entry's leaf stands, -1 if its evidence is another's or its withdrawal told; why kept back."""
        if entry.withdrawal is not None and entry.withdrawal.grant_digest in self.withdrawn:
            return -1, None
        if any(self.wrapped.get(item.grant_digest, item.wrapped_key) != item.wrapped_key for item in entry.evidence):
            return -1, None
        self.wrapped.update({item.grant_digest: item.wrapped_key for item in entry.evidence})
        reason = self._kept_back(entry)
        self.leaves.append(entry.leaf if reason is None else entry.withheld[reason])
        if entry.tallies is not None:
            withheld = COUNTED._replace(status=4, verified=False, reason=str(reason))
            self.counts[len(self.ends), COUNTED if reason is None else withheld] += 1
        index = len(self.leaves) - 1
        if entry.withdrawal is not None:
            self.withdrawn.add(entry.withdrawal.grant_digest)
        if entry.request is not None and reason is None:
            for use in entry.uses:
                self.uses[use.grant_digest, use.authorization].add(entry.request.key)
            _, indexes = self.requests.get(entry.request.key, (b"", ()))
            self.requests[entry.request.key] = (entry.request.query_digest, (*indexes, index))
            self.deferrals.pop(entry.request.key, None)
            if entry.deferral is not None:
                self.deferrals[entry.request.key] = entry.deferral.message
        return index, reason

    def _kept_back(self, entry: Entry) -> Reason | None:
        if any(item.grant_digest in self.withdrawn for item in entry.standing):
            return Reason.GRANT_REVOKED
        if entry.request is None:
            return None
        held, _ = self.requests.get(entry.request.key, (entry.request.query_digest, ()))
        if held != entry.request.query_digest:
            return Reason.REQUEST_ID_CONFLICT
        for use in entry.uses:
            spent = self.uses[use.grant_digest, use.authorization]
            if entry.request.key not in spent and len(spent) >= use.max_uses:
                return Reason.GRANT_USED_UP
        return None


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stores = [self.open(), self.open()]
        self.model = Model()
        self.heads: list[tuple[int, bytes]] = []
        self.number = 0

    def open(self) -> FailingStore:
        return FailingStore(self.folder / "store.db")

    # -- steps ------------------------------------------------------------------------------------------------

    @rule(group=st.lists(asked, min_size=1, max_size=4), writer=st.integers(0, 1), failure=failures)
    def commit_requests(self, group, writer, failure):
        self.commit([self.entry(*item) for item in group], writer, failure)

    @rule(grant=st.sampled_from(GRANTS), writer=st.integers(0, 1), failure=failures)
    def withdraw(self, grant, writer, failure):
        self.commit([Entry(self.leaf(), withdrawal=Withdrawal(ISSUER, grant))], writer, failure)

    @precondition(lambda self: self.model.leaves)
    @rule(writer=st.integers(0, 1), failure=failures)
    def freeze(self, writer, failure):
        """One writer ends the log; the other remembers the one before it."""
        after, number = self.model.copy(), len(self.model.ends)
        end, start = self.leaf(), self.leaf()
        after.leaves += [end]
        after.ends.append(len(after.leaves))
        after.leaves += [start]
        freeze = Freeze(origin_of(number), end, origin_of(number + 1), lambda _final: start)
        store = self.stores[writer]
        store.fail_before, store.fail_after = failure == "before", failure == "after"
        try:
            if failure == "none":
                final, begun = store.freeze(freeze, sign)
                assert (final.end, final.ended, begun.first, begun.size) == (after.first, True, after.first, 1)
            else:
                with pytest.raises(LogUnavailableError):
                    store.freeze(freeze, cannot_sign if failure == "signing" else sign)
        finally:
            store.fail_before = store.fail_after = False
        if failure in ("none", "after"):
            self.model = after
            self.heads.clear()

    @rule(which=st.integers(0, 1))
    def crash(self, which):
        self.stores[which].close()
        self.stores[which] = self.open()

    @precondition(lambda self: self.model.leaves)
    @rule(failure=st.sampled_from(("before", "signing")))
    def fail_then_go_on(self, failure):
        """A failed commit leaves the writer able to go on at once."""
        self.commit([Entry(self.leaf())], 0, failure)
        self.commit([Entry(self.leaf())], 0, "none")

    def entry(self, key: RequestKey, query_digest: bytes, uses: frozenset[tuple[bytes, int]], wrapped: bytes) -> Entry:
        leaf = self.leaf()
        grants = sorted({grant for grant, _ in uses})
        return Entry(
            leaf=leaf,
            statement_digests=(leaf.ljust(32),),
            withheld={reason: reason.value.encode() + leaf for reason in KEPT_BACK},
            request=StoredRequest(key, query_digest, 2e9, GRANTS[0], b"state"),
            deferral=Deferral(Waiting(key, ("land",), (GRANTS[0],), 2e9, len(leaf)), leaf) if self.number % 2 else None,
            uses=tuple(Use(grant, index, MAX_USES[grant, index], 1e9) for grant, index in sorted(uses)),
            evidence=tuple(Evidence(grant, wrapped, b"ciphertext") for grant in grants),
            standing=tuple(Withdrawal(ISSUER, grant) for grant in grants),
            tallies=Tallies("2027-06-01", (COUNTED,)),
        )

    def leaf(self) -> bytes:
        self.number += 1
        return b"leaf %d" % self.number

    def commit(self, entries: list[Entry], writer: int, failure: str) -> None:
        store = self.stores[writer]
        after = self.model.copy()
        expected = [after.commit(entry) for entry in entries]
        store.fail_before, store.fail_after = failure == "before", failure == "after"
        try:
            if failure == "none":
                committed = store.commit(entries, sign)
                assert [(item.leaf_index, item.withheld) for item in committed] == expected
                assert all(item.head.end == len(after.leaves) for item in committed)
                assert all(item.head.first == after.first for item in committed)
            elif len(after.leaves) == len(self.model.leaves) and failure == "signing":
                return  # nothing to sign: all of it was another's evidence, or recorded before
            else:
                with pytest.raises(LogUnavailableError):
                    store.commit(entries, cannot_sign if failure == "signing" else sign)
        finally:
            store.fail_before = store.fail_after = False
        if failure in ("none", "after"):
            self.model = after

    # -- what always holds ------------------------------------------------------------------------------------

    @invariant()
    def tree_is_the_models_and_every_earlier_root_leads_to_it(self):
        logs = self.model.logs() if self.model.leaves else []
        expected = [(len(leaves), root_of([leaf_hash(leaf) for leaf in leaves])) for leaves in logs]
        for store in self.stores:
            shards = store.shards()
            assert [(head.size, head.root) for head in shards] == expected
            assert [(head.number, head.origin, head.end) for head in shards] == [
                (number, origin_of(number), end)
                for number, end in enumerate([*self.model.ends, len(self.model.leaves)][: len(logs)])
            ]
            assert [head.ended for head in shards] == [True] * len(self.model.ends) + [False] * bool(logs)
            assert store.head() == (shards[-1] if shards else None)
            assert store.leaves(0, 10_000) == self.model.leaves
            for old, old_root in self.heads:
                size, root = expected[-1]
                number = len(logs) - 1
                path = consistency_proof(old, size, lambda *at, store=store, number=number: store.node(*at, number))
                verify_consistency(old, old_root, size, root, path)
        if expected and (not self.heads or self.heads[-1][0] != expected[-1][0]):
            self.heads.append(expected[-1])

    @invariant()
    def no_use_is_beyond_the_last(self):
        for (grant, index), spent in self.model.uses.items():
            found = self.stores[0].uses(grant, index)
            assert found == len(spent) <= MAX_USES[grant, index]

    @invariant()
    def request_id_stands_for_one_query(self):
        for key in REQUESTS:
            stored = self.stores[1].request(key)
            found = None if stored is None else (stored.query_digest, stored.leaf_indexes)
            assert found == self.model.requests.get(key)

    @invariant()
    def deferral_is_that_of_the_newest_leaf(self):
        kept = {item.key: self.stores[0].deferred_message(item.key) for item in self.stores[1].waiting(None, 100)}
        assert kept == self.model.deferrals

    @invariant()
    def statistics_count_each_leaf_as_it_was_committed(self):
        for number, leaves in enumerate(self.model.logs()):
            page = self.stores[1].statistics("2027-06-01", None, 10, number)
            counted = {key: count for (log, key), count in self.model.counts.items() if log == number}
            assert dict(page.rows) == counted
            assert page.tree_size == len(leaves)

    @invariant()
    def withdrawal_stays(self):
        for grant in GRANTS:
            found = self.stores[0].withdrawn_at(Withdrawal(ISSUER, grant))
            assert (found is not None) == (grant in self.model.withdrawn)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        shutil.rmtree(self.folder)


def origin_of(number: int) -> str:
    return STORE_ORIGIN if number == 0 else f"log.test/next/{number}"


def cannot_sign(_size: int, _root: bytes, _origin: str | None) -> str:
    raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "no key")


TestStore = StoreMachine.TestCase
TestStore.settings = profile(examples=20, steps=20)
