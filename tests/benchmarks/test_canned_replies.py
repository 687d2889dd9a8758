"""Canned departments answer as real ones would, as far as anybody can see who verifies."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from benchmarks.canned_replies import CannedDepartment, agreeing
from gateway.asking import Envelope, Question, make_submission
from gateway.departments.replies import fault_of, open_reply_batch
from gateway.protocol.attestation import (
    Asked,
    open_statement,
    read_statement,
    require_answer_to,
    sealed_digest,
    write_statement,
)
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import write_presented_part, write_signed_query
from gateway.protocol.query import open_part
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.truth import TrueAnswer, Truth, asking
from tests.federation import DEPARTMENTS, GATEWAY, REGION, REQUESTER, Federation

NOW = 1_790_000_000.25
POLICE = DEPARTMENTS[DepartmentKind.POLICE]
CLAIMS = ("hukou.child_registered@1", "identity.valid@1")
OUTCOMES = {asking(CLAIMS[0], REGION, {}): Outcome.NO, asking(CLAIMS[1], REGION, {}): Outcome.UNDETERMINED}


@pytest.fixture(scope="module")
def federation():
    return Federation.create(NOW)


def submit(federation):
    """A submission of both questions, in one part to the police."""
    questions = [Question(f"c{place}", claim, REGION, {}) for place, claim in enumerate(CLAIMS)]
    envelope = Envelope(REQUESTER, GATEWAY, PURPOSE_ENROLMENT, NOW)
    key = federation.signing_keys[REQUESTER]
    random = federation.random.randbytes
    return make_submission(questions, federation.issue(), envelope, federation.registry, key, random)


def ask_of(submission, ask_id):
    (part,) = submission.parts
    return pb.Ask(ask_id=ask_id, query=write_signed_query(submission.signed), part=write_presented_part(part))


def answer(federation, request, outcomes=OUTCOMES):
    department = CannedDepartment(POLICE, federation.signing_keys[POLICE], outcomes)
    return pb.AnswerResponse.FromString(department.answer(request.SerializeToString(), NOW))


def test_every_statement_of_a_batch_verifies_and_answers_what_was_asked(federation):
    submissions = {ask_id: submit(federation) for ask_id in (7, 300, 2**40)}
    request = pb.AnswerRequest(asks=[ask_of(submission, ask_id) for ask_id, submission in submissions.items()])
    batch = open_reply_batch(answer(federation, request), POLICE, federation.registry, NOW)
    assert [ask_id for ask_id, _ in batch.replies] == list(submissions)
    for ask_id, reply in batch.replies:
        submission = submissions[ask_id]
        (presented,) = submission.parts
        opened = open_part(presented.part)
        assert len(reply.proofs) == len(CLAIMS)
        for proof, check in zip(reply.proofs, opened.part.checks, strict=True):
            statement = open_statement(proof, reply.batch)
            sealed = sealed_digest(presented.sealed.ciphertext)
            asked = (submission.signed.digest, opened.digest, sealed, check, REQUESTER, POLICE, PURPOSE_ENROLMENT)
            require_answer_to(statement, Asked(*asked))
            assert statement.outcome is OUTCOMES[asking(check.claim, check.region, {})]
            assert statement.issue_time <= NOW < statement.expire_time


def test_statements_are_in_their_one_encoding(federation):
    response = answer(federation, pb.AnswerRequest(asks=[ask_of(submit(federation), 1)]))
    for proof in response.replies[0].statements:
        assert write_statement(read_statement(proof.statement)) == proof.statement


def test_statements_to_the_same_ask_differ(federation):
    request = pb.AnswerRequest(asks=[ask_of(submit(federation), 1)])
    first, second = (answer(federation, request).replies[0].statements[0].statement for _ in range(2))
    assert first != second


def test_what_is_not_known_beforehand_is_a_fault_and_no_outcome(federation):
    request = pb.AnswerRequest(asks=[ask_of(submit(federation), 1)])
    known = {question: outcome for question, outcome in OUTCOMES.items() if question[0] == CLAIMS[0]}
    response = answer(federation, request, known)
    assert not response.HasField("batch")
    assert fault_of(response.replies[0]).reason is Reason.INTERNAL


def test_a_fault_leaves_the_other_asks_of_the_message_answered(federation):
    request = pb.AnswerRequest(asks=[ask_of(submit(federation), 1), ask_of(submit(federation), 2)])
    request.asks[0].part.part = request.asks[0].part.part.replace(REGION.encode(), b"430103")
    response = answer(federation, request)
    assert [bool(reply.fault) for reply in response.replies] == [True, False]
    batch = open_reply_batch(response, POLICE, federation.registry, NOW)
    assert [ask_id for ask_id, _ in batch.replies] == [2]


def test_acknowledgements_are_dropped(federation):
    department = CannedDepartment(POLICE, federation.signing_keys[POLICE], OUTCOMES)
    request = pb.AnswerRequest(acknowledgements=[pb.Acknowledgement(batch_digest=bytes(32))])
    assert department.answer(request.SerializeToString(), NOW) is None


def truth(family, *answers):
    application = object()
    plan = tuple(TrueAnswer(claim, region, MappingProxyType({}), outcome) for claim, region, outcome in answers)
    return replace(Truth(application, plan, (), (), MappingProxyType({})), supported=(family,))


def test_families_that_contradict_an_earlier_one_are_left_out():
    yes = truth("first", (CLAIMS[0], "430102", Outcome.YES))
    no = truth("contradicts", (CLAIMS[1], "430102", Outcome.YES), (CLAIMS[0], "430102", Outcome.NO))
    elsewhere = truth("elsewhere", (CLAIMS[0], "430103", Outcome.NO))
    found, outcomes = agreeing([yes, no, elsewhere, yes])
    assert found == [yes, elsewhere, yes]
    assert outcomes == {
        asking(CLAIMS[0], "430102", {}): Outcome.YES,
        asking(CLAIMS[0], "430103", {}): Outcome.NO,
    }
