"""Packing: versions, bounds, bombs, and what lengths tell."""

from __future__ import annotations

import random
from hashlib import sha256
from importlib.resources import files
from itertools import product

import pytest
import zstandard

from gateway.packing import Kind, pack, unpack
from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.state_text import read_state, write_padded, write_state
from gateway.stores.sqlite_leaves import from_row, to_row
from heyan.v1 import attestation_pb2, check_pb2, receipt_pb2

DATA = b"what is kept of a request " * 40
LIMIT = 10_000
each_kind = pytest.mark.parametrize("kind", Kind)


@each_kind
@pytest.mark.parametrize(
    "data", [b"", b"x", DATA, random.Random(1).randbytes(5_000)], ids=["none", "one", "many", "random"]
)
def test_what_is_packed_is_unpacked(kind: Kind, data: bytes) -> None:
    assert unpack(kind, pack(kind, data), LIMIT) == data


@each_kind
def test_anything_cut_short_or_longer_is_refused(kind: Kind) -> None:
    packed = pack(kind, DATA)
    for cut in (*range(0, len(packed), 7), len(packed) - 1):
        if packed[cut:].strip(b"\x00"):  # within the padding it is the padding that is short, which changes nothing
            with pytest.raises(MalformedError):
                unpack(kind, packed[:cut], LIMIT)
    for more in (b"\x01", pack(kind, DATA)):
        with pytest.raises(MalformedError):
            unpack(kind, packed + more, LIMIT)


@pytest.mark.parametrize(("at", "value"), [(0, 2), (0, 0), (1, 9), (5, 0), (9, 0)])
def test_other_version_kind_or_lengths_are_refused(at: int, value: int) -> None:
    packed = bytearray(pack(Kind.STATE, DATA))
    packed[at] = value
    with pytest.raises(MalformedError):
        unpack(Kind.STATE, bytes(packed), LIMIT)


@pytest.mark.parametrize("claimed", [1, 5_000, 100_000, (1 << 32) - 1])
def test_bomb_is_refused_whatever_length_it_claims(claimed: int) -> None:
    packed = bytearray(pack(Kind.STATE, bytes(50_000_000)))
    packed[2:6] = claimed.to_bytes(4, "big")
    with pytest.raises(MalformedError):
        unpack(Kind.STATE, bytes(packed), 1_000_000)


def test_frame_that_states_a_size_of_its_own_is_not_believed() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(50_000_000))
    packed = bytes([1, Kind.LEAF]) + (100).to_bytes(4, "big") + len(frame).to_bytes(4, "big") + frame
    with pytest.raises(MalformedError):
        unpack(Kind.LEAF, packed, LIMIT)


# -- what lengths tell ----------------------------------------------------------------------------------------


def state(outcomes: tuple[int, ...], seed: int) -> receipt_pb2.Receipt:
    """A state whose answers are these, with whatever is random of another draw."""
    made = random.Random(seed)
    receipt = receipt_pb2.Receipt(version=1, parts=[bytes([number]) * 90 for number in range(3)])
    for number, outcome in enumerate(outcomes):
        attestation = attestation_pb2.Attestation(
            query_digest=bytes(32),
            check=check_pb2.Check(check_id=f"c{number}", claim="hukou.child_registered@1", region="430102"),
            nonce=made.randbytes(16),
            outcome=outcome,  # type: ignore[arg-type]
            next_step=check_pb2.NEXT_STEP_NONE,
        )
        statement = attestation_pb2.Statement(attestation=attestation).SerializeToString()
        batch = attestation_pb2.StatementBatch(department="police", size=9, root=made.randbytes(32))
        item = receipt.statements.add(proof=attestation_pb2.StatementProof(statement=statement))
        item.proof.path.extend(made.randbytes(32) for _ in range(3))
        item.batch.batch = batch.SerializeToString()
        item.batch.signature.value = made.randbytes(64)
    return receipt


def kept_length(receipt: receipt_pb2.Receipt) -> int:
    return len(pack(Kind.STATE, *write_padded(receipt, ())))


def test_length_of_what_is_kept_tells_nothing_of_the_answers() -> None:
    outcomes = (check_pb2.OUTCOME_YES, check_pb2.OUTCOME_NO, check_pb2.OUTCOME_UNDETERMINED)
    for size in (1, 4):
        mixes = list(product(outcomes, repeat=size))
        assert len({kept_length(state(mix, seed)) for seed, mix in enumerate(mixes)}) == 1


def test_without_its_length_being_made_of_the_questions_alone_it_would_tell() -> None:
    """What the test above looks at is not blind."""
    mixes = list(product((check_pb2.OUTCOME_YES, check_pb2.OUTCOME_NO), repeat=4))
    assert len({len(pack(Kind.LEAF, write_state(state(mix, seed), ()))) for seed, mix in enumerate(mixes)}) > 1


# -- states ---------------------------------------------------------------------------------------------------


def receipt_of(*parts: bytes, query: bytes) -> receipt_pb2.Receipt:
    receipt = receipt_pb2.Receipt(version=1, parts=parts, application=query)
    receipt.statements.add(proof=attestation_pb2.StatementProof(statement=query + bytes(8) + query))
    return receipt


KNOWN = (bytes(range(32)), bytes(range(100, 132)))


@pytest.mark.parametrize(
    "query", [KNOWN[0], KNOWN[1] + KNOWN[0], b"\xc1\xc0\xc1\x00", b"\xc1\xc0\xc1" + KNOWN[0], b"", KNOWN[0][:-1]]
)
def test_state_reads_back_as_it_was_whatever_stands_in_it(query: bytes) -> None:
    receipt = receipt_of(b"part one", b"part two", query=query)
    written = write_state(receipt, KNOWN)
    assert read_state(written, KNOWN).SerializeToString(deterministic=True) == receipt.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(
    ("between", "request_id"),
    [
        (b"J\x20", b"\x01J\x20" + bytes(range(200, 229))),  # begins in the mark of the grant's digest
        (b"", b"\xc1\xc0\xc1\x01" + bytes(12)),
        (b"", b"\xc1\xc0" + KNOWN[1][:30]),
        (b"\xc1\xc0", bytes(range(16))),  # half a mark in front of a value
    ],
)
def test_request_id_chosen_to_cover_a_mark_does_not_make_the_state_unreadable(
    between: bytes, request_id: bytes
) -> None:
    known = (*KNOWN, request_id)
    receipt = receipt_of(b"part", query=request_id + KNOWN[1] + between + bytes(range(200, 232)) + between + KNOWN[0])
    assert read_state(write_state(receipt, known), known) == receipt


def test_state_of_before_is_read_as_the_receipt_that_it_is() -> None:
    receipt = receipt_of(b"part", query=KNOWN[0])
    assert read_state(receipt.SerializeToString(), ()) == receipt


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x01\x00\x00\x00\x09abc", b"\x02\x00\x00\x00\x00", b"\x01\x00\x00\x00\x00\xc1\xc0\xc1\x63"]
)
def test_state_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_state(data, KNOWN)


# -- leaves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", [b"\x08\x01short", b"\x08\x01" + bytes(500), b"\x01 begins as a packed one", b""])
def test_leaf_reads_back_from_its_row(leaf: bytes) -> None:
    assert from_row(to_row(leaf)) == leaf


def test_row_of_a_leaf_that_was_changed_is_the_stores_fault() -> None:
    row = bytearray(to_row(b"\x08\x01" + bytes(500)))
    row[-3] ^= 0xFF
    with pytest.raises(LogUnavailableError):
        from_row(bytes(row))


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("grants-1", "2504608ef62999584765c3cd75027ec935132a117c84125e4475889628a4e30c"),
        ("leaves-1", "2d68760f32d1c5fd870110ea003a18889ace5817634d75da087b262a79c2e8ed"),
        ("states-1", "2d3d95a4543b2f5b0505902a2ac7323ecd0bd21e21866690c71096f64f46697e"),
    ],
)
def test_dictionary_that_anything_was_packed_by_is_never_changed(name: str, digest: str) -> None:
    """What was packed by it would be unreadable: a new dictionary gets a new name."""
    data = files("gateway").joinpath("dictionaries", f"{name}.zdict").read_bytes()
    assert sha256(data).hexdigest() == digest
