"""What acknowledges a reply batch: the gateway's own signed word that its log holds every statement of it.

In order:

1. the batch was signed for this gateway, and is not acknowledged yet (a repetition changes nothing);
2. there is a leaf index for each of its statements;
3. the checkpoint is of a log of the gateway's (the registry lists its origin), signed by a log key of the gateway
   that counts now, and covers every index;
4. that log has not been cut back or forked: the checkpoint is no smaller than one of the same origin seen before, and
   has the root that was seen at its size.

Replicas of a gateway share one log, and their acknowledgements may overtake each other: a larger checkpoint binds
only when it was seen OVERTAKING_TIME ago. Inclusion and consistency proofs are the auditors' to ask for; the
journal keeps what they need. An acknowledgement that is refused is journalled too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gateway.protocol.checkpoint import Checkpoint, open_checkpoint, origin_of
from gateway.protocol.errors import BadDataError, ForgedError, MalformedError, NotFoundError
from gateway.protocol.identities import PartyRole
from gateway.protocol.log_keys import current_verifiers
from gateway.protocol.note import VerifierKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2
from sandbox_departments.journal_entries import AcknowledgementRefused, BatchAcknowledged, Entry
from sandbox_departments.ledger import Ledger

OVERTAKING_TIME = 10.0
"""Seconds for which acknowledgements of one log may arrive out of order."""

MAX_CHECKPOINT = 65_536
"""Characters of a checkpoint's note: 16 ML-DSA-44 signatures of 3,300, and more."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a gateway says of one batch: where its log holds each statement, under which checkpoint."""

    batch: bytes
    leaf_indexes: tuple[int, ...]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What one gateway acknowledged in one message."""

    gateway: str
    acknowledgements: tuple[Acknowledgement, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a gateway's acknowledgements: the batches settled, and why others were refused."""

    settled: tuple[bytes, ...]
    refused: tuple[BadDataError, ...]


def read_acknowledgement(message: department_service_pb2.Acknowledgement) -> Acknowledgement:
    """The acknowledgement of a message; nothing is verified yet."""
    return Acknowledgement(message.batch_digest, tuple(message.leaf_indexes), message.checkpoint)


def settle(
    acknowledgements: Iterable[Acknowledgement], gateway: str, registry: Registry, ledger: Ledger, now: float
) -> Settlement:
    """Settle what is acknowledged and journal all of it, in the open transaction of `ledger`.

    A batch that this node never signed for the gateway changes nothing, and is not journalled: only refused.
    """
    settled: list[bytes] = []
    refused: list[BadDataError] = []
    entries: list[Entry] = []
    for item in acknowledgements:
        note = item.checkpoint[:MAX_CHECKPOINT]
        try:
            if accept(item, gateway, registry, ledger, now):
                settled.append(item.batch)
                entries.append(BatchAcknowledged(now, gateway, item.batch, item.leaf_indexes, note))
        except NotFoundError as error:
            refused.append(error)
        except BadDataError as error:
            refused.append(error)
            entries.append(AcknowledgementRefused(now, gateway, item.batch, note, error.reason))
    ledger.append(entries)
    return Settlement(tuple(settled), tuple(refused))


def accept(item: Acknowledgement, gateway: str, registry: Registry, ledger: Ledger, now: float) -> bool:
    """Settle the batch of one acknowledgement; False if it was settled before. BadDataError if it is none."""
    size = ledger.owed_size(gateway, item.batch)
    if size is None:
        return False
    if len(item.leaf_indexes) != size:
        raise MalformedError.at("acknowledgement.leaf_indexes", "must be one for each statement of the batch")
    checkpoint = _checkpoint_of(item, gateway, registry, now)
    if max(item.leaf_indexes) >= checkpoint.size:
        raise ForgedError(Reason.PROOF_INVALID, "the checkpoint does not cover the leaves")
    _require_no_rollback(checkpoint, ledger, now)
    ledger.see_checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root, now, now - OVERTAKING_TIME)
    ledger.settle(item.batch)
    return True


def _require_no_rollback(checkpoint: Checkpoint, ledger: Ledger, now: float) -> None:
    root = ledger.root_seen(checkpoint.origin, checkpoint.size)
    if root is not None and root != checkpoint.root:
        raise ForgedError(Reason.PROOF_INVALID, "the log is forked: it had another root at this size")
    if checkpoint.size < ledger.largest_seen(checkpoint.origin, now - OVERTAKING_TIME):
        raise ForgedError(Reason.PROOF_INVALID, "the log is rolled back: a larger checkpoint was seen")


def _checkpoint_of(item: Acknowledgement, gateway: str, registry: Registry, now: float) -> Checkpoint:
    if len(item.checkpoint) > MAX_CHECKPOINT:
        raise MalformedError.at("acknowledgement.checkpoint", f"must be at most {MAX_CHECKPOINT} characters")
    terms = registry.party_in_role(gateway, PartyRole.GATEWAY).gateway
    assert terms is not None  # noqa: S101 - the registry's check() ties terms to roles
    origin = origin_of(item.checkpoint)
    if origin not in terms.origins:  # one that ended may still be on its way
        raise ForgedError(Reason.KEY_UNKNOWN, "a log that the registry does not list for the gateway")
    return _open_once(item.checkpoint, current_verifiers(registry, gateway, origin, now), origin)


@lru_cache(maxsize=64)
def _open_once(note: str, verifiers: tuple[VerifierKey, ...], origin: str) -> Checkpoint:
    # One checkpoint acknowledges many batches: its signature is verified once.
    return open_checkpoint(note.encode(), verifiers, origin)
