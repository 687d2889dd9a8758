"""Restores: the log goes on where it was last seen, or not at all; nothing is signed before; nothing is deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from gateway.backups.manifest import CHECKPOINT_FILE, MANIFEST_FILE, STORE_FILE
from gateway.backups.places import LogWitness, Place
from gateway.backups.restoring import Restored, Restorer
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.leaves import LeafStamp
from gateway.log_marks import Mark, require_reached
from gateway.protocol.checkpoint import Checkpoint, open_checkpoint
from gateway.protocol.errors import ConflictError, ForgedError, HeyanError, LogUnavailableError, MalformedError
from gateway.protocol.identities import parse_identity
from gateway.protocol.leaf import Tags, derive_leaf_key, read_leaf
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Document, Party
from gateway.static_log.tile_source import FolderSource
from gateway.stores.records import Committed, Entry, Evidence, Freeze, Head, SignCheckpoint, Withdrawal
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_copy import check_copy
from gateway.stores.sqlite_restored import RestoredStore
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.fakes_sqlite import Dead
from tests.gateway.keepers import Keeper, digest, leaf, quiet
from tests.static_logs import write_log

NEXT = "heyan.test/next"
VAULT = Vault(Keks([FileKek(bytes(32))]))


class Desk:
    """A gateway whose log is published, and may be restored; `signed` are the sizes that its log key signed for it."""

    def __init__(self, keeper: Keeper, folder: Path) -> None:
        self.keeper = keeper
        self.backup = folder / "backup"
        self.published = folder / "published"
        self.signed: list[int] = []
        self.steps: list[str] = []

    def publish(self) -> None:
        """The static log as it is now, written by the test's own code."""
        for head in self.keeper.store.shards():
            place = self.published / str(head.number)
            place.mkdir(parents=True, exist_ok=True)
            write_log(place, list(self.keeper.store.leaves(head.first, head.size)))
            (place / "checkpoint").write_text(head.checkpoint)

    def lose(self) -> None:
        """The store is gone."""
        self.keeper.store.close()
        for file in self.keeper.folder.glob("store.db*"):
            file.unlink()

    @property
    def witness(self) -> LogWitness:
        return LogWitness(self.keeper.federation.registry, fed.GATEWAY)

    @property
    def restorer(self) -> Restorer:
        def sign(size: int, root: bytes, origin: str | None = None) -> str:
            self.signed.append(size)
            return self.keeper.sign(size, root, origin)

        federation = self.keeper.federation
        return Restorer(
            store=self.keeper.path,
            logs=self.witness,
            stamp=LeafStamp(parse_identity(fed.GATEWAY), lambda: federation.registry, self.keeper.clock),
            sign=sign,
            unwrap=VAULT.unwrap,
            clock=self.keeper.clock,
        )

    async def restore(
        self,
        *,
        places: Sequence[Place] | None = None,
        marks: Sequence[Mark] = (),
        report: Callable[[str, int, int], None] = quiet,
        replace: bool = False,
    ) -> Restored:
        if places is None:
            places = await self.witness.published(self.published)
        return await self.restorer.restore(self.backup, places, marks, report, replace=replace)

    def reopened(self) -> SqliteStore:
        self.keeper.store = SqliteStore(self.keeper.path)
        return self.keeper.store

    def mark(self, head: Head, place: str = "somebody") -> Mark:
        return Mark(Checkpoint(head.origin, head.size, head.root), head.checkpoint, place)


@pytest.fixture
def desk(tmp_path: Path, federation: fed.Federation) -> Iterator[Desk]:
    keeper = Keeper(federation, tmp_path / "gateway")
    yield Desk(keeper, tmp_path)
    keeper.store.close()


def two_logs(federation: fed.Federation) -> fed.Federation:
    """The registry after the first log ended."""

    def went_on(party: Party) -> Party:
        if party.id != fed.GATEWAY or party.gateway is None:
            return party
        terms = structs.replace(party.gateway, log_origin=NEXT, ended_origins=(fed.LOG_ORIGIN,))
        return structs.replace(party, gateway=terms)

    def edit(document: Document) -> Document:
        return structs.replace(document, parties=tuple(map(went_on, document.parties)))

    return federation.changed(edit)


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
    assert {path.name for path in desk.keeper.folder.iterdir()} == {"store.db", "store.db.lock"}


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
    desk.keeper.federation = two_logs(desk.keeper.federation)
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
    desk.keeper.federation = two_logs(desk.keeper.federation)
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
    desk.keeper.federation = two_logs(desk.keeper.federation)
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
        def commit(self, entries: Sequence[Entry], sign: SignCheckpoint) -> Sequence[Committed]:
            super().commit(entries, sign)
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
