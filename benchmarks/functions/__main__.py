"""Run them, and keep what each costs: the median of its rounds, and the quartiles around it, in microseconds.

Of CPU time, which a busy neighbour changes little; but commits are by the clock, because they wait for the disk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.setting import RESULTS, table, write_results

FOLDER = Path(__file__).parent
TIMER = "--benchmark-timer=time.process_time"
FULL = ("--benchmark-max-time=0.5", "--benchmark-warmup=on")
QUICK = ("--benchmark-max-time=0.05", "--benchmark-min-rounds=3")
PREFIX = "test_"
US = 1e6


def rows_of(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What pytest-benchmark wrote, as one row for each function; `us_per_item` of what is handled in groups."""
    rows = []
    for done in raw["benchmarks"]:
        stats, items = done["stats"], done["extra_info"].get("items", 1)
        rows.append(
            {
                "function": done["name"].removeprefix(PREFIX),
                "us": stats["median"] * US,
                "quartile_1_us": stats["q1"] * US,
                "quartile_3_us": stats["q3"] * US,
                "items": items,
                "us_per_item": stats["median"] * US / items,
                "rounds": stats["rounds"],
            }
        )
    return rows


def run(*, quick: bool) -> list[dict[str, Any]]:
    """Time all functions in a process of its own; CalledProcessError if one does not do what it should."""
    with tempfile.TemporaryDirectory(prefix="heyan-bench-") as made:
        file = Path(made) / "benchmark.json"
        words = [sys.executable, "-m", "pytest", "-q", str(FOLDER), "-p", "no:cacheprovider", "-p", "no:xdist"]
        subprocess.run(
            [*words, f"--benchmark-json={file}", TIMER, *(QUICK if quick else FULL)], check=True, cwd=FOLDER.parents[1]
        )
        return rows_of(json.loads(file.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rounds of each only")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    options = parser.parse_args()
    rows = run(quick=options.quick)
    path = write_results("functions", {"rows": rows, "targets": {}}, options.results)
    print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]), path, sep="\n")


if __name__ == "__main__":
    main()
