"""What a lying node sends for a right reply: held against registry and journal as a gateway and an auditor would."""

from __future__ import annotations

import pytest

from gateway.protocol.attestation import (
    Attestation,
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
    require_in_batch,
)
from gateway.protocol.errors import ForgedError
from gateway.protocol.outcomes import Outcome
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.faults.forgeries import SURPLUS
from sandbox_departments.journal_entries import BatchSigned
from sandbox_departments.register import Finding, Standing
from tests.sandbox.asking import CHILD, told


async def bent(bench, kind: str, right: bytes) -> pb.AnswerResponse:
    bench.set(kind)
    (message,) = await bench.sent(right)
    return pb.AnswerResponse.FromString(message)


def opened(message: pb.AnswerResponse, bench):
    return open_batch(read_signed_batch(message.batch), bench.world.registry, bench.world.now)


def proofs_of(message: pb.AnswerResponse):
    return [read_proof(proof) for reply in message.replies for proof in reply.statements]


def journalled(bench) -> set[bytes]:
    return {
        digest
        for entry in bench.desk.journal.entries()
        if isinstance(entry, BatchSigned)
        for part in entry.parts
        for digest in part.statements
    }


async def test_wrong_signature_is_over_the_right_batch_and_does_not_hold(bench):
    right = await bench.reply()
    message = await bent(bench, "wrong-signature", right)
    assert message.batch.batch == pb.AnswerResponse.FromString(right).batch.batch
    with pytest.raises(ForgedError):
        opened(message, bench)


async def test_altered_outcome_is_in_no_signed_batch(bench):
    message = await bent(bench, "altered-outcome", await bench.reply())
    batch = opened(message, bench)  # the signature itself is right
    for proof in proofs_of(message):
        with pytest.raises(ForgedError):
            require_in_batch(proof, batch)


@pytest.mark.parametrize(
    ("finding", "lie"),
    [
        (Finding(Standing.KNOWN, True), "NO"),
        (Finding(Standing.KNOWN, False), "YES"),
        (Finding(Standing.UNKNOWN, False), "YES"),
    ],
    ids=["yes", "no", "undetermined"],
)
async def test_changed_outcome_is_the_contrary_rightly_signed_and_stands_in_no_journal(bench, finding, lie):
    bench.desk.register.findings[CHILD.id_number] = finding
    right = await bench.reply(1, 2)
    message = await bent(bench, "changed-outcome", right)
    assert told(message, bench.world) == [[lie, lie]] * 2
    assert {proof.digest for proof in proofs_of(pb.AnswerResponse.FromString(right))} == journalled(bench)
    assert not {proof.digest for proof in proofs_of(message)} & journalled(bench)


async def test_changed_outcome_answers_the_same_question_at_the_same_time(bench):
    right = await bench.reply()
    message = await bent(bench, "changed-outcome", right)
    batches = [(item, opened(item, bench)) for item in (message, pb.AnswerResponse.FromString(right))]
    lies, truths = [[open_statement(proof, batch) for proof in proofs_of(item)] for item, batch in batches]
    assert batches[0][1].sign_time == batches[1][1].sign_time
    for lie, truth in zip(lies, truths, strict=True):
        assert isinstance(lie, Attestation)
        assert isinstance(truth, Attestation)
        assert (lie.asked, lie.issue_time, lie.nonce) == (truth.asked, truth.issue_time, truth.nonce)
        assert (lie.outcome, truth.outcome) == (Outcome.NO, Outcome.YES)


async def test_refusal_has_no_outcome_to_change(bench):
    (refused,) = await bench.desk.answer(pb.Ask(ask_id=4))
    right = refused.SerializeToString()
    message = await bent(bench, "changed-outcome", right)
    assert told(message, bench.world) == told(refused, bench.world) == [["MESSAGE_MALFORMED"]]


async def test_over_full_batch_is_signed_whole_with_hundreds_of_statements_nobody_asked_for(bench):
    right = await bench.reply(1, 2)
    message = await bent(bench, "over-full", right)
    batch, proofs = opened(message, bench), proofs_of(message)
    assert batch.size == len(proofs) == 4 + SURPLUS
    assert sorted(proof.index for proof in proofs) == list(range(batch.size))
    for proof in proofs:
        open_statement(proof, batch)
    assert len({proof.digest for proof in proofs}) == batch.size
    assert {proof.digest for proof in proofs_of(pb.AnswerResponse.FromString(right))} <= {
        proof.digest for proof in proofs
    }


async def test_over_claiming_batch_is_signed_for_hundreds_of_statements_that_are_not_there(bench):
    message = await bent(bench, "over-claiming", await bench.reply())
    assert opened(message, bench).size == 2 + SURPLUS
    assert len(proofs_of(message)) == 2


async def test_answer_of_another_query_is_a_right_one_to_something_else(bench):
    other, right = await bench.reply(1), await bench.reply(2)
    await bench.sent(other)  # while nothing is wrong yet
    message = await bent(bench, "other-answer", right)
    assert [reply.ask_id for reply in message.replies] == [2]
    assert told(message, bench.world) == [["YES", "YES"]]
    assert proofs_of(message) == proofs_of(pb.AnswerResponse.FromString(other))


async def test_all_statements_of_the_other_batch_are_passed_off_whatever_the_number_of_asks(bench):
    other, right = await bench.reply(1, 2, 3), await bench.reply(7, 8)
    await bench.sent(other)
    message = await bent(bench, "other-answer", right)
    assert [len(reply.statements) for reply in message.replies] == [2, 4]
    assert opened(message, bench).size == 6


async def test_nothing_is_sent_while_there_is_no_other_answer_to_pass_off(bench):
    right = await bench.reply()
    bench.set("other-answer")
    assert await bench.sent(right) == []
    again = await bench.reply()
    (message,) = await bench.sent(again)
    assert proofs_of(pb.AnswerResponse.FromString(message)) == proofs_of(pb.AnswerResponse.FromString(right))


async def test_own_answer_sent_before_is_not_passed_off_as_anothers(bench):
    right = await bench.reply()
    await bench.sent(right)
    bench.set("other-answer")
    assert await bench.sent(right) == []  # a repetition of the same statements
