"""One run of a batch: prepare what was never asked, send again what has no result, keep what comes back.

In this order for each application, so that a run may be killed between any two steps:

1. consent, plan, seal, sign; nothing is known to anybody but the issuer, whose unused consent spends nothing;
2. query and consent durable in the state;
3. sent, perhaps time after time, always in the same bytes;
4. the result in the state, and query and consent erased.

A new query in the place of an old one is made only where the old one was never accepted: the gateway refused it as
expired (or as of older rules), and knows no request of its request_id. The gateway looks a request_id up before it
looks at the clock, and knows one from the commit on that spends its uses; so one that it does not know has spent none.
If it does know it, what it knows is the result. (A department that answered a query whose gateway died before its
commit has counted it; consents leave room for that.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from gateway.bulk import DEFAULT_PACE, Pace, verify_stream
from gateway.cli.batch_prepare import Preparation, Sources, Work, patiently
from gateway.cli.batch_results import outcome_of
from gateway.cli.batch_state import BatchOutcome, BatchState
from gateway.client import Client, Verification
from gateway.party.process import Clock
from gateway.protocol.errors import ForgedError, HeyanError, NotFoundError, UnreachableError
from gateway.protocol.presentation import Submission
from gateway.protocol.reasons import Reason

AT_ONCE = 32
"""Applications that are prepared together: so many consents are asked for at once, and so many become durable in one
transaction."""

_MOST_QUERIES = 3
"""Queries made for an application in one run; more would only chase a clock that runs wrong."""

_NEVER_ACCEPTED = frozenset({Reason.QUERY_EXPIRED, Reason.RULES_CHANGED})
_NOBODY_THERE = frozenset({Reason.PEER_UNREACHABLE, Reason.SHUTTING_DOWN})


class BatchRun:
    """One run over a state; `on_outcome` is told of each application that came to an end."""

    def __init__(
        self,
        state: BatchState,
        client: Client,
        sources: Sources,
        *,
        clock: Clock,
        on_outcome: Callable[[BatchOutcome], None] = lambda _: None,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self._state = state
        self._client = client
        self._preparation = Preparation(client, sources, clock, pace)
        self._clock = clock
        self._on_outcome = on_outcome
        self._pace = pace
        self._ready: asyncio.Queue[Work | BaseException | None] = asyncio.Queue(maxsize=AT_ONCE)
        self._anew: deque[Work] = deque()
        self._under_way: dict[bytes, Work] = {}
        self._is_prepared = False
        self._kept: list[BatchOutcome] = []
        self._silent = 0

    async def run(self) -> None:
        """Bring every open application as far as it comes now.

        Raises UnreachableError once gateway or issuer have not answered for long, and the BadDataError that befalls
        every application alike; what was reached until then is kept.
        """
        preparing = asyncio.create_task(self._prepare())
        try:
            async with (
                aclosing(self._submissions()) as submissions,
                aclosing(verify_stream(self._client, submissions, self._pace)) as results,
            ):
                async for submission, result in results:
                    await self._take(submission, result)
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
            self._keep()

    # -- preparing ----------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        try:
            for items in self._state.open_items(AT_ONCE):
                made = await asyncio.gather(*map(self._preparation.work_on, items), return_exceptions=True)
                await self._hand_over(made)
        except Exception as error:  # noqa: BLE001 - raised where the run is read
            await self._ready.put(error)
            return
        self._is_prepared = True
        self._end_if_done()

    async def _hand_over(self, made: Sequence[Work | BatchOutcome | BaseException]) -> None:
        """Make new queries durable, and only then let them be sent."""
        works = [each for each in made if isinstance(each, Work)]
        self._state.save_prepared([work.prepared for work in works if work.prepared is not None])
        for each in made:
            if isinstance(each, BatchOutcome):
                self._end(each)
            elif isinstance(each, BaseException):
                raise each
        for work in works:
            self._under_way[work.submission.signed.digest] = work
            await self._ready.put(work)

    # -- sending and taking -------------------------------------------------------------------------------------

    async def _submissions(self) -> AsyncGenerator[Submission]:
        while True:
            if self._anew:
                yield self._anew.popleft().submission
                continue
            found = await self._ready.get()
            if isinstance(found, BaseException):
                raise found
            if found is not None:
                yield found.submission
            elif self._is_done():
                return

    async def _take(self, submission: Submission, result: Verification | HeyanError) -> None:
        work = self._under_way[submission.signed.digest]
        self._notice_silence(result)
        if isinstance(result, HeyanError) and result.reason in _NEVER_ACCEPTED:
            if result.reason is Reason.RULES_CHANGED:
                self._preparation.forget_plans()
            earlier = await self._earlier(work)
            if earlier is None and work.made < _MOST_QUERIES:
                ended = await self._ask_anew(work)
            else:
                ended = outcome_of(work.item.line, earlier or result, self._clock())
        else:
            ended = outcome_of(work.item.line, result, self._clock())
        del self._under_way[submission.signed.digest]
        if ended is not None:
            self._end(ended)
        self._end_if_done()

    async def _earlier(self, work: Work) -> Verification | HeyanError | None:
        """What the gateway knows of a query that it takes no more; None if it never accepted it."""
        try:
            found = await patiently(lambda: self._client.get(work.request_id), self._pace)
        except NotFoundError:
            return None
        except HeyanError as error:
            return error
        if found.verified.query_digest != work.submission.signed.digest:
            return ForgedError(Reason.RECEIPT_INVALID, "a receipt of another query")
        return found

    async def _ask_anew(self, work: Work) -> BatchOutcome | None:
        again = await self._preparation.new_query(work.item, work.made + 1)
        if isinstance(again, BatchOutcome):
            return again
        if again.prepared is not None:
            self._state.save_prepared([again.prepared])
        self._under_way[again.submission.signed.digest] = again
        self._anew.append(again)
        self._wake()
        return None

    def _notice_silence(self, result: Verification | HeyanError) -> None:
        """Give up once a whole window of applications in a row found nobody there."""
        is_silent = isinstance(result, UnreachableError) and result.reason in _NOBODY_THERE
        self._silent = self._silent + 1 if is_silent else 0
        if self._silent >= self._pace.in_flight and isinstance(result, HeyanError):
            raise result

    def _end(self, outcome: BatchOutcome) -> None:
        self._kept.append(outcome)
        self._on_outcome(outcome)
        if len(self._kept) >= AT_ONCE:
            self._keep()

    def _keep(self) -> None:
        kept, self._kept = self._kept, []
        self._state.save_outcomes(kept)

    def _end_if_done(self) -> None:
        if self._is_done():
            self._wake()

    def _is_done(self) -> bool:
        return self._is_prepared and not self._under_way and not self._anew

    def _wake(self) -> None:
        """Have whoever waits for the next query look again; nobody waits while some lie ready."""
        if self._ready.empty():
            self._ready.put_nowait(None)
