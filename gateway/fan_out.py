"""Asking departments: every part to its node at once, each shown only what its part rests on; settling what came.

Whatever goes wrong at one node is the result of its own part: the others' answers never wait for it longer than the
caller's deadline, and never fail with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set

from consent.selection import presentations_for
from gateway.departments.port import Ask, DepartmentPort, Reply
from gateway.party.process import Clock
from gateway.protocol.attestation import sealed_digest
from gateway.protocol.errors import BadDataError, UnreachableError
from gateway.protocol.presentation import PresentedPart, Submission
from gateway.protocol.query import OpenedPart, Query, SignedQuery
from gateway.protocol.reasons import Reason
from gateway.settlement import PartResult, Settlement, settle


class FanOut:
    """Asks the nodes that `department` finds by SPIFFE ID; None for one that the registry does not list.

    `unanswered` is told, of each check that ends without its node's answer, the node and the reason.
    """

    def __init__(
        self,
        department: Callable[[str], DepartmentPort | None],
        clock: Clock,
        unanswered: Callable[[str, Reason], None],
    ) -> None:
        self._department = department
        self._clock = clock
        self._unanswered = unanswered

    async def ask_all(
        self, submission: Submission, query: Query, parts: Sequence[OpenedPart], until: float
    ) -> list[PartResult]:
        """What became of each of `parts`, in order, by `until` (seconds of the event loop's clock)."""
        presented = {part.part: part for part in submission.parts}
        asking = [self._ask(submission, query, part, presented[part.data], until) for part in parts]
        if len(asking) == 1:  # no task for it: most queries of a single check
            return [await asking[0]]
        return await asyncio.gather(*asking)

    def settle(
        self, results: Sequence[PartResult], signed: SignedQuery, query: Query, answered: Set[str]
    ) -> Settlement:
        """Hold every reply against what was asked (see gateway.settlement), and tell of what has no answer."""
        settlement = settle(results, signed, query, answered)
        for row in settlement.rows:
            if row.statement is None and row.reason is not None:
                self._unanswered(row.result.part.part.department, row.reason)
        return settlement

    async def _ask(
        self, submission: Submission, query: Query, part: OpenedPart, presented: PresentedPart, until: float
    ) -> PartResult:
        began = self._clock()
        try:
            outcome: tuple[Reply, ...] | Reason = await self._replies(submission, query, part, presented, until)
        except UnreachableError as error:
            outcome = error.reason
        except BadDataError:
            outcome = Reason.ATTESTATION_INVALID
        return PartResult(part, sealed_digest(presented.sealed.ciphertext), began, self._clock(), outcome)

    async def _replies(
        self, submission: Submission, query: Query, part: OpenedPart, presented: PresentedPart, until: float
    ) -> tuple[Reply, ...]:
        port = self._department(part.part.department)
        if port is None:
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "no channel to the node")
        shown = presentations_for(part.part, query, submission.grants)
        ask = Ask(submission.signed, presented, shown)
        return await port.ask(ask, max(0.0, until - asyncio.get_running_loop().time()))
