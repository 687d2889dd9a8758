"""What is read of a process is of that process."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.processes import cores, cpu_seconds, on_core, ticks_of


def test_ticks_are_those_of_a_process_whose_name_has_spaces_and_parentheses():
    fields = [str(number) for number in range(3, 53)]  # as proc(5) counts them
    assert ticks_of(f"1 (a) b (c) {' '.join(fields)}\n") == 14 + 15


def test_cpu_seconds_grow_with_work():
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) == before:
        sum(range(10_000))


def test_what_is_started_on_a_core_stays_there():
    core = cores()[1]
    before = os.sched_getaffinity(0)
    with on_core(core):
        said = subprocess.run(
            [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert said.stdout.split() == [str(core)]
    assert os.sched_getaffinity(0) == before
