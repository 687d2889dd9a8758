"""`heyan gateway backup`: a copy of a gateway's store, made while it serves."""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path

from gateway.backups.making import Maker
from gateway.backups.manifest import LAST_BACKUP_FILE, Manifest
from gateway.cli.answers import iso_time
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, Switch
from gateway.cli.progress import stepping
from gateway.config import GatewayConfig
from gateway.party.keyfiles import load_signing_keys, newest_usable, write_private
from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.keys import Algorithm
from gateway.protocol.registry_terms import KeyUse


def backup(
    *,
    config: Path,
    out: Path,
    verify: Switch = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a gateway's store as of one moment, while it serves, and check the copy.

    The copy's trees must have the roots of their checkpoints, and the registry's log keys must have signed those. A
    signed manifest names every file by its SHA-256. An interrupted backup is none; nothing is ever written over.

    NOT in a backup, and to be kept apart from it: the key-encryption key (kek), without which the evidence in it is
    noise; the log keys (log_keys), which are rotated rather than restored; certificates and settings. Evidence stays
    encrypted; what is erased after a backup is erased again by its restore, and the backup itself must be destroyed
    within the time for which evidence is kept.

    Examples: `heyan gateway backup --config run/gateway/settings.toml --out /backup/2027-06-01`,
    `heyan gateway backup --config run/gateway/settings.toml --out /backup/2027-06-01 --verify --json`

    Parameters
    ----------
    config
        TOML file with the gateway's settings.
    out
        The folder to make. It must not exist.
    verify
        Hash every leaf of the copy, and compare every node of its trees: about a minute for ten million.
    """
    settings = GatewayConfig.from_file(config)
    registry = RegistryKeeper(settings.registry, time.time).current()
    keys = [key for key in load_signing_keys(settings.log_keys) if key.algorithm is Algorithm.ED25519]
    key = newest_usable(keys, registry, settings.spiffe_id, KeyUse.LOG, time.time())
    maker = Maker(
        store=settings.store,
        gateway=settings.spiffe_id,
        registry=registry,
        seed=key.private.private_bytes_raw(),  # type: ignore[union-attr]
        clock=time.time,
        version=version("heyan"),
    )
    with stepping() as report:
        manifest = maker.make(out, report, every_leaf=verify)
    write_private(settings.registry.seen.with_name(LAST_BACKUP_FILE), f"{out.absolute()}\n".encode())
    if as_json:
        print_json(_summary(out, manifest))
    else:
        sys.stdout.write(_text(out, manifest))


def _summary(out: Path, manifest: Manifest) -> dict[str, object]:
    growing = manifest.growing
    return {
        "backup": str(out),
        "time": iso_time(manifest.time),
        "origin": growing.origin,
        "size": growing.size,
        "root": growing.root,
        "logs": len(manifest.shards),
        "bytes": sum(file.bytes for file in manifest.files),
    }


def _text(out: Path, manifest: Manifest) -> str:
    growing, size = manifest.growing, sum(file.bytes for file in manifest.files)
    return (
        f"{out}: {growing.origin} at {growing.size} leaves, {size} bytes, checked\n"
        "Keep kek and log_keys elsewhere: they are not in it. 备份不含 kek 与 log_keys，请另行保管。\n"
    )
