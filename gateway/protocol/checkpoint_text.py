"""The text of a checkpoint (C2SP tlog-checkpoint v1.0.0), before anybody has signed it.

    <origin>
    <size, decimal>
    <base64(root)>

Extension lines are read past and never written, since some witnesses refuse them. Signing and opening are in
`gateway.protocol.checkpoint`; this lies below the notes, because a cosignature is over such a text and no other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.protocol.codec import decode_base64, encode_base64
from gateway.protocol.errors import MalformedError
from gateway.protocol.merkle import EMPTY_ROOT, HASH_BYTES, MAX_TREE_SIZE

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


def parse_decimal(text: str, field: str) -> int:
    """An ASCII decimal without leading zeros, 0 to MAX_TREE_SIZE; MalformedError names `field`."""
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > MAX_TREE_SIZE:
        raise MalformedError.at(field, f"must be a decimal without leading zeros, at most {MAX_TREE_SIZE}")
    return number
