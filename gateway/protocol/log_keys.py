"""The keys by which a log's checkpoints count: the registry's log keys, as C2SP verifier keys under an origin.

The registry's word on time is kept: which keys count for a checkpoint at a time, and which may prove a leaf of an
earlier one. Every reader of checkpoints (receipts, nodes, auditors) takes its verifiers from here.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.protocol.keys import PublicKey
from gateway.protocol.note import ED25519, VerifierKey
from gateway.protocol.registry import Registry


def current_verifiers(registry: Registry, gateway: str, origin: str, now: float) -> tuple[VerifierKey, ...]:
    """Verifiers of a checkpoint that a gateway (SPIFFE ID) signs at `now` for the log `origin`."""
    return verifiers_of(registry.log_keys(gateway, now), origin)


def proof_verifiers(registry: Registry, gateway: str, origin: str, leaf_time: float) -> tuple[VerifierKey, ...]:
    """Verifiers of the checkpoint under which a leaf of `leaf_time` is proven: later keys count too.

    With `leaf_time` 0.0: every key of the registry that was not compromised.
    """
    return verifiers_of(registry.checkpoint_keys(gateway, leaf_time), origin)


def verifiers_of(keys: Iterable[PublicKey], origin: str) -> tuple[VerifierKey, ...]:
    """Log keys of the registry as verifier keys under an origin."""
    return tuple(VerifierKey.of(origin, ED25519, key.public) for key in keys)
