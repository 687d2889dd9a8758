"""Texts of the log: signed notes, checkpoints, inclusion proofs, keys, and Merkle paths."""

from __future__ import annotations

from gateway.protocol.checkpoint import Checkpoint, checkpoint_of, open_checkpoint, parse_checkpoint, parse_decimal
from gateway.protocol.merkle import HASH_BYTES, verify_consistency, verify_inclusion
from gateway.protocol.note import (
    Note,
    Signature,
    SignerKey,
    VerifierKey,
    decode_base64,
    encode_base64,
    open_note,
    parse_note,
)
from gateway.protocol.proof import InclusionProof, parse_proof
from tests.federation import LOG_ORIGIN
from tests.fuzz.target import Target, text
from tests.protocol.casework import genuine, log_signer

_SIGNER = log_signer()
_VERIFIERS = (_SIGNER.verifier,)


def _note_is_written_again(data: bytes, value: object) -> bool:
    """But for repeated lines, which are listed once."""
    assert isinstance(value, Note)
    lines = "".join(item.format() + "\n" for item in value.unverified)
    again = f"{value.text}\n{lines}".encode()
    return again == data or set(again.split(b"\n")) == set(data.split(b"\n"))


def _formats_back(data: bytes, value: object) -> bool:
    assert isinstance(value, (InclusionProof, Signature, VerifierKey, SignerKey))
    return value.format() == text(data)


def _opened(data: bytes) -> object:
    return checkpoint_of(open_note(data, _VERIFIERS), LOG_ORIGIN)


def _proven(data: bytes) -> object:
    return parse_proof(data).verify(_LEAF, _VERIFIERS, LOG_ORIGIN)


_RECEIPT = genuine().receipt()
_LEAF = _RECEIPT.leaves[0].leaf


def _numbers_and_hashes(data: bytes) -> tuple[int, int, tuple[bytes, ...]]:
    sizes = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")
    return *sizes, tuple(data[place : place + HASH_BYTES] for place in range(16, len(data), HASH_BYTES))


def _inclusion(data: bytes) -> object:
    index, size, (leaf, root, *path) = _padded(data)
    return verify_inclusion(leaf, index, size, path, root)


def _consistency(data: bytes) -> object:
    old, new, (first, second, *path) = _padded(data)
    return verify_consistency(old, first, new, second, path)


def _padded(data: bytes) -> tuple[int, int, tuple[bytes, ...]]:
    first, second, hashes = _numbers_and_hashes(data)
    return first, second, (*hashes, *([bytes(HASH_BYTES)] * max(0, 2 - len(hashes))))


def _checkpoint_is_a_prefix(data: bytes, value: object) -> bool:
    assert isinstance(value, Checkpoint)
    return text(data).startswith(value.encode())


def targets() -> tuple[Target, ...]:
    proof = _RECEIPT.leaves[0].proof.encode()
    note = proof.partition(b"\n\n")[2]
    body = note.partition(b"\n\n")[0] + b"\n"
    vkey, skey = _SIGNER.verifier.format(), _SIGNER.format()
    sizes = (3).to_bytes(8, "big") + (7).to_bytes(8, "big")
    return (
        Target("note", parse_note, (note,), _note_is_written_again),
        Target("opened note", _opened, (note,)),
        Target("checkpoint", lambda data: parse_checkpoint(text(data)), (body,), _checkpoint_is_a_prefix),
        Target("signed checkpoint", lambda data: open_checkpoint(data, _VERIFIERS, LOG_ORIGIN), (note,)),
        Target("tlog-proof", parse_proof, (proof,), _formats_back),
        Target("proven leaf", _proven, (proof,)),
        Target("signature line", lambda data: Signature.parse(text(data)), (note.split(b"\n")[-2],), _formats_back),
        Target("vkey", lambda data: VerifierKey.parse(text(data)), (vkey.encode(),), _formats_back),
        Target("skey", lambda data: SignerKey.parse(text(data)), (skey.encode(),), _formats_back),
        Target("decimal", lambda data: parse_decimal(text(data), "x"), (b"0", b"9223372036854775807"), _decimal),
        Target("base64", lambda data: decode_base64(text(data), "x"), (b"AQIDBA==",), _base64),
        Target("inclusion path", _inclusion, (sizes + bytes(160),)),
        Target("consistency path", _consistency, (sizes + bytes(160),)),
    )


def _decimal(data: bytes, value: object) -> bool:
    return str(value).encode() == data


def _base64(data: bytes, value: object) -> bool:
    assert isinstance(value, bytes)
    return encode_base64(value).encode() == data
