"""The keys by which a log's checkpoints count: the registry's log keys, as C2SP verifier keys under an origin.

The registry's word on time is kept: which keys count for a checkpoint at a time, and which may prove a leaf of an
earlier one. Every reader of checkpoints (receipts, nodes, auditors) takes its verifiers from here.

A log signs with every Ed25519 key of its that counts (two while one follows the other), of which a reader needs one,
and with its ML-DSA-44 key if it has one. That second signature is verified wherever its key is known, and spoils the
note if it is wrong. It is required nowhere here, so that whoever passes a note on can leave it out:
`gateway.protocol.post_quantum` is for readers who ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.protocol.keys import Algorithm, PublicKey
from gateway.protocol.note import ED25519, ML_DSA_44, VerifierKey
from gateway.protocol.registry import Registry

UNKNOWN_TIME = -1.0
"""For `proof_verifiers`, where nobody can say what the newest leaf is: the keys that were never compromised."""

_TYPES = {Algorithm.ED25519: ED25519, Algorithm.ML_DSA_44: ML_DSA_44}
"""Signature types by the registry's algorithms of log keys; it lists no others for a log."""


def current_verifiers(registry: Registry, gateway: str, origin: str, now: float) -> tuple[VerifierKey, ...]:
    """Verifiers of a checkpoint that a gateway (SPIFFE ID) signs at `now` for the log `origin`."""
    return verifiers_of(registry.log_keys(gateway, now), origin)


def proof_verifiers(registry: Registry, gateway: str, origin: str, leaf_time: float) -> tuple[VerifierKey, ...]:
    """Verifiers of the checkpoint under which a leaf of `leaf_time` is proven: later keys count too.

    With `leaf_time` 0.0: every key that the registry names, ended and compromised ones too. That is enough to begin to
    read a log, and never to believe it: judge the checkpoint again by the time of its newest leaf. Who cannot, because
    the leaf is not at hand, asks for those of UNKNOWN_TIME: whoever took a key signs under it at any time he likes.
    """
    if leaf_time < 0:
        return verifiers_of(registry.sound_log_keys(gateway), origin)
    return verifiers_of(registry.checkpoint_keys(gateway, leaf_time), origin)


def verifiers_of(keys: Iterable[PublicKey], origin: str) -> tuple[VerifierKey, ...]:
    """Log keys of the registry as verifier keys under an origin."""
    return tuple(VerifierKey.of(origin, _TYPES[key.algorithm], key.public) for key in keys)


def has_post_quantum(keys: Iterable[VerifierKey], origin: str) -> bool:
    """Whether an ML-DSA-44 key of the log `origin` is among them."""
    return any(key.algorithm == ML_DSA_44 and key.name == origin for key in keys)
