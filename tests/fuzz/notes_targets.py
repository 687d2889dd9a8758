"""Texts of the log: signed notes, checkpoints, inclusion proofs, keys, Merkle paths, and tiles."""

from __future__ import annotations

from gateway.protocol.checkpoint import Checkpoint, checkpoint_of, open_checkpoint, parse_checkpoint, parse_decimal
from gateway.protocol.cosignature import CosignerKey, as_cosigner, cosigned_at
from gateway.protocol.merkle import HASH_BYTES, verify_consistency, verify_inclusion
from gateway.protocol.note import (
    COSIGNATURE,
    ML_DSA_44,
    Note,
    Signature,
    SignerKey,
    VerifierKey,
    decode_base64,
    encode_base64,
    open_note,
    parse_note,
    sign_note,
)
from gateway.protocol.proof import InclusionProof, parse_proof
from gateway.protocol.tiles import Bundle, Tile, decode_entries, encode_entries, parse_path
from tests.federation import LOG_ORIGIN
from tests.fuzz.target import Target, text
from tests.protocol.casework import genuine, log_signer

_BUNDLE = Bundle(7, 2)
_SIGNER = log_signer()
_VERIFIERS = (_SIGNER.verifier,)
_COSIGNERS = tuple(CosignerKey.from_seed("w", bytes(32), algorithm) for algorithm in (COSIGNATURE, ML_DSA_44))


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


def _cosigned(data: bytes) -> object:
    opened = open_note(data, (*_VERIFIERS, *(key.verifier for key in _COSIGNERS)))
    return [cosigned_at(item) for key, item in zip(opened.keys, opened.verified, strict=True) if key.algorithm != 1]


def _timed(data: bytes) -> object:
    return cosigned_at(Signature.parse(text(data)))


def _is_a_time(_data: bytes, value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 63


def _cosigner(data: bytes) -> object:
    return as_cosigner(text(data))


def _is_a_cosigner(_data: bytes, value: object) -> bool:
    return isinstance(value, VerifierKey) and value.algorithm in (COSIGNATURE, ML_DSA_44)


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
    lines = [sign_note(body.decode(), [key.at(7)]).splitlines(keepends=True)[-1].encode() for key in _COSIGNERS]
    vkeys = (vkey.encode(), *(key.verifier.format().encode() for key in _COSIGNERS))
    sizes = (3).to_bytes(8, "big") + (7).to_bytes(8, "big")
    return (
        Target("note", parse_note, (note,), _note_is_written_again),
        Target("opened note", _opened, (note,)),
        Target("cosigned note", _cosigned, (note + b"".join(lines), note + lines[0])),
        Target("time of a cosignature", _timed, tuple(line.rstrip(b"\n") for line in lines), _is_a_time),
        Target("vkey of a witness", _cosigner, vkeys, _is_a_cosigner),
        Target("checkpoint", lambda data: parse_checkpoint(text(data)), (body,), _checkpoint_is_a_prefix),
        Target("signed checkpoint", lambda data: open_checkpoint(data, _VERIFIERS, LOG_ORIGIN), (note,)),
        Target("tlog-proof", parse_proof, (proof,), _formats_back),
        Target("proven leaf", _proven, (proof,)),
        Target("signature line", lambda data: Signature.parse(text(data)), (note.split(b"\n")[-2],), _formats_back),
        Target("vkey", lambda data: VerifierKey.parse(text(data)), vkeys, _formats_back),
        Target("skey", lambda data: SignerKey.parse(text(data)), (skey.encode(),), _formats_back),
        Target("decimal", lambda data: parse_decimal(text(data), "x"), (b"0", b"9223372036854775807"), _decimal),
        Target("base64", lambda data: decode_base64(text(data), "x"), (b"AQIDBA==",), _base64),
        Target("inclusion path", _inclusion, (sizes + bytes(160),)),
        Target("tile path", lambda data: parse_path(text(data)), (b"tile/entries/x001/x234/067.p/8",), _path),
        Target("entry bundle", lambda data: decode_entries(_BUNDLE, data), (encode_entries([b"one", b""]),), _entries),
        Target("consistency path", _consistency, (sizes + bytes(160),)),
    )


def _path(data: bytes, value: object) -> bool:
    assert isinstance(value, (Tile, Bundle))
    return value.path.encode() == data


def _entries(data: bytes, value: object) -> bool:
    assert isinstance(value, list)
    return encode_entries(value) == data and _BUNDLE.cut(data + b"more") == data


def _decimal(data: bytes, value: object) -> bool:
    return str(value).encode() == data


def _base64(data: bytes, value: object) -> bool:
    assert isinstance(value, bytes)
    return encode_base64(value).encode() == data
