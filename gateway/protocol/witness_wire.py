"""What a log and a witness say to each other (C2SP tlog-witness): `add-checkpoint` and its answers, as bytes.

    old <size>
    <base64 hash> …            at most 63, the consistency proof
                               an empty line
    <the signed checkpoint>

Strict as a server: one form of each request, everything else is malformed. Tolerant as a client: witnesses answer by
three versions of the specification, so an answer is read for what it can mean. Nothing is verified here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus

from gateway.protocol.checkpoint import parse_decimal
from gateway.protocol.errors import MalformedError
from gateway.protocol.merkle import HASH_BYTES
from gateway.protocol.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    Signature,
    decode_base64,
    encode_base64,
    parse_note,
)

ADD_CHECKPOINT = "/add-checkpoint"
MAX_PROOF_HASHES = 63
"""Hashes of a request (tlog-witness); no tree of MAX_TREE_SIZE leaves needs more."""
MAX_REQUEST_BYTES = 24 + 45 * MAX_PROOF_HASHES + 1 + MAX_NOTE_BYTES
"""Bytes of a request: the old size, a line of 45 for each hash, an empty line, the note at its own bound."""
MAX_ANSWER_BYTES = MAX_NOTE_BYTES
"""Bytes of an answer: signature lines, of which a note holds so many."""
MAX_RETRY_AFTER = 3_600.0
"""Seconds for which a witness may send us away: longer than that, and it is asked again all the same."""
SIZE_TYPE = "text/x.tlog.size"

_OLD = "old "
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: the size that the witness is thought to hold, the proof from there, and the checkpoint verbatim."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: str

    def format(self) -> bytes:
        """The body of the request."""
        proof = "".join(encode_base64(item) + "\n" for item in self.proof)
        return f"{_OLD}{self.old}\n{proof}\n{self.checkpoint}".encode()

    @property
    def note(self) -> Note:
        """The checkpoint taken apart, nothing of it verified."""
        return parse_note(self.checkpoint.encode())


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Read the body of a request; MalformedError. Its checkpoint is a note; what the note says is not looked at."""
    if len(data) > MAX_REQUEST_BYTES:
        raise MalformedError.at("body", f"must not exceed {MAX_REQUEST_BYTES} bytes")
    try:
        head, blank, checkpoint = data.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise MalformedError.at("body", "must be UTF-8") from error
    if not blank or not head.startswith(_OLD):
        raise MalformedError.at("body", "must be an old size line, a proof, an empty line and a checkpoint")
    old, *lines = head.split("\n")
    if len(lines) > MAX_PROOF_HASHES:
        raise MalformedError.at("proof", f"must not exceed {MAX_PROOF_HASHES} lines")
    proof = tuple(decode_base64(line, "proof") for line in lines)
    if any(len(item) != HASH_BYTES for item in proof):
        raise MalformedError.at("proof", f"must be hashes of {HASH_BYTES} bytes")
    request = AddCheckpoint(parse_decimal(old.removeprefix(_OLD), "old"), proof, checkpoint)
    request.note  # noqa: B018 - raises if it is none
    return request


def checkpoint_path(origin: str) -> str:
    """Where a witness serves the newest checkpoint that it cosigned of a log, under its monitoring prefix."""
    return f"{log_path(origin)}/checkpoint"


def log_path(origin: str) -> str:
    """The same without `/checkpoint`: a log of which a witness shows no tiles."""
    return f"/{sha256(origin.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Cosignatures:
    """200: signature lines, of any keys."""

    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class HoldsSize:
    """409: the size that the witness holds. The very size that was said means, in v1.0.0, that it has another root."""

    size: int


@dataclass(frozen=True, slots=True)
class Refused:
    """400, 403, 404, 422 and the like: to be looked into by somebody."""

    status: int


@dataclass(frozen=True, slots=True)
class ComeBack:
    """408, 429 or 5xx: later, perhaps after so many seconds."""

    status: int
    retry_after: float | None


Answer = Cosignatures | HoldsSize | Refused | ComeBack


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What an answer says; MalformedError for a 200 or 409 whose body says nothing.

    Carriage returns and empty lines are read past, and a Content-Type is not asked for: none of them changes a meaning.
    """
    if status == HTTPStatus.OK:
        lines = [line.rstrip("\r") for line in _text(body).split("\n") if line.strip()]
        if not 0 < len(lines) <= MAX_SIGNATURES:
            raise MalformedError.at("cosignatures", f"must be 1 to {MAX_SIGNATURES} lines")
        return Cosignatures(tuple(map(Signature.parse, lines)))
    if status == HTTPStatus.CONFLICT:
        return HoldsSize(parse_decimal(_text(body).strip(), "size"))
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ComeBack(status, _seconds(headers.get("Retry-After", "")))
    return Refused(status)


def _text(body: bytes) -> str:
    if len(body) > MAX_ANSWER_BYTES:
        raise MalformedError.at("body", f"must not exceed {MAX_ANSWER_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise MalformedError.at("body", "must be UTF-8") from error


def _seconds(value: str) -> float | None:
    """Seconds of a Retry-After; None for a date, or for nothing that can be read."""
    text = value.strip()
    return min(float(text), MAX_RETRY_AFTER) if text.isascii() and text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004
