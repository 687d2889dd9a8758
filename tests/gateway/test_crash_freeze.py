"""Ending a log fails, or its process dies, before and after each step: both logs are there, or the old one goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.protocol.errors import ConflictError, LogUnavailableError
from gateway.protocol.merkle import consistency_proof, leaf_hash, root_of, verify_consistency
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, Freeze, Head
from gateway.stores.sqlite import SqliteStore
from tests.fakes import STORE_ORIGIN, sign
from tests.fakes_sqlite import Dead, How, TrippedConnection, When

NEXT = "log.test/2"
EARLIER = (b"one", b"two", b"three")
FREEZE = Freeze(STORE_ORIGIN, b"end", NEXT, lambda final: b"after " + final.root)

either_side = pytest.mark.parametrize("when", When)


class Restarted:
    """One store file, opened by one process after another; `running` is a gateway that has it open all the time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.running = SqliteStore(path)
        self.running.commit([Entry(leaf) for leaf in EARLIER], sign)
        self.open()
        before = self.store.head()
        assert before is not None
        self.before = before

    def open(self) -> None:
        self.store = SqliteStore(self._path)
        self.writer = TrippedConnection(self.store._writer)
        self.store._writer = self.writer  # type: ignore[assignment]

    def die(self) -> None:
        self.writer.abandon()
        self.store._reader.close()
        self.open()

    def close(self) -> None:
        self.writer.abandon()
        self.store._reader.close()
        self.running.close()

    def require_whole(self, *, ended: bool, more: tuple[bytes, ...] = ()) -> None:
        """Each log is that of its leaves, grown from what it was; `more` were appended by the running gateway."""
        end = (b"end",) if ended else more
        old = [*EARLIER, *end]
        first = self._require_tree(self.store.shards()[0], old, STORE_ORIGIN, 0, ended=ended)
        path = consistency_proof(self.before.size, first.size, self.store.node)
        verify_consistency(self.before.size, self.before.root, first.size, first.root, path)
        if ended:
            _, second = self.store.shards()
            self._require_tree(second, [b"after " + first.root, *more], NEXT, first.size, ended=False)
        else:
            assert len(self.store.shards()) == 1

    def _require_tree(self, head: Head, leaves: list[bytes], origin: str, first: int, *, ended: bool) -> Head:
        assert self.store.leaves(first, len(leaves)) == leaves
        root = root_of([leaf_hash(leaf) for leaf in leaves])
        assert head == Head(len(leaves), root, sign(len(leaves), root, origin), origin, first, int(first > 0), ended)
        return head


@pytest.fixture
def each_step(tmp_path: Path) -> Iterator[tuple[int, bool, Restarted]]:
    """Every statement of a freeze, by its number, whether it is the last one, and a store to try it on."""
    dry = Restarted(tmp_path / "dry.db")
    dry.writer.arm(None)
    dry.store.freeze(FREEZE, sign)
    steps = list(dry.writer.steps)
    assert steps[0].startswith("BEGIN")
    assert steps[-1] == "COMMIT"
    wanted = ("INSERT INTO leaves", "INSERT INTO nodes", "UPDATE shards SET", "INSERT INTO shards")
    assert all(step in steps for step in wanted)
    dry.close()

    def tries() -> Iterator[tuple[int, bool, Restarted]]:
        for step in range(len(steps)):
            made = Restarted(tmp_path / f"{step}.db")
            yield step, step == len(steps) - 1, made
            made.close()

    return tries()


@either_side
@pytest.mark.parametrize("how", How)
def test_freeze_that_fails_or_dies_at_any_step_ends_the_log_whole_or_not_at_all(
    each_step: Iterator[tuple[int, bool, Restarted]], when: When, how: How
) -> None:
    for step, is_last, restarted in each_step:
        restarted.writer.arm(step, when, how)
        with pytest.raises(Dead if how is How.DIES else LogUnavailableError):
            restarted.store.freeze(FREEZE, sign)
        if how is How.DIES:
            restarted.die()
        persisted = is_last and when is When.AFTER
        restarted.require_whole(ended=persisted)
        restarted.running.commit([Entry(b"goes on")], sign)
        restarted.require_whole(ended=persisted, more=(b"goes on",))


@either_side
@pytest.mark.parametrize("how", How)
def test_freeze_that_is_repeated_after_a_failure_ends_the_log_once(
    each_step: Iterator[tuple[int, bool, Restarted]], when: When, how: How
) -> None:
    for step, is_last, restarted in each_step:
        restarted.writer.arm(step, when, how)
        with pytest.raises((Dead, LogUnavailableError)):
            restarted.store.freeze(FREEZE, sign)
        if how is How.DIES:
            restarted.die()
        if is_last and when is When.AFTER:
            with pytest.raises(ConflictError) as refused:
                restarted.store.freeze(FREEZE, sign)
            assert refused.value.reason is Reason.LOG_ENDED
        else:
            restarted.store.freeze(FREEZE, sign)
        restarted.require_whole(ended=True)
        restarted.running.commit([Entry(b"goes on")], sign)
        restarted.require_whole(ended=True, more=(b"goes on",))


@pytest.mark.parametrize("signed", [1, 2], ids=["dies with the final checkpoint signed", "with both signed"])
def test_signed_end_that_was_never_durable_does_not_keep_the_log_from_growing(tmp_path: Path, signed: int) -> None:
    """Its checkpoint was seen by nobody; the tree of that size is another one later, and that is no fork."""
    restarted = Restarted(tmp_path / "store.db")
    shown: list[str] = []

    def dying(size: int, root: bytes, origin: str | None) -> str:
        shown.append(sign(size, root, origin))
        if len(shown) == signed:
            raise Dead
        return shown[-1]

    with pytest.raises(Dead):
        restarted.store.freeze(FREEZE, dying)
    restarted.die()
    restarted.running.commit([Entry(b"goes on")], sign)
    restarted.require_whole(ended=False, more=(b"goes on",))
    assert not {head.checkpoint for head in restarted.store.shards()} & set(shown)
    restarted.close()
