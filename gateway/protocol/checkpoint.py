"""Checkpoints of the log (C2SP tlog-checkpoint v1.0.0): a signed note that fixes one size and root of one tree.

    <origin>
    <size, decimal>
    <base64(root)>

Invariants: Heyan's key name is its origin, so a checkpoint counts as the log's only if a known key *of that name*
signed it plainly (Ed25519, type 0x01), however many witnesses did, and whatever else that name signed: a log's
ML-DSA-44 signature stands beside the plain one and never for it; whoever cosigns or checks a cosignature takes the
note's own text, not `encode()`.
Whether two checkpoints are consistent, and which witnesses suffice, is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.protocol.checkpoint_text import Checkpoint, parse_checkpoint, parse_decimal
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.note import ED25519, Note, Signer, VerifierKey, open_note, parse_note, sign_note
from gateway.protocol.reasons import Reason

__all__ = [
    "Checkpoint",
    "checkpoint_of",
    "open_checkpoint",
    "origin_of",
    "parse_checkpoint",
    "parse_decimal",
    "sign_checkpoint",
    "unverified_checkpoint",
]


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
    no verified signature is a plain one by a key named `origin` (KEY_UNKNOWN).
    """
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != origin:
        raise ForgedError(Reason.PROOF_INVALID, "the checkpoint is of another origin")
    if not any(key.name == origin and key.algorithm == ED25519 for key in note.keys):
        raise ForgedError(Reason.KEY_UNKNOWN, "no known key of the log signed the checkpoint")
    return checkpoint


def unverified_checkpoint(note: str | bytes) -> Checkpoint:
    """What a note says, whoever signed it; MalformedError if it is no checkpoint.

    A lone surrogate is no text: passed on, it is refused with everything else that is not UTF-8.
    """
    data = note.encode(errors="surrogatepass") if isinstance(note, str) else note
    return parse_checkpoint(parse_note(data).text)


def origin_of(note: str) -> str:
    """The origin that a signed checkpoint bears, not verified; MalformedError if it is none."""
    return unverified_checkpoint(note).origin
