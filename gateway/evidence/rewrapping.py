"""Rotating the key-encryption key: every evidence key that is wrapped under an older one is wrapped under the newest.

Reads the keys in the order of their positions, in bounded batches, each one transaction. It may be stopped at any time
and begun again: what is rewrapped is passed over. The gateway goes on meanwhile; a key that was erased between the look
and the write stays erased. Once everything is rewrapped, and the write-ahead log is empty, the old key can be
destroyed: nothing here depends on it, and what a stolen copy of the store still has under it cannot be read any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.evidence.keks import Keks
from gateway.protocol.errors import LogUnavailableError
from gateway.stores.keeping import HeldKey, Keeping, Rewrapped

BATCH = 500
"""Keys of one transaction: some milliseconds during which the gateway does not commit."""

Progress = Callable[[int], None]
"""Told how many keys were looked at."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What became of the keys: rewrapped, wrapped by the newest key before, and not to be unwrapped."""

    rewrapped: int
    current: int
    unreadable: int
    swept: bool


def rewrap(keeping: Keeping, keks: Keks, progress: Progress = lambda _: None) -> Rotation:
    """Rewrap every key that needs it.

    Where a key cannot be unwrapped, the rest is rewrapped and it is counted. LogUnavailableError if the newest key
    cannot be used, or the store cannot be written.
    """
    rewrapped = current = unreadable = position = 0
    while page := keeping.held_keys(position, BATCH):
        position = page[-1].position
        stale = [held for held in page if not _is_current(keks, held)]
        current += len(page) - len(stale)
        changes = []
        for held in stale:
            try:
                key = keks.unwrap(held.wrapped_key, held.grant_digest)
            except LogUnavailableError:
                unreadable += 1
                continue
            changes.append(Rewrapped(held.grant_digest, held.wrapped_key, keks.wrap(key, held.grant_digest)))
        if changes:
            rewrapped += keeping.rewrap(changes)
        progress(len(page))
    return Rotation(rewrapped, current, unreadable, keeping.sweep())


def _is_current(keks: Keks, held: HeldKey) -> bool:
    try:
        return keks.is_current(held.wrapped_key)
    except LogUnavailableError:  # no key of ours: found unreadable when it is unwrapped
        return False
