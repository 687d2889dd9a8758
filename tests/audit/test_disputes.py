"""Disputes and resolutions in log and journal: honest ones are clean, and one that was kept back is found."""

from __future__ import annotations

import pytest

from gateway.audit.findings import Disagreement, Reconciliation
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.leaf import Tags
from gateway.protocol.resolutions import ResolutionReason
from heyan.v1 import log_pb2
from sandbox_departments.journal_entries import BatchSigned, DisputeDecided, DisputeReceived, Resolved
from tests.audit.parties import GATEWAY, LAND, LEAF_KEY, NOW, POLICE, REQUESTER, Books, held, kinds, named


def log_dispute(books: Books, answer: str = "a", department: str = POLICE, age: float = 0.0) -> None:
    event = log_pb2.DisputeEvent(
        opener=REQUESTER,
        department=department,
        statement_digest=named(answer),
        ground=DisputeGround.RECORD_WRONG.value,  # type: ignore[arg-type]
        grant_tag=Tags(LEAF_KEY).grant(named("g")),
        proof_digest=named("proof"),
    )
    books._append(log_pb2.LogLeaf(dispute=event), age)


def log_resolution(books: Books, resolution: str = "r", department: str = POLICE, age: float = 0.0) -> int:
    event = log_pb2.ResolutionEvent(department=department, dispute_id=named("a"), statement_digest=named(resolution))
    return books._append(log_pb2.LogLeaf(resolution=event), age)


def receive(books: Books, answer: str = "a", age: float = 0.0) -> None:
    books.entries.append(
        DisputeReceived(NOW - age, GATEWAY, named(answer), REQUESTER, DisputeGround.RECORD_WRONG, named("proof"))
    )


def resolve(books: Books, age: float = 0.0) -> None:
    books.entries.append(DisputeDecided(NOW - age, named("a"), ResolutionReason.RECORD_UPDATED))
    part = Resolved(named("a"), REQUESTER, named("r"))
    books.entries.append(BatchSigned(NOW - age, GATEWAY, named("resolutions"), (part,)))


@pytest.fixture
def disputed(books: Books) -> Books:
    """An answer that was given, logged, acknowledged and disputed."""
    books.state("a", age=9)
    books.acknowledge(books.log("a", age=8))
    log_dispute(books, age=7)
    receive(books, age=6)
    return books


def test_a_dispute_and_its_resolution_are_clean(disputed: Books) -> None:
    resolve(disputed, age=5)
    disputed.acknowledge(log_resolution(disputed, age=4), batch="resolutions")
    assert held(disputed, allowed=0.0) == Reconciliation((), 0, 0)


def test_dispute_that_the_gateway_kept_back_is_found(books: Books) -> None:
    books.state("a", age=9)
    books.acknowledge(books.log("a", age=8))
    log_dispute(books, age=7)
    log_dispute(books, answer="x", department=LAND)
    result = held(books, allowed=0.0)
    assert [(finding.kind, finding.digest) for finding in result.findings] == [(Disagreement.NOT_BROUGHT, named("a"))]
    assert not held(books, allowed=3_600.0).findings, "within its time it may be on its way"


def test_resolution_that_was_not_logged_is_found(disputed: Books) -> None:
    resolve(disputed, age=5)
    assert Disagreement.UNLOGGED in kinds(held(disputed, allowed=0.0))


def test_resolution_that_no_department_stated_is_found(disputed: Books) -> None:
    log_resolution(disputed, age=4)
    assert kinds(held(disputed, allowed=0.0)) == [Disagreement.UNKNOWN]


def test_answer_that_is_logged_as_a_resolution_is_found(books: Books) -> None:
    books.state("a", age=9)
    books.acknowledge(log_resolution(books, resolution="a", age=8))
    assert kinds(held(books, allowed=0.0)) == [Disagreement.MISREPORTED]


def test_resolution_that_is_logged_as_an_answer_is_found(disputed: Books) -> None:
    resolve(disputed, age=5)
    disputed.acknowledge(disputed.log("r", query="other", age=4), batch="resolutions")
    assert kinds(held(disputed, allowed=0.0)) == [Disagreement.MISREPORTED]
