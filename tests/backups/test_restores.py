"""Restores: the log goes on where it was last seen, or not at all; nothing is signed before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.backups.manifest import CHECKPOINT_FILE, MANIFEST_FILE, STORE_FILE
from gateway.log_marks import Mark, require_reached
from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.errors import ConflictError, ForgedError, HeyanError, MalformedError
from gateway.protocol.leaf import read_leaf
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, Freeze, Head
from gateway.stores.sqlite_copy import check_copy
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.backups.desks import Desk
from tests.backups.keepers import Keeper, digest, leaf
from tests.gateway.shards import NEXT, listing


async def test_log_goes_on_where_it_was_seen_with_every_leaf_that_it_had(desk: Desk) -> None:
    desk.keeper.grow(300)
    desk.keeper.backup(desk.backup)
    seen = desk.keeper.grow(500)
    before = list(desk.keeper.store.leaves(0, 10_000))
    desk.publish()
    desk.lose()
    done = await desk.restore()
    assert (done.origin, done.backup_size, done.restored_size, done.aside) == (fed.LOG_ORIGIN, 300, 800, None)
    assert desk.signed == [801], "one signature, beyond what was seen"
    store = desk.reopened()
    head = store.head()
    assert head is not None
    assert head.size == 801
    assert list(store.leaves(0, 800)) == before
    restored = read_leaf(store.leaf(800))
    assert (restored.restore.backup_size, restored.restore.restored_size) == (300, 800)
    require_reached(store, [desk.mark(seen)])
    verifiers = proof_verifiers(desk.keeper.federation.registry, fed.GATEWAY, fed.LOG_ORIGIN, 0.0)
    assert open_checkpoint(head.checkpoint.encode(), verifiers, fed.LOG_ORIGIN).root == head.root
    assert store.leaf_indexes([digest(7), digest(299), digest(300), digest(799), digest(800)]) == {
        digest(number): number for number in (7, 299, 300, 799)
    }
    store.close()
    assert check_copy(desk.keeper.path, lambda *_: None, every_leaf=True) == [head]
    assert {path.name for path in desk.keeper.folder.iterdir()} == {
        "store.db",
        "store.db.lock",
        "store.db.next",
        "store.db.turn",
    }


async def test_backup_of_the_newest_leaf_is_restored_as_it_is(desk: Desk) -> None:
    head = desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()
    done = await desk.restore()
    assert (done.backup_size, done.restored_size) == (5, 5)
    require_reached(desk.reopened(), [desk.mark(head)])


async def test_log_that_went_on_as_another_since_the_backup_goes_on_as_that_one(desk: Desk) -> None:
    desk.keeper.grow(300)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(20)
    desk.keeper.federation = desk.keeper.federation.changed(listing(NEXT, fed.LOG_ORIGIN))
    end = leaf(320, shard_end=log_pb2.ShardEndEvent(next_origin=NEXT))

    def begin(final: Head) -> bytes:
        start = log_pb2.ShardStartEvent(
            previous_origin=fed.LOG_ORIGIN, previous_size=final.size, previous_root=final.root
        )
        return leaf(321, shard_start=start)

    final, _ = desk.keeper.store.freeze(Freeze(fed.LOG_ORIGIN, end, NEXT, begin), desk.keeper.sign)
    desk.keeper.grow(10)
    before, shards = list(desk.keeper.store.leaves(0, 1_000)), desk.keeper.store.shards()
    desk.publish()
    desk.lose()
    done = await desk.restore()
    assert (done.origin, done.backup_size, done.restored_size) == (NEXT, 0, 11)
    assert desk.signed == [12]
    store = desk.reopened()
    assert store.shards()[0] == final
    assert list(store.leaves(0, len(before))) == before
    require_reached(store, [desk.mark(head) for head in shards])


async def test_end_of_a_log_without_the_log_that_went_on_is_not_gone_on_from(desk: Desk) -> None:
    desk.keeper.grow(3)
    desk.keeper.backup(desk.backup)
    desk.keeper.federation = desk.keeper.federation.changed(listing(NEXT, fed.LOG_ORIGIN))
    end = leaf(3, shard_end=log_pb2.ShardEndEvent(next_origin=NEXT))
    desk.keeper.store.freeze(Freeze(fed.LOG_ORIGIN, end, NEXT, lambda _: b"begin"), desk.keeper.sign)
    desk.publish()
    shutil.rmtree(desk.published / "1")
    desk.lose()
    with pytest.raises(ForgedError) as refused:
        await desk.restore()
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert desk.signed == []


async def test_log_that_the_registry_has_ended_is_not_signed_again(desk: Desk) -> None:
    desk.keeper.grow(3)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()
    desk.keeper.federation = desk.keeper.federation.changed(listing(NEXT, fed.LOG_ORIGIN))
    with pytest.raises(ConflictError) as refused:
        await desk.restore()
    assert refused.value.reason is Reason.LOG_ENDED
    assert desk.signed == []


# -- how far the log was seen --------------------------------------------------------------------------------------


async def test_leaves_that_were_seen_and_cannot_be_had_stop_the_restore(desk: Desk) -> None:
    """A witness or department saw more than was published: another tree of that size must not be signed."""
    desk.keeper.grow(300)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(100)
    desk.publish()
    seen = desk.keeper.grow(1)
    desk.lose()
    with pytest.raises(ForgedError) as refused:
        await desk.restore(marks=[desk.mark(seen, "a witness")])
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert "401 leaves by a witness" in refused.value.detail
    assert "another log_origin" in refused.value.detail
    assert desk.signed == []
    assert not desk.keeper.path.exists()


async def test_mark_between_two_published_sizes_must_be_of_the_same_tree(desk: Desk) -> None:
    desk.keeper.grow(10)
    desk.keeper.backup(desk.backup)
    mark = desk.mark(desk.keeper.grow(10))
    desk.keeper.grow(10)
    desk.publish()
    desk.lose()
    forked = Mark(replace(mark.checkpoint, root=bytes(32)), mark.note, "somebody")
    with pytest.raises(ForgedError) as refused:
        await desk.restore(marks=[forked])
    assert refused.value.reason is Reason.LOG_FORKED
    assert desk.signed == []
    await desk.restore(marks=[mark])


async def test_published_log_that_does_not_continue_the_backup_is_a_fork(desk: Desk, tmp_path: Path) -> None:
    desk.keeper.grow(10)
    other = Keeper(desk.keeper.federation, tmp_path / "other")
    other.store.commit([Entry(leaf(number + 500)) for number in range(40)], other.sign)
    desk.keeper.backup(desk.backup)
    desk.lose()
    desk.keeper, keeper = other, desk.keeper
    desk.publish()
    other.store.close()
    desk.keeper = keeper
    with pytest.raises(ForgedError) as refused:
        await desk.restore()
    assert refused.value.reason is Reason.LOG_FORKED
    assert desk.signed == []


async def test_nothing_that_says_how_far_the_log_was_seen_stops_the_restore(desk: Desk) -> None:
    desk.keeper.grow(5)
    desk.publish()
    desk.keeper.grow(5)
    desk.keeper.backup(desk.backup)
    desk.lose()
    for places in ([], None):  # nothing at all, and a published log that is older than the backup
        with pytest.raises(MalformedError) as refused:
            await desk.restore(places=places)
        assert refused.value.reason is Reason.CONFIGURATION_INVALID
        assert "--checkpoint" in refused.value.detail
    own = desk.witness.mark((desk.backup / CHECKPOINT_FILE).read_bytes(), "said by the operator")
    done = await desk.restore(places=[], marks=[own])
    assert done.restored_size == 10


@pytest.mark.parametrize("kind", ["key", "origin", "signature", "text"])
def test_checkpoint_that_is_not_of_this_gateways_log_says_nothing(desk: Desk, kind: str) -> None:
    note = desk.keeper.grow(3).checkpoint
    forged = {
        "key": note.replace(note.rsplit(" ", 1)[1], "AAAA" + note.rsplit(" ", 1)[1][4:]),
        "origin": note.replace(fed.LOG_ORIGIN, "heyan.test/else"),
        "signature": note.replace("\n3\n", "\n4\n"),
        "text": "nothing",
    }[kind]
    with pytest.raises(ForgedError) as refused:
        desk.witness.mark(forged.encode(), "somebody")
    assert "somebody" in refused.value.detail


# -- places that fail or lie ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["entries/001.p/144", "0/001.p/144", "1/000.p/1"])
async def test_flipped_byte_in_published_files_is_found_and_a_whole_copy_serves(desk: Desk, what: str) -> None:
    desk.keeper.grow(300)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(100)
    desk.publish()
    mirror = shutil.copytree(desk.published, desk.published.with_name("mirror"))
    damaged = desk.published / "0" / "tile" / what
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    desk.lose()
    with pytest.raises(ForgedError) as refused:
        await desk.restore()
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert desk.signed == []
    places = [*await desk.witness.published(desk.published), *await desk.witness.published(mirror)]
    assert (await desk.restore(places=places)).restored_size == 400


async def test_place_that_fails_on_the_way_is_gone_on_from_by_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.backups.bringing_back.LEAVES_AT_ONCE", 100)
    desk.keeper.grow(10)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(890)
    desk.publish()
    mirror = shutil.copytree(desk.published, desk.published.with_name("mirror"))
    (desk.published / "0" / "tile" / "entries" / "002").unlink()
    desk.lose()
    places = [*await desk.witness.published(desk.published), *await desk.witness.published(mirror)]
    steps: list[int] = []
    done = await desk.restore(
        places=places, report=lambda step, at, _: steps.append(at) if step == "leaves" and at else None
    )
    assert done.restored_size == 900
    assert steps == sorted(set(steps)), "no leaf is brought twice"
    assert list(desk.reopened().leaves(0, 900)) == [leaf(number) for number in range(900)]


# -- backups that will not do --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [STORE_FILE, CHECKPOINT_FILE, MANIFEST_FILE])
async def test_flipped_byte_anywhere_in_a_backup_is_found(desk: Desk, name: str) -> None:
    desk.keeper.grow(40)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()
    whole = (desk.backup / name).read_bytes()
    for position in range(5, len(whole), max(1, len(whole) // 15)):
        (desk.backup / name).write_bytes(whole[:position] + bytes([whole[position] ^ 64]) + whole[position + 1 :])
        with pytest.raises(HeyanError) as refused:
            await desk.restore()
        assert refused.value.reason is Reason.BACKUP_INVALID
    assert desk.signed == []
    assert {path.name for path in desk.keeper.folder.iterdir()} == {"store.db.lock"}


@pytest.mark.parametrize("name", [STORE_FILE, CHECKPOINT_FILE, MANIFEST_FILE])
async def test_backup_without_one_of_its_files_is_none(desk: Desk, name: str) -> None:
    desk.keeper.grow(4)
    desk.keeper.backup(desk.backup)
    desk.publish()
    (desk.backup / name).unlink()
    desk.lose()
    with pytest.raises(HeyanError) as refused:
        await desk.restore()
    assert refused.value.reason is Reason.BACKUP_INVALID


async def test_files_of_another_backup_of_the_same_gateway_are_found(desk: Desk, tmp_path: Path) -> None:
    desk.keeper.grow(4)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(4)
    desk.keeper.backup(tmp_path / "later")
    desk.publish()
    desk.lose()
    shutil.copy(desk.backup / STORE_FILE, tmp_path / "later" / STORE_FILE)
    desk.backup = tmp_path / "later"
    with pytest.raises(HeyanError) as refused:
        await desk.restore()
    assert refused.value.reason is Reason.BACKUP_INVALID


async def test_registry_older_than_the_backups_is_refused(desk: Desk) -> None:
    """It may not know of a compromised key."""
    older = desk.keeper.federation
    desk.keeper.federation = older.changed(lambda document: document)
    desk.keeper.grow(4)
    desk.keeper.backup(desk.backup)
    desk.publish()
    desk.lose()
    desk.keeper.federation = older
    with pytest.raises(HeyanError) as refused:
        await desk.restore()
    assert refused.value.reason is Reason.REGISTRY_ROLLED_BACK
