"""What becomes of the store that was there, of a restore that is cut short, and of what was done after the backup."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.backups.manifest import STORE_FILE
from gateway.log_marks import require_reached
from gateway.protocol.errors import ForgedError, HeyanError, LogUnavailableError, MalformedError
from gateway.protocol.leaf import Tags, derive_leaf_key, read_leaf
from gateway.protocol.reasons import Reason
from gateway.static_log.tile_source import FolderSource
from gateway.stores.port import Run, here
from gateway.stores.records import Committed, Entry, Evidence, SignCheckpoint, Withdrawal
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_copy import check_copy
from gateway.stores.sqlite_restored import RestoredStore
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.backups.desks import VAULT, Desk
from tests.backups.keepers import leaf, quiet
from tests.fakes_sqlite import Dead

# -- the store that is there ---------------------------------------------------------------------------------------


async def test_store_that_is_there_is_not_replaced_unasked_and_kept_when_it_is(desk: Desk) -> None:
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(5)
    desk.publish()
    head = desk.keeper.head
    desk.keeper.store.close()
    with pytest.raises(MalformedError) as refused:
        await desk.restore()
    assert "--replace" in refused.value.detail
    done = await desk.restore(replace=True)
    assert done.aside is not None
    old = SqliteStore(done.aside)
    assert old.head() == head
    old.close()
    assert desk.reopened().leaves(0, 10) == [leaf(number) for number in range(10)]


async def test_leaves_that_only_the_replaced_store_has_are_brought_back(desk: Desk) -> None:
    """They were answered to somebody, though not published yet."""
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(5)
    desk.publish()
    desk.keeper.grow(5)
    desk.keeper.store.close()
    done = await desk.restore(replace=True)
    assert done.restored_size == 15
    assert done.mark.place == str(desk.keeper.path)


async def test_replaced_store_that_went_another_way_is_a_fork(desk: Desk, tmp_path: Path) -> None:
    """It was rolled back and appended to: its checkpoints may have been shown."""
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(5)
    desk.publish()
    desk.lose()
    shutil.copy(desk.backup / STORE_FILE, desk.keeper.path)
    desk.reopened().commit([Entry(leaf(900))], desk.keeper.sign)
    desk.keeper.store.close()
    with pytest.raises(ForgedError) as refused:
        await desk.restore(replace=True)
    assert refused.value.reason is Reason.LOG_FORKED
    assert desk.signed == []


@pytest.mark.parametrize("content", [b"", b"no database at all, " * 400])
async def test_damaged_store_is_moved_aside_as_it_is(desk: Desk, content: bytes) -> None:
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()
    desk.keeper.path.write_bytes(content)
    done = await desk.restore(replace=bool(content))
    assert done.aside is not None
    assert done.aside.read_bytes() == content
    assert done.restored_size == 5


async def test_running_gateway_is_not_restored(desk: Desk) -> None:
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.publish()
    with pytest.raises(LogUnavailableError):
        await desk.restore(replace=True)
    desk.keeper.grow(1)


async def test_two_restores_at_once_are_one_and_nobody_opens_the_store_meanwhile(desk: Desk) -> None:
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()
    places = await desk.witness.published(desk.published)
    refused: list[HeyanError] = []

    def report(step: str, _done: int, _total: int) -> None:
        if step == "sign":
            other = desk.restorer.restore(desk.backup, places, (), quiet, replace=True)
            with pytest.raises(LogUnavailableError) as second:
                other.send(None)
            refused.append(second.value)
            with pytest.raises(LogUnavailableError):
                SqliteStore(desk.keeper.path)

    done = await desk.restore(report=report)
    assert done.restored_size == 5
    assert len(refused) == 1
    assert desk.signed == [6]


STEPS = ("look", "copy", "check", "leaves", "erase", "marks", "sign", "aside", "place", "sync")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", [Dead, OSError])
async def test_restore_that_ends_at_any_step_is_begun_anew_and_forks_nothing(
    desk: Desk, step: str, how: type[BaseException]
) -> None:
    desk.keeper.grow(300)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(100)
    desk.publish()
    head = desk.keeper.head
    desk.keeper.store.close()
    seen: list[str] = []

    def end(at: str, _done: int, _total: int) -> None:
        seen.append(at)
        if at == step:
            raise how

    with pytest.raises(how):
        await desk.restore(report=end, replace=True)
    assert seen[-1] == step
    before_moving = STEPS.index(step) <= STEPS.index("aside")
    is_signed = STEPS.index(step) > STEPS.index("sign")
    if before_moving:
        kept = desk.reopened()
        assert kept.head() == head, "what was there is there"
        kept.close()
    elif step != "sync":
        assert not desk.keeper.path.exists()
    done = await desk.restore(replace=True)
    assert done.restored_size == 400 + int(is_signed), "what was signed once is gone on from"
    assert desk.signed == ([401, 402] if is_signed else [401]), "no size is signed twice"
    store = desk.reopened()
    require_reached(store, [desk.mark(head)])
    assert [read_leaf(data).WhichOneof("event") for data in store.leaves(400, 9)] == ["restore"] * len(desk.signed)
    store.close()
    check_copy(desk.keeper.path, lambda *_: None, every_leaf=True)
    assert not (desk.keeper.folder / ".store.db.restoring").exists()


async def test_commit_that_failed_though_it_was_durable_is_gone_on_from(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()

    class Failing(RestoredStore):
        def commit(self, entries: Sequence[Entry], sign: SignCheckpoint, run: Run = here) -> Sequence[Committed]:
            super().commit(entries, sign, run)
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted, though durable")

    with monkeypatch.context() as planted:
        planted.setattr("gateway.backups.restoring.RestoredStore", Failing)
        with pytest.raises(LogUnavailableError):
            await desk.restore()
    assert (await desk.restore()).restored_size == 6
    assert desk.signed == [6, 7]


async def test_signing_that_fails_leaves_the_place_as_it_was(desk: Desk) -> None:
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()

    def fail(*_: object) -> str:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted")

    restorer = replace(desk.restorer, sign=fail)
    places = await desk.witness.published(desk.published)
    with pytest.raises(LogUnavailableError):
        await restorer.restore(desk.backup, places, (), quiet, replace=False)
    assert not desk.keeper.path.exists()


# -- what is done again --------------------------------------------------------------------------------------------


def evidence(number: int) -> tuple[Evidence, bytes]:
    """A grant's evidence and its tag."""
    grant, key = number.to_bytes(32, "big"), bytes([number % 256]) * 32
    return Evidence(grant, VAULT.wrap(key, grant), b"text"), Tags(derive_leaf_key(key)).grant(grant)


async def test_what_was_erased_after_the_backup_is_erased_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.backups.leaves_beyond.KEYS_AT_ONCE", 7)
    grants = [evidence(number) for number in range(1, 31)]
    desk.keeper.store.commit(
        [Entry(leaf(number), evidence=(grants[number][0],)) for number in range(30)], desk.keeper.sign
    )
    desk.keeper.backup(desk.backup)
    erased = [0, 6, 7, 13, 29]
    tags = sorted(grants[number][1] for number in erased)
    event = log_pb2.ErasureEvent(ground=log_pb2.ERASURE_GROUND_RETENTION_OVER, grant_tags=sorted([*tags, bytes(32)]))
    desk.keeper.store.commit([Entry(leaf(30, erasure=event))], desk.keeper.sign)
    desk.publish()
    desk.lose()
    done = await desk.restore()
    assert done.erasures == len(erased)
    store = desk.reopened()
    for number, (item, _) in enumerate(grants):
        held = store.evidence(item.grant_digest)
        assert held is not None
        assert held.is_erased == (number in erased), "and that it was is remembered"
    data = desk.keeper.path.read_bytes()
    for number, (item, _) in enumerate(grants):
        assert (item.wrapped_key in data) == (number not in erased), "also in no free page"


async def test_withdrawals_after_the_backup_hold_for_grants_that_were_used_before_it(desk: Desk) -> None:
    item, tag = evidence(1)
    desk.keeper.store.commit([Entry(leaf(0), evidence=(item,))], desk.keeper.sign)
    desk.keeper.backup(desk.backup)
    events = [
        log_pb2.RevocationEvent(issuer=fed.ISSUER, grant_tag=tag),
        log_pb2.RevocationEvent(issuer=fed.ISSUER, grant_tag=bytes(32)),
    ]
    leaves = [Entry(leaf(number, revocation=event)) for number, event in enumerate(events, start=1)]
    desk.keeper.store.commit(leaves, desk.keeper.sign)
    desk.publish()
    desk.lose()
    assert (await desk.restore()).withdrawals == 1
    assert desk.reopened().withdrawn_at(Withdrawal(fed.ISSUER, item.grant_digest)) == 1


async def test_registry_adopted_after_the_backup_is_not_adopted_twice(desk: Desk) -> None:
    desk.keeper.grow(2)
    desk.keeper.backup(desk.backup)
    event = log_pb2.RegistryEvent(version=7, digest=bytes(32))
    desk.keeper.store.commit([Entry(leaf(2, registry=event), registry_version=7)], desk.keeper.sign)
    desk.publish()
    desk.lose()
    await desk.restore()
    assert desk.reopened().registry_version() == 7


async def test_leaf_that_cannot_be_read_stands_all_the_same(desk: Desk) -> None:
    desk.keeper.grow(2)
    desk.keeper.backup(desk.backup)
    desk.keeper.store.commit([Entry(b"of another time")], desk.keeper.sign)
    desk.publish()
    desk.lose()
    assert (await desk.restore()).unreadable == 1
    assert desk.reopened().leaf(2) == b"of another time"


async def test_source_of_a_place_is_read_as_a_folder(desk: Desk) -> None:
    desk.keeper.grow(3)
    desk.publish()
    place = await desk.witness.place(FolderSource(desk.published / "0"), "a copy")
    assert place is not None
    assert place.mark.checkpoint.size == 3
    assert await desk.witness.place(FolderSource(desk.published), "nothing") is None
