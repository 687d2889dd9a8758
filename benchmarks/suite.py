"""The whole suite, one benchmark after the other, each a process of its own; then the report and the charts.

    python -m benchmarks.suite             everything; about 25 minutes on two cores, into benchmarks/results
    python -m benchmarks.suite --quick     everything in short, 3 minutes, into .benchmarks/quick
    python -m benchmarks.suite --check     in short too, and held against the kept results: 1 if a ratio fell

A benchmark that fails, or that saw an answer it cannot explain, leaves no results: what is reported was measured. The
kept files of one that failed are taken away, so that no older figure stands among newer ones. Runs too long for this
(`benchmarks.appending --largest 7`, `benchmarks.memory --checks 1000000`) keep files of their own.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.charts import write_charts
from benchmarks.kept import fallen, read_notes, read_results
from benchmarks.report import report
from benchmarks.setting import RESULTS, write_results

STEPS = (
    "functions",
    "gateway_core",
    "peers",
    "overload",
    "workers",
    "appending",
    "fsck",
    "disk",
    "memory",
    "wire",
)
"""Benchmarks, in the order in which they run: what targets compare is measured while the machine is as it was."""
QUICK = Path(".benchmarks/quick")
MINUTE = 60.0
LONGEST, LONGEST_QUICK = 15 * MINUTE, 3 * MINUTE
"""Seconds after which a benchmark is ended, as one that hangs."""
GRACE = 30.0
"""Seconds that such a one has to end what it started."""
ENDED = -1
"""The exit code of one that was ended."""


def run_step(name: str, folder: Path, *, quick: bool) -> dict[str, str | float | int]:
    """Run one benchmark into `folder`; its name, seconds and exit code. Leaves no results unless it succeeds."""
    words = [sys.executable, "-m", f"benchmarks.{name}", "--results", str(folder), *(["--quick"] if quick else [])]
    print(f"== {name}", flush=True)
    began = time.perf_counter()
    exit_code = _run(words, LONGEST_QUICK if quick else LONGEST)
    if exit_code:
        (folder / f"{name}.json").unlink(missing_ok=True)
        print(f"{name} failed ({exit_code})", file=sys.stderr, flush=True)
    return {"name": name, "seconds": round(time.perf_counter() - began, 1), "exit_code": exit_code}


def _run(words: Sequence[str], seconds: float) -> int:
    """The exit code. One that hangs is interrupted first, so that it ends the parties that it started."""
    with subprocess.Popen(words) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
        return ENDED


def run_all(steps: Sequence[str], folder: Path, *, quick: bool) -> list[str]:
    """Run the benchmarks, and put what they wrote into `folder`; the names of those that failed.

    What is said of the whole run stays when some are run again: the report tells which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="heyan-bench-") as made:
        done = [run_step(name, Path(made), quick=quick) for name in steps]
        for name in steps:
            (folder / f"{name}.json").unlink(missing_ok=True)
        for file in Path(made).glob("*.json"):
            shutil.copy(file, folder / file.name)
    if tuple(steps) == STEPS or not (folder / "suite.json").exists():
        write_results("suite", {"steps": done}, folder)
    return [str(step["name"]) for step in done if step["exit_code"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything in short")
    parser.add_argument("--check", action="store_true", help="in short, and held against the kept results")
    parser.add_argument("--only", choices=STEPS, nargs="+", default=STEPS, metavar="NAME", help="some of them only")
    parser.add_argument("--results", type=Path, help=f"where files go ({RESULTS}, or in short {QUICK})")
    options = parser.parse_args()
    quick = options.quick or options.check
    folder = options.results or (QUICK if quick else RESULTS)
    failed = run_all(options.only, folder, quick=quick)
    results = read_results(folder)
    text = report(results, read_notes(RESULTS))
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    print("\n" + text)
    for chart in write_charts(folder):
        print(chart)
    fell = fallen(read_results(RESULTS), results) if options.check else []
    for line in fell:
        print(f"fell: {line}", file=sys.stderr)
    if options.check and not fell:
        print("no ratio fell")
    sys.exit(1 if failed or fell else 0)


if __name__ == "__main__":
    main()
