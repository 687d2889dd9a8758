"""What the gateway keeps of each check: bytes of its database by table, and of the static log that auditors read.

Applications of a real sandbox, each with a grant of its own: those of about five checks (what a material rests on) and
those that ask for the student record's fields too (about twelve). Bytes are those of whole pages (`dbstat`), free
ones and the write-ahead log left out, so that they are what the file grows by. Few applications look dearer than many:
the last page of each table is part empty. What the departments' journals keep is told beside it, and is no part of the
target.

    python -m benchmarks.disk
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.applicants import Applicant, applicants, families_of
from benchmarks.bounds import count
from benchmarks.load import Tally
from benchmarks.setting import RESULTS, Measured, federation, table, write_results
from benchmarks.targets import spread
from benchmarks.ways import through_gateway
from gateway.protocol.leaf import read_leaf
from gateway.stores.sqlite_leaves import from_row
from sandbox_departments.truth import Truth

FAMILIES, QUICK_FAMILIES = 300, 60
FIVE, TWELVE = "5 checks", "12 checks"
AT_ONCE = 8
"""Applications that are under way together: departments sign a batch over what comes together."""
TILE_WIDTH, TILE_LEVELS, HASH_BYTES, LENGTH_BYTES = 256, 8, 32, 2
"""C2SP tlog-tiles: nodes of a tile, levels of the tree in one, bytes of a node, and of the length before an entry."""


def pages_of(store: Path) -> dict[str, int]:
    """Bytes of the pages that each table or index takes."""
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC").fetchall()
    return dict(rows)


def published(store: Path) -> tuple[int, int]:
    """Bytes of the static log's entry bundles, and of its hash tiles, partial ones not counted twice."""
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        sizes = [len(from_row(data)) for (data,) in connection.execute("SELECT data FROM leaves")]
    leaves, size = len(sizes), sum(sizes)
    tiles, nodes = 0, leaves
    while nodes:
        tiles += nodes * HASH_BYTES
        nodes //= TILE_WIDTH
    return size + LENGTH_BYTES * leaves, tiles


def checks_of(store: Path) -> tuple[int, int]:
    """How many checks and how many applications the log has."""
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        leaves = [read_leaf(from_row(data)) for (data,) in connection.execute("SELECT data FROM leaves")]
    rows = [len(leaf.verification.checks) for leaf in leaves if leaf.HasField("verification")]
    return sum(rows), len(rows)


def rows_of(before: dict[str, int], after: dict[str, int], checks: int) -> Iterator[tuple[str, int, float]]:
    """Name, bytes and bytes per check of everything that grew."""
    grown = {name: size - before.get(name, 0) for name, size in after.items()}
    for name, size in sorted(grown.items(), key=lambda item: -item[1]):
        if size > 0:
            yield name, size, size / checks


def journals_of(measured: Measured) -> int:
    """Bytes of the pages of all departments' journals."""
    nodes = measured.sandbox.nodes.values()
    return sum(sum(pages_of(measured.sandbox.folder_of(node) / "journal.db").values()) for node in nodes)


async def measure(families: int) -> dict[str, Any]:
    """Apply for each family once with five checks, then for as many others with all; what each kept."""
    results: dict[str, Any] = {}
    async with federation(3 * families) as measured:
        store = measured.folder / "gateway/store.db"
        everybody = families_of(measured.folder, 3 * families)
        kinds = ((FIVE, everybody[:families], whole_five), (TWELVE, everybody[families : 2 * families], all_checks))
        for name, some, hold in kinds:
            held = await hold(measured.folder, measured.requester, some)
            before, (checks, applications), shown = pages_of(store), checks_of(store), published(store)
            journals = journals_of(measured)
            await apply(measured.folder, measured.requester, held)
            now = checks_of(store)
            checks, applications = now[0] - checks, now[1] - applications
            entries, tiles = (new - old for new, old in zip(published(store), shown, strict=True))
            grown = {**pages_of(store), "published entries": entries, "published tiles": tiles}
            rows = list(rows_of(before, grown, checks))
            total = sum(size for _, size, _ in rows)
            results[name] = {
                "checks": checks,
                "applications": applications,
                "bytes_per_check": total / checks,
                "bytes_per_application": total / applications,
                "journal_bytes_per_check": (journals_of(measured) - journals) / checks,
                "tables": {row: {"bytes": size, "per_check": share} for row, size, share in rows},
            }
            print(f"\n{name}: {applications} applications, {checks} checks")
            print(table(("table", "bytes", "per check"), [*rows, ("all", total, total / checks)]))
    return results


async def whole_five(folder: Path, requester: str, families: list[Truth]) -> list[Applicant]:
    """Applicants of what their materials rest on."""
    return await applicants(folder, requester, families)


async def all_checks(folder: Path, requester: str, families: list[Truth]) -> list[Applicant]:
    """Applicants of all that their plan asks, the student record's fields too."""
    return await applicants(folder, requester, families, lambda truth: truth.answers)


async def apply(folder: Path, requester: str, held: list[Applicant]) -> None:
    """Send each application once."""
    async with through_gateway(folder, requester) as generating:
        prepared = iter(held)
        tally = Tally()
        while some := list(islice(prepared, AT_ONCE)):
            await generating.open_loop("application", generating.prepare(some, len(some)), 1e6, tally)
        statuses = tally.statuses()
        assert set(statuses) == {"OK"}, statuses


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_FAMILIES} applications of each kind")
    parser.add_argument("--families", type=count, help=f"applications of each kind ({FAMILIES})")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    families = options.families or (QUICK_FAMILIES if options.quick else FAMILIES)
    results = asyncio.run(measure(families))
    results["targets"] = {"disk_per_check": spread([results[FIVE]["bytes_per_check"]])}
    print(f"written: {write_results('disk', results, options.results)}")


if __name__ == "__main__":
    main()
