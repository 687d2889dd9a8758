"""Checkpoints of the log (C2SP tlog-checkpoint v1.0.0): a signed note that fixes one size and root of one tree.

    <origin>
    <size, decimal>
    <base64(root)>

Invariants: Heyan's key name is its origin, so a checkpoint counts as the log's only if a known key *of that
name* signed it, however many witnesses did; extension lines are read past and never written, since some
witnesses refuse them; whoever cosigns or checks a cosignature takes the note's own text, not `encode()`.
Whether two checkpoints are consistent, and which witnesses suffice, is judged elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.merkle import EMPTY_ROOT, HASH_BYTES, MAX_TREE_SIZE
from gateway.protocol.note import Note, Signer, VerifierKey, decode_base64, encode_base64, open_note, sign_note
from gateway.protocol.reasons import Reason

_FIXED_LINES = 3
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_ORIGIN = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root (32 bytes) of the first `size` leaves of the log named `origin`; raises MalformedError."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin):
            raise MalformedError.at("origin", "must not be empty or hold control characters")
        if not 0 <= self.size <= MAX_TREE_SIZE:
            raise MalformedError.at("size", f"must be 0 to {MAX_TREE_SIZE}")
        if len(self.root) != HASH_BYTES:
            raise MalformedError.at("root", f"must be {HASH_BYTES} bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedError.at("root", "must be the empty root at size 0")

    def encode(self) -> str:
        """The note text: three lines, each ending in a newline."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a note text, tolerating non-empty extension lines. Raises MalformedError; verifies no signature."""
    *lines, rest = text.split("\n")
    if rest or "" in lines or len(lines) < _FIXED_LINES:
        raise MalformedError.at("checkpoint", "must be three or more lines, none empty, each ending in a newline")
    origin, size, root = lines[:_FIXED_LINES]
    return Checkpoint(origin, parse_decimal(size, "size"), decode_base64(root, "root"))


def sign_checkpoint(checkpoint: Checkpoint, signers: Iterable[Signer]) -> str:
    """The signed note; two signers under the same name while a key is rotated.

    Raises MalformedError if there is no signer or one bears another name than the origin.
    """
    keys = tuple(signers)
    if any(key.verifier.name != checkpoint.origin for key in keys):
        raise MalformedError.at("signers", "must bear the origin as their name", Reason.CONFIGURATION_INVALID)
    return sign_note(checkpoint.encode(), keys)


def open_checkpoint(note: bytes, verifiers: Iterable[VerifierKey], origin: str) -> Checkpoint:
    """Read and verify the signed checkpoint of the log `origin`; `verifiers` may hold witnesses' keys as well.

    Raises the errors of `open_note` and of `checkpoint_of`.
    """
    return checkpoint_of(open_note(note, verifiers), origin)


def checkpoint_of(note: Note, origin: str) -> Checkpoint:
    """The checkpoint of an opened note, for callers who also count its verified cosignatures.

    Raises MalformedError if its text is no checkpoint, ForgedError if it is of another origin (PROOF_INVALID) or
    no verified signature is by a key named `origin` (KEY_UNKNOWN).
    """
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != origin:
        raise ForgedError(Reason.PROOF_INVALID, "the checkpoint is of another origin")
    if all(signature.name != origin for signature in note.verified):
        raise ForgedError(Reason.KEY_UNKNOWN, "no known key of the log signed the checkpoint")
    return checkpoint


def parse_decimal(text: str, field: str) -> int:
    """An ASCII decimal without leading zeros, 0 to MAX_TREE_SIZE; MalformedError names `field`."""
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > MAX_TREE_SIZE:
        raise MalformedError.at(field, f"must be a decimal without leading zeros, at most {MAX_TREE_SIZE}")
    return number
