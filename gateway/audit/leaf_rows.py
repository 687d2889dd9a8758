"""What a leaf says, as rows to search: who acted, of which department, claim and region, how it ended and why.

One row for each check of a verification and each count of a summary, one for any other event. `marks_of` lists the
pseudonyms by which leaves belong together: tags of grants, queries and tickets, and digests of statements. All of it
stands in the leaf; nothing here can tell who a subject is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique

from gateway.protocol.disputes import ground_of
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.offline import OfflineGround
from heyan.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class LeafRow:
    """One row. `actor` is the SPIFFE ID of who asked, was refused, disputed, withdrew or looked; empty fields say that
    the event tells nothing of the kind. `count` is how many statements or refusals the row stands for.
    """

    actor: str = ""
    department: str = ""
    claim: str = ""
    region: str = ""
    status: str = ""
    reason: str = ""
    count: int = 1


@unique
class Mark(StrEnum):
    """What a pseudonym stands for."""

    GRANT = "grant"
    QUERY = "query"
    TICKET = "ticket"
    STATEMENT = "statement"


def event_of(leaf: log_pb2.LogLeaf) -> str:
    """The name of the leaf's event, as in the contract."""
    return str(leaf.WhichOneof("event"))


def rows_of(leaf: log_pb2.LogLeaf) -> tuple[LeafRow, ...]:
    """The rows of a leaf that `read_leaf` took; at least one."""
    return tuple(_rows(leaf)) or (LeafRow(actor=leaf.verification.requester),)


def _rows(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    reader = _READERS.get(event_of(leaf))
    if reader is None:  # of the log itself: registry, shards, restores
        return iter((LeafRow(actor=leaf.gateway),))
    return reader(leaf)


def _of_verification(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    for check in leaf.verification.checks:
        status = CheckStatus(int(check.status)).name
        yield LeafRow(leaf.verification.requester, check.department, check.claim, check.region, status, check.reason)


def _of_refusals(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    if leaf.HasField("refusal"):
        yield LeafRow(actor=leaf.refusal.peer, region=leaf.refusal.region, reason=leaf.refusal.reason)
    for counted in leaf.refusal_summary.counts:
        peer = leaf.refusal_summary.peer
        yield LeafRow(actor=peer, region=counted.region, reason=counted.reason, count=counted.count)


def _of_statements(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    if leaf.HasField("recovery"):
        yield LeafRow(department=leaf.recovery.department, count=len(leaf.recovery.statement_digests))
    else:
        yield LeafRow(department=leaf.resolution.department)


def _of_withdrawal(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    yield LeafRow(actor=leaf.revocation.issuer)


def _of_paper(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    if leaf.HasField("offline_ticket"):
        ticket = leaf.offline_ticket
        ground = OfflineGround(int(ticket.ground)).name
        yield LeafRow(ticket.requester, ticket.department, ticket.claim, ticket.region, reason=ground)
    else:
        yield LeafRow(actor=leaf.offline_result.requester, region=leaf.offline_result.region)


def _of_dispute(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    ground = ground_of(int(leaf.dispute.ground)).name
    yield LeafRow(actor=leaf.dispute.opener, department=leaf.dispute.department, reason=ground)


def _of_evidence(leaf: log_pb2.LogLeaf) -> Iterator[LeafRow]:
    if leaf.HasField("evidence_access"):
        yield LeafRow(actor=leaf.evidence_access.auditor, reason=leaf.evidence_access.case_reference)
    else:
        ground = log_pb2.ErasureGround.Name(leaf.erasure.ground).removeprefix("ERASURE_GROUND_")
        yield LeafRow(actor=leaf.gateway, reason=ground, count=len(leaf.erasure.grant_tags))


_READERS: Mapping[str, Callable[[log_pb2.LogLeaf], Iterator[LeafRow]]] = {
    "verification": _of_verification,
    "refusal": _of_refusals,
    "refusal_summary": _of_refusals,
    "recovery": _of_statements,
    "resolution": _of_statements,
    "revocation": _of_withdrawal,
    "offline_ticket": _of_paper,
    "offline_result": _of_paper,
    "dispute": _of_dispute,
    "evidence_access": _of_evidence,
    "erasure": _of_evidence,
}


def marks_of(leaf: log_pb2.LogLeaf) -> frozenset[tuple[Mark, bytes]]:
    """The pseudonyms that stand in a leaf."""
    return frozenset((mark, value) for mark, value in _marks(leaf) if value)


def _marks(leaf: log_pb2.LogLeaf) -> Iterator[tuple[Mark, bytes]]:
    event = leaf.verification
    yield Mark.QUERY, event.query_tag
    yield from ((Mark.GRANT, tag) for tag in event.grant_tags)
    yield from ((Mark.STATEMENT, check.statement_digest) for check in event.checks)
    yield from ((Mark.STATEMENT, digest) for digest in leaf.recovery.statement_digests)
    yield Mark.GRANT, leaf.revocation.grant_tag
    yield Mark.QUERY, leaf.offline_ticket.query_tag
    yield Mark.TICKET, leaf.offline_ticket.ticket_tag
    yield Mark.TICKET, leaf.offline_result.ticket_tag
    yield Mark.STATEMENT, leaf.dispute.statement_digest
    yield Mark.GRANT, leaf.dispute.grant_tag
    yield from ((Mark.STATEMENT, digest) for digest in (leaf.resolution.dispute_id, leaf.resolution.statement_digest))
    yield Mark.QUERY, leaf.evidence_access.query_tag
    yield from ((Mark.GRANT, tag) for tag in leaf.erasure.grant_tags)
