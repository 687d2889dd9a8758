"""The state of a request as it is packed: its receipt without leaves, and without what follows from the rest.

    form (1) ‖ length of the parts (4) ‖ the parts ‖ everything else, in which known values are marks

Digests do not compress, and the digests of query, grant and parts stand in every statement. They are known before the
state is read: from its row in the store, or from the parts. Where marks would not read back as what they replaced
(because the mark stands in the text, or a value that its requester chose covers another) nothing is replaced. What was
kept before has no form: it begins as a receipt does.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import shake_256

from gateway.packing import Kind as Packed
from gateway.packing import length_like
from gateway.protocol.codec import encode, parse
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import MalformedError
from heyan.v1 import attestation_pb2, check_pb2, receipt_pb2

MAX_STATE = 4 << 20
"""Bytes of what is kept of a request: 32 checks with their proofs take about 60,000."""

_AS_IT_IS, _MARKED = 0, 1
_RECEIPT = 8
"""The first byte of a receipt: the tag of its version."""
_MARK = b"\xc1\xc0\xc1"
"""In front of a value's number: no UTF-8 text has it."""
_LENGTH_BYTES = 4
_SLACK, _SLACK_EACH = 24, 2
"""Bytes by which one random state may pack worse than another of the same shape, and more for each statement: of 300
of five to 16 answers none took half of it."""


_FILLING = shake_256(b"heyan.v1.Filling").digest(1 << 16)


def write_padded(receipt: receipt_pb2.Receipt, known: Sequence[bytes]) -> tuple[bytes, int]:
    """What `write_state` writes, and to how many bytes at least it is packed: its answers have no part in that."""
    parts, values, rest = (
        encode(receipt_pb2.Receipt(parts=receipt.parts)),
        _values(receipt.parts, known),
        _rest(receipt),
    )
    state = _written(rest, parts, values)
    _tell_nothing(rest)
    slack = _SLACK + _SLACK_EACH * len(rest.statements)
    return state, length_like(Packed.STATE, _written(rest, parts, values), slack)


def write_state(receipt: receipt_pb2.Receipt, known: Sequence[bytes]) -> bytes:
    """A receipt without leaves, as it is packed; `known` are values of at least 16 bytes that its reader has."""
    parts = encode(receipt_pb2.Receipt(parts=receipt.parts))
    return _written(_rest(receipt), parts, _values(receipt.parts, known))


def _rest(receipt: receipt_pb2.Receipt) -> receipt_pb2.Receipt:
    """A copy of everything but the parts."""
    rest = receipt_pb2.Receipt()
    rest.CopyFrom(receipt)
    rest.ClearField("parts")
    return rest


def _written(rest: receipt_pb2.Receipt, parts: bytes, values: Sequence[bytes]) -> bytes:
    form, text = _AS_IT_IS, encode(rest)
    marked = text
    for number, value in enumerate(values):
        marked = marked.replace(value, _MARK + bytes([number]))
    if _reads_back(marked, values, text):
        form, text = _MARKED, marked
    return bytes([form]) + len(parts).to_bytes(_LENGTH_BYTES, "big") + parts + text


def read_state(data: bytes, known: Sequence[bytes]) -> receipt_pb2.Receipt:
    """What `write_state` made, or what was kept before it; MalformedError."""
    if data[:1] == bytes([_RECEIPT]):
        return parse(receipt_pb2.Receipt, data, MAX_STATE)
    begin = 1 + _LENGTH_BYTES
    end = begin + int.from_bytes(data[1:begin], "big")
    if len(data) < end or data[0] not in (_AS_IT_IS, _MARKED):
        raise MalformedError.at("state", "must have a form that is known, and be whole")
    parts, text = parse(receipt_pb2.Receipt, data[begin:end], MAX_STATE).parts, data[end:]
    if data[0] == _MARKED:
        text = _unmarked(text, _values(parts, known))
    receipt = parse(receipt_pb2.Receipt, text, MAX_STATE)
    receipt.parts.extend(parts)
    return receipt


def _tell_nothing(shape: receipt_pb2.Receipt) -> None:
    """Make a receipt say nothing of what was answered: it follows from the questions, and who answered together.

    What depends on answers is replaced, alike for alike: outcomes and next steps by those of YES, and nonces, paths,
    roots and signatures by what is as random. A length that was made of this tells no more than the questions do.
    """
    fillers: dict[bytes, bytes] = {}

    def filler(value: bytes) -> bytes:
        made = fillers.get(value)
        if made is None:
            at = 64 * len(fillers) % (len(_FILLING) - 64)
            made = fillers[value] = _FILLING[at : at + len(value)]
        return made

    for item in shape.statements:
        statement = attestation_pb2.Statement.FromString(item.proof.statement)
        if statement.HasField("attestation"):
            statement.attestation.outcome = check_pb2.OUTCOME_YES
            statement.attestation.next_step = check_pb2.NEXT_STEP_NONE
            statement.attestation.nonce = filler(statement.attestation.nonce)
        elif statement.HasField("refusal"):
            statement.refusal.nonce = filler(statement.refusal.nonce)
        item.proof.statement = statement.SerializeToString()
        item.proof.path[:] = [filler(node) for node in item.proof.path]
        batch = attestation_pb2.StatementBatch.FromString(item.batch.batch)
        batch.root = filler(batch.root)
        item.batch.batch = batch.SerializeToString()
        item.batch.signature.value = filler(item.batch.signature.value)


def _values(parts: Sequence[bytes], known: Sequence[bytes]) -> list[bytes]:
    return [*known, *(digest(Kind.PART, part) for part in parts)]


def _reads_back(marked: bytes, values: Sequence[bytes], text: bytes) -> bool:
    """Whether marks stand for what they were put for. Requesters choose some values, and could make them overlap."""
    try:
        return _unmarked(marked, values) == text
    except MalformedError:
        return False


def _unmarked(text: bytes, values: Sequence[bytes]) -> bytes:
    first, *marked = text.split(_MARK)
    found = [first]
    for piece in marked:
        if not piece or piece[0] >= len(values):
            raise MalformedError.at("state", "names a value that there is not")
        found += (values[piece[0]], piece[1:])
    return b"".join(found)
