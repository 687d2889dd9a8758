"""What the benchmark of workers reports, and when it does not."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.processes import cpu_seconds, family_seconds
from benchmarks.workers import report


def row(cpu: float) -> dict[str, float]:
    return {
        "requests": 10,
        "receipts_verified": 1,
        "gateway_cpu_us": cpu,
        "gateway_cores": 1.0,
        "requests_per_second": 100.0,
        "busiest_worker_share": 0.5,
        "retries": 0,
    }


def test_report_tells_the_ratio_and_how_much_was_held_against_the_truth():
    rounds = [{"1": row(1_000.0), "2": row(cpu)} for cpu in (1_100.0, 1_300.0, 1_000.0)]
    ratio = {"value": 1.1, "low": 1.0, "high": 1.3}
    told = report({"rounds": rounds, "targets": {"two_workers_cpu": ratio}})
    assert "CPU of two workers over one: 1.10 (1.00 to 1.30)" in told
    assert "3 rounds, 60 applications, all answered right; 6 receipts verified whole." in told
    assert "| 2 | 1100 |" in told


def test_cpu_of_a_family_is_that_of_the_process_and_its_children():
    busy = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        alone = cpu_seconds(os.getpid())
        assert family_seconds(os.getpid()) >= alone + 0.15
    finally:
        child.communicate(b"\n")
