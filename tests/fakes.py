"""Fakes of the ports, in one place: a clock, a department node, status lists, and a store that fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from consent.verified import VerifiedGrant
from gateway.departments.port import Acknowledgement, Ask, Reply
from gateway.protocol.attestation import (
    Asked,
    Attestation,
    Refusal,
    SignedBatch,
    Statement,
    StatementProof,
    open_batch,
    sealed_digest,
    sign_batch,
    write_statement,
)
from gateway.protocol.errors import HeyanError, LogUnavailableError, NotGrantedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import open_part, read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.stores.port import Run, here
from gateway.stores.records import Committed, Entry, Freeze, Head, SignCheckpoint
from gateway.stores.sqlite import SqliteStore


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeStandings:
    """Status lists: everything stands but what is revoked; `failure` is raised instead if set."""

    revoked: set[bytes] = field(default_factory=set)
    failure: HeyanError | None = None
    asked: int = 0
    revoke_after: int | None = None
    """Once asked so often, everything is revoked: a withdrawal while departments answer."""

    async def require_standing(self, grant: VerifiedGrant) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        if grant.digest in self.revoked or (self.revoke_after is not None and self.asked > self.revoke_after):
            raise NotGrantedError(Reason.GRANT_REVOKED)

    def stands(self, grant: VerifiedGrant) -> bool:
        return self.failure is None and self.revoke_after is None and grant.digest not in self.revoked


Bend = Callable[[Statement], Statement]


@dataclass
class FakeDepartment:
    """A node that answers every check with `outcome`, unless it is bent, broken or refuses."""

    department: str
    key: SigningKey
    registry: Callable[[], Registry]
    clock: Callable[[], float]
    outcome: Outcome = Outcome.YES
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    refusal: Reason | None = None
    failure: HeyanError | None = None
    bend: Bend = lambda statement: statement
    encode: Callable[[Statement], bytes] = write_statement
    bend_proof: Callable[[StatementProof], StatementProof] = lambda proof: proof
    gate: asyncio.Event | None = None
    copies: int = 1
    """How often each statement stands in a reply, each time with another nonce."""
    on_batch: Callable[[str, SignedBatch, Sequence[StatementProof]], None] = lambda *_: None
    asks: list[Ask] = field(default_factory=list)
    acknowledged: list[Acknowledgement] = field(default_factory=list)

    async def ask(self, ask: Ask, timeout: float) -> tuple[Reply, ...]:  # noqa: ASYNC109
        self.asks.append(ask)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        statements = [
            self.encode(self.bend(_again(statement, number)))
            for statement in self._statements(ask)
            for number in range(self.copies)
        ]
        signed, proofs = sign_batch(statements, self.department, self.key, self.clock())
        self.on_batch(self.department, signed, proofs)
        batch = open_batch(signed, self.registry(), self.clock())
        return (Reply(signed, batch, tuple(self.bend_proof(proof) for proof in proofs)),)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        self.acknowledged.append(acknowledgement)

    def _statements(self, ask: Ask) -> list[Statement]:
        query = read_query(ask.signed.query)
        part = open_part(ask.part.part)
        sealed = sealed_digest(ask.part.sealed.ciphertext)
        if self.refusal is not None:
            return [
                Refusal(
                    ask.signed.digest,
                    part.digest,
                    sealed,
                    query.requester,
                    self.department,
                    self.refusal,
                    self.clock(),
                    bytes(16),
                )
            ]
        return [
            Attestation(
                Asked(ask.signed.digest, part.digest, sealed, check, query.requester, self.department, query.purpose),
                self.outcomes.get(check.claim, self.outcome),
                "2027-01-01",
                self.clock(),
                self.clock() + 86_400,
                bytes([len(self.asks)]) * 16,
            )
            for check in part.part.checks
        ]


def _again(statement: Statement, number: int) -> Statement:
    return statement if number == 0 else replace(statement, nonce=number.to_bytes(16, "big"))


class FailingStore(SqliteStore):
    """A store whose next commit fails, before or after it is durable."""

    fail_before = False
    fail_after = False

    def commit(self, entries: Sequence[Entry], sign: SignCheckpoint, run: Run = here) -> Sequence[Committed]:
        if self.fail_before:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted")
        committed = super().commit(entries, sign, run)
        if self.fail_after:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted, though durable")
        return committed

    def freeze(self, freeze: Freeze, sign: SignCheckpoint) -> tuple[Head, Head]:
        if self.fail_before:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted")
        heads = super().freeze(freeze, sign)
        if self.fail_after:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted, though durable")
        return heads

    def resign(self, sign: SignCheckpoint) -> Head:
        if self.fail_before:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted")
        head = super().resign(sign)
        if self.fail_after:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted, though durable")
        return head


class AnyApplication:
    """Rules that refuse nothing and say nothing, for tests of everything else."""

    def require_allowed(self, *_asked: object) -> None:
        """Whatever it is."""

    def require_open(self, *_asked: object) -> None:
        """Whenever it is."""

    def verdict(self, _receipt: object) -> None:
        """None."""


STORE_ORIGIN = "log.test/1"
"""The log that `sign` begins in a new store."""


def sign(size: int, root: bytes, origin: str | None = None) -> str:
    """A checkpoint that nobody need verify."""
    return f"{origin or STORE_ORIGIN}\n{size}\n{root.hex()}\n"
