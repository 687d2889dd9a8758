"""The log: grouped, durable before anyone is told, and provable."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.log import Log
from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.errors import ForgedError, LogUnavailableError, NotFoundError, OverloadedError
from gateway.protocol.merkle import verify_consistency
from gateway.protocol.note import SignerKey
from gateway.protocol.proof import parse_proof
from gateway.protocol.reasons import Reason
from gateway.stores.port import Run
from gateway.stores.records import Committed, Entry, SignCheckpoint
from gateway.stores.sqlite import SqliteStore
from tests.fakes import FailingStore

ORIGIN = "log.example/1"
SIGNER = SignerKey.from_seed(ORIGIN, bytes(32))
NEXT_SIGNER = SignerKey.from_seed(ORIGIN, bytes([1]) * 32)


async def test_appended_leaf_is_proven_under_the_head_that_covers_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    committed = await asyncio.gather(*(log.append(Entry(b"leaf %d" % number)) for number in range(20)))
    for item in committed:
        proof = parse_proof(log.prove(item.leaf_index, item.head).encode())
        checkpoint = proof.verify(store.leaf(item.leaf_index), [SIGNER.verifier], ORIGIN)
        assert checkpoint.size == item.head.size
    await log.stop()
    store.close()


async def test_concurrent_entries_share_a_commit(tmp_path: Path) -> None:
    store = FailingStore(tmp_path / "store.db")
    groups: list[int] = []
    commit = store.commit

    def counted(entries: Sequence[Entry], sign: SignCheckpoint, run: Run) -> Sequence[Committed]:
        groups.append(len(entries))
        return commit(entries, sign, run)

    store.commit = counted  # type: ignore[method-assign]
    log = Log(store, ORIGIN, SIGNER)
    waiting = [asyncio.create_task(log.append(Entry(b"%d" % number))) for number in range(100)]
    await asyncio.sleep(0)
    log.start()
    await asyncio.gather(*waiting)
    assert groups == [100]
    await log.stop()
    store.close()


async def test_failed_commit_fails_all_its_waiters_and_the_log_goes_on(tmp_path: Path) -> None:
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    store.fail_before = True
    outcomes = await asyncio.gather(*(log.append(Entry(b"x")) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, LogUnavailableError) for outcome in outcomes)
    assert log.complaint
    store.fail_before = False
    assert (await log.append(Entry(b"y"))).leaf_index == 0
    assert log.complaint is None
    await log.stop()
    store.close()


async def test_unexpected_failure_of_the_store_is_told_and_not_swallowed(tmp_path: Path) -> None:
    store = FailingStore(tmp_path / "store.db")

    def explode(entries: Sequence[Entry], sign: SignCheckpoint, run: Run) -> Sequence[Committed]:
        raise ZeroDivisionError

    store.commit = explode  # type: ignore[method-assign]
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    with pytest.raises(LogUnavailableError):
        await log.append(Entry(b"x"))
    await log.stop()
    store.close()


async def test_full_queue_tells_callers_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.log.QUEUE_LIMIT", 2)
    store = SqliteStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    waiting = [asyncio.create_task(log.append(Entry(b"x"))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await log.append(Entry(b"x"))
    assert caught.value.retry_after
    log.start()
    await asyncio.gather(*waiting)
    await log.stop()
    store.close()


async def test_rotated_key_signs_the_next_checkpoint(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    first = (await log.append(Entry(b"1"))).head.checkpoint
    log.use_signers(lambda _origin: (NEXT_SIGNER,))
    second = (await log.append(Entry(b"2"))).head.checkpoint
    assert open_checkpoint(first.encode(), [SIGNER.verifier], ORIGIN).size == 1
    assert open_checkpoint(second.encode(), [NEXT_SIGNER.verifier], ORIGIN).size == 2
    await log.stop()
    store.close()


async def test_consistency_is_proven_and_larger_trees_are_not_made_up(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    heads = [(await log.append(Entry(b"%d" % number))).head for number in range(7)]
    for old in heads:
        verify_consistency(old.size, old.root, 7, heads[-1].root, log.consistency(old.size, 7))
    with pytest.raises(NotFoundError):
        log.inclusion(0, 8)
    await log.stop()
    store.close()


async def test_empty_log_has_no_head(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    with pytest.raises(LogUnavailableError):
        Log(store, ORIGIN, SIGNER).head()
    store.close()


async def test_entries_that_wait_for_a_commit_share_the_next_one(tmp_path: Path) -> None:
    """Under load groups grow; an entry that finds the writer idle is committed alone and at once."""
    store = FailingStore(tmp_path / "store.db")
    groups: list[int] = []
    entered, go_on = threading.Event(), threading.Event()
    commit = store.commit

    def slow(entries: Sequence[Entry], sign: SignCheckpoint, run: Run) -> Sequence[Committed]:
        groups.append(len(entries))
        entered.set()
        assert go_on.wait(10)
        return commit(entries, sign, run)

    store.commit = slow  # type: ignore[method-assign]
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    first = asyncio.create_task(log.append(Entry(b"first")))
    await asyncio.to_thread(entered.wait)
    others = [asyncio.create_task(log.append(Entry(b"%d" % number))) for number in range(50)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *others)
    assert groups == [1, 50]
    await log.stop()
    store.close()


async def test_log_that_failed_finds_out_by_itself_that_it_can_record_again(tmp_path: Path) -> None:
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    await log.append(Entry(b"x"))
    with sqlite3.connect(tmp_path / "store.db", isolation_level=None) as other:
        store._writer.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailableError):
            await log.append(Entry(b"y"))
        with pytest.raises(LogUnavailableError):
            await log.probe()
        assert log.complaint
        other.execute("ROLLBACK")
    await log.probe()
    assert log.complaint is None
    assert log.head().size == 1
    await log.stop()
    store.close()


async def test_probe_of_a_store_that_went_backwards_fails(tmp_path: Path) -> None:
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    log.start()
    await log.append(Entry(b"x"))
    await log.append(Entry(b"y"))
    store._writer.execute("UPDATE shards SET size = 1")
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            await log.append(Entry(b"z"))
        with pytest.raises(LogUnavailableError):
            await log.probe()
    await log.stop()
    store.close()


async def test_a_halted_log_signs_and_appends_nothing_not_even_what_is_queued(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    queued = asyncio.create_task(log.append(Entry(b"queued")))
    await asyncio.sleep(0)
    log.halt(ForgedError(Reason.LOG_ROLLED_BACK, "5 leaves were published, the store has 0"))
    log.start()
    with pytest.raises(LogUnavailableError) as caught:
        await queued
    assert caught.value.reason is Reason.LOG_ROLLED_BACK
    with pytest.raises(LogUnavailableError):
        await log.append(Entry(b"later"))
    await log.probe()
    assert log.complaint is not None
    assert "LOG_ROLLED_BACK" in log.complaint
    assert store.head() is None
    for attempt in (log.head, lambda: log.inclusion(0, 1), lambda: log.consistency(1, 1)):
        with pytest.raises(LogUnavailableError) as shown:
            attempt()
        assert shown.value.reason is Reason.LOG_ROLLED_BACK
    await log.stop()
    store.close()


async def test_a_log_halted_during_a_commit_rolls_it_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    log = Log(store, ORIGIN, SIGNER)
    commit = store.commit

    def halting(entries: Sequence[Entry], sign: SignCheckpoint, run: Run) -> Sequence[Committed]:
        log.halt(ForgedError(Reason.LOG_FORKED))
        return commit(entries, sign, run)

    store.commit = halting  # type: ignore[method-assign]
    log.start()
    with pytest.raises(LogUnavailableError):
        await log.append(Entry(b"x"))
    assert store.head() is None
    await log.stop()
    store.close()
