"""What a leaf says that was brought back: what is kept beside it again, and what must be done again.

Derived from the leaf alone: the digests of the statements that it records, so that they are acknowledged and not
recorded twice, and the registry that it adopts.

Told by tags: a withdrawal names its grant, and an erasure its grants, by HMACs under the leaf key that follows from
the grant's evidence key. The backup has the keys of the grants that were used before it: each is tried, in batches, so
that memory grows with what is looked for and not with the store.

Not derived, because a leaf does not hold it: requests and their receipts, uses, evidence of new grants, tickets,
disputes and their outcomes, statistics. See docs/adr/0030 for what holds of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.protocol.errors import HeyanError, MalformedError
from gateway.protocol.leaf import Tags, derive_leaf_key, log_time, read_leaf
from gateway.stores.keeping import HeldKey
from gateway.stores.records import Entry, Withdrawal
from gateway.stores.sqlite_restored import Unwrap
from heyan.v1 import log_pb2

KEYS_AT_ONCE = 1_000
"""Evidence keys that are unwrapped in one batch."""
REMEMBERED = 400 * 86_400.0
"""Seconds after its erasure for which an erased grant is remembered: no grant lives longer (docs/operations.md)."""


class EvidenceKeys(Protocol):
    """What is asked of the store that is being restored."""

    def held_keys(self, after: int, count: int) -> Sequence[HeldKey]:
        """Up to `count` wrapped evidence keys at positions after `after`, in their order."""
        ...


@dataclass(slots=True)
class Beyond:
    """Gathers what the leaves beyond a backup say; positions are those of the store."""

    withdrawn: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    """By tag: the issuer, and where the leaf stands."""
    erased: dict[bytes, float] = field(default_factory=dict)
    """By tag: when the leaf was recorded."""
    unreadable: int = 0

    def take(self, data: bytes, position: int) -> Entry:
        """The entry by which a leaf is appended as it is."""
        try:
            leaf = read_leaf(data)
        except MalformedError:
            self.unreadable += 1  # of a newer format: it stands in the log all the same
            return Entry(data)
        if leaf.HasField("revocation"):
            self.withdrawn[leaf.revocation.grant_tag] = (leaf.revocation.issuer, position)
        for tag in leaf.erasure.grant_tags:
            self.erased[tag] = log_time(leaf)
        version = leaf.registry.version if leaf.HasField("registry") else None
        return Entry(data, statement_digests=tuple(_statements(leaf)), registry_version=version)

    def match(self, keys: EvidenceKeys, unwrap: Unwrap) -> Matched:
        """The grants of the store that the leaves name; LogUnavailableError if a key does not open."""
        found = Matched()
        if not self.withdrawn and not self.erased:
            return found
        after = 0
        while held := keys.held_keys(after, KEYS_AT_ONCE):
            for item in held:
                digest = item.grant_digest
                tag = Tags(derive_leaf_key(unwrap(item.wrapped_key, digest))).grant(digest)
                if tag in self.withdrawn:
                    issuer, position = self.withdrawn[tag]
                    found.withdrawals[Withdrawal(issuer, digest)] = position
                if tag in self.erased:
                    found.erasures[digest] = self.erased[tag] + REMEMBERED
            after = held[-1].position
        return found


@dataclass(slots=True)
class Matched:
    """Withdrawals by the position of their leaf, and grants to erase with the time until which that is remembered."""

    withdrawals: dict[Withdrawal, int] = field(default_factory=dict)
    erasures: dict[bytes, float] = field(default_factory=dict)


def ended_by(data: bytes) -> bool:
    """Whether a leaf ends its log."""
    try:
        return read_leaf(data).HasField("shard_end")
    except HeyanError:
        return False


def _statements(leaf: log_pb2.LogLeaf) -> Iterator[bytes]:
    yield from (check.statement_digest for check in leaf.verification.checks if check.statement_digest)
    yield from leaf.recovery.statement_digests
    if leaf.resolution.statement_digest:
        yield leaf.resolution.statement_digest
