"""What the rules of `answering` need to know of the past, and what they add to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
    """What one request_id is counted against. `subjects` are pseudonyms; both times bound how long it is kept."""

    requester: str
    request_id: bytes
    uses: frozenset[GrantUse]
    subjects: tuple[bytes, ...]
    time: float
    answer_until: float
    keep_until: float


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

    def spend(self, spent: Spent) -> None:
        """Count one request_id against the authorizations and the subjects that it rests on."""
        ...
