"""Inclusion proofs as files (C2SP tlog-proof v1): that a leaf stands in the log, checkable offline.

    c2sp.org/tlog-proof@v1
    [extra <base64>]
    index <decimal>
    <base64 hash, leaf's sibling first> …

    <the signed checkpoint, verbatim>

Invariants: the checkpoint is kept and written exactly as it came, so cosignatures stay good; the index is
below the checkpoint's size, and the path has exactly the shape of that index and size; `extra` is signed by
nobody. Whether enough witnesses cosigned is a policy's judgement over the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.protocol.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_decimal,
    unverified_checkpoint,
)
from gateway.protocol.errors import MalformedError
from gateway.protocol.merkle import HASH_BYTES, MAX_PATH_HASHES, MAX_TREE_SIZE, leaf_hash, verify_inclusion
from gateway.protocol.note import MAX_NOTE_BYTES, VerifierKey, decode_base64, encode_base64
from gateway.protocol.reasons import Reason

MAX_EXTRA_BYTES = 65_535
"""Bytes of opaque extra data: as much as the largest leaf of a tiled log."""
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 4 * MAX_EXTRA_BYTES // 3 + 64 * MAX_PATH_HASHES
"""Bytes of a file: its parts at their own bounds, base64 taking 4 bytes for 3 and a hash's line 45."""

_HEADER = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = "index "


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Leaf `index`, its path (32-byte hashes, leaf to root) and the signed checkpoint it leads to.

    `checkpoint` is the note verbatim; `extra` is opaque and unauthenticated, empty for none. Raises
    MalformedError if a part is outside its bound or the checkpoint cannot be read.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_TREE_SIZE:
            raise MalformedError.at("index", f"must be 0 or more and below {MAX_TREE_SIZE}")
        if len(self.path) > MAX_PATH_HASHES or any(len(item) != HASH_BYTES for item in self.path):
            raise MalformedError.at("path", f"must be at most {MAX_PATH_HASHES} hashes of {HASH_BYTES} bytes")
        if len(self.extra) > MAX_EXTRA_BYTES:
            raise MalformedError.at("extra", f"must not exceed {MAX_EXTRA_BYTES} bytes")
        unverified_checkpoint(self.checkpoint)

    def format(self) -> str:
        """The text of the file, which `parse_proof` reads."""
        return format_proof(self.index, self.path, self.checkpoint, self.extra)

    def verify(self, leaf_data: bytes, verifiers: Iterable[VerifierKey], origin: str) -> Checkpoint:
        """Prove that the log `origin` holds `leaf_data` at `index`, and return the checkpoint that says so.

        Raises the errors of `open_checkpoint`, and ForgedError (PROOF_INVALID) if the path does not hold.
        """
        checkpoint = open_checkpoint(self.checkpoint.encode(), verifiers, origin)
        verify_inclusion(leaf_hash(leaf_data), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint


def format_proof(index: int, path: Iterable[bytes], checkpoint: str, extra: bytes = b"") -> str:
    """The text of the file of parts that are right: whoever made path and checkpoint need not read them again."""
    said = f"{_EXTRA}{encode_base64(extra)}\n" if extra else ""
    lines = "".join([encode_base64(item) + "\n" for item in path])
    return f"{_HEADER}\n{said}{_INDEX}{index}\n{lines}\n{checkpoint}"


def parse_proof(data: bytes) -> InclusionProof:
    """Read a proof file. Raises MalformedError; verifies neither signature nor path."""
    if len(data) > MAX_PROOF_BYTES:
        raise MalformedError.at("proof", f"must not exceed {MAX_PROOF_BYTES} bytes", Reason.MESSAGE_TOO_LARGE)
    try:
        head, _, checkpoint = data.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise MalformedError.at("proof", "must be UTF-8") from error
    header, *lines = head.split("\n")
    if header != _HEADER:
        raise MalformedError.at("proof", f"must begin with the line {_HEADER}")
    extra = b""
    if lines and lines[0].startswith(_EXTRA):
        extra = decode_base64(lines.pop(0).removeprefix(_EXTRA), "extra")
        if not extra:
            raise MalformedError.at("extra", "must not be empty: without extra data there is no such line")
    if not lines or not lines[0].startswith(_INDEX):
        raise MalformedError.at("index", "must follow the header and the extra line")
    index = parse_decimal(lines.pop(0).removeprefix(_INDEX), "index")
    path = tuple(decode_base64(line, "path") for line in lines[: MAX_PATH_HASHES + 1])
    return InclusionProof(index, path, checkpoint, extra)
