"""What publishing the log costs: taking it up at a start, catching up, and the second by second beside the answering.

    python -m benchmarks.publishing

A store grows as in `benchmarks.appending`. At each power of ten its log is published into a new folder from nothing,
which is what a gateway does whose folder was lost, then taken up by another publisher, as at a start, and followed in
steps of a second's leaves under load. Taking up and following must not grow with the log.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.appending import ORIGIN, Growing
from benchmarks.bounds import count
from benchmarks.setting import RESULTS, table, write_results
from gateway.static_log.folder import PublishedFolder
from gateway.static_log.publishing import Publisher


def _publisher(growing: Growing, folder: Path) -> Publisher:
    publisher = Publisher(
        store=growing.store,
        folder=PublishedFolder(folder),
        origin=ORIGIN,
        head=growing.store.head,
        clock=time.time,
    )
    publisher.resume()
    return publisher


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Grow to each size in turn, and publish there."""
    rows = []
    growing = Growing(folder, options.checks)
    with closing(growing.store):
        for exponent in range(4, options.largest + 1):
            growing.append(10**exponent - growing.size)
            target = folder / f"published-{exponent}"
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began, worked = time.perf_counter(), time.process_time()
            _publisher(growing, target).publish()
            spent, worked = time.perf_counter() - began, time.process_time() - worked
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
            began = time.perf_counter()
            publisher = _publisher(growing, target)
            taken_up = time.perf_counter() - began
            steps = []
            for _ in range(options.steps):
                growing.append(options.leaves_per_second)
                began = time.perf_counter()
                publisher.publish()
                steps.append(time.perf_counter() - began)
            rows.append(
                {
                    "size": 10**exponent,
                    "catch_up_leaves_per_second": 10**exponent / spent,
                    "catch_up_cpu_us_per_leaf": worked / 10**exponent * 1e6,
                    "catch_up_memory_kib": grown,
                    "take_up_ms": taken_up * 1e3,
                    "step_ms": median(steps) * 1e3,
                }
            )
            print(f"10^{exponent}: {10**exponent / spent:,.0f} leaves/s, step {median(steps) * 1e3:.0f} ms", flush=True)
    return {"leaf_bytes": growing.leaves.size, "leaves_of_a_step": options.leaves_per_second, "rows": rows}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=count, default=6, help="power of ten up to which the log grows (6)")
    parser.add_argument("--checks", type=count, default=5, help="checks of a leaf (5)")
    parser.add_argument("--leaves-per-second", type=count, default=500, help="leaves of a step (500)")
    parser.add_argument("--steps", type=count, default=20, help="steps at each size (20)")
    parser.add_argument("--folder", type=Path, help="where the log grows; a temporary folder if not given")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heyan-bench-", dir=options.folder) as folder:
        results = measure(Path(folder), options)
    print(table(tuple(results["rows"][0]), [tuple(row.values()) for row in results["rows"]]))
    print(f"\nwritten: {write_results('publishing', results, options.results)}")


if __name__ == "__main__":
    main()
