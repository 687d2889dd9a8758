"""A node's journal fails, or its process dies, before and after each step of a batch and of an acknowledgement.

Then nothing has left that is not journalled; a repetition is answered alike, and spends nothing more.
"""

from __future__ import annotations

import pytest

from gateway.protocol.attestation import Attestation, read_proof, read_signed_batch
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason
from sandbox_departments.acknowledgements import read_acknowledgement
from sandbox_departments.answering import Budget
from sandbox_departments.journal_entries import Answered, BatchSigned, Repeated
from tests.fakes_sqlite import Dead, How, TrippedConnection, When
from tests.sandbox.asking import DAY, GATEWAY, GUARDIAN_OF, REGISTERED, Desk, opened_statements, told

either_side = pytest.mark.parametrize("when", When)
WRITTEN = {"uses", "probes", "answers", "batches", "entries", "withheld"}
"""Tables that a batch writes."""


class Node:
    """One node's file, opened by one process after another."""

    def __init__(self, world, path) -> None:
        self.world, self._path = world, path
        self.open()

    def open(self) -> None:
        self.desk = Desk(self.world, self._path, budget=Budget(1_000, float(DAY)))
        self.connection = TrippedConnection(self.desk.journal._connection)
        self.desk.journal._connection = self.connection

    def die(self) -> None:
        self.desk.thread.shutdown()
        self.connection.abandon()
        self.open()

    def close(self) -> None:
        self.desk.close()

    def uses(self, consent) -> int:
        with self.desk.journal.transaction() as ledger:
            return ledger.uses_of(consent.digest, 0)

    def journalled(self) -> list[Answered | Repeated]:
        """What the chain tells of parts that were answered; the chain itself is whole."""
        self.desk.journal.verify_chain()
        entries = [entry for entry in self.desk.journal.entries() if isinstance(entry, BatchSigned)]
        return [part for entry in entries for part in entry.parts]


@pytest.fixture
def node(world, tmp_path):
    made = Node(world, tmp_path / "killed.db")
    yield made
    made.close()


async def steps_of(node, work) -> list[str]:
    node.connection.arm(None)
    await work
    steps = list(node.connection.steps)
    assert steps[0].startswith("BEGIN")
    return steps


async def steps_of_a_batch(node) -> list[str]:
    steps = await steps_of(node, node.desk.answer(node.world.ask()))
    assert {step.split()[2] for step in steps if step.startswith("INSERT INTO")} <= WRITTEN
    assert {"SAVEPOINT reservation", "RELEASE reservation"} <= set(steps)
    assert steps[-1] == "COMMIT"
    return steps


@either_side
async def test_batch_that_fails_at_any_step_says_nothing_and_is_answered_when_it_comes_again(node, when):
    steps = await steps_of_a_batch(node)
    for step in range(len(steps)):
        consent = node.world.consent()  # one use
        ask, before = node.world.ask(consent), len(node.journalled())
        node.connection.arm(step, when, How.FAILS)
        (message,) = await node.desk.answer(ask)
        assert told(message, node.world) == [["log_unavailable"]]
        assert not message.batch.batch
        is_durable = step == len(steps) - 1 and when is When.AFTER
        assert len(node.journalled()) - before == int(is_durable)
        assert node.uses(consent) == int(is_durable)
        (again,) = await node.desk.answer(ask)
        first, *_ = node.journalled()[before:]
        assert digests_of(again) == first.statements
        assert all(isinstance(statement, Attestation) for statement in opened_statements(again, node.world))
        assert node.uses(consent) == 1


@either_side
async def test_node_that_dies_at_any_step_of_a_batch_has_told_nobody_and_answers_alike(node, when):
    steps = await steps_of_a_batch(node)
    for step in range(len(steps)):
        consent = node.world.consent()
        ask, before = node.world.ask(consent), len(node.journalled())
        node.connection.arm(step, when, How.DIES)
        with pytest.raises(Dead):
            await node.desk.answer(ask)
        node.die()
        is_durable = step == len(steps) - 1 and when is When.AFTER
        assert len(node.journalled()) - before == int(is_durable)
        (again,) = await node.desk.answer(ask)
        first, *more = node.journalled()[before:]
        assert [type(part) for part in (first, *more)] == ([Answered, Repeated] if is_durable else [Answered])
        assert digests_of(again) == first.statements
        assert node.uses(consent) == 1
        other = node.world.ask(consent)
        assert await node.desk.outcomes(other) == [Reason.GRANT_USED_UP.value]


@either_side
async def test_acknowledgement_that_fails_at_any_step_settles_all_or_nothing_and_may_be_repeated(node, when):
    async def acknowledge(batch):
        item = read_acknowledgement(node.world.acknowledgement(batch, 2))
        return await node.desk.answerer.acknowledge(GATEWAY.uri, [item])

    async def fresh_batch() -> bytes:
        (message,) = await node.desk.answer(node.world.ask())
        return read_signed_batch(message.batch).digest

    steps = await steps_of(node, acknowledge(await fresh_batch()))
    assert steps[-1] == "COMMIT"
    assert len(steps) > 5
    for step in range(len(steps)):
        batch = await fresh_batch()
        node.connection.arm(step, when, How.FAILS)
        with pytest.raises(LogUnavailableError):
            await acknowledge(batch)
        is_durable = step == len(steps) - 1 and when is When.AFTER
        assert (batch in node.desk.journal.unacknowledged(GATEWAY.uri)) != is_durable
        settled = (await acknowledge(batch)).settled
        assert settled == (() if is_durable else (batch,))
        assert node.desk.journal.unacknowledged(GATEWAY.uri) == ()
        node.desk.journal.verify_chain()


async def test_one_ask_of_a_batch_spoils_none_of_the_others_when_the_journal_comes_back(node):
    """All asks of a failed batch are faults, and each of them is answered when it comes again."""
    asks = [node.world.ask(node.world.consent(), ask_id=number) for number in range(3)]
    node.connection.arm("INSERT INTO batches", When.AFTER, How.FAILS)
    (message,) = await node.desk.answer(*asks)
    assert told(message, node.world) == [["log_unavailable"]] * 3
    assert await node.desk.answerer.complaints() == ()  # it has probed the journal meanwhile
    (again,) = await node.desk.answer(*asks)
    assert [len(outcomes) for outcomes in told(again, node.world)] == [len((REGISTERED, GUARDIAN_OF))] * 3


def digests_of(message) -> tuple[bytes, ...]:
    return tuple(read_proof(proof).digest for reply in message.replies for proof in reply.statements)
