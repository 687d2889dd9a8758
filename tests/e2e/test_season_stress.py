"""A rehearsal against real processes: judged by its goal, department by department, and stopped when it is told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.endpoints import read_endpoints
from gateway.cli.supervisor import free_port_base
from sandbox_departments.faults.kinds import make_fault
from sandbox_departments.faults.switch import FILE, lift_fault, set_fault
from sandbox_departments.truth import read_truth

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

COMMAND = (sys.executable, "-m", "gateway.cli")
START = 90.0
"""Seconds within which a federation of one prefecture is up, on a machine that does other work besides."""
PROFILE = 'shape = "steady"\npause = 0.5\nagain_percent = 20\nagain_after = 1.0\nconnections = 1\n'


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A federation of its own: its families' budgets are spent by nobody else."""
    folder = tmp_path_factory.mktemp("rehearsal") / "run"
    words = ["up", str(folder), "--population", "90", "--prefectures", "4301", "--port-base", str(free_port_base())]
    with (folder.parent / "up.log").open("w") as log:
        process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        began = time.monotonic()
        while "Ctrl-C stops everything" not in (line := process.stdout.readline()):
            assert line, (folder.parent / "up.log").read_text(encoding="utf-8")
            assert time.monotonic() - began < START
        yield folder
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def words_of(folder: Path, *words: str) -> list[str]:
    profile = folder.parent / "profile.toml"
    profile.write_text(PROFILE, encoding="utf-8")
    return [*COMMAND, "season", "stress", "--dir", str(folder), "--profile", str(profile), *words, "--json"]


def stress(folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report and everything that was printed."""
    done = subprocess.run(words_of(folder, *words), capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


def wait_until_down(folder: Path, node: str) -> None:
    host, _, port = read_endpoints(folder).departments[node].grpc.partition(":")
    began = time.monotonic()
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) != 0:
                return
        assert time.monotonic() - began < START
        time.sleep(0.1)


def judged(report: dict[str, Any], code: int) -> int:
    """The exit code that the verdict deserves where the machine was fast enough to have one."""
    return code if report["generator"]["kept_up"] else 4


def test_a_rehearsal_is_judged_by_its_goal_and_names_nobody(federation: Path) -> None:
    page = federation.parent / "report.html"
    goal = "answered>=99%, refused<1%, p99<60s, rate>=0.5"
    code, report, printed = stress(
        federation, "--applicants", "40", "--seconds", "8", "--goal", goal, "--html", str(page)
    )
    assert report["applications"]["answered"] == report["generator"]["sent"] == 48, printed
    assert report["applications"]["wrong"] == 0
    assert all(term["holds"] for term in report["goal"])
    assert code == judged(report, 0)
    assert report["generator"]["receipts_verified"] == 2
    assert report["departments"]["police-4301"]["gateway"]["asks"] >= 48
    assert report["departments"]["police-4301"]["gateway"]["p99_seconds"] is not None
    assert sum(seen["share_percent"] for seen in report["departments"].values()) == pytest.approx(100, abs=0.1)
    for truth in read_truth(federation / read_endpoints(federation).truth):
        for subject in truth.application.subjects.values():
            assert subject.id_number not in printed + page.read_text(encoding="utf-8")


def test_an_impossible_goal_fails(federation: Path) -> None:
    words = ("--applicants", "10", "--seconds", "2", "--seed", "2", "--verify-receipts", "all")
    code, report, printed = stress(federation, *words, "--goal", "rate>=5000")
    assert report["applications"]["answered"] == report["generator"]["receipts_verified"] == 12, printed
    assert [term["holds"] for term in report["goal"]] == [False]
    assert code == judged(report, 1)


def test_a_department_that_is_down_shows_in_its_share_and_is_no_wrong_answer(federation: Path) -> None:
    switch = federation / "departments" / "land-4301" / FILE
    set_fault(switch, make_fault("down"))
    try:
        wait_until_down(federation, "land-4301")
        words = ("--applicants", "30", "--seconds", "4", "--seed", "3", "--goal", "unavailable<1%")
        code, report, printed = stress(federation, *words)
    finally:
        lift_fault(switch)
    land = report["departments"].pop("land-4301")
    assert land["left_open"] == land["checks"] > 0, printed
    assert land["answered"] == 0
    assert land["unavailable"].keys() <= {"DEPARTMENT_UNREACHABLE", "DEPARTMENT_TIMED_OUT"}
    assert all(seen["answered"] == seen["checks"] > 0 for seen in report["departments"].values())
    assert report["applications"]["wrong"] == 0
    assert report["applications"]["unavailable"] > 0
    assert code == judged(report, 1)


def test_interrupting_ends_the_run_with_a_report_of_what_was(federation: Path) -> None:
    words = words_of(federation, "--rate", "1", "--seconds", "90", "--seed", "4")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert " wrong 0" in next(line for line in process.stderr if "  sent " in line)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    report = json.loads(out)
    assert process.returncode == 130
    assert report["verdict"] == "interrupted"
    assert 0 < report["generator"]["sent"] < report["generator"]["planned"]
    assert report["applications"]["wrong"] == 0
