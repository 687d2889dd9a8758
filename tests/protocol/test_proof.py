"""Proof files: the form of C2SP tlog-proof, the binding of leaf, index and checkpoint, and forgeries."""

import dataclasses
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import merkle
from gateway.protocol import proof as module
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError
from gateway.protocol.note import SignerKey, encode_base64, sign_note
from gateway.protocol.proof import InclusionProof, parse_proof
from gateway.protocol.reasons import Reason

ORIGIN = "heyan.example/log"
LOG = SignerKey.from_seed(ORIGIN, bytes(32))
WITNESS = SignerKey.from_seed("witness.example", bytes([2]) * 32)
SIZE, INDEX = 13, 6
DATA = [b"leaf %d" % number for number in range(SIZE)]
HASHES = [merkle.leaf_hash(data) for data in DATA]


def signed(size):
    return sign_checkpoint(Checkpoint(ORIGIN, size, merkle.root_of(HASHES[:size])), [LOG])


def proof_of(index, size=SIZE):
    return InclusionProof(index, merkle.inclusion_path(HASHES[:size], index), signed(size))


PROOF = proof_of(INDEX)
FILE = PROOF.format()
HASH_LINE = encode_base64(PROOF.path[0]) + "\n"


def refuse(proof, data=DATA[INDEX], origin=ORIGIN, verifiers=(LOG.verifier,)):
    with pytest.raises(ForgedError) as refusal:
        proof.verify(data, verifiers, origin)
    return refusal.value.reason


# -- the form -----------------------------------------------------------------------------------------------


def test_file_has_the_form_of_the_specification():
    hashes = "".join(encode_base64(item) + "\n" for item in PROOF.path)
    assert PROOF.format() == f"c2sp.org/tlog-proof@v1\nindex 6\n{hashes}\n{PROOF.checkpoint}"
    with_extra = dataclasses.replace(PROOF, extra=b"opaque").format()
    assert with_extra == FILE.replace("@v1\n", "@v1\nextra b3BhcXVl\n")


def test_lone_leaf_has_a_proof_without_hashes():
    lone = proof_of(0, 1)
    assert lone.format() == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{lone.checkpoint}"
    assert parse_proof(lone.format().encode()).verify(DATA[0], [LOG.verifier], ORIGIN).size == 1


@pytest.mark.parametrize("index", range(SIZE))
def test_every_leaf_verifies_from_its_file(index):
    proof = parse_proof(proof_of(index).format().encode())
    assert proof == proof_of(index)
    assert proof.verify(DATA[index], [LOG.verifier], ORIGIN).root == merkle.root_of(HASHES)


def test_cosignatures_and_extension_lines_are_kept_verbatim():
    text = Checkpoint(ORIGIN, SIZE, merkle.root_of(HASHES)).encode() + "extension\n"
    note = sign_note(text, [LOG, WITNESS])
    proof = parse_proof(InclusionProof(INDEX, PROOF.path, note).format().encode())
    assert proof.checkpoint == note
    assert proof.verify(DATA[INDEX], [LOG.verifier], ORIGIN).size == SIZE


MALFORMED = {
    "empty": "",
    "header only": "c2sp.org/tlog-proof@v1\n",
    "another version": FILE.replace("@v1", "@v2"),
    "no header": FILE.partition("\n")[2],
    "space after the header": FILE.replace("@v1", "@v1 "),
    "carriage returns": FILE.replace("\n", "\r\n"),
    "no index": FILE.replace("index 6\n", ""),
    "index without a number": FILE.replace("index 6", "index "),
    "leading zero": FILE.replace("index 6", "index 06"),
    "negative index": FILE.replace("index 6", "index -6"),
    "index of 2^63": FILE.replace("index 6", f"index {2**63}"),
    "index of 2^63 - 1": FILE.replace("index 6", f"index {2**63 - 1}"),
    "two index lines": FILE.replace("index 6\n", "index 6\nindex 6\n"),
    "empty extra": FILE.replace("index 6", "extra \nindex 6"),
    "extra that is not base64": FILE.replace("index 6", "extra ???\nindex 6"),
    "two extra lines": FILE.replace("index 6", "extra AA==\nextra AA==\nindex 6"),
    "extra after the index": FILE.replace("index 6", "index 6\nextra AA=="),
    "extra too large": FILE.replace("index 6", f"extra {'A' * 87384}\nindex 6"),
    "short hash": FILE.replace(HASH_LINE, "AAAA\n"),
    "non-canonical hash": FILE.replace(HASH_LINE, "A" * 42 + "B=\n"),
    "space after a hash": FILE.replace(HASH_LINE, HASH_LINE[:-1] + " \n"),
    "64 hashes": FILE.replace(HASH_LINE, HASH_LINE * 61),
    "no blank line": FILE.replace("\n\n" + ORIGIN, "\n" + ORIGIN),
    "two blank lines": FILE.replace("\n\n" + ORIGIN, "\n\n\n" + ORIGIN),
    "no checkpoint": FILE.partition("\n\n")[0] + "\n\n",
    "checkpoint without signature": FILE[: FILE.rindex("—")],
    "no final newline": FILE[:-1],
    "something after the checkpoint": FILE + "more\n",
    "too large": FILE + " " * module.MAX_PROOF_BYTES,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_file_is_refused(text):
    assert text != FILE
    with pytest.raises(MalformedError):
        parse_proof(text.encode())


def test_file_that_is_not_utf8_is_refused():
    with pytest.raises(MalformedError):
        parse_proof(FILE.encode() + b"\xff")


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"index": merkle.MAX_TREE_SIZE},
        {"path": (bytes(31),)},
        {"path": (bytes(32),) * 64},
        {"extra": bytes(65_536)},
        {"checkpoint": "no note\n"},
        {"checkpoint": PROOF.checkpoint.replace(ORIGIN, "\ud800")},
    ],
)
def test_malformed_proof_is_not_made(change):
    with pytest.raises(MalformedError):
        dataclasses.replace(PROOF, **change)


def test_largest_parts_fit_into_a_file():
    largest = dataclasses.replace(PROOF, index=merkle.MAX_TREE_SIZE - 1, path=(bytes(32),) * 63, extra=bytes(65_535))
    assert parse_proof(largest.format().encode()) == largest


# -- forgeries ----------------------------------------------------------------------------------------------


def test_another_leaf_is_refused():
    assert refuse(PROOF, data=DATA[INDEX + 1]) is Reason.PROOF_INVALID


def test_altered_leaf_is_refused():
    assert refuse(PROOF, data=DATA[INDEX] + b"\n") is Reason.PROOF_INVALID


@pytest.mark.parametrize("index", [0, 5, 7, SIZE - 1, SIZE, SIZE + 1, 10**18])
def test_another_index_is_refused(index):
    assert refuse(dataclasses.replace(PROOF, index=index)) is Reason.PROOF_INVALID


def test_truncated_extended_or_swapped_path_is_refused():
    path = PROOF.path
    for other in (path[1:], path[:-1], (), (*path, path[0]), path[::-1], (path[0],) * len(path)):
        assert refuse(dataclasses.replace(PROOF, path=other)) is Reason.PROOF_INVALID


@pytest.mark.parametrize("size", [1, 6, 7, 8, 12])
def test_proof_under_a_checkpoint_of_another_size_is_refused(size):
    assert refuse(dataclasses.replace(PROOF, checkpoint=signed(size))) is Reason.PROOF_INVALID


def test_proof_in_the_empty_tree_is_refused():
    empty = sign_checkpoint(Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT), [LOG])
    assert refuse(InclusionProof(0, (), empty)) is Reason.PROOF_INVALID


def test_proof_under_a_checkpoint_of_another_log_is_refused():
    assert refuse(PROOF, origin="other.example/log") is Reason.PROOF_INVALID


def test_proof_under_a_checkpoint_that_nobody_known_signed_is_refused():
    assert refuse(PROOF, verifiers=(WITNESS.verifier,)) is Reason.KEY_UNKNOWN


def test_proof_under_a_checkpoint_that_only_a_witness_signed_is_refused():
    text = Checkpoint(ORIGIN, SIZE, merkle.root_of(HASHES)).encode()
    proof = dataclasses.replace(PROOF, checkpoint=sign_note(text, [WITNESS]))
    assert refuse(proof, verifiers=(LOG.verifier, WITNESS.verifier)) is Reason.KEY_UNKNOWN


def test_proof_under_an_altered_checkpoint_is_refused():
    altered = PROOF.checkpoint.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")
    assert refuse(dataclasses.replace(PROOF, checkpoint=altered)) is Reason.SIGNATURE_INVALID


# -- properties ---------------------------------------------------------------------------------------------


@given(
    st.integers(0, merkle.MAX_TREE_SIZE - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(max_size=100),
)
def test_format_and_parse_round_trip(index, path, extra):
    proof = InclusionProof(index, tuple(path), PROOF.checkpoint, extra)
    assert parse_proof(proof.format().encode()) == proof


@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(st.integers(0, len(FILE.encode())), st.integers(0, 40), st.binary(max_size=40)).map(
            lambda cut: FILE.encode()[: cut[0]] + cut[2] + FILE.encode()[cut[0] + cut[1] :]
        ),
    )
)
def test_parse_raises_only_our_errors_and_reads_one_form(data):
    try:
        proof = parse_proof(data)
    except HeyanError:
        return
    assert proof.format().encode() == data
    with suppress(HeyanError):
        proof.verify(DATA[INDEX], [LOG.verifier], ORIGIN)
