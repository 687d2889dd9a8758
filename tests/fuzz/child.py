"""One fuzzing process: `python -m tests.fuzz.child GROUP COUNTS [options of libFuzzer] CORPUS`.

Imports the group's targets with their code instrumented and gives them inputs until libFuzzer ends the process; how
often each target ran is written to COUNTS every so often. `tests.fuzz` starts it; it needs atheris.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import atheris

_INSTRUMENTED = ["gateway", "consent", "sandbox_departments", "joserfc", "cbor2", "webauthn"]
_EVERY = 512
"""Runs between two notes of the counts."""


def main() -> None:
    group, counts_file, *options = sys.argv[1:]
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.engine import run_input  # noqa: PLC0415 - after instrumentation has begun
        from tests.fuzz.groups import targets_of  # noqa: PLC0415

        targets = targets_of(group)
    counts: Counter[str] = Counter()
    file = Path(counts_file)

    def one_input(data: bytes) -> None:
        target = run_input(targets, data)
        if target is not None:
            counts[target.name] += 1
            if counts.total() % _EVERY == 0:
                file.write_text(json.dumps(counts))

    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
