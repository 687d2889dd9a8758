"""The auditor's index: what is found in it, and that it never counts what the log's checkpoint does not cover."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.audit.leaf_rows import Mark
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.offline import OfflineGround
from gateway.protocol.reasons import Reason
from gateway.search.index import LogIndex, Wanted
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.audit.logs import LAND, MIDNIGHT, POLICE, YUELU, A, Asked, Books, little_log

GRANT = sha256(b"grant").digest()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LogIndex]:
    with closing(LogIndex(tmp_path / "index.db", fed.LOG_ORIGIN)) as opened:
        yield opened


def read(index: LogIndex, books: Books, size: int | None = None) -> None:
    leaves = books.leaves_[:size]
    take(index, leaves, checkpoint(leaves), books.note(size))


def take(index: LogIndex, leaves: list[bytes], shown: Checkpoint, note: str) -> None:
    take_all(index, leaves[index.size :], shown, note)


def take_all(index: LogIndex, leaves: Iterable[bytes], shown: Checkpoint, note: str) -> None:
    with index.reading(shown, note) as reading:
        for leaf in leaves:
            reading.add(leaf)


def checkpoint(leaves: list[bytes]) -> Checkpoint:
    return Checkpoint(fed.LOG_ORIGIN, len(leaves), root_of([leaf_hash(leaf) for leaf in leaves]))


def found(index: LogIndex, **wanted) -> list[int]:
    hits = index.search(Wanted(**wanted), 100)
    assert index.count(Wanted(**wanted)) == len(hits)
    return [hit.index for hit in hits]


# little_log: 0 registry, 1-3 and 10, 11 verifications, 4 verification of Yuelu, 5-7 refusals, 8 summary, 9 recovery
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, list(range(12))),
        ({"start": MIDNIGHT, "end": MIDNIGHT + 60}, [2, 5, 6, 7]),
        ({"event": "verification"}, [1, 2, 3, 4, 10, 11]),
        ({"actor": fed.OTHER_REQUESTER}, [4]),
        ({"department": LAND, "status": "ANSWERED"}, [2, 10, 11]),
        ({"department": LAND}, [1, 2, 3, 4, 9, 10, 11]),
        ({"claim": "property.owns_home"}, [1, 2, 3, 4, 10, 11]),
        ({"claim": "property.owns_home@1", "region": YUELU}, [4, 11]),
        ({"claim": "property"}, []),
        ({"region": "4301", "status": "REFUSED"}, [4]),
        ({"region": "4302"}, []),
        ({"reason": "GRANT_REVOKED"}, [5, 6]),
        ({"reason": "OVERLOADED"}, [8]),
        ({"reason": "NEVER_SEEN"}, []),
        ({"department": LAND, "region": YUELU, "reason": "BUDGET_EXHAUSTED"}, [4]),
        ({"marks": ((Mark.STATEMENT, bytes(32)),)}, [1, 2, 3, 4, 9, 10, 11]),
        ({"marks": ((Mark.GRANT, bytes(32)),)}, []),
    ],
)
def test_leaves_are_found_by_what_they_say(index: LogIndex, wanted: dict, expected: list[int]) -> None:
    read(index, little_log())
    assert found(index, **wanted) == expected


def test_hit_shows_the_rows_that_match_and_no_others(index: LogIndex) -> None:
    read(index, little_log())
    (hit,) = index.search(Wanted(department=LAND, region=YUELU, status="REFUSED"), 5)
    assert [(row.department, row.reason) for row in hit.rows] == [(LAND, "BUDGET_EXHAUSTED")]
    assert (hit.time, hit.event) == (MIDNIGHT + 86_399, "verification")
    assert index.search(Wanted(reason="OVERLOADED"), 5)[0].rows[0].count == 40


def test_conditions_hold_for_one_row_not_for_several_of_a_leaf(index: LogIndex) -> None:
    books = Books()
    books.record(Asked(POLICE), Asked(LAND, "property.owns_home@1", status=A.UNAVAILABLE, reason="X", verified=False))
    read(index, books)
    assert found(index, department=POLICE, status="UNAVAILABLE") == []


def test_everything_of_one_consent_is_found_by_its_pseudonym(index: LogIndex) -> None:
    books = little_log()
    event = log_pb2.VerificationEvent(requester=fed.REQUESTER, query_tag=bytes(32), grant_tags=[GRANT])
    asked = books.append(log_pb2.LogLeaf(verification=event))
    revoked = books.append(log_pb2.LogLeaf(revocation=log_pb2.RevocationEvent(issuer="i", grant_tag=GRANT)))
    erased = books.append(log_pb2.LogLeaf(erasure=log_pb2.ErasureEvent(ground=1, grant_tags=[GRANT])))
    read(index, books)
    assert found(index, marks=((Mark.GRANT, GRANT),)) == [asked, revoked, erased]
    assert found(index, marks=((Mark.GRANT, GRANT),), reason="RETENTION_OVER") == [erased]


def test_ticket_and_its_result_are_found_together(index: LogIndex) -> None:
    books = Books()
    books.open_ticket("one", OfflineGround.UNDETERMINED)
    books.open_ticket("two", OfflineGround.OFFLINE_ONLY)
    books.resolve_ticket("one")
    read(index, books)
    assert found(index, marks=((Mark.TICKET, sha256(b"one").digest()),)) == [0, 2]
    assert found(index, reason="OFFLINE_ONLY") == [1]


def test_index_that_grows_is_the_index_that_was_read_at_once(index: LogIndex, tmp_path: Path) -> None:
    books = little_log()
    for size in (1, 4, 5, 12):
        read(index, books, size)
    with closing(LogIndex(tmp_path / "whole.db", fed.LOG_ORIGIN)) as whole:
        read(whole, books)
        assert index.search(Wanted(), 99) == whole.search(Wanted(), 99)
        assert index.note == whole.note == books.note()


def test_index_is_the_same_after_its_file_was_opened_anew(tmp_path: Path) -> None:
    books = little_log()
    for size in (5, 12):
        with closing(LogIndex(tmp_path / "index.db", fed.LOG_ORIGIN)) as opened:
            read(opened, books, size)
            assert opened.size == size
            assert len(opened.search(Wanted(), 99)) == size


def bent(books: Books, how: str) -> list[bytes]:
    leaves = list(books.leaves_)
    if how == "dropped":
        del leaves[6]
    elif how == "swapped":
        leaves[6], leaves[7] = leaves[7], leaves[6]
    elif how == "duplicated":
        leaves.insert(6, leaves[6])
    elif how == "changed":
        leaves[6] = leaves[6][:-1] + bytes((leaves[6][-1] ^ 1,))
    return leaves


@pytest.mark.parametrize("how", ["dropped", "swapped", "duplicated", "changed"])
def test_leaves_that_are_not_those_of_the_checkpoint_leave_the_index_as_it_was(index: LogIndex, how: str) -> None:
    books = little_log()
    read(index, books, 4)
    before = index.search(Wanted(), 99), index.note
    with pytest.raises(ForgedError) as refused:
        take(index, bent(books, how), checkpoint(books.leaves_), books.note())
    assert refused.value.reason is Reason.LOG_FORKED
    assert (index.search(Wanted(), 99), index.note) == before
    read(index, books)
    assert index.size == 12


def test_log_that_was_rewritten_below_what_is_known_is_a_fork(index: LogIndex) -> None:
    books = little_log()
    read(index, books, 8)
    kept = index.note
    other = Books(leaves_=[*books.leaves_[:2], *reversed(books.leaves_[2:])])
    with pytest.raises(ForgedError) as refused:
        read(index, other)
    assert refused.value.reason is Reason.LOG_FORKED
    assert index.note == kept


def test_log_that_is_smaller_than_it_was_is_a_rollback(index: LogIndex) -> None:
    books = little_log()
    read(index, books)
    with pytest.raises(ForgedError) as refused:
        read(index, books, 11)
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert index.size == 12


def test_interrupted_reading_counts_for_nothing(index: LogIndex) -> None:
    books = little_log()

    def interrupted() -> Iterator[bytes]:
        yield from books.leaves_[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_all(index, interrupted(), checkpoint(books.leaves_), books.note())
    assert (index.size, index.search(Wanted(), 9)) == (0, ())


def test_leaf_of_a_newer_contract_is_counted_and_not_passed_over(index: LogIndex) -> None:
    books = little_log()
    books.leaves_.append(b"\x08\x02")
    read(index, books)
    assert index.unreadable() == 1
    assert found(index, event="unreadable") == [12]


def test_index_of_another_log_is_refused(tmp_path: Path) -> None:
    LogIndex(tmp_path / "index.db", fed.LOG_ORIGIN).close()
    with pytest.raises(MalformedError, match="another log"):
        LogIndex(tmp_path / "index.db", "other.example/log")


@pytest.mark.parametrize("content", [b"no database at all", b""])
def test_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    if content:
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(MalformedError, match="no index of a log"):
        LogIndex(path, fed.LOG_ORIGIN)
    if content:
        assert path.read_bytes() == before
