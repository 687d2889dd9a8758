"""A department node against a model: asks, repetitions, withdrawals, faults, restarts, acknowledgements.

Held after every step: no authorization is used by more request_ids than it allows, and no subject asked about more
often than the budget; what was answered is answered alike again; the chain verifies and goes on from its last end;
the node's debt is what was signed and not acknowledged.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.errors import NotGrantedError, UnreachableError
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.acknowledgements import Settlement, read_acknowledgement
from sandbox_departments.answering import Budget
from tests.fakes_register import FakeRegister
from tests.sandbox.asking import DAY, GATEWAY, Consent, Desk, World
from tests.stateful.profile import profile

MAX_USES = (1, 2, 5)
"""Of the consents that asks rest on, all of one family."""
BUDGET = 6
"""Distinct request_ids of the requester about the family's subjects."""
MAX_OWED = 20
"""Statements that the gateway may owe."""
CHECKS = 2


@dataclass
class Asked:
    """An ask under its own request_id, and its statements once it was answered."""

    message: pb.Ask
    consent: int
    statements: tuple[bytes, ...] | None = None


@cache
def world() -> World:
    return World()


@cache
def consents() -> tuple[Consent, ...]:
    return tuple(world().consent(max_uses=most) for most in MAX_USES)


class NodeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.register = FakeRegister()
        self.lost: set[int] = set()
        self.asked: list[Asked] = []
        self.owed: dict[bytes, int] = {}
        self.settled: list[bytes] = []
        self.tree = 100
        self.desk = self.open()
        self.end = self.desk.journal.verify_chain()

    def open(self) -> Desk:
        budget = Budget(BUDGET, float(DAY))
        desk = Desk(world(), self.folder / "journal.db", register=self.register, budget=budget, max_owed=MAX_OWED)
        revoked = NotGrantedError(Reason.GRANT_REVOKED)
        desk.standings.lost = {consents()[index].digest: revoked for index in self.lost}
        return desk

    # -- steps ------------------------------------------------------------------------------------------------

    @initialize(consent=st.integers(0, len(MAX_USES) - 1))
    def begin(self, consent):
        self.asked.append(Asked(world().ask(consents()[consent]), consent))

    @rule(several=st.lists(st.integers(0, len(MAX_USES) - 1), min_size=1, max_size=3))
    def ask(self, several):
        """Fresh asks, in one message."""
        room = 3 * BUDGET - len(self.asked)
        fresh = [Asked(world().ask(consents()[consent]), consent) for consent in several[: max(0, room)]]
        self.asked += fresh
        self.exchange(fresh)

    @rule(numbers=st.lists(st.integers(0, 3 * BUDGET), min_size=1, max_size=3))
    def ask_again(self, numbers):
        """Some asks in one message, perhaps one of them twice."""
        self.exchange([self.asked[number % len(self.asked)] for number in numbers])

    def exchange(self, chosen: Sequence[Asked]) -> None:
        if not chosen:
            return
        expected = self.expect(chosen)
        message = self.answer(chosen)
        for asked, reply, reason in zip(chosen, message.replies, expected, strict=True):
            statements = tuple(proof.statement for proof in reply.statements)
            if reason in (Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS, Reason.DEPARTMENT_UNREACHABLE):
                assert (reply.fault, statements) == (reason.value, ())
            elif reason is not None:
                assert (reply.fault, len(statements)) == ("", 1)
                assert reason.value.encode() in statements[0]
            elif asked.statements is None:
                assert (reply.fault, len(statements)) == ("", CHECKS)
                asked.statements = statements
            else:
                assert statements == asked.statements, "answered otherwise than before"

    @precondition(lambda self: any(asked.statements for asked in self.asked))
    @rule(number=st.integers(0, 3 * BUDGET))
    def ask_another_question_under_the_same_request_id(self, number):
        answered = [asked for asked in self.asked if asked.statements]
        asked = answered[number % len(answered)]
        if self.owes() or asked.consent in self.lost:
            return
        other = pb.Ask()
        other.CopyFrom(asked.message)
        *most, last = other.part.sealed.ciphertext
        other.part.sealed.ciphertext = bytes((*most, last ^ 1))
        (reply,) = self.answer([Asked(other, asked.consent)]).replies
        (proof,) = reply.statements
        assert Reason.REQUEST_ID_CONFLICT.value.encode() in proof.statement

    @rule(number=st.integers(0, 3 * BUDGET))
    def register_breaks(self, number):
        """A fault of the register states nothing and spends nothing."""
        asked = self.asked[number % len(self.asked)]
        self.register.fault = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
        (reason,) = self.expect([asked])
        message = self.answer([asked])
        self.register.fault = None
        if reason is None and asked.statements is None:
            assert message.replies[0].fault == Reason.DEPARTMENT_UNREACHABLE.value
            assert not message.HasField("batch")

    @rule(number=st.integers(0, 3 * BUDGET))
    def journal_cannot_be_written(self, number):
        """Nothing is stated that is not journalled, and nothing is counted."""
        self.desk.journal._connection.execute("PRAGMA query_only = ON")
        message = self.answer([self.asked[number % len(self.asked)]])
        self.desk.journal._connection.execute("PRAGMA query_only = OFF")
        assert [reply.fault for reply in message.replies] == [Reason.LOG_UNAVAILABLE.value]

    @rule(number=st.integers(0, 3 * BUDGET))
    def crash_before_the_reply_leaves(self, number):
        """What was journalled and never read is owed, and is stated alike when it is asked again."""
        asked = self.asked[number % len(self.asked)]
        (reason,) = self.expect([asked])
        message = self.answer([asked])
        self.crash()
        if reason is None and asked.statements is None:
            asked.statements = tuple(proof.statement for proof in message.replies[0].statements)

    @rule()
    def crash(self):
        self.desk.close()
        self.desk = self.open()

    @rule(consent=st.integers(0, len(MAX_USES) - 1))
    def withdraw(self, consent):
        if len(self.lost) < len(MAX_USES) - 1:  # one consent is left to go on with
            self.lost.add(consent)
            self.crash()

    @precondition(lambda self: self.owed)
    @rule(number=st.integers(0, 50))
    def acknowledge(self, number):
        batch = list(self.owed)[number % len(self.owed)]
        self.tree += 1
        settlement = self.settle(batch, self.owed[batch], self.tree)
        assert (settlement.settled, settlement.refused) == ((batch,), ())
        del self.owed[batch]
        self.settled.append(batch)

    @precondition(lambda self: self.settled)
    @rule(number=st.integers(0, 50))
    def acknowledge_again(self, number):
        batch = self.settled[number % len(self.settled)]
        assert self.settle(batch, 1, self.tree) == Settlement((), ())

    @precondition(lambda self: self.owed)
    @rule(number=st.integers(0, 50), forged=st.sampled_from(("few", "beyond", "forked", "unknown")))
    def acknowledge_falsely(self, number, forged):
        batch = list(self.owed)[number % len(self.owed)]
        size = self.owed[batch]
        if forged == "few":
            settlement = self.settle(batch, size + 1, self.tree)
        elif forged == "beyond":
            settlement = self.settle(batch, size, size - 1 or 1, first=1)
        elif forged == "forked" and self.settled:
            settlement = self.settle(batch, size, self.tree, root=b"f" * 32)
        else:
            settlement = self.settle(b"?" * 32, 1, self.tree)
        assert settlement.settled == ()
        assert len(settlement.refused) == 1

    # -- the model --------------------------------------------------------------------------------------------

    def expect(self, chosen: Sequence[Asked]) -> list[Reason | None]:
        """Why each is not answered; None if it is."""
        if self.owes():
            return [Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS] * len(chosen)
        answered = [asked for asked in self.asked if asked.statements]
        decided: dict[int, Reason | None] = {}
        for asked in chosen:
            if id(asked) in decided:
                continue
            reason = None
            if asked.consent in self.lost:
                reason = Reason.GRANT_REVOKED
            elif asked.statements is None:
                if sum(other.consent == asked.consent for other in answered) >= MAX_USES[asked.consent]:
                    reason = Reason.GRANT_USED_UP
                elif len(answered) >= BUDGET:
                    reason = Reason.BUDGET_EXHAUSTED
                else:
                    answered.append(asked)
            decided[id(asked)] = reason
        return [decided[id(asked)] for asked in chosen]

    def owes(self) -> bool:
        return sum(self.owed.values()) >= MAX_OWED

    def answer(self, chosen: Sequence[Asked]) -> pb.AnswerResponse:
        (message,) = self.loop.run_until_complete(self.desk.answer(*(asked.message for asked in chosen)))
        if message.HasField("batch"):
            size = sum(len(reply.statements) for reply in message.replies)
            digest = read_signed_batch(message.batch).digest
            if digest not in self.settled:  # the same statements signed in the same tick are one batch, and logged
                self.owed[digest] = size
        return message

    def settle(self, batch: bytes, size: int, tree: int, **bent: object) -> Settlement:
        item = read_acknowledgement(world().acknowledgement(batch, size, tree=tree, **bent))
        return self.loop.run_until_complete(self.desk.answerer.acknowledge(GATEWAY.uri, [item]))

    # -- what always holds ------------------------------------------------------------------------------------

    @invariant()
    def chain_verifies_and_goes_on_from_its_last_end(self):
        self.end = self.desk.journal.verify_chain(self.end)

    @invariant()
    def nothing_is_used_or_asked_beyond_its_bound(self):
        with self.desk.journal.transaction() as ledger:
            spent = [ledger.uses_of(consent.digest, 0) for consent in consents()]
        answered = [
            sum(bool(asked.statements) and asked.consent == index for asked in self.asked) for index in range(3)
        ]
        assert spent == answered
        assert all(count <= most for count, most in zip(spent, MAX_USES, strict=True))
        assert sum(spent) <= BUDGET

    @invariant()
    def debt_is_what_was_signed_and_not_acknowledged(self):
        assert set(self.desk.journal.unacknowledged(GATEWAY.uri)) == set(self.owed)
        assert self.desk.journal.debt(GATEWAY.uri).statements == sum(self.owed.values())

    def teardown(self) -> None:
        self.desk.close()
        self.loop.close()
        shutil.rmtree(self.folder)


TestNode = NodeMachine.TestCase
TestNode.settings = profile(examples=30, steps=20)
