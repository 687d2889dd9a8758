"""What the rules of `answering` need to know of the past, and what they add to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.protocol.disputes import Disputed
from gateway.protocol.query import GrantUse


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered under a request_id: digests of query, part and sealed bytes, and the statements' bytes."""

    query: bytes
    part: bytes
    sealed: bytes
    statements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one request_id is counted against. `subjects` are pseudonyms; both times bound how long it is kept.

    `corrections` are the disputes after whose correction it asks once more, which counts against nothing else.
    """

    requester: str
    request_id: bytes
    uses: frozenset[GrantUse]
    subjects: tuple[bytes, ...]
    time: float
    answer_until: float
    keep_until: float
    corrections: tuple[bytes, ...] = ()


class Past(Protocol):
    """What the rules need to know of the past, within the transaction that will add to it."""

    def answers_to(self, requester: str, request_id: bytes) -> Answers | None:
        """What was answered under a request_id of a requester."""
        ...

    def uses_of(self, grant_digest: bytes, authorization: int) -> int:
        """How many request_ids have used an authorization."""
        ...

    def probes_of(self, subject: bytes, requester: str, since: float) -> int:
        """How many request_ids of a requester have asked about a subject after `since`."""
        ...

    def disputed(self, dispute_id: bytes, department: str) -> Disputed | None:
        """A dispute of an answer of this node (its SPIFFE ID), as far as asking once more depends on it."""
        ...

    def spend(self, spent: Spent) -> None:
        """Count one request_id against the authorizations, subjects and corrections that it rests on."""
        ...
