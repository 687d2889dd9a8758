"""Department nodes as the gateway sees them: a port shaped for batches. Its adapter is `gateway.departments.link`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.protocol.attestation import OpenedBatch, SignedBatch, StatementProof
from gateway.protocol.presentation import Presentation, PresentedPart
from gateway.protocol.query import SignedQuery


@dataclass(frozen=True, slots=True)
class Ask:
    """One part to answer, with only the grants and disclosures that it rests on."""

    signed: SignedQuery
    part: PresentedPart
    grants: tuple[Presentation, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """The statements to one ask, in a batch whose signature is verified; the statements are not yet."""

    signed: SignedBatch
    batch: OpenedBatch
    proofs: tuple[StatementProof, ...]


@dataclass(frozen=True, slots=True)
class Orphans:
    """Statements of a verified reply batch that nobody waits for."""

    department: str
    proofs: tuple[StatementProof, ...]
    signed: SignedBatch


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """That the log has every statement of a batch: for each, the index of its leaf."""

    batch_digest: bytes
    leaf_indexes: tuple[int, ...]
    checkpoint: str


OnBatch = Callable[[str, SignedBatch, Sequence[StatementProof]], None]
OnOrphans = Callable[[Orphans], Awaitable[None]]


class DepartmentPort(Protocol):
    """One department node."""

    async def ask(self, ask: Ask, timeout: float) -> tuple[Reply, ...]:  # noqa: ASYNC109 - a deadline passes through
        """The node's reply within `timeout` seconds, or its replies if several channels brought one at once.

        UnreachableError or BadDataError otherwise, never a made-up answer.
        """
        ...

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Tell the node that a batch is logged; it may be lost, then the node sends the batch again."""
        ...
