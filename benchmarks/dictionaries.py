"""Trains the dictionaries by which evidence is compressed, on what sandboxes of several seeds keep.

    python -m benchmarks.dictionaries --version 1

Keys, digests and families differ from sandbox to sandbox, so that the dictionaries learn what all grants, requests and
leaves have in common. All families are fictional: nothing of a person can come to stand in a dictionary. A version
that anything was ever packed by must stay as it is: train a new one beside it, and name it in `gateway.packing`.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import zstandard
from rich.console import Console

from benchmarks.applicants import families_of
from benchmarks.bounds import count
from benchmarks.disk import all_checks, apply, whole_five
from gateway.cli.sandbox import Asked
from gateway.cli.supervisor import free_port_base
from gateway.cli.up import open_sandbox, start
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.packing import Kind
from gateway.stores.sqlite_key_slots import from_slot
from gateway.stores.sqlite_leaves import from_row

SEEDS = (11, 12, 13, 14)
PREFECTURES = (("4301",), ("4303",), ("4301", "4303"), ("4301",))
SIZES = {"grants": 8_192, "states": 65_536, "leaves": 8_192}
"""Bytes. Larger ones gain less than 1 %."""
LIMIT = 1 << 22
FOLDER = Path(__file__).parent.parent / "gateway/dictionaries"


async def sample(seed: int, prefectures: tuple[str, ...], families: int) -> dict[str, list[bytes]]:
    """What one sandbox keeps: grants, states of requests, leaves."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="heyan-train-") as made:
        asked = Asked(seed=seed, population=8 * families, prefectures=prefectures, port_base=free_port_base())
        sandbox = open_sandbox(Path(made) / "run", asked, console)
        for node in sandbox.nodes.values():
            settings = sandbox.folder_of(node) / "settings.toml"
            settings.write_text("budget_requests = 1000000\n" + settings.read_text("utf-8"), "utf-8")
        supervisor = await start(sandbox, console)
        try:
            requester = sandbox.requesters[0].name
            prefecture = requester.rpartition("-")[2]
            everybody = [
                truth
                for truth in families_of(sandbox.folder, 8 * families)
                if truth.application.region.startswith(prefecture)
            ]
            for hold, some in ((whole_five, everybody[:families]), (all_checks, everybody[families : 2 * families])):
                await apply(sandbox.folder, requester, await hold(sandbox.folder, requester, some))
        finally:
            await supervisor.stop()
        return kept(sandbox.folder / "gateway")


def kept(folder: Path) -> dict[str, list[bytes]]:
    """What a gateway keeps, opened with its key."""
    vault = Vault(Keks([FileKek((folder / "kek").read_bytes())]))
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        keys, grants, states = {}, [], []
        rows = connection.execute("SELECT digest, wrapped, ciphertext FROM grants JOIN grant_keys ON grant_id = id")
        for digest, slot, text in rows:
            keys[digest] = vault.unwrap(from_slot(slot), digest)
            grants.append(vault.decrypt(keys[digest], text, b"grant\x00" + digest, LIMIT, Kind.GRANT))
        for requester, request_id, digest, state in connection.execute(
            "SELECT requester, request_id, grant_digest, state FROM requests"
        ):
            bound = b"request\x00" + requester.encode() + b"\x00" + request_id
            states.append(vault.decrypt(keys[digest], state, bound, LIMIT, Kind.STATE))
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        leaves = [from_row(data) for (data,) in connection.execute("SELECT data FROM leaves")]
    return {"grants": grants, "states": states, "leaves": leaves}


def main() -> None:
    """Train, and write the dictionaries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=count, default=150, help="applications of each kind, from each sandbox")
    parser.add_argument("--version", type=count, required=True, help="in the names of the files")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    samples: dict[str, list[bytes]] = {name: [] for name in SIZES}
    for seed, prefectures in zip(SEEDS, PREFECTURES, strict=True):
        for name, data in asyncio.run(sample(seed, prefectures, arguments.families)).items():
            samples[name] += data
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        trained = zstandard.train_dictionary(size, samples[name], level=3)
        (arguments.folder / f"{name}-{arguments.version}.zdict").write_bytes(trained.as_bytes())
    print({name: len(data) for name, data in samples.items()})


if __name__ == "__main__":
    main()
