"""Which checks are deferred, and how a deferral ends on the record. Values and rules only.

    department could not be had ──► DEFERRED ──► answered, refused or contradicted by its department
                                        │
                                        └──────► UNAVAILABLE: the deferral has ended, and the row says why

A department that lied is not asked again by itself: what does not verify stays UNAVAILABLE.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.protocol.codec import from_timestamp
from gateway.protocol.errors import BadDataError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.query import open_part
from gateway.protocol.reasons import Reason
from gateway.settlement import PartResult, Row, Settlement
from gateway.stores.records import Deferral, Waiting
from gateway.work import Work
from heyan.v1 import check_pb2, receipt_pb2

_PASSING = frozenset({Reason.REGISTRY_EXPIRED, Reason.QUERY_NOT_YET_VALID, Reason.GRANT_NOT_YET_VALID})
"""Refusals that are none of the requester's: an operator who is late, a clock that was set back."""


def is_for_good(refusal: BadDataError) -> bool:
    """Whether a refusal ends a deferral: presenting the request again would change nothing."""
    return refusal.reason not in _PASSING


def deferred(settlement: Settlement) -> Settlement:
    """With every check DEFERRED whose department could not be had."""
    return replace(
        settlement,
        rows=tuple(
            replace(row, status=CheckStatus.DEFERRED) if _could_not_be_had(row) else row for row in settlement.rows
        ),
    )


def deferral_of(work: Work, settlement: Settlement) -> Deferral | None:
    """What is kept of a request some of whose checks are DEFERRED."""
    departments = dict.fromkeys(
        row.result.part.part.department for row in settlement.rows if row.status is CheckStatus.DEFERRED
    )
    if not departments:
        return None
    query = work.query
    waiting = Waiting(work.key, tuple(departments), query.grant_digests, query.answer_until_time, len(work.message))
    return Deferral(waiting, work.message)


def ended(receipt: receipt_pb2.Receipt, reason: Reason, now: float) -> Settlement:
    """The end of a stored request's deferral: each check that is DEFERRED in its receipt becomes UNAVAILABLE."""
    asked = {check.check_id: (part, check) for part in map(open_part, receipt.parts) for check in part.part.checks}
    rows = []
    for gap in receipt.unavailable:
        if gap.next_step == check_pb2.NEXT_STEP_DEFERRED:
            part, check = asked[gap.check_id]
            result = PartResult(part, b"", from_timestamp(gap, "ask_time"), now, reason)
            rows.append(Row(result, check, CheckStatus.UNAVAILABLE, reason=reason))
    return Settlement(tuple(rows), {})


def _could_not_be_had(row: Row) -> bool:
    return row.status is CheckStatus.UNAVAILABLE and row.reason is not Reason.ATTESTATION_INVALID
