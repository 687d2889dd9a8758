"""Whether a receipt's checkpoints bear the log's second, post-quantum signature, for a reader who cares.

`verify_receipt` verifies such a signature wherever it finds one of a known key, and asks for none: whoever passes a
receipt on could have left it out, and today the Ed25519 signature suffices. `post_quantum_of` says what is there, so
that a reader may ask for more:

- by the registry's keys: as good as the registry, which is itself signed with Ed25519;
- by a key that the reader pinned while Ed25519 stood: as good as that key, whatever the registry says.

A receipt that is not verified proves nothing here either: call `verify_receipt` first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.protocol.checkpoint import origin_of
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import Algorithm
from gateway.protocol.log_keys import has_post_quantum, verifiers_of
from gateway.protocol.note import ML_DSA_44, VerifierKey, open_note
from gateway.protocol.proof import parse_proof
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.protocol.registry import Registry
from heyan.v1 import receipt_pb2


@dataclass(frozen=True, slots=True)
class PostQuantum:
    """`signed`: every checkpoint of the receipt bears the signature. `expected`: the registry names a key for it."""

    signed: bool
    expected: bool

    def require(self) -> None:
        """ForgedError (POST_QUANTUM_MISSING) unless it is there."""
        if not self.signed:
            detail = "left out, though the registry names a key for it" if self.expected else "this log has none"
            raise ForgedError(Reason.POST_QUANTUM_MISSING, detail)


def post_quantum_of(
    receipt: receipt_pb2.Receipt,
    registry: Registry,
    gateway: str,
    last_logged: float,
    pinned: Collection[VerifierKey] = (),
) -> PostQuantum:
    """What a verified receipt bears of the second signature.

    `gateway` is the query's (SPIFFE ID), `last_logged` the time of its last leaf in seconds since the epoch. With
    `pinned` only those keys count. Raises ForgedError (SIGNATURE_INVALID) if a signature of a known key is wrong.
    """
    notes = {parse_proof(item.proof.encode()).checkpoint for item in leaf_proofs(receipt)}
    listed = registry.checkpoint_keys(gateway, last_logged)
    signed = all(_is_signed(note, verifiers_of(listed, origin_of(note)), pinned) for note in notes)
    due = any(key.algorithm is Algorithm.ML_DSA_44 for key in registry.log_keys(gateway, last_logged))
    return PostQuantum(signed, due)


def _is_signed(note: str, listed: Collection[VerifierKey], pinned: Collection[VerifierKey]) -> bool:
    origin = origin_of(note)
    opened = open_note(note.encode(), {*listed, *pinned})
    return has_post_quantum(set(opened.keys) & set(pinned or listed), origin)


def pinned_key(vkey: str) -> VerifierKey:
    """A log's ML-DSA-44 key that a reader pins; MalformedError (CONFIGURATION_INVALID) if it is none."""
    key = VerifierKey.parse(vkey)
    if key.algorithm != ML_DSA_44:
        raise MalformedError.at("vkey", "must be of type 0x06 (ML-DSA-44)", Reason.CONFIGURATION_INVALID)
    return key
