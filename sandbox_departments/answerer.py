"""A batch of asks answered: one look at each rule, one transaction, and nothing released before it is durable.

Everything that counts runs on one worker thread, in this order; only where no status list at hand says that a grant
still stands is that asked on the event loop, between the second and the fourth step:

    1  the registry is current and an answer key counts: else every ask is a fault
    2  each ask is admitted (rules 1 to 5 of `answering`)
    3  each grant that is rested on stands (rule 6): waited for at most `status_wait`
    4  one transaction: faults for gateways that owe too much; repetitions; subjects opened; uses and budgets
       reserved; the register asked once for all; statements made, signed and journalled
    5  only then is anything returned

If the journal cannot be written, nothing is stated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol, TypeVar

from consent.verified import GenuineGrants, Standings, VerifiedGrant
from gateway.party.service import internal_error
from gateway.protocol.errors import HeyanError, LogUnavailableError, OverloadedError, UnreachableError
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.sealing import OpeningKey
from sandbox_departments.acknowledgements import Acknowledged, Acknowledgement, Settlement, settle
from sandbox_departments.answering import Admitted, Budget, Randomness, Situation, admit
from sandbox_departments.asks import read_ask
from sandbox_departments.deciding import Deciding
from sandbox_departments.journal import Journal
from sandbox_departments.ledger import Ledger, OwedBatch
from sandbox_departments.register import Register
from sandbox_departments.replies import Incoming, ReplyBatch, faults, sign_replies, state

T = TypeVar("T")

_OWES_RETRY = 5.0
"""Seconds after which a gateway that owes too much may ask again."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is set for a node. `secret` is 32 random bytes, `max_owed` counts statements, the others are seconds."""

    department: str
    secret: bytes = field(repr=False)
    budget: Budget
    max_owed: int = 10_000
    max_owed_age: float = 86_400.0
    status_wait: float = 1.0


class Keys(Protocol):
    """The node's own keys as they are now."""

    def opening(self) -> Mapping[str, OpeningKey]:
        """Every sealing key that is held, by key id."""
        ...

    def signing(self, registry: Registry, now: float) -> SigningKey:
        """The answer key to sign with; ForgedError (KEY_UNKNOWN) if none counts."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What a node asks while it answers. Keys and register are asked on the worker thread only."""

    registry: Callable[[], Registry]
    keys: Keys
    register: Register
    standings: Standings


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A batch that went through steps 1 and 2."""

    situation: Situation
    key: SigningKey
    admitted: list[Admitted | HeyanError]


class Answerer:
    """Answers batches of asks and settles acknowledgements. Calls may overlap.

    `thread` has a single worker, on which keys, journal and register are used: one batch is decided at a time.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        sources: Sources,
        journal: Journal,
        thread: Executor,
        clock: Callable[[], float],
        randomness: Randomness,
    ) -> None:
        self._terms = terms
        self._sources = sources
        self._journal = journal
        self._thread = thread
        self._clock = clock
        self._randomness = randomness
        self._genuine = GenuineGrants()
        self._journal_failed = False

    # -- on the event loop ------------------------------------------------------------------------------------

    async def answer(self, incoming: Sequence[Incoming]) -> list[ReplyBatch]:
        """Replies to all of `incoming`, at least one batch for each origin; never raises a domain error."""
        _, batches = await self.settle_and_answer((), incoming)
        return batches

    async def settle_and_answer(
        self, acknowledged: Sequence[Acknowledged], incoming: Sequence[Incoming]
    ) -> tuple[list[Settlement], list[ReplyBatch]]:
        """Replies as `answer` gives them, and what became of the acknowledgements that came along with the asks.

        These are settled in the transaction of the answers, or before anything is waited for. There is one settlement
        for each of `acknowledged`, or none at all: then nothing of them is in the journal.
        """
        settlements: list[Settlement] = []
        try:
            decided = await self._on_thread(lambda: self._answer_at_once(incoming, acknowledged, settlements))
            if not isinstance(decided, _Waiting):
                return settlements, decided
            lost = await self._lost_standings(decided.admitted)
            return settlements, await self._on_thread(lambda: self._decide_waiting(incoming, decided, lost))
        except HeyanError as fault:
            if isinstance(fault, LogUnavailableError):
                self._journal_failed = True  # until `complaints` has probed it
            return settlements, faults(incoming, fault.reason)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is no statement about a person
            return settlements, faults(incoming, internal_error("answer", error).reason)

    async def acknowledge(self, gateway: str, acknowledgements: Sequence[Acknowledgement]) -> Settlement:
        """Settle what a gateway acknowledged, in a transaction of its own; LogUnavailableError."""

        def settle_alone() -> Settlement:
            with self._journal.transaction() as ledger:
                (settlement,) = self._settle((Acknowledged(gateway, tuple(acknowledgements)),), ledger)
            return settlement

        return await self._on_thread(settle_alone)

    async def unacknowledged(self, gateway: str) -> tuple[bytes, ...]:
        """Digests of the batches that a gateway owes, oldest first."""
        return await self._on_thread(lambda: self._journal.unacknowledged(gateway))

    async def overdue(self, gateway: str, age: float) -> tuple[bytes, ...]:
        """Digests of the batches that a gateway has owed for `age` seconds, oldest first."""
        until = self._clock() - age
        return await self._on_thread(lambda: self._journal.unacknowledged(gateway, until))

    async def unasked(self, gateway: str) -> tuple[bytes, ...]:
        """Digests of the batches of resolutions that a gateway owes, oldest first."""
        return await self._on_thread(lambda: self._journal.unasked(gateway))

    async def owed_batch(self, batch: bytes) -> OwedBatch | None:
        """A batch as it is sent again; None if it was acknowledged meanwhile."""
        return await self._on_thread(lambda: self._journal.owed_batch(batch))

    async def purge(self) -> None:
        """Forget what no rule asks for any more."""
        now = self._clock()

        def purge() -> None:
            with self._journal.transaction() as ledger:
                ledger.purge(now, self._terms.budget.window)

        await self._on_thread(purge)

    async def snapshot_date(self) -> date:
        """The date as of which the register is current."""
        return await self._on_thread(lambda: self._sources.register.snapshot_date)

    async def complaints(self) -> tuple[str, ...]:
        """Why the node cannot answer now, as reasons; empty if it can. Asks the register nothing of anybody."""

        def look() -> tuple[str, ...]:
            try:
                self._begin()
                self._sources.register.find(())
                if self._journal_failed:
                    self._journal.probe()
            except HeyanError as error:
                return (error.reason.value,)
            except Exception as error:  # noqa: BLE001 - a register may break in ways of its own
                return (internal_error("complaints", error).reason.value,)
            self._journal_failed = False
            return ()

        return await self._on_thread(look)

    async def _lost_standings(self, admitted: Sequence[Admitted | HeyanError]) -> dict[bytes, HeyanError]:
        """The grants that may not be rested on now, with the reason; asked of each grant once."""
        grants = {
            grant.digest: grant for item in admitted if isinstance(item, Admitted) for grant in item.grants.values()
        }
        if not grants:
            return {}
        tasks = {name: asyncio.ensure_future(self._standing(grant)) for name, grant in grants.items()}
        await asyncio.wait(tasks.values(), timeout=self._terms.status_wait)
        lost: dict[bytes, HeyanError] = {}
        for name, task in tasks.items():
            error = task.result() if task.done() else UnreachableError(Reason.STATUS_UNAVAILABLE)
            if error is not None:
                lost[name] = error
            task.cancel()
        return lost

    async def _standing(self, grant: VerifiedGrant) -> HeyanError | None:
        try:
            await self._sources.standings.require_standing(grant)
        except HeyanError as error:
            return error
        except Exception as error:  # noqa: BLE001 - what cannot be told is not standing
            return internal_error("require_standing", error)
        return None

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- on the worker thread ---------------------------------------------------------------------------------

    def _begin(self) -> tuple[Situation, SigningKey]:
        registry, now = self._sources.registry(), self._clock()
        registry.require_current(now)
        key = self._sources.keys.signing(registry, now)
        return Situation(self._terms.department, registry, now), key

    def _answer_at_once(
        self, incoming: Sequence[Incoming], acknowledged: Sequence[Acknowledged], settlements: list[Settlement]
    ) -> list[ReplyBatch] | _Waiting:
        """The replies, or what they wait for: whether grants stand of which no list at hand says so.

        `settlements` is filled once what it says is in the journal.
        """
        situation, key = self._begin()
        waiting = _Waiting(situation, key, [self._admit(ask, situation) for ask in incoming])
        stands = self._sources.standings.stands
        admitted = (item for item in waiting.admitted if isinstance(item, Admitted))
        at_once = all(stands(grant) for item in admitted for grant in item.grants.values())
        if not at_once and not acknowledged:
            return waiting
        with self._journal.transaction() as ledger:
            settled = self._settle(acknowledged, ledger)
            batches = self._decide_all(incoming, waiting, {}, ledger) if at_once else []
        settlements.extend(settled)
        return batches if at_once else waiting

    def _decide_waiting(
        self, incoming: Sequence[Incoming], waiting: _Waiting, lost: Mapping[bytes, HeyanError]
    ) -> list[ReplyBatch]:
        with self._journal.transaction() as ledger:
            return self._decide_all(incoming, waiting, lost, ledger)

    def _settle(self, acknowledged: Sequence[Acknowledged], ledger: Ledger) -> list[Settlement]:
        registry, now = self._sources.registry(), self._clock()
        return [settle(item.acknowledgements, item.gateway, registry, ledger, now) for item in acknowledged]

    def _admit(self, ask: Incoming, situation: Situation) -> Admitted | HeyanError:
        try:
            return admit(read_ask(ask.message), ask.gateway, situation, self._genuine)
        except HeyanError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one ask must not spoil the others' batch
            return internal_error("admit", error)

    def _decide_all(
        self,
        incoming: Sequence[Incoming],
        waiting: _Waiting,
        lost: Mapping[bytes, HeyanError],
        ledger: Ledger,
    ) -> list[ReplyBatch]:
        situation = waiting.situation
        owing = self._owing({ask.gateway for ask in incoming}, situation.now)
        items = [owing.get(ask.gateway, item) for ask, item in zip(incoming, waiting.admitted, strict=True)]
        deciding = Deciding(
            ledger=ledger,
            situation=situation,
            keys=self._sources.keys.opening(),
            register=self._sources.register,
            budget=self._terms.budget,
            secret=self._terms.secret,
            randomness=self._randomness,
        )
        decisions = deciding.decide(items, lost)
        decided = [
            (ask, state(ask.message, decision, situation, self._randomness))
            for ask, decision in zip(incoming, decisions, strict=True)
        ]
        return sign_replies(decided, waiting.key, situation, ledger)

    def _owing(self, gateways: Iterable[str], now: float) -> dict[str, HeyanError]:
        owing: dict[str, HeyanError] = {}
        for gateway in gateways:
            debt = self._journal.debt(gateway)
            overdue = debt.oldest is not None and now - debt.oldest > self._terms.max_owed_age
            if overdue or debt.statements >= self._terms.max_owed:
                owing[gateway] = OverloadedError(Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS, retry_after=_OWES_RETRY)
        return owing
