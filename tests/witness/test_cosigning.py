"""What a witness cosigns, by attack: nothing that does not extend what it cosigned before, whoever asks and however."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.allowance import Allowance
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.cosignature import CosignerKey, cosigned_at
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError, NotFoundError, OverloadedError
from gateway.protocol.merkle import EMPTY_ROOT
from gateway.protocol.note import ML_DSA_44, encode_base64, open_note, parse_note, sign_note
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import AddCheckpoint, checkpoint_path
from gateway.witness.cosigning import OtherSizeError
from gateway.witness.store import MAX_FORKS
from tests.fakes import Clock
from tests.witness.conftest import KEY, NOW, Witness, open_witness
from tests.witness.signed_log import NEXT, ORIGIN, SIGNER, STRANGER, SignedLog


def refused(witness: Witness, body: bytes, kind: type[HeyanError], reason: Reason | None = None) -> HeyanError:
    """The request is refused so, and nothing has changed."""
    before = list(witness.store.newest())
    with pytest.raises(kind) as refusal:
        witness.cosigning.add_checkpoint(body)
    assert reason is None or refusal.value.reason is reason
    assert list(witness.store.newest()) == before
    return refusal.value


def signed(text: str, *signers) -> str:
    return sign_note(text, signers or [SIGNER])


# -- an honest log ------------------------------------------------------------------------------------------


def test_log_is_cosigned_as_it_grows(witness: Witness) -> None:
    log = SignedLog.of(1)
    old = 0
    for size in (1, 2, 3, 7, 8, 8, 30):
        log.grow(size - len(log.leaves))
        witness.clock.now += 1
        assert witness.add(log, old) == int(witness.clock.now)
        assert witness.size == size
        old = size


def test_same_checkpoint_is_cosigned_again_with_the_new_time(witness: Witness) -> None:
    log = SignedLog.of(5)
    assert witness.add(log, 0) == int(NOW)
    assert witness.add(log, 5) == int(NOW)
    witness.clock.now += 60
    assert witness.add(log, 5) == int(NOW) + 60


def test_clock_that_is_set_back_brings_no_older_word(witness: Witness) -> None:
    log = SignedLog.of(5)
    witness.add(log, 0)
    witness.clock.now -= 3600
    log.grow()
    assert witness.add(log, 5) == int(NOW)


def test_the_empty_tree_is_cosigned_and_extended_without_a_proof(witness: Witness) -> None:
    log = SignedLog()
    witness.add(log, 0)
    witness.clock.now += 1
    witness.add(log, 0)
    log.grow(3)
    witness.add(log, 0)
    assert witness.size == 3


def test_unknown_signatures_are_ignored_and_not_handed_on(witness: Witness) -> None:
    log = SignedLog.of(4)
    log.signers = (STRANGER, SIGNER)
    witness.logs[ORIGIN] = [SIGNER.verifier]
    lines = witness.cosigning.add_checkpoint(log.request(0))
    assert lines.count("\n") == 1
    kept = parse_note(witness.cosigning.checkpoint(checkpoint_path(ORIGIN).split("/")[1]).encode()).unverified
    assert [each.key_id for each in kept] == [SIGNER.verifier.key_id, KEY.verifier.key_id]


def test_extension_lines_are_cosigned_with_the_rest(witness: Witness) -> None:
    log = SignedLog.of(4)
    text = log.checkpoint().encode() + "extension line\n"
    lines = witness.cosigning.add_checkpoint(AddCheckpoint(0, (), signed(text)).format())
    assert open_note(f"{signed(text)}{lines}".encode(), [KEY.verifier]).text == text


def test_both_kinds_of_key_cosign(tmp_path: Path) -> None:
    pq = CosignerKey.from_seed("witness.test/w1", bytes(32), ML_DSA_44)
    witness = open_witness(tmp_path / "pq.db", Clock(NOW), keys=(KEY, pq))
    log = SignedLog.of(4)
    lines = witness.cosigning.add_checkpoint(log.request(0))
    opened = open_note(f"{log.note()}{lines}".encode(), [KEY.verifier, pq.verifier])
    assert [cosigned_at(each) for each in opened.verified] == [int(NOW)] * 2
    witness.store.close()


def test_log_key_is_rotated_with_two_signers(witness: Witness) -> None:
    """Old key, both, new key: the witness is told of the new one while both sign, and of the old one's end after."""
    log = SignedLog.of(2)
    witness.add(log, 0)
    log.grow()
    log.signers = (SIGNER, NEXT)
    witness.add(log, 2)  # told of the old key only
    witness.logs[ORIGIN] = [SIGNER.verifier, NEXT.verifier]
    log.grow()
    witness.add(log, 3)
    log.grow()
    log.signers = (NEXT,)
    witness.logs[ORIGIN] = [NEXT.verifier]
    witness.add(log, 4)
    log.signers = (SIGNER,)
    log.grow()
    refused(witness, log.request(5), ForgedError, Reason.KEY_UNKNOWN)


# -- a dishonest log ----------------------------------------------------------------------------------------


def test_forked_log_is_cosigned_by_a_witness_on_one_side_only(tmp_path: Path) -> None:
    first, second = (open_witness(tmp_path / name, Clock(NOW)) for name in ("1.db", "2.db"))
    log = SignedLog.of(6)
    fork = log.fork(4, 2)
    first.add(log, 0, 4)
    second.add(log, 0, 4)
    first.add(log, 4)
    second.add(fork, 4)
    refused(first, fork.request(6), ForgedError, Reason.LOG_FORKED)
    refused(first, fork.request(4), OtherSizeError)
    log.grow(2)
    fork.leaves += log.leaves[6:]
    refused(second, log.request(6), ForgedError, Reason.PROOF_INVALID)
    refused(first, fork.request(6), ForgedError, Reason.PROOF_INVALID)
    first.store.close()
    second.store.close()


def test_fork_is_kept_as_evidence_once_and_bounded(witness: Witness) -> None:
    log = SignedLog.of(6)
    witness.add(log, 0)
    fork = log.fork(4, 2)
    for _ in range(3):
        refused(witness, fork.request(6), ForgedError, Reason.LOG_FORKED)
    (kept,) = witness.store.forks(ORIGIN)
    assert open_note(kept.note.encode(), [SIGNER.verifier]).text == fork.checkpoint().encode()
    for number in range(MAX_FORKS + 5):
        other = log.fork(4, 1)
        other.leaves.append(bytes([number]) * 32)
        refused(witness, other.request(6), ForgedError, Reason.LOG_FORKED)
    assert len(witness.store.forks(ORIGIN)) == MAX_FORKS


def test_fork_that_the_log_did_not_sign_is_no_evidence(witness: Witness) -> None:
    log = SignedLog.of(6)
    witness.add(log, 0)
    fork = log.fork(4, 2)
    fork.signers = (STRANGER,)
    refused(witness, fork.request(6), ForgedError, Reason.KEY_UNKNOWN)
    assert not witness.store.forks(ORIGIN)


def test_rolled_back_log_is_refused(witness: Witness) -> None:
    log = SignedLog.of(9)
    witness.add(log, 0)
    for old in (0, 4, 5):
        error = refused(witness, log.request(old, 5), OtherSizeError)
        assert error.size == 9
    refused(witness, log.request(9, 5, ()), MalformedError)


def test_replayed_request_is_told_the_size(witness: Witness) -> None:
    log = SignedLog.of(9)
    first, second = log.request(0, 4), log.request(4, 9)
    witness.cosigning.add_checkpoint(first)
    witness.cosigning.add_checkpoint(second)
    for body in (first, second):
        assert refused(witness, body, OtherSizeError).size == 9


@pytest.mark.parametrize("size", [5, 8, 9])
def test_wrong_proofs_are_refused(witness: Witness, size: int) -> None:
    log = SignedLog.of(16)
    witness.add(log, 0, size)
    right = log.consistency(size, 16)
    wrong = [
        (),
        right[:-1],
        right[1:],
        (*right, bytes(32)),
        (bytes(32), *right),
        (*right[:-1], bytes(32)),
        tuple(reversed(right)),
        right * 2,
        (bytes(32),) * 63,
        log.consistency(size - 1, 16),
    ]
    for proof in wrong:
        if tuple(proof) != right:
            refused(witness, log.request(size, 16, proof), ForgedError, Reason.PROOF_INVALID)
    witness.add(log, size)


def test_proof_where_none_belongs_is_refused(witness: Witness) -> None:
    log = SignedLog.of(4)
    refused(witness, log.request(0, 4, [bytes(32)]), ForgedError, Reason.PROOF_INVALID)
    witness.add(log, 0)
    refused(witness, log.request(4, 4, [bytes(32)]), ForgedError, Reason.PROOF_INVALID)


def test_64_hashes_are_too_many(witness: Witness) -> None:
    log = SignedLog.of(4)
    refused(witness, log.request(0, 4, [bytes(32)] * 64), MalformedError)


def test_empty_tree_with_another_root_is_refused(witness: Witness) -> None:
    """And as the specification has it: known log and signature come first, then 422."""
    text = f"{ORIGIN}\n0\n{encode_base64(bytes(32))}\n"
    body = AddCheckpoint(0, (), signed(text)).format()
    refused(witness, body, ForgedError, Reason.PROOF_INVALID)
    refused(witness, AddCheckpoint(0, (), signed(text, STRANGER)).format(), ForgedError, Reason.KEY_UNKNOWN)
    foreign = text.replace(ORIGIN, "other.test/log")
    refused(witness, AddCheckpoint(0, (), signed(foreign)).format(), NotFoundError)
    right = f"{ORIGIN}\n0\n{encode_base64(EMPTY_ROOT)}\n"
    witness.cosigning.add_checkpoint(AddCheckpoint(0, (), signed(right)).format())


# -- whose checkpoint ---------------------------------------------------------------------------------------


def test_unknown_origin_is_refused_though_a_known_key_signed(witness: Witness) -> None:
    text = Checkpoint("other.test/log", 1, bytes(32)).encode()
    refused(witness, AddCheckpoint(0, (), signed(text)).format(), NotFoundError)


def test_note_with_only_a_cosignature_is_refused(witness: Witness) -> None:
    """Ours or another witness's: it says nothing of the log."""
    text = SignedLog.of(3).checkpoint().encode()
    for key in (KEY, CosignerKey.from_seed("witness.test/w2", bytes(32)), CosignerKey.from_seed(ORIGIN, bytes(32))):
        refused(witness, AddCheckpoint(0, (), signed(text, key.at(1))).format(), ForgedError, Reason.KEY_UNKNOWN)


def test_signature_by_an_unknown_key_of_the_logs_name_is_refused(witness: Witness) -> None:
    log = SignedLog.of(3)
    log.signers = (STRANGER,)
    refused(witness, log.request(0), ForgedError, Reason.KEY_UNKNOWN)


def test_wrong_signature_of_a_known_key_is_refused_beside_a_right_one(witness: Witness) -> None:
    log = SignedLog.of(3)
    witness.logs[ORIGIN] = [SIGNER.verifier, NEXT.verifier]
    wrong = sign_checkpoint(log.checkpoint(2), [NEXT]).splitlines()[-1]
    body = AddCheckpoint(0, (), f"{log.note()}{wrong}\n").format()
    refused(witness, body, ForgedError, Reason.SIGNATURE_INVALID)


def test_signature_of_another_checkpoint_is_refused(witness: Witness) -> None:
    log = SignedLog.of(3)
    moved = log.note().replace("\n3\n", "\n4\n")
    refused(witness, AddCheckpoint(0, (), moved).format(), ForgedError, Reason.SIGNATURE_INVALID)


@pytest.mark.parametrize("text", [f"{ORIGIN}\n", f"{ORIGIN}\n1\n", f"{ORIGIN}\n01\n{'A' * 43}=\n", f"{ORIGIN}\n\n1\n"])
def test_signed_text_that_is_no_checkpoint_is_malformed(witness: Witness, text: str) -> None:
    refused(witness, AddCheckpoint(0, (), signed(text)).format(), MalformedError)


# -- bounds and memory --------------------------------------------------------------------------------------


def test_log_that_moves_on_too_often_is_sent_away_and_others_are_not_held_up(tmp_path: Path) -> None:
    clock = Clock(NOW)
    witness = open_witness(tmp_path / "w.db", clock, Allowance(2, 0.5, Reason.OVERLOADED))
    log = SignedLog.of(9)
    witness.add(log, 0, 1)
    witness.add(log, 1, 2)
    error = refused(witness, log.request(2, 3), OverloadedError)
    assert error.retry_after == pytest.approx(2.0)
    witness.add(log, 2, 2)  # the same again moves nothing on
    witness.logs["other.test/log"] = [SIGNER.verifier]
    clock.now += 2
    witness.add(log, 2, 3)
    witness.store.close()


def test_replays_of_others_cost_the_log_nothing_of_its_allowance(tmp_path: Path) -> None:
    witness = open_witness(tmp_path / "w.db", Clock(NOW), Allowance(2, 0.001, Reason.OVERLOADED))
    log = SignedLog.of(9)
    witness.add(log, 0, 1)
    for _ in range(20):
        witness.add(log, 1, 1)
        refused(witness, log.request(0, 1), OtherSizeError)
        refused(witness, log.request(1, 5, [bytes(32)]), ForgedError)
    witness.add(log, 1, 2)
    witness.store.close()


def test_what_was_cosigned_is_remembered_by_another_process(witness: Witness, tmp_path: Path) -> None:
    log = SignedLog.of(9)
    witness.add(log, 0, 5)
    other = open_witness(tmp_path / "witness.db", Clock(NOW))
    refused(other, log.request(0, 4), OtherSizeError)
    other.add(log, 5)
    assert refused(witness, log.request(5, 6), OtherSizeError).size == 9
    other.store.close()


def test_store_put_back_to_a_copy_signs_a_fork_and_the_other_witness_does_not(tmp_path: Path) -> None:
    """What no witness can know of itself. A quorum of two then still needs the one whose store was left alone."""
    first, second = (open_witness(tmp_path / name, Clock(NOW)) for name in ("1.db", "2.db"))
    log = SignedLog.of(6)
    first.add(log, 0, 4)
    second.add(log, 0, 4)
    first.store.close()
    shutil.copy(tmp_path / "1.db", tmp_path / "copy.db")
    first = open_witness(tmp_path / "1.db", Clock(NOW))
    first.add(log, 4)
    second.add(log, 4)
    first.store.close()
    for file in tmp_path.glob("1.db*"):
        file.unlink()
    shutil.copy(tmp_path / "copy.db", tmp_path / "1.db")
    first = open_witness(tmp_path / "1.db", Clock(NOW))
    fork = log.fork(4, 2)
    first.add(fork, 4)
    refused(second, fork.request(6), ForgedError, Reason.LOG_FORKED)
    assert second.store.forks(ORIGIN)
    first.store.close()
    second.store.close()


def test_checkpoint_of_a_log_never_cosigned_is_not_there(witness: Witness) -> None:
    with pytest.raises(NotFoundError):
        witness.cosigning.checkpoint(checkpoint_path(ORIGIN).split("/")[1])
