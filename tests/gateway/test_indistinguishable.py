"""Whatever a gateway sees, keeps, logs and hands out is alike, whoever it is about: over real nodes and registers.

One submission goes to gateways that differ only in what the departments' registers hold. Reply, receipt (as message
and as file), leaf, store and log lines must have one shape, field by field and byte by byte; and where nobody can
tell, the statements themselves are the same bytes, whatever the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.asking import Question
from gateway.protocol.claims import CLAIMS, DepartmentKind, Role
from gateway.protocol.errors import UnreachableError
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_file import receipt_to_json
from gateway.protocol.receipt_rows import Answer
from heyan.v1 import department_service_pb2 as department_pb
from heyan.v1 import gateway_service_pb2 as pb
from sandbox_departments.people import Family
from sandbox_departments.register import Register, Standing
from tests import federation as fed
from tests.gateway.conftest import PEER, Gateway, open_gateway
from tests.nodes import RealNode, open_registers, standing_as, with_everything, with_nothing
from tests.shapes import shape_of_database, shape_of_json, shape_of_message

DOUBTFUL = [standing for standing in Standing if standing is not Standing.KNOWN]
MIXES = [tuple(Role), *((role,) for role in Role)]


@dataclass(frozen=True)
class Seen:
    """What gateway and requester see of one query; `shape` holds no value, only sizes and presence."""

    answers: tuple[Answer, ...]
    statements: tuple[bytes, ...]
    shape: tuple[object, ...]


@pytest.fixture
async def submission(gateway: Gateway, asked_about: Family, every_question: list[Question]) -> Submission:
    """Every claim of the vocabulary about one family."""
    application = asked_about.application
    consent = gateway.federation.issue(application.subjects, regions=(application.region,))
    return gateway.submission(consent, every_question)


class Gateways:
    """Sends one submission to gateways with an empty store each, over nodes with other registers."""

    def __init__(self, federation: fed.Federation, people: Sequence[Family], folder: Path) -> None:
        self._federation = federation
        self._people = people
        self._folder = folder
        self._runs = 0

    async def send(self, family: Family, submission: Submission) -> Seen:
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        same = family.application.family
        registers = open_registers([family if it.application.family == same else it for it in self._people], folder)
        async with open_gateway(folder, self._federation) as gateway:
            nodes = {kind: self._put_node(gateway, kind, register, folder) for kind, register in registers.items()}
            with capture_logs() as logs:
                receipt = await gateway.send(submission)
            reply = pb.VerifyResponse(receipt=receipt)
            again = pb.GetVerificationResponse(
                receipt=gateway.pipeline.get(read_query(submission.signed.query).request_id, PEER)
            )
            shape = (
                shape_of_message(reply),
                shape_of_message(again),
                tuple(shape_of_message(leaf) for leaf in gateway.leaves()),
                [
                    shape_of_message(department_pb.AnswerResponse.FromString(message))
                    for node in nodes.values()
                    for message in node.messages
                ],
                [(line["event"], *sorted(line)) for line in logs],
            )
            verified = gateway.check(receipt)
            shape = (*shape, shape_of_message(receipt), shape_of_json(receipt_to_json(receipt)))
        for node in nodes.values():
            node.close()
        for register in registers.values():
            register.close()
        return Seen(
            verified.answers,
            tuple(statement.proof.statement for statement in receipt.statements),
            (*shape, shape_of_database(folder / "store.db")),
        )

    def _put_node(self, gateway: Gateway, kind: DepartmentKind, register: Register, folder: Path) -> RealNode:
        uri = fed.DEPARTMENTS[kind]
        node = RealNode(
            kind,
            self._federation,
            register,
            folder,
            gateway.clock,
            on_batch=gateway.departments[uri].on_batch,
        )
        gateway.departments[uri] = node  # type: ignore[assignment]
        return node


@pytest.fixture
def gateways(federation: fed.Federation, people: tuple[Family, ...], tmp_path: Path) -> Gateways:
    return Gateways(federation, people, tmp_path)


@pytest.mark.parametrize("roles", MIXES, ids="+".join)
async def test_requester_and_gateway_cannot_tell_the_reasons_for_doubt_apart(
    roles: tuple[Role, ...], gateways: Gateways, asked_about: Family, submission: Submission
) -> None:
    """Unknown, ambiguous, mismatch, protected, stale: the same statements, and one shape of all around them."""
    seen = [await gateways.send(standing_as(asked_about, standing, roles), submission) for standing in DOUBTFUL]
    for one in seen:
        doubted = {
            (answer.outcome, answer.next_step, answer.reason)
            for answer in one.answers
            if CLAIMS[answer.check.claim].roles & set(roles)
        }
        assert doubted == {(Outcome.UNDETERMINED, NextStep.OFFLINE, None)}
        assert one.statements == seen[0].statements
        assert one.answers == seen[0].answers
        assert one.shape == seen[0].shape


async def test_yes_no_and_undetermined_have_one_shape_in_all_that_gateway_and_log_keep(
    gateways: Gateways, asked_about: Family, submission: Submission
) -> None:
    """The requester is told the outcome; nobody is told it by a size, a field, a row or a line."""
    everything = await gateways.send(with_everything(asked_about), submission)
    nothing = await gateways.send(with_nothing(asked_about), submission)
    unknown = await gateways.send(standing_as(asked_about, Standing.UNKNOWN), submission)
    for answers in zip(everything.answers, nothing.answers, unknown.answers, strict=True):
        assert {answer.outcome for answer in answers} == {Outcome.YES, Outcome.NO, Outcome.UNDETERMINED}
    assert nothing.shape == everything.shape
    assert unknown.shape == everything.shape


@pytest.mark.parametrize(
    "broken", [{"refusal": Reason.BUDGET_EXHAUSTED}, {"failure": UnreachableError(Reason.INTERNAL)}]
)
async def test_the_shape_does_show_a_refusal_or_a_fault(broken: dict[str, object], gateway: Gateway) -> None:
    """What the tests above compare is not blind: here one department does not answer."""
    whole = dict(shape_of_message(await gateway.send(gateway.submission()))[1:])
    department = gateway.departments[fed.DEPARTMENTS[DepartmentKind.LAND]]
    for name, value in broken.items():
        setattr(department, name, value)
    partial = dict(shape_of_message(await gateway.send(gateway.submission()))[1:])
    assert partial["statements"] != whole["statements"]
