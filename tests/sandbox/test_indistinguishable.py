"""What a node does and states is alike, whoever it is asked about: every standing, every claim that can have it.

A node is asked the very same bytes about the very same persons; only its register differs. The times are
`test_timing`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consent.selection import presentations_for
from gateway.asking import Envelope, make_submission
from gateway.asking import Question as Asked
from gateway.departments.port import Ask
from gateway.protocol.attestation import Attestation, open_batch, open_statement, read_proof, read_signed_batch
from gateway.protocol.claims import CLAIMS, Role
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import open_part, read_query
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.people import Family
from sandbox_departments.register import Standing
from tests import federation as fed
from tests.fakes import Clock
from tests.nodes import (
    RealNode,
    open_registers,
    standing_as,
    with_everything,
    with_nothing,
)
from tests.shapes import Shape, shape_of_database, shape_of_message

NOW = 1_800_000_000.0
DOUBTFUL = [standing for standing in Standing if standing is not Standing.KNOWN]
MIXES = [tuple(Role), *((role,) for role in Role)]
"""All persons of a family stand so, or just one of them."""


@dataclass(frozen=True)
class Told:
    """All that leaves a node, and all that it keeps."""

    outcomes: tuple[Outcome, ...]
    statements: tuple[bytes, ...]
    attestations: tuple[Attestation, ...]
    messages: tuple[Shape, ...]
    journals: tuple[Shape, ...]
    logs: int


@pytest.fixture(scope="module")
def federation() -> fed.Federation:
    return fed.Federation.create(NOW)


@pytest.fixture(scope="module")
def submission(federation: fed.Federation, asked_about: Family, every_question: list[Asked]) -> Submission:
    """Every claim of the vocabulary about one family."""
    application = asked_about.application
    consent = federation.issue(application.subjects, regions=(application.region,))
    envelope = Envelope(fed.REQUESTER, fed.GATEWAY, "enrolment", NOW)
    key = federation.signing_keys[fed.REQUESTER]
    return make_submission(every_question, consent, envelope, federation.registry, key, federation.random.randbytes)


class Nodes:
    """Asks all departments one submission, each time with other registers and empty journals."""

    def __init__(self, federation: fed.Federation, people: Sequence[Family], folder: Path) -> None:
        self._federation = federation
        self._people = people
        self._folder = folder
        self._runs = 0

    async def ask(self, family: Family, submission: Submission) -> Told:
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        same = family.application.family
        registers = open_registers(
            [family if other.application.family == same else other for other in self._people], folder
        )
        nodes = {
            fed.DEPARTMENTS[kind]: RealNode(kind, self._federation, register, folder, Clock(NOW))
            for kind, register in registers.items()
        }
        with capture_logs() as logs:
            for part in submission.parts:
                asked = open_part(part.part).part
                shown = presentations_for(asked, read_query(submission.signed.query), submission.grants)
                await nodes[asked.department].ask(Ask(submission.signed, part, shown), 1.0)
        for node in nodes.values():
            node.close()
        for register in registers.values():
            register.close()
        messages = [pb.AnswerResponse.FromString(message) for node in nodes.values() for message in node.messages]
        statements, attestations = zip(*(self._opened(message) for message in messages), strict=True)
        stated = tuple(attestation for batch in attestations for attestation in batch)
        return Told(
            outcomes=tuple(attestation.outcome for attestation in stated),
            statements=tuple(statement for batch in statements for statement in batch),
            attestations=stated,
            messages=tuple(map(shape_of_message, messages)),
            journals=tuple(shape_of_database(node.journal_file) for node in nodes.values()),
            logs=len(logs),
        )

    def _opened(self, message: pb.AnswerResponse) -> tuple[list[bytes], list[Attestation]]:
        batch = open_batch(read_signed_batch(message.batch), self._federation.registry, NOW)
        proofs = [read_proof(proof) for reply in message.replies for proof in reply.statements]
        opened = [open_statement(proof, batch) for proof in proofs]
        assert all(isinstance(statement, Attestation) for statement in opened)
        return [proof.statement for proof in proofs], opened  # type: ignore[return-value]


@pytest.fixture
def nodes(federation: fed.Federation, people: tuple[Family, ...], tmp_path: Path) -> Nodes:
    return Nodes(federation, people, tmp_path)


@pytest.mark.parametrize("roles", MIXES, ids="+".join)
async def test_every_reason_for_doubt_is_stated_in_the_same_bytes(
    roles: tuple[Role, ...], nodes: Nodes, asked_about: Family, submission: Submission
) -> None:
    """Unknown, ambiguous, mismatch, protected, stale: not one byte of a statement tells them apart."""
    told = [await nodes.ask(standing_as(asked_about, standing, roles), submission) for standing in DOUBTFUL]
    first = told[0]
    for one in told:
        doubted = [
            (attestation.outcome, attestation.next_step)
            for attestation in one.attestations
            if CLAIMS[attestation.asked.check.claim].roles & set(roles)
        ]
        assert doubted
        assert set(doubted) == {(Outcome.UNDETERMINED, NextStep.OFFLINE)}
        assert one.statements == first.statements
        assert (one.messages, one.journals, one.logs) == (first.messages, first.journals, first.logs)


async def test_yes_no_and_undetermined_have_one_shape_for_every_claim(
    nodes: Nodes, asked_about: Family, submission: Submission
) -> None:
    """In statement, reply and journal, for one family that has everything, has nothing, or is known to nobody."""
    everything = await nodes.ask(with_everything(asked_about), submission)
    nothing = await nodes.ask(with_nothing(asked_about), submission)
    unknown = await nodes.ask(standing_as(asked_about, Standing.UNKNOWN), submission)
    for outcomes in zip(everything.outcomes, nothing.outcomes, unknown.outcomes, strict=True):
        assert set(outcomes) == {Outcome.YES, Outcome.NO, Outcome.UNDETERMINED}
    for other in (nothing, unknown):
        assert list(map(len, other.statements)) == list(map(len, everything.statements))
        assert (other.messages, other.journals, other.logs) == (
            everything.messages,
            everything.journals,
            everything.logs,
        )
