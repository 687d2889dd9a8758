"""Copying a static log into a folder, each tile and entry verified on its way; the checkpoint comes last.

The copy is what any web server serves as plain files. It is taken up where an earlier one ended, or was cut short: a
bundle that is there and holds is not fetched again. A log that does not continue what the folder has shown before is
refused, and what is there stays: the two checkpoints together convict whoever signed them.

Raises what `gateway.static_log.tile_proofs` raises, and OSError if the folder cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError
from gateway.protocol.merkle import EMPTY_ROOT, leaf_hash
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import TILE_WIDTH, Bundle, bundles_at, encode_entries, exists_at, tiles_between
from gateway.static_log.folder import PublishedFolder
from gateway.static_log.tile_proofs import VerifiedTiles, prove_consistency
from gateway.static_log.tile_source import FolderSource, TileSource

Progress = Callable[[int, int], None]
"""Told how many leaves are copied, of how many."""


async def export(
    source: TileSource,
    checkpoint: Checkpoint,
    note: bytes,
    target: PublishedFolder,
    *,
    entries: bool,
    now: float,
    progress: Progress = lambda _done, _all: None,
) -> int:
    """Copy the log of a verified checkpoint, whose note is `note`; how many leaves the folder had before."""
    with target.alone() as is_alone:
        if not is_alone:
            expected = "is being written by another process: wait for its end"
            raise MalformedError.at(str(target.folder), expected, Reason.CONFIGURATION_INVALID)
        return await _export(source, checkpoint, note, target, entries=entries, now=now, progress=progress)


async def _export(
    source: TileSource,
    checkpoint: Checkpoint,
    note: bytes,
    target: PublishedFolder,
    *,
    entries: bool,
    now: float,
    progress: Progress,
) -> int:
    held = _held(target, checkpoint)
    tiles = VerifiedTiles(source, checkpoint)
    await prove_consistency(tiles, held, checkpoint)
    if entries:
        for bundle in bundles_at(checkpoint.size):
            if not await _has(target, bundle, held.size, tiles):
                target.put(bundle, encode_entries(await tiles.entries(bundle.index)))
            progress(min((bundle.index + 1) * TILE_WIDTH, checkpoint.size), checkpoint.size)
    for tile in tiles_between(held.size, checkpoint.size):
        target.put(tile, b"".join(await tiles.tile(tile.level, tile.index)))
        if tile.level == 0 and not entries:
            progress(min((tile.index + 1) * TILE_WIDTH, checkpoint.size), checkpoint.size)
    target.publish(note, checkpoint.size, held.size)
    target.keep(checkpoint.size, note, now)
    target.clean(checkpoint.size)
    return held.size


def _held(target: PublishedFolder, checkpoint: Checkpoint) -> Checkpoint:
    """What the folder shows already; of the empty log if nothing. MalformedError if it is of another log."""
    shown = target.read()
    if shown is None:
        return Checkpoint(checkpoint.origin, 0, EMPTY_ROOT)
    if shown[0].origin != checkpoint.origin:
        expected = f"holds the log {shown[0].origin}, not {checkpoint.origin}: name another folder"
        raise MalformedError.at(str(target.folder), expected, Reason.CONFIGURATION_INVALID)
    return shown[0]


async def _has(target: PublishedFolder, bundle: Bundle, shown: int, tiles: VerifiedTiles) -> bool:
    """Whether a bundle is in the folder: one that was shown by being there, one that was not by its entries."""
    if not (target.folder / bundle.path).is_file():
        return False
    if exists_at(bundle, shown):
        return True
    try:
        found = await FolderSource(target.folder).entries(bundle.index, bundle.width)
    except (ForgedError, NotFoundError):
        return False
    return tuple(map(leaf_hash, found)) == (await tiles.tile(0, bundle.index))[: bundle.width]
