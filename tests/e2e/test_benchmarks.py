"""The benchmarks run, in their smallest form, and write what they should. Nothing here judges a time."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import quantile
from benchmarks.setting import sums_of, table

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def run_script(name: str, results: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """What a script prints, and the file that it writes."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--results", str(results), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, json.loads((results / f"{name}.json").read_text(encoding="utf-8"))


def test_coalescing_counts_messages_of_right_answers(tmp_path: Path) -> None:
    words = ("--levels", "1", "6", "--seconds", "2", "--families", "12", "--population", "80", "--processes", "2")
    printed, results = run_script("coalescing", tmp_path, *words)
    assert [row["concurrency"] for row in results["rows"]] == [1, 6]
    for row in results["rows"]:
        assert row["statuses"].keys() == {"OK"}
        assert row["statuses"]["OK"] == row["applications"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["reply_batches_per_application"] > 0
    assert "| concurrency | applications/s |" in printed
    machine = results["machine"]
    assert {"cpu", "cores", "python", "grpcio", "time", "command"} <= machine.keys()
    assert machine["command"].startswith("python -m benchmarks.coalescing --results")


def test_hanging_offers_both_kinds_in_both_phases(tmp_path: Path) -> None:
    words = ("--rounds", "1", "--seconds", "3", "--warm-up", "1", "--rate", "6", "--hanging-rate", "1")
    printed, results = run_script("hanging", tmp_path, *words, "--families", "12", "--population", "80")
    (item,) = results["rounds"]
    for phase in ("answering", "hanging"):
        assert item[phase]["others"] == {"OK": 18}
        assert sum(item[phase]["asking_the_department"].values()) == 3
    assert item["answering"]["asking_the_department"] == {"OK": 3}
    assert "OK" not in item["hanging"]["asking_the_department"]
    assert item["p99_ratio"] == pytest.approx(item["hanging"]["p99_ms"] / item["answering"]["p99_ms"])
    assert len(results["gateway_memory"]) > 10
    assert all(size > 1 << 20 for _, size in results["gateway_memory"])
    assert "median ratio of p99" in printed


def test_peers_are_asked_the_same_and_answer_rightly(tmp_path: Path) -> None:
    words = ("--rounds", "1", "--seconds", "1", "--levels", "8", "--threads", "1", "--families", "8")
    printed, results = run_script("peers", tmp_path, *words, "--population", "200")
    (phases,) = results["rounds"]
    proxies = {name for name in ("envoy", "nginx") if name in results["chosen"]}
    assert "envoy" in proxies
    for phase in ("saturation", "offered"):
        assert phases[phase].keys() >= {"heyan", "direct"} | proxies
    assert phases["idle"].keys() == {"heyan", "direct", "unary"}
    for name, run in ((name, run) for runs in phases.values() for name, run in runs.items()):
        assert run["statuses"] == {"OK": run["applications"]}, name
        assert sum(run["latency_ms"].values()) == run["applications"] > 0
        assert run["cpu_us_per_application"]["client"] > 0
    wanted = {"system_over_envoy", "p99_over_envoy", "idle_over_unary"}
    assert results["targets"].keys() >= wanted
    for ratio in results["targets"].values():
        assert 0 < ratio["low"] <= ratio["value"] <= ratio["high"]
    assert "What the peers do not do" in printed


def test_publishing_measures_each_size(tmp_path: Path) -> None:
    words = ("--largest", "4", "--checks", "1", "--leaves-per-second", "20", "--steps", "2")
    printed, results = run_script("publishing", tmp_path, *words, "--folder", str(tmp_path))
    assert [row["size"] for row in results["rows"]] == [10_000]
    assert all(value >= 0 for row in results["rows"] for value in row.values())
    assert "take_up_ms" in printed


def test_appending_measures_each_size(tmp_path: Path) -> None:
    printed, results = run_script("appending", tmp_path, "--largest", "4", "--rounds", "2", "--folder", str(tmp_path))
    assert [row["size"] for row in results["rows"]] == [1_000, 10_000]
    for row in results["rows"]:
        assert all(value > 0 for value in row.values() if not isinstance(value, list))
        assert row["least"] <= row["leaves_per_second"] <= row["most"]
        assert len(row["rates"]) == 2
    assert results["targets"].keys() == {"append_rate", "append_flatness", "start_flatness"}
    assert "append_flatness" in printed


def test_disk_counts_bytes_of_right_answers(tmp_path: Path) -> None:
    printed, results = run_script("disk", tmp_path, "--families", "8")
    assert results["5 checks"]["applications"] == results["12 checks"]["applications"] == 8
    assert results["12 checks"]["checks"] > results["5 checks"]["checks"] > 8
    assert results["5 checks"]["journal_bytes_per_check"] > 0
    assert results["targets"]["disk_per_check"]["value"] == results["5 checks"]["bytes_per_check"] > 0
    assert "| leaves |" in printed


def test_fsck_checks_whole_logs(tmp_path: Path) -> None:
    printed, results = run_script("fsck", tmp_path, "--quick", "--leaves", "700", "--rounds", "1")
    (row,) = results["rows"]
    assert row["way"] == "whole"
    assert results["targets"]["fsck_rate"]["value"] == row["leaves_per_second"] > 0
    assert "| whole |" in printed


def test_quantiles_sums_and_tables() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert math.isnan(quantile([], 0.5))
    text = '# HELP a\na_total{to="x y"} 2.0\na_total{to="z"} 3.0\nb 1e3\n'
    assert sums_of(text) == {"a_total": 5.0, "b": 1000.0}
    assert table(("a", "b"), [(1, 2.34567)]) == "| a | b |\n| ---: | ---: |\n| 1 | 2.346 |"
