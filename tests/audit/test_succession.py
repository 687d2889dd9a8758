"""One log goes on from another: what an auditor believes of it, and what gives a gateway away that bends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gateway.audit.succession import Predecessor, ShardEnds, ends_of, require_succession
from gateway.auditing import AuditedLog, LogAudit, log_that_grows
from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.errors import BadDataError, ForgedError, NotCurrentError
from gateway.protocol.leaf import read_leaf
from gateway.protocol.merkle import inclusion_path, leaf_hash, root_of
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.audit.logs import DAY_1, Asked, Books, federation
from tests.gateway.shards import NEXT, listing
from tests.protocol.casework import signer_of

THIRD = "heyan.test/log/3"
ORIGINS = (fed.LOG_ORIGIN, NEXT, THIRD)


def books(origin: str) -> Books:
    return Books(signer=signer_of(federation().signing_keys[fed.GATEWAY], origin))


def tree(made: Books) -> Checkpoint:
    return unverified_checkpoint(made.note())


def started(final: Checkpoint, **changes: object) -> log_pb2.LogLeaf:
    values = {"previous_origin": final.origin, "previous_size": final.size, "previous_root": final.root, **changes}
    return log_pb2.LogLeaf(shard_start=log_pb2.ShardStartEvent(**values))  # type: ignore[arg-type]


def ended(following: str) -> log_pb2.LogLeaf:
    return log_pb2.LogLeaf(shard_end=log_pb2.ShardEndEvent(next_origin=following))


@dataclass
class TwoLogs:
    """A log that ended and the one that goes on, as an honest gateway keeps them."""

    old: Books = field(default_factory=lambda: books(fed.LOG_ORIGIN))
    new: Books = field(default_factory=lambda: books(NEXT))

    def __post_init__(self) -> None:
        for made in (self.old, self.new):
            made.others = {fed.LOG_ORIGIN: self.old, NEXT: self.new}
        self.old.record(Asked())
        self.old.record(Asked())
        self.old.append(ended(NEXT))
        self.begin()

    def begin(self, **changes: object) -> None:
        self.new.leaves_.clear()
        self.new.counts.clear()
        self.new.append(started(tree(self.old), **changes))
        self.new.record(Asked())

    async def audited(self, origin: str = NEXT) -> AuditedLog:
        registry = federation().changed(listing(NEXT, fed.LOG_ORIGIN)).registry
        log = self.new.of(origin)
        return await LogAudit(log, registry, fed.GATEWAY, origin=origin).read((DAY_1,))


async def test_both_logs_are_reported_each_with_its_own_statistics() -> None:
    two = TwoLogs()
    for origin, size in ((fed.LOG_ORIGIN, 3), (NEXT, 2)):
        audited = await two.audited(origin)
        assert (audited.checkpoint.origin, audited.checkpoint.size) == (origin, size)
        assert not audited.sheet.differences()


async def test_log_that_grows_is_found_by_asking_for_it() -> None:
    two = TwoLogs()
    terms = federation().changed(listing(NEXT, fed.LOG_ORIGIN)).registry.party(fed.GATEWAY).gateway
    assert terms is not None
    assert await log_that_grows(two.new, terms) == NEXT
    assert await log_that_grows(two.old, terms) == fed.LOG_ORIGIN, "announced, and not ended yet"
    with pytest.raises(ForgedError):
        await log_that_grows(books(THIRD), terms)


async def test_ended_log_is_still_reported_while_it_is_only_announced_to_end() -> None:
    two = TwoLogs()
    two.old.leaves_.pop()
    assert (await two.audited(fed.LOG_ORIGIN)).checkpoint.size == 2


Bend = Callable[[TwoLogs], object]
LIES: dict[str, tuple[Bend, Reason]] = {
    "the old log grows behind its end": (lambda two: two.old.record(Asked()), Reason.LOG_ENDED),
    "the old log is cut short": (lambda two: two.old.leaves_.pop(), Reason.LOG_ENDED),
    "the old log is another": (lambda two: two.old.leaves_.__setitem__(0, two.old.leaves_[1]), Reason.LOG_FORKED),
    "the new one names another size": (lambda two: two.begin(previous_size=2), Reason.LOG_ENDED),
    "the new one names another root": (lambda two: two.begin(previous_root=bytes(32)), Reason.LOG_FORKED),
    "the new one names another log": (lambda two: two.begin(previous_origin=THIRD), Reason.PROOF_INVALID),
    "the new one does not say where it began": (lambda two: two.new.leaves_.pop(0), Reason.PROOF_INVALID),
    "the new one begins twice": (
        lambda two: two.new.append(started(tree(two.old))),
        Reason.PROOF_INVALID,
    ),
    "the new one ended, and grows": (
        lambda two: (two.new.append(ended(THIRD)), two.new.record(Asked())),
        Reason.PROOF_INVALID,
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_gateway_that_bends_the_succession_is_found(lie: str) -> None:
    bend, reason = LIES[lie]
    two = TwoLogs()
    await two.audited()
    bend(two)
    with pytest.raises(ForgedError) as found:
        await two.audited()
    assert found.value.reason is reason


async def test_second_successor_has_no_log_that_names_it() -> None:
    """The old log's last leaf names one log; a gateway that shows others another one cannot show that it ended so."""
    two = TwoLogs()
    two.old.leaves_.pop()
    two.old.append(ended(THIRD))
    two.begin()
    with pytest.raises(ForgedError) as found:
        await two.audited()
    assert found.value.reason is Reason.PROOF_INVALID


@pytest.mark.parametrize("origin", [fed.LOG_ORIGIN, NEXT])
async def test_leaves_behind_the_end_of_a_log_are_found_by_whoever_reads_it_alone(origin: str) -> None:
    two = TwoLogs()
    two.old.record(Asked())
    with pytest.raises(ForgedError) as found:
        await two.audited(origin)
    assert found.value.reason is Reason.LOG_ENDED


# -- the rules alone -----------------------------------------------------------------------------------------


def leaf(event: log_pb2.LogLeaf, version: int = 1) -> log_pb2.LogLeaf:
    event.registry_version = version
    return event


REGISTRY = log_pb2.RegistryEvent(version=1, digest=bytes(32))
OTHER = log_pb2.LogLeaf(registry=REGISTRY)


def test_reading_that_goes_on_behind_the_end_finds_what_was_added() -> None:
    """A monitor that had read to the end, and is started again."""
    ends = ShardEnds(ORIGINS, fed.LOG_ORIGIN, 1, read=7, next_origin=NEXT)
    with pytest.raises(ForgedError) as found:
        ends.add(OTHER)
    assert found.value.reason is Reason.LOG_ENDED


def test_reading_that_goes_on_in_the_middle_expects_no_beginning() -> None:
    ends = ShardEnds(ORIGINS, NEXT, 1, read=7)
    ends.add(OTHER)
    ends.add(leaf(ended(THIRD)))
    assert ends.next_origin == THIRD
    with pytest.raises(ForgedError):
        ShardEnds(ORIGINS, NEXT, 1, read=7).add(started(Checkpoint(fed.LOG_ORIGIN, 1, bytes(32))))


def test_leaf_that_cannot_be_read_is_no_beginning() -> None:
    ShardEnds(ORIGINS, fed.LOG_ORIGIN, 1).add(None)
    with pytest.raises(ForgedError):
        ShardEnds(ORIGINS, NEXT, 1).add(None)


def test_end_that_only_a_newer_registry_knows_is_no_lie() -> None:
    with pytest.raises(NotCurrentError):
        ShardEnds((fed.LOG_ORIGIN,), fed.LOG_ORIGIN, 3).add(leaf(ended(NEXT), version=4))
    with pytest.raises(ForgedError):
        ShardEnds((fed.LOG_ORIGIN,), fed.LOG_ORIGIN, 3).add(leaf(ended(NEXT), version=3))


def test_log_of_nobody_is_not_read() -> None:
    with pytest.raises(ForgedError):
        ends_of(federation().registry, fed.GATEWAY, NEXT)


def test_last_leaf_is_held_against_the_final_tree() -> None:
    made = TwoLogs().old
    final, hashes = tree(made), [leaf_hash(data) for data in made.leaves_]
    said = Predecessor(final.origin, final.size, final.root)
    path = inclusion_path(hashes, 2)
    require_succession(said, NEXT, final, made.leaves_[2], path)
    for last, way in ((made.leaves_[1], inclusion_path(hashes, 1)), (made.leaves_[2], path[:-1]), (b"", path)):
        with pytest.raises(BadDataError):
            require_succession(said, NEXT, final, last, way)
    with pytest.raises(ForgedError):
        require_succession(said, THIRD, final, made.leaves_[2], path)
    assert read_leaf(made.leaves_[2]).shard_end.next_origin == NEXT
    assert root_of(hashes) == final.root
