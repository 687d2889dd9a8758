"""The benchmark of the gateway's core runs, in its smallest form, and writes what it should. No time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
KINDS = ("single", "application", "single_repeated", "application_repeated")


def test_gateway_core_answers_right_beside_its_echo(tmp_path: Path) -> None:
    words = ("--rounds", "1", "--seconds", "0.3", "--concurrency", "8", "--warm-up", "20")
    command = [sys.executable, "-m", "benchmarks.gateway_core", *words, "--families", "3", "--population", "80"]
    done = subprocess.run(
        [*command, "--results", str(tmp_path)], capture_output=True, text=True, timeout=110, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "gateway_core.json").read_text(encoding="utf-8"))
    assert results["targets"].keys() == {"single_over_echo", "checks_per_echo", "floor_share"}
    for target in results["targets"].values():
        assert 0 < target["low"] <= target["value"] <= target["high"]
    (item,) = results["rounds"]
    for kind in KINDS:
        row = item[kind]
        assert row["statuses"] == {"OK": row["requests"]}
        assert row["receipts_verified"] >= max(1, row["requests"] // 100)
        assert row["server_cpu_us"] > 0
    assert item["echo"]["statuses"] == {"OK": item["echo"]["requests"]}
    request_bytes, reply_bytes = results["bytes"]["single"]
    assert results["bytes"]["application"][0] > request_bytes > 4_000  # a hybrid sealed subject is more than that
    assert reply_bytes > 1_000
    assert "| bare echo |" in done.stdout
