"""`python -m tests.mutations`: at least COUNT mutations of all messages, the table of what became of them, and 1 if
any was accepted; those are then named by their numbers, and kept under the folder that it names.

    python -m tests.mutations [--count 200000] [--seed 1] [--only "grant"]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.mutations.campaign import shares, table
from tests.mutations.everything import all_messages, begin, run_named

_FOUND = Path("tests/mutations/accepted")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--count", type=int, default=200_000, help="mutated messages, at least")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", help="the name of one message")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        messages = [item for item in all_messages(Path(folder)) if arguments.only in (None, item.name)]
        if not messages:
            parser.error("--only must be the name of a message")
        names, counts = [message.name for message in messages], shares(messages, arguments.count)
        context = get_context("spawn")  # each process opens its own files
        with ProcessPoolExecutor(arguments.processes, context, begin, (folder,)) as pool:
            tallies = list(pool.map(run_named, names, [arguments.seed] * len(names), counts))
    sys.stdout.write(f"{table(tallies)}\n\nseed {arguments.seed}, {time.monotonic() - began:.0f} s\n")
    for tally in tallies:
        for number, data in tally.found:
            _FOUND.mkdir(exist_ok=True)
            kept = _FOUND / f"{tally.name.replace(' ', '-')}-{arguments.seed}-{number}"
            kept.write_bytes(data)
            sys.stdout.write(f"ACCEPTED {tally.name} number {number}: {kept}\n")
    return 1 if any(tally.accepted for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
