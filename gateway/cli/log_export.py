"""`heyan log export`: a copy of a static log as plain files, verified while it is made."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.cli.json_output import print_json
from gateway.cli.log_sources import NO_OPTIONS, OpenedLog, Options, open_log
from gateway.cli.options import JsonOption, usage_error
from gateway.cli.progress import counting
from gateway.config import GatewayConfig
from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.checkpoint import Checkpoint, open_checkpoint
from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.log_keys import UNKNOWN_TIME, proof_verifiers
from gateway.protocol.note import VerifierKey, encode_base64
from gateway.static_log.exporting import export
from gateway.static_log.folder import PUBLIC_FILE_MODE, PUBLIC_FOLDER_MODE, Disk, PublishedFolder, newest_folder
from gateway.static_log.tile_proofs import read_leaves
from gateway.static_log.tile_source import FolderSource, TileSource


def export_log(
    target: Path,
    *,
    config: Path | None = None,
    place: Annotated[str | None, Parameter(name="--from")] = None,
    log: Options = NO_OPTIONS,
    entries: Annotated[bool, Parameter(negative="--no-entries")] = True,
    as_json: JsonOption = False,
) -> None:
    """Copy a log into TARGET as files of C2SP tlog-tiles, which any web server can serve; run it again to go on.

    Every tile and entry is held against the signed checkpoint before it is written, and the checkpoint comes last. A
    log that does not continue what TARGET has is refused. The gateway may run meanwhile.

    Examples: `heyan log export /srv/log --config run/gateway/settings.toml`,
    `heyan log export copy --dir run --auditor auditor`,
    `heyan log export copy --from https://log.example/0 --vkey log.example+c0ffee00+AWFi… --no-entries`

    Parameters
    ----------
    target
        Folder of the copy; made if it is not there.
    config
        Settings of the gateway, whose published folder is copied: on its own machine, as its user.
    place
        URL or folder of the log, if not that of --dir.
    entries
        Copy the entries too, which are for auditors; hashes alone are for everybody.
    """
    if config is not None and (place is not None or log.folder is not None):
        raise usage_error("--config", "names the log already: leave out --from and --dir")
    opened = open_log(place, log) if config is None else _of_gateway(config)
    checkpoint, before = asyncio.run(_export(opened, target, entries=entries))
    row = {
        "folder": str(target),
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": encode_base64(checkpoint.root),
        "new": checkpoint.size - before,
        "entries": entries,
    }
    if as_json:
        print_json(row)
        return
    kind = "leaves" if entries else "leaves, hashes only"
    sys.stdout.write(
        f"{target}: {checkpoint.origin}, {checkpoint.size} {kind} ({row['new']} new)\nroot {row['root']}, as signed\n"
    )


async def _export(log: OpenedLog, target: Path, *, entries: bool) -> tuple[Checkpoint, int]:
    folder = PublishedFolder(target, Disk(PUBLIC_FOLDER_MODE, PUBLIC_FILE_MODE))
    with counting("leaves 条目") as tell:
        async with log.source as source:
            note = await source.checkpoint()
            checkpoint = log.open(note)
            open_checkpoint(note, log.verifiers(await _newest(source, checkpoint, entries=entries)), log.origin)
            before = await export(source, checkpoint, note, folder, entries=entries, now=time.time(), progress=tell)
    return checkpoint, before


async def _newest(source: TileSource, checkpoint: Checkpoint, *, entries: bool) -> float:
    """The time of the newest leaf, which says whose signature counts; UNKNOWN_TIME if it is not at hand."""
    if not entries or not checkpoint.size:
        return UNKNOWN_TIME
    (leaf,) = [data async for _, data in read_leaves(source, checkpoint.size - 1, checkpoint.size, checkpoint)]
    try:
        return log_time(read_leaf(leaf))
    except MalformedError:
        return UNKNOWN_TIME


def _of_gateway(config: Path) -> OpenedLog:
    """What a gateway publishes, by its own settings."""
    settings = GatewayConfig.from_file(config)
    if settings.published is None:
        raise usage_error("--config", f"{config} names no folder of a published log (published)")
    keeper = RegistryKeeper(settings.registry, time.time)
    terms = keeper.current().party(settings.spiffe_id).gateway
    if terms is None:
        raise usage_error("--config", "is of no gateway of the registry")
    folder = newest_folder(settings.published)
    origin = terms.origins[min(int(folder.name), len(terms.origins) - 1)]  # a log's number is its place there

    def verifiers(leaf_time: float = 0.0) -> tuple[VerifierKey, ...]:
        return proof_verifiers(keeper.current(), settings.spiffe_id, origin, leaf_time)

    return OpenedLog(FolderSource(folder), origin, verifiers, str(folder), frozenset({settings.spiffe_id}))
