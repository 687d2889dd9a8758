"""Ways in which log and journals can contradict each other, and what an auditor reports of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from gateway.protocol.leaf import Tags
from gateway.protocol.proof import parse_proof
from gateway.protocol.receipt import VerifiedReceipt
from heyan.v1 import receipt_pb2


@unique
class Disagreement(StrEnum):
    """How journal and log contradict each other."""

    UNLOGGED = "UNLOGGED"
    """The department stated it, and no leaf names it."""
    UNACKNOWLEDGED = "UNACKNOWLEDGED"
    """The log has it, and the department was never shown where."""
    UNKNOWN = "UNKNOWN"
    """A leaf names a statement of the department that its journal does not have."""
    WRONG_LEAF = "WRONG_LEAF"
    """The leaf that the gateway named in its acknowledgement does not name the statement."""
    FORKED = "FORKED"
    """A checkpoint with the log's signature has another root than the log had at that size."""
    CONTESTED = "CONTESTED"
    """As FORKED, but one of the two bears only a key that was compromised: the gateway's, or a thief's."""
    CUT_OFF = "CUT_OFF"
    """A checkpoint with the log's signature is of a larger log than there is."""
    UNPROVEN = "UNPROVEN"
    """An acknowledgement stands in the journal whose checkpoint no key of the log signed."""
    MISREPORTED = "MISREPORTED"
    """The log says refused of an answer, or answered of a refusal, or names another requester."""
    REUSED = "REUSED"
    """The log takes one statement for the answer to two queries."""
    MISDATED = "MISDATED"
    """A leaf bears a time before the statement was signed, or after it was acknowledged."""
    BACKWARDS = "BACKWARDS"
    """A leaf bears a time before that of a leaf well ahead of it."""
    WITHDRAWN = "WITHDRAWN"
    """The log answers on a grant whose withdrawal it had recorded before."""
    REINSTATED = "REINSTATED"
    """The department answered on a grant that it had refused as withdrawn: its issuer took the withdrawal back."""
    SUPPRESSED = "SUPPRESSED"
    """The log says unavailable of a check that the department had answered by then."""
    DROPPED = "DROPPED"
    """The log had recorded an offline ticket of a query, or its result, and the query's receipt does not show it."""
    NOT_BROUGHT = "NOT_BROUGHT"
    """The log records a dispute, and the department's journal does not have it."""
    AFTER_END = "AFTER_END"
    """A leaf stands after the one with which its log ended."""
    MISJOINED = "MISJOINED"
    """A log that goes on from another does not tell that one's end as it is."""
    SHORTENED = "SHORTENED"
    """A journal ends before an end that its department had signed."""
    REWRITTEN = "REWRITTEN"
    """A journal has another entry than its department had signed an end after."""
    UNVERIFIED = "UNVERIFIED"
    """A file that is said to be a department's journal does not verify; it was not held against the log."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What the holder of a receipt may show an auditor: with it the leaves of one query can be found.

    `leaves` are the indexes of those that the receipt shows, and `size` is that of the tree that they are proven in:
    whatever the log had of the query's offline tickets by then must be among them. With size 0 nothing is told of it.
    `origin` is the log's, empty for the one that is written now.
    """

    query_digest: bytes
    leaf_key: bytes
    leaves: frozenset[int] = frozenset()
    size: int = 0
    origin: str = ""

    @classmethod
    def of(cls, receipt: receipt_pb2.Receipt, verified: VerifiedReceipt) -> Disclosure:
        """What a verified receipt discloses."""
        tickets = (item for ticket in receipt.tickets for item in (ticket.opened, ticket.resolved))
        proofs = [item.proof for item in (*receipt.leaves, *tickets) if item.proof]
        indexes = frozenset(parse_proof(proof.encode()).index for proof in proofs)
        return cls(
            verified.query_digest, receipt.leaf_key, indexes, verified.checkpoint.size, verified.checkpoint.origin
        )

    @property
    def query_tag(self) -> bytes:
        """How leaves name the query."""
        return Tags(self.leaf_key).query(self.query_digest)


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement: of which department or other `holder`, with the evidence that there is.

    `digest` is the statement's or, of an acknowledgement, the batch's; `index` the leaf's; `checkpoints` are the
    signed notes that contradict the log or each other. `origin` is that of the log in which `index` counts, empty for
    the one that is written now.
    """

    kind: Disagreement
    holder: str
    digest: bytes = b""
    index: int | None = None
    checkpoints: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """All findings, none if log and journals agree; and how many statements are owed still, or were recovered.

    `missing` counts the statements that the log names of departments without a journal, `elsewhere` those that a log
    acknowledged which was not read, `early` those that are younger than the copy of the log: neither was compared.
    """

    findings: tuple[Finding, ...]
    owed: int
    recovered: int
    missing: Mapping[str, int] = field(default_factory=dict)
    elsewhere: int = 0
    early: int = 0
