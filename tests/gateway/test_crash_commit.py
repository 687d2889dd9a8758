"""The gateway's commit fails, or its process dies, before and after each step: all of it is there, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.merkle import consistency_proof, leaf_hash, root_of, verify_consistency
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, Tallies
from gateway.stores.records import (
    Deferral,
    Entry,
    Evidence,
    Head,
    RequestKey,
    StoredRequest,
    Use,
    Waiting,
    Withdrawal,
)
from gateway.stores.sqlite import SqliteStore
from tests.fakes import sign
from tests.fakes_sqlite import Dead, How, TrippedConnection, When

GRANT = bytes([1]) * 32
OTHER_GRANT = bytes([2]) * 32
STATEMENT = bytes([3]) * 32
KEY = RequestKey("spiffe://heyan/requester/edu", bytes(16))
ISSUER = "spiffe://heyan/issuer/app"
COUNTED = StatisticKey("430102", "spiffe://heyan/department/police", "hukou.child_registered@1", 1, True)
ENTRY = Entry(
    leaf=b"answer",
    statement_digests=(STATEMENT,),
    withheld={Reason.GRANT_USED_UP: b"withheld", Reason.REQUEST_ID_CONFLICT: b"c", Reason.GRANT_REVOKED: b"r"},
    request=StoredRequest(KEY, b"q" * 32, 2e9, GRANT, b"state"),
    uses=(Use(GRANT, 0, 1, 1e9),),
    evidence=(Evidence(GRANT, b"key", b"text"),),
    standing=(Withdrawal(ISSUER, GRANT),),
    deferral=Deferral(Waiting(KEY, ("land",), (GRANT,), 2e9, 7), b"message"),
    tallies=Tallies("2027-06-01", (COUNTED,)),
)
BESIDE = (Entry(b"withdrawal", withdrawal=Withdrawal(ISSUER, OTHER_GRANT)), Entry(b"registry", registry_version=7))
GROUP = (ENTRY, *BESIDE)
EARLIER = (b"one", b"two", b"three")

either_side = pytest.mark.parametrize("when", When)


class Restarted:
    """One store file, opened by one process after another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.open()
        self.store.commit([Entry(leaf) for leaf in EARLIER], sign)
        self.before = self.head()

    def open(self) -> None:
        self.store = SqliteStore(self._path)
        self.writer = TrippedConnection(self.store._writer)
        self.store._writer = self.writer  # type: ignore[assignment]

    def die(self) -> None:
        """What the system does with the files of a dead process, and the start of the next one."""
        self.close()
        self.open()

    def close(self) -> None:
        self.writer.abandon()
        self.store._reader.close()

    def head(self) -> Head:
        head = self.store.head()
        assert head is not None
        return head

    def require_whole(self, *, copies: int) -> None:
        """The tree is that of its leaves and grew from the earlier one; GROUP is in it so often, and counted once.

        What it has besides the answer is recorded once, however often it comes.
        """
        head = self.head()
        leaves = self.store.leaves(0, 100)
        beside = [entry.leaf for entry in BESIDE] if copies else []
        assert leaves == [*EARLIER, *[ENTRY.leaf][:copies], *beside, *[ENTRY.leaf] * (copies - 1)]
        assert (head.size, head.root) == (len(leaves), root_of([leaf_hash(leaf) for leaf in leaves]))
        assert head.checkpoint == sign(head.size, head.root)
        path = consistency_proof(self.before.size, head.size, self.store.node)
        verify_consistency(self.before.size, self.before.root, head.size, head.root, path)
        there = copies > 0
        assert self.store.uses(GRANT, 0) == int(there)
        assert (self.store.request(KEY) is not None) == there
        assert (self.store.evidence(GRANT) is not None) == there
        assert (self.store.deferred_message(KEY) == b"message") == there
        assert len(self.store.waiting(None, 10)) == int(there)
        assert (self.store.withdrawn_at(Withdrawal(ISSUER, OTHER_GRANT)) is not None) == there
        assert self.store.registry_version() == (7 if there else 0)
        assert set(self.store.leaf_indexes([STATEMENT])) == ({STATEMENT} if there else set())
        page = self.store.statistics("2027-06-01", None, 10)
        assert page.rows == ([(COUNTED, copies)] if there else [])
        assert (page.tree_size, page.changed_size) == (head.size, head.size if there else 0)


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[Restarted]:
    made = Restarted(tmp_path / "store.db")
    yield made
    made.close()


@pytest.fixture
def each_step(tmp_path: Path) -> Iterator[tuple[int, bool, Restarted]]:
    """Every statement of a commit of GROUP, by its number, whether it is the last one, and a store to try it on."""
    dry = Restarted(tmp_path / "dry.db")
    dry.writer.arm(None)
    dry.store.commit(GROUP, sign)
    steps = list(dry.writer.steps)
    assert steps[0].startswith("BEGIN")
    assert steps[-1] == "COMMIT"
    assert {step.split()[2] for step in steps if step.startswith("INSERT INTO")} >= {
        *("grants", "use_counts", "request_use_rows", "leaves", "statements", "request_rows", "request_leaf_rows"),
        *("nodes", "withdrawals", "registries", "deferrals", "statistics", "statistics_days"),
    }
    dry.close()

    def tries() -> Iterator[tuple[int, bool, Restarted]]:
        for step in range(len(steps)):
            made = Restarted(tmp_path / f"{step}.db")
            yield step, step == len(steps) - 1, made
            made.close()

    return tries()


@either_side
def test_commit_that_fails_at_any_step_is_all_there_or_nothing_and_may_be_repeated(
    each_step: Iterator[tuple[int, bool, Restarted]], when: When
) -> None:
    for step, is_last, restarted in each_step:
        restarted.writer.arm(step, when, How.FAILS)
        with pytest.raises(LogUnavailableError) as failed:
            restarted.store.commit(GROUP, sign)
        assert failed.value.retry_after
        persisted = int(is_last and when is When.AFTER)
        restarted.require_whole(copies=persisted)
        restarted.store.commit(GROUP, sign)  # the next group, with what its waiters asked again
        restarted.require_whole(copies=persisted + 1)


@either_side
def test_process_that_dies_at_any_step_leaves_all_or_nothing(
    each_step: Iterator[tuple[int, bool, Restarted]], when: When
) -> None:
    for step, is_last, restarted in each_step:
        restarted.writer.arm(step, when, How.DIES)
        with pytest.raises(Dead):
            restarted.store.commit(GROUP, sign)
        restarted.die()
        persisted = int(is_last and when is When.AFTER)
        restarted.require_whole(copies=persisted)
        restarted.store.commit(GROUP, sign)
        restarted.require_whole(copies=persisted + 1)


@pytest.mark.parametrize("shown", [False, True], ids=["before it signs", "after it has signed"])
def test_death_of_the_signer_shows_nobody_a_checkpoint_that_does_not_hold(restarted: Restarted, shown: bool) -> None:
    signed: list[str] = []

    def die(size: int, root: bytes, _origin: str | None) -> str:
        if shown:
            signed.append(sign(size, root))
        raise Dead

    with pytest.raises(Dead):
        restarted.store.commit(GROUP, die)
    restarted.die()
    restarted.require_whole(copies=0)
    restarted.store.commit([Entry(b"another")], sign)
    assert restarted.head().checkpoint not in signed


def test_last_use_is_not_spent_twice_by_a_commit_that_was_durable_though_it_failed(restarted: Restarted) -> None:
    """Its requester is told to come back, and another request comes first."""
    restarted.writer.arm("COMMIT", When.AFTER, How.FAILS)
    with pytest.raises(LogUnavailableError):
        restarted.store.commit(GROUP, sign)
    other = StoredRequest(RequestKey(KEY.requester, bytes([9]) * 16), b"o" * 32, 2e9, GRANT, b"state")
    (committed,) = restarted.store.commit(
        [Entry(b"x", withheld={Reason.GRANT_USED_UP: b"kept back"}, request=other, uses=ENTRY.uses)], sign
    )
    assert committed.withheld is Reason.GRANT_USED_UP
    (again, *_) = restarted.store.commit(GROUP, sign)
    assert again.withheld is None
    assert restarted.store.uses(GRANT, 0) == 1
