"""How many entries a second `heyan log fsck` checks, and how much memory it takes, on a log in a folder.

    python -m benchmarks.fsck

Makes a log of verification leaves of three checks (about 600 bytes each, all different), with every bundle and tile,
and checks it several times in each way, in turn: whole, hashes only, and with every leaf read. Each time is a process
of its own, so that its memory is its own. The floor is what hashing costs alone: one SHA-256 over each leaf and one
over each node, in one loop of Python, nothing read or compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bounds import count
from benchmarks.setting import RESULTS, table, write_results
from gateway.audit.rebuilding import TileBuilder
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.codec import to_timestamp
from gateway.protocol.leaf import CheckStatus, write_leaf
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.note import SignerKey
from gateway.protocol.tiles import Tile, bundles_at, encode_entries
from gateway.static_log.checked_log import LogToCheck
from gateway.static_log.fsck import Wanted, check_log
from gateway.static_log.tile_source import FolderSource
from heyan.v1 import log_pb2

ORIGIN = "heyan.benchmark/log"
SIGNER = SignerKey.from_seed(ORIGIN, bytes(32))
LEAVES, QUICK_LEAVES = 500_000, 50_000
WHOLE = "whole"
WAYS = {
    WHOLE: Wanted(),
    "hashes only": Wanted(entries=False),
    "with leaves": Wanted(leaves=True),
}
FLOOR = "floor: hashing alone"
_MARK = bytes(range(32))


def leaves(amount: int) -> Iterator[bytes]:
    """Canonical verification leaves: one template, each with a tag of its own."""
    event = log_pb2.VerificationEvent(
        requester="spiffe://heyan/requester/changsha-edu",
        query_tag=_MARK,
        grant_tags=[secrets.token_bytes(32)],
        purpose="enrolment",
        rules_digest=secrets.token_bytes(32),
    )
    claims = ("hukou.child_registered@1", "property.owns_home@1", "insurance.paid_months@1")
    for department, claim in zip(("police-4301", "land-4301", "insurance-4301"), claims, strict=True):
        event.checks.add(
            department=f"spiffe://heyan/department/{department}",
            claim=claim,
            region="430102",
            status=CheckStatus.ANSWERED.value,
            statement_digest=secrets.token_bytes(32),
            check_tag=secrets.token_bytes(32),
        )
    leaf = log_pb2.LogLeaf(gateway="spiffe://heyan/gateway/hunan", registry_version=3, verification=event)
    leaf.log_time.CopyFrom(to_timestamp(1_811_779_200))
    before, after = write_leaf(leaf).split(_MARK)
    for number in range(amount):
        yield before + sha256(number.to_bytes(8, "big")).digest() + after


def make(folder: Path, amount: int) -> int:
    """Write the static log of `amount` leaves; the bytes of its files."""
    builder, source, written = TileBuilder(), leaves(amount), 0

    def write(path: str, data: bytes) -> None:
        nonlocal written
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        written += len(data)

    for bundle in bundles_at(amount):
        entries = [next(source) for _ in range(bundle.width)]
        row = [leaf_hash(entry) for entry in entries]
        write(bundle.path, encode_entries(entries))
        write(Tile(0, bundle.index, bundle.width).path, b"".join(row))
        for built in builder.add(row):
            write(built.tile.path, built.data)
    for built in builder.open_tiles():
        write(built.tile.path, built.data)
    write("checkpoint", sign_checkpoint(Checkpoint(ORIGIN, amount, builder.root()), [SIGNER]).encode())
    return written


async def check(folder: Path, way: str) -> int:
    """Check the log once; its size."""
    async with FolderSource(folder) as source:
        checked = await check_log(LogToCheck(source, ORIGIN, lambda _time: (SIGNER.verifier,)), WAYS[way])
    assert checked.is_sound, checked.found
    assert checked.checkpoint is not None
    return checked.checkpoint.size


def floor(amount: int) -> None:
    """The hashes that cannot be saved, of data that is at hand."""
    leaf, node = b"\x00" + next(leaves(1)), b"\x01" + bytes(64)
    for _ in range(amount):
        sha256(leaf).digest()
        sha256(node).digest()


def once(folder: Path, way: str, amount: int) -> dict[str, float]:
    """Do it in this process, and say what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    if way == FLOOR:
        floor(amount)
    else:
        amount = asyncio.run(check(folder, way))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"leaves_per_second": amount / wall, "cpu_us_per_leaf": 1e6 * cpu / amount, "peak_rss_mib": peak}


def in_process(folder: Path, way: str, amount: int) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.fsck", "--once", way, "--folder", str(folder), "--leaves", str(amount)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each way: medians, with least and most."""
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    for _ in range(options.rounds):
        for way, done in rounds.items():
            done.append(in_process(folder, way, options.leaves))
    return rows_of(rounds)


def rows_of(rounds: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """What the rounds of each way come to."""
    rows = []
    for way, done in rounds.items():
        rates = [each["leaves_per_second"] for each in done]
        rows.append(
            {
                "way": way,
                "leaves_per_second": median(rates),
                "least": min(rates),
                "most": max(rates),
                "cpu_us_per_leaf": median(each["cpu_us_per_leaf"] for each in done),
                "peak_rss_mib": max(each["peak_rss_mib"] for each in done),
            }
        )
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """The table that is printed."""
    headings = ("way", "leaves/s", "least", "most", "CPU µs/leaf", "peak RSS MiB")
    names = ("leaves_per_second", "least", "most")
    lines = [
        (
            row["way"],
            *(round(row[name]) for name in names),
            round(row["cpu_us_per_leaf"], 2),
            round(row["peak_rss_mib"]),
        )
        for row in rows
    ]
    return table(headings, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_LEAVES:,} leaves, checked whole only")
    parser.add_argument("--leaves", type=count, help=f"of the log ({LEAVES:,})")
    parser.add_argument("--rounds", type=count, help="of each way (5, quick 3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--once", choices=(*WAYS, FLOOR), help="check one way in this process, and print what it took")
    parser.add_argument("--folder", type=Path, help="with --once: where the log lies")
    options = parser.parse_args()
    options.leaves = options.leaves or (QUICK_LEAVES if options.quick else LEAVES)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.ways = (WHOLE,) if options.quick else (*WAYS, FLOOR)
    if options.once is not None:
        print(json.dumps(once(options.folder, options.once, options.leaves)))
        return
    with tempfile.TemporaryDirectory(prefix="heyan-bench-") as made:
        size = make(Path(made), options.leaves)
        rows = measure(Path(made), options)
    log = {"leaves": options.leaves, "bytes": size, "rounds": options.rounds}
    (whole,) = (row for row in rows if row["way"] == WHOLE)
    targets = {
        "fsck_rate": {"value": whole["leaves_per_second"], "low": whole["least"], "high": whole["most"]},
    }
    path = write_results("fsck", {"log": log, "rows": rows, "targets": targets}, options.results)
    print(report(rows), path, sep="\n")


if __name__ == "__main__":
    main()
