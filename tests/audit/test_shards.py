"""A log that ended and the one that goes on from it, read as one; erasures and restores, which excuse nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from gateway.audit.findings import Disagreement, Finding, Reconciliation
from gateway.audit.log_view import LogView, Sighting
from gateway.audit.reconciliation import reconcile_logs
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import read_leaf, write_leaf
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.note import SignerKey
from heyan.v1 import log_pb2
from tests.audit.parties import GATEWAY, LAND, NOW, POLICE, Books, held, kinds, named

DAY = 86_400.0
OLD, NEW = "log.test/2027", "log.test/2028"


def note_of(origin: str, leaves: list[bytes], size: int | None = None) -> str:
    some = leaves if size is None else leaves[:size]
    checkpoint = Checkpoint(origin, len(some), root_of([leaf_hash(leaf) for leaf in some]))
    return sign_checkpoint(checkpoint, [SignerKey.from_seed(origin, bytes(32))])


@dataclass
class Shards:
    """Two logs of one gateway, and one journal: what `old` and `new` log, and `books` states."""

    books: Books = field(default_factory=Books)
    old: Books = field(default_factory=Books)
    new: Books = field(default_factory=Books)
    joint: float = 0.0
    """Seconds since the one ended and the other began."""

    def end(self, next_origin: str = NEW) -> None:
        self.old._append(log_pb2.LogLeaf(shard_end=log_pb2.ShardEndEvent(next_origin=next_origin)), self.joint)

    def start(self, **bent: object) -> None:
        right = {
            "previous_origin": OLD,
            "previous_size": len(self.old.leaves),
            "previous_root": root_of([leaf_hash(leaf) for leaf in self.old.leaves]),
        }
        event = log_pb2.ShardStartEvent(**(right | bent))  # type: ignore[arg-type]
        self.new._append(log_pb2.LogLeaf(shard_start=event), self.joint)

    def view(self, origin: str, *, read: bool = True) -> LogView:
        leaves = (self.old if origin == OLD else self.new).leaves
        verifier = SignerKey.from_seed(origin, bytes(32)).verifier
        return LogView(origin, frozenset({GATEWAY}), (verifier,), leaves, note_of(origin, leaves) if read else "")

    def held(self, *, is_old_read: bool = True, **more: object) -> Reconciliation:
        views = (self.view(OLD, read=is_old_read), self.view(NEW))
        return reconcile_logs(views, [self.books.journal()], **more)  # type: ignore[arg-type]

    def acknowledge(self, origin: str, *indexes: int, batch: str = "b") -> None:
        leaves = (self.old if origin == OLD else self.new).leaves
        self.books.acknowledge(*indexes, batch=batch, shown=note_of(origin, leaves))


@pytest.fixture
def shards() -> Shards:
    return Shards()


def joined(shards: Shards) -> int:
    """An old log with one statement, ended, and the new one begun; the statement's leaf."""
    shards.joint = 1.5 * DAY
    shards.books.state("a", age=2 * DAY)
    index = shards.old.log("a", age=2 * DAY)
    shards.end()
    shards.start()
    return index


def test_statements_count_in_either_log(shards: Shards) -> None:
    shards.acknowledge(OLD, joined(shards))
    shards.books.state("b", batch="second", age=DAY)
    index = shards.new.log("b", age=DAY - 1)
    shards.acknowledge(NEW, index, batch="second")
    assert shards.held(allowed=0.0) == Reconciliation((), 0, 0)


def test_statement_stated_before_the_end_and_logged_after_it_is_no_finding(shards: Shards) -> None:
    joined(shards)
    shards.books.state("owed", batch="owed", age=DAY + 5)
    shards.acknowledge(NEW, shards.new.log_recovered("owed", age=DAY), batch="owed")
    shards.acknowledge(OLD, 0)
    assert shards.held(allowed=0.0) == Reconciliation((), 0, 1)


def test_statement_of_neither_log_is_found(shards: Shards) -> None:
    shards.acknowledge(OLD, joined(shards))
    shards.books.state("hidden", batch="hidden", age=DAY)
    assert shards.held().findings == (Finding(Disagreement.UNLOGGED, POLICE, named("hidden")),)


def test_leaf_of_the_one_log_is_not_that_of_the_other(shards: Shards) -> None:
    """An acknowledgement names a place in the log whose checkpoint it brings."""
    index = joined(shards)
    shards.new.log("x", department=LAND, age=0)
    shards.acknowledge(NEW, index)
    result = shards.held()
    assert kinds(result) == [Disagreement.WRONG_LEAF]
    assert result.findings[0].origin == ""


def test_invented_statement_of_the_ended_log_is_told_with_its_origin(shards: Shards) -> None:
    joined(shards)
    shards.old.leaves.insert(0, shards.old.leaves.pop(shards.old.log("made up", age=2 * DAY)))
    shards.new.leaves.clear()
    shards.start()
    shards.acknowledge(OLD, 1)
    assert shards.held().findings == (Finding(Disagreement.UNKNOWN, POLICE, named("made up"), 0, (), OLD),)


def test_statement_logged_again_for_another_query_after_the_end_is_found(shards: Shards) -> None:
    shards.acknowledge(OLD, joined(shards))
    shards.new.log("a", query="other", age=0)
    assert kinds(shards.held()) == [Disagreement.REUSED]


def test_answer_after_the_end_on_a_consent_withdrawn_before_it_is_found(shards: Shards) -> None:
    shards.old.log_withdrawal()
    shards.end()
    shards.start()
    index = shards.new.log("y", department=LAND)
    assert shards.held().findings == (Finding(Disagreement.WITHDRAWN, NEW, index=index),)


# -- how logs end and begin ---------------------------------------------------------------------------------


def test_leaf_after_the_end_is_found(shards: Shards) -> None:
    shards.end()
    index = shards.old.log_other()
    shards.start()
    assert shards.held().findings == (Finding(Disagreement.AFTER_END, OLD, index=index, origin=OLD),)


@pytest.mark.parametrize(
    "bent",
    [{"previous_size": 1}, {"previous_root": bytes(32)}, {"previous_origin": "log.test/2026"}],
    ids=["size", "root", "origin"],
)
def test_log_that_goes_on_from_another_end_is_found(shards: Shards, bent: dict[str, object]) -> None:
    shards.old.log_other()
    shards.end()
    shards.start(**bent)
    found = shards.held().findings
    assert found == (Finding(Disagreement.MISJOINED, NEW, index=0),)


def test_log_that_goes_on_from_a_cut_one_is_found(shards: Shards) -> None:
    """The old log is shown without its last statement, ended anew: the new one still tells the end that it had."""
    shards.old.log("x", department=LAND)
    shards.end()
    shards.start()
    del shards.old.leaves[0]
    assert shards.held().findings == (Finding(Disagreement.MISJOINED, NEW, index=0),)


@pytest.mark.parametrize("begin", [lambda _: None, Shards.start], ids=["neither says so", "only the new one says so"])
def test_log_that_never_ended_is_found(shards: Shards, begin: Callable[[Shards], None]) -> None:
    shards.old.log_other()
    begin(shards)
    shards.new.log_other()
    assert Finding(Disagreement.MISJOINED, OLD, index=0, origin=OLD) in shards.held().findings


def test_log_that_names_another_successor_is_found(shards: Shards) -> None:
    shards.end(next_origin="log.test/elsewhere")
    shards.start()
    assert shards.held().findings == (Finding(Disagreement.MISJOINED, OLD, index=0, origin=OLD),)


def test_beginning_in_the_middle_of_a_log_is_found(shards: Shards) -> None:
    shards.end()
    shards.start()
    shards.start()
    assert shards.held().findings == (Finding(Disagreement.MISJOINED, NEW, index=1),)


def test_fork_of_the_ended_log_is_found(shards: Shards) -> None:
    shards.acknowledge(OLD, joined(shards))
    wrong = note_of(OLD, [b"another"])
    (found,) = shards.held(sightings=[Sighting("witness", wrong)]).findings
    assert (found.kind, found.holder, found.origin) == (Disagreement.FORKED, "witness", OLD)


def test_leaves_of_the_ended_log_that_are_not_its_checkpoints_are_refused(shards: Shards) -> None:
    joined(shards)
    bent = replace(shards.view(OLD), leaves=shards.new.leaves)
    with pytest.raises(ForgedError):
        reconcile_logs([bent, shards.view(NEW)], [shards.books.journal()])


# -- logs that are not read ---------------------------------------------------------------------------------


def test_statement_acknowledged_by_a_log_that_is_not_read_is_counted_and_no_finding(shards: Shards) -> None:
    shards.acknowledge(OLD, joined(shards))
    shards.books.state("b", batch="second", age=DAY)
    shards.acknowledge(NEW, shards.new.log("b", age=DAY - 1), batch="second")
    assert shards.held(is_old_read=False, allowed=0.0) == Reconciliation((), 0, 0, elsewhere=1)


def test_two_checkpoints_of_a_log_that_is_not_read_still_convict(shards: Shards) -> None:
    joined(shards)
    shards.acknowledge(OLD, 0)
    wrong = note_of(OLD, [b"another", b"more"])
    assert kinds(shards.held(is_old_read=False, sightings=[Sighting("witness", wrong)])) == [Disagreement.FORKED]


# -- copies -------------------------------------------------------------------------------------------------


def test_what_a_copy_is_too_old_for_is_not_looked_for_in_it(books: Books) -> None:
    books.state("a", age=3 * DAY)
    books.acknowledge(books.log("a", age=3 * DAY), age=2 * DAY)
    copy = books.view()
    books.state("later", batch="later", age=2 * DAY)
    index = books.log("later", age=2 * DAY)
    books.acknowledge(index, batch="later", age=2 * DAY)
    books.state("owed", batch="owed", age=1.5 * DAY)
    result = reconcile_logs([copy], [books.journal()], as_of=NOW - 2 * DAY)
    assert kinds(result) == [Disagreement.CUT_OFF]  # of the log, not of its statements: the copy may be old
    assert result.early == 2
    assert Disagreement.UNLOGGED in kinds(reconcile_logs([copy], [books.journal()]))


def test_statement_that_a_copy_is_young_enough_for_is_found(books: Books) -> None:
    books.state("hidden", age=2 * DAY)
    books.log_other()
    assert kinds(reconcile_logs([books.view()], [books.journal()], as_of=NOW)) == [Disagreement.UNLOGGED]


# -- erasures, looks and restores ---------------------------------------------------------------------------


def append(books: Books, leaf: log_pb2.LogLeaf) -> int:
    index = books._append(leaf, 0.0)
    assert read_leaf(write_leaf(read_leaf(books.leaves[index])))
    return index


def test_erased_evidence_leaves_the_books_in_agreement(books: Books) -> None:
    books.state("a", age=9)
    books.acknowledge(books.log("a", age=8), age=7)
    event = log_pb2.ErasureEvent(ground=log_pb2.ERASURE_GROUND_LAWFUL_REQUEST, grant_tags=[bytes(32)])
    append(books, log_pb2.LogLeaf(erasure=event))
    look = log_pb2.EvidenceAccessEvent(auditor="spiffe://heyan/auditor/one", case_reference="2027-1")
    append(books, log_pb2.LogLeaf(evidence_access=look))
    assert held(books, allowed=0.0) == Reconciliation((), 0, 0)


def test_restored_store_excuses_no_statement_that_it_lost(books: Books) -> None:
    books.state("lost", age=2 * DAY)
    books.log_other()
    append(books, log_pb2.LogLeaf(restore=log_pb2.RestoreEvent(backup_size=1, restored_size=1)))
    assert held(books).findings == (Finding(Disagreement.UNLOGGED, POLICE, named("lost")),)


def restored(books: Books, backup_size: int) -> None:
    event = log_pb2.RestoreEvent(backup_size=backup_size, restored_size=len(books.leaves))
    append(books, log_pb2.LogLeaf(restore=event))


def test_request_that_a_restore_lost_may_be_logged_anew_under_other_tags(books: Books) -> None:
    """Its consent had met the gateway after the backup: its key is lost, and made anew when the request comes again."""
    books.state("a", query="first")
    books.log_other()
    books.acknowledge(books.log("a", query="first"))
    restored(books, backup_size=1)
    books.log("a", query="first, under another key")
    assert held(books).findings == ()
    restored(books, backup_size=1)
    books.log("a", query="and under a third one")
    assert held(books).findings == ()


@pytest.mark.parametrize("backup_size", [0, 1])
def test_restore_excuses_no_second_query_before_or_after_it(books: Books, backup_size: int) -> None:
    books.state("a", query="first")
    books.acknowledge(books.log("a", query="first"))
    if backup_size == 0:
        books.log("a", query="second, brought back with it")
    restored(books, backup_size)
    if backup_size == 1:
        books.log("a", query="second, of a request that was in the backup")
    assert kinds(held(books)) == [Disagreement.REUSED]


def test_departments_without_a_journal_are_counted(books: Books) -> None:
    books.state("a", age=1)
    books.acknowledge(books.log("a"))
    books.log("x", "y", department=LAND)
    books.log_recovered("z", department=LAND)
    assert dict(held(books, allowed=0.0).missing) == {LAND: 3}
