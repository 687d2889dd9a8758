"""`python -m tests.fuzz [GROUP …] --seconds N`: fuzz groups of parsers with atheris, and say how much was run.

    python -m tests.fuzz                              every group for 20 seconds
    python -m tests.fuzz jose --seconds 1200          one group for 20 minutes
    python -m tests.fuzz --seconds 1200 --jobs 2      every group for 20 minutes, two at a time

Each group is one process of its own, its corpus made anew from genuine messages. A crash ends its group; its input is
kept in tests/fuzz/crashes, where `make test` replays it, and the exit status is 1. Inputs hold no personal data.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.engine import MAX_INPUT, genuine_inputs
from tests.fuzz.groups import MODULES, targets_of

CRASHES = Path("tests/fuzz/crashes")
_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
_SLOWEST = 10
"""Seconds that one input may take: more is a hang, and counts as a crash."""
_MEMORY = 2048
"""Megabytes that one process may hold."""
_SPARE = 120.0
"""Seconds beyond its time after which a process that does not end is killed."""


@dataclass(frozen=True)
class Result:
    """What became of one group."""

    group: str
    runs: int
    seconds: int
    by_target: dict[str, int]
    crash: str
    """The end of what the process wrote, if it crashed."""


def fuzz(group: str, seconds: int, seed: int) -> Result:
    """Fuzz one group in a process of its own."""
    with tempfile.TemporaryDirectory(prefix=f"heyan-fuzz-{group}-") as folder:
        corpus, counts = Path(folder) / "corpus", Path(folder) / "counts.json"
        corpus.mkdir()
        CRASHES.mkdir(exist_ok=True)
        for data in genuine_inputs(targets_of(group)):
            (corpus / sha256(data).hexdigest()[:16]).write_bytes(data)
        options = {
            "max_total_time": seconds,
            "max_len": MAX_INPUT,
            "timeout": _SLOWEST,
            "rss_limit_mb": _MEMORY,
            "artifact_prefix": f"{CRASHES}/{group}-",
            "seed": seed,
            "verbosity": 1,
            "print_final_stats": 0,
        }
        command = [sys.executable, "-m", "tests.fuzz.child", group, str(counts)]
        command += [f"-{name}={value}" for name, value in options.items()]
        ended = subprocess.run(
            [*command, str(corpus)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + _SPARE,
            check=False,
            env={**os.environ, "TMPDIR": folder},  # libFuzzer ends a process without letting it clear up
        )
        done = _DONE.search(ended.stderr)
        by_target = json.loads(counts.read_text()) if counts.exists() else {}
        if ended.returncode == 0 and done:
            return Result(group, int(done[1]), int(done[2]), by_target, "")
        return Result(group, sum(by_target.values()), 0, by_target, (ended.stdout + ended.stderr)[-4_000:])


def report(result: Result) -> str:
    """One group's figures, its targets below."""
    state = "CRASHED" if result.crash else f"{result.seconds} s"
    lines = [f"{result.group:<12} {result.runs:>10} runs  {state}"]
    lines += [f"    {name:<28} {count:>10}" for name, count in sorted(result.by_target.items())]
    return "\n".join([*lines, result.crash] if result.crash else lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", epilog="groups: " + ", ".join(MODULES))
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    parser.add_argument("--seconds", type=int, default=20, help="for each group")
    parser.add_argument("--jobs", type=int, default=1, help="groups at a time")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(MODULES)
    if unknown:
        parser.error("no such group: " + ", ".join(sorted(unknown)))
    if find_spec("atheris") is None:
        parser.error("atheris is not installed: `make fuzz` does that, from requirements-fuzz.txt")
    groups = arguments.groups or list(MODULES)
    crashed = False
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(lambda group: fuzz(group, arguments.seconds, arguments.seed), groups):
            crashed = crashed or bool(result.crash)
            sys.stdout.write(report(result) + "\n")
            sys.stdout.flush()
    if crashed:
        sys.stdout.write(f"inputs that crashed are kept in {CRASHES}\n")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
