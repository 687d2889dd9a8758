"""A node's disputes, within one transaction of its journal: the list, what staff decided, and what was signed.

A dispute goes by the digest of the disputed statement. It holds no person: `case` is a pseudonym under the node's
secret, and `question` a digest over commitments. Opened inside `Journal.transaction` only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.protocol.disputes import Disputed, DisputeGround
from gateway.protocol.outcomes import Outcome
from gateway.protocol.resolutions import ResolutionOutcome, ResolutionReason

DISPUTES_SCHEMA = """
    ALTER TABLE answers ADD COLUMN case_file BLOB;
    CREATE TABLE disputes (
        dispute BLOB PRIMARY KEY, gateway TEXT NOT NULL, requester TEXT NOT NULL, opener TEXT NOT NULL,
        ground INTEGER NOT NULL, claim TEXT NOT NULL, region TEXT NOT NULL, outcome INTEGER NOT NULL,
        question BLOB NOT NULL, case_file BLOB NOT NULL, received REAL NOT NULL,
        reason INTEGER, decided REAL, -- what staff decided
        batch BLOB, -- the signed batch that holds the resolution
        reverified BLOB -- the request_id that was answered on the strength of it
    ) STRICT;
    CREATE INDEX disputes_undecided ON disputes (received) WHERE reason IS NULL;
    CREATE INDEX disputes_unsigned ON disputes (decided) WHERE reason IS NOT NULL AND batch IS NULL;
    CREATE INDEX disputes_batch ON disputes (batch) WHERE batch IS NOT NULL;
"""

_COLUMNS = "dispute, gateway, requester, opener, ground, claim, region, outcome, question, case_file, received"


@dataclass(frozen=True, slots=True)
class ListedDispute:
    """A dispute as it stands on the list. Times are seconds since the epoch; `reason` is None while it is undecided."""

    dispute_id: bytes
    gateway: str
    requester: str
    opener: str
    ground: DisputeGround
    claim: str
    region: str
    outcome: Outcome
    question: bytes
    case: bytes
    received: float
    reason: ResolutionReason | None = None
    decided: float | None = None
    signed: bool = False


class DisputeLedger:
    """The disputes of an open transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, dispute: ListedDispute) -> None:
        """Put a dispute on the list."""
        self._connection.execute(
            f"INSERT INTO disputes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                dispute.dispute_id,
                dispute.gateway,
                dispute.requester,
                dispute.opener,
                int(dispute.ground),
                dispute.claim,
                dispute.region,
                int(dispute.outcome),
                dispute.question,
                dispute.case,
                dispute.received,
            ),
        )

    def find(self, dispute_id: bytes) -> ListedDispute | None:
        """A dispute of the list."""
        found = self._select("WHERE dispute = ?", dispute_id)
        return found[0] if found else None

    def all(self) -> Sequence[ListedDispute]:
        """Every dispute, the oldest first."""
        return self._select("ORDER BY received, rowid")

    def undecided(self) -> Sequence[float]:
        """When each dispute that is not decided was received."""
        rows = self._connection.execute("SELECT received FROM disputes WHERE reason IS NULL")
        return [received for (received,) in rows]

    def decide(self, dispute_id: bytes, reason: ResolutionReason, now: float) -> None:
        """What staff decided of an undecided dispute."""
        self._connection.execute(
            "UPDATE disputes SET reason = ?, decided = ? WHERE dispute = ? AND reason IS NULL",
            (int(reason), now, dispute_id),
        )

    def unsigned(self, most: int) -> Sequence[ListedDispute]:
        """Disputes that are decided and whose resolution is not signed yet."""
        return self._select("WHERE reason IS NOT NULL AND batch IS NULL ORDER BY decided LIMIT ?", most)

    def sign(self, dispute_ids: Sequence[bytes], batch: bytes) -> None:
        """The resolutions of these disputes stand in a signed batch."""
        self._connection.executemany(
            "UPDATE disputes SET batch = ? WHERE dispute = ?", [(batch, dispute_id) for dispute_id in dispute_ids]
        )

    def disputed(self, dispute_id: bytes, department: str) -> Disputed | None:
        """A dispute as far as asking once more depends on it: corrected once its resolution is signed."""
        row = self._connection.execute(
            "SELECT requester, question, reason, batch, reverified FROM disputes WHERE dispute = ?", (dispute_id,)
        ).fetchone()
        if row is None:
            return None
        requester, question, reason, batch, reverified = row
        corrected = None if batch is None else ResolutionReason(reason).outcome is ResolutionOutcome.CORRECTED
        return Disputed(department, requester, question, corrected, reverified)

    def reverify(self, dispute_id: bytes, request_id: bytes) -> None:
        """The one request that is answered on the strength of a correction."""
        self._connection.execute("UPDATE disputes SET reverified = ? WHERE dispute = ?", (request_id, dispute_id))

    def _select(self, where: str, *values: object) -> list[ListedDispute]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS}, reason, decided, batch IS NOT NULL FROM disputes {where}",  # noqa: S608
            values,
        ).fetchall()
        return [_listed(*row) for row in rows]


def _listed(  # noqa: PLR0913, PLR0917 - a row's columns
    dispute_id: bytes,
    gateway: str,
    requester: str,
    opener: str,
    ground: int,
    claim: str,
    region: str,
    outcome: int,
    question: bytes,
    case: bytes,
    received: float,
    reason: int | None,
    decided: float | None,
    signed: int,
) -> ListedDispute:
    return ListedDispute(
        dispute_id=dispute_id,
        gateway=gateway,
        requester=requester,
        opener=opener,
        ground=DisputeGround(ground),
        claim=claim,
        region=region,
        outcome=Outcome(outcome),
        question=question,
        case=case,
        received=received,
        reason=None if reason is None else ResolutionReason(reason),
        decided=decided,
        signed=bool(signed),
    )
