"""The suite keeps what succeeded, and takes away what did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import suite


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with benchmarks of another kind: one succeeds, one writes and fails, one hangs."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    write = (
        "import sys, pathlib\nfolder = pathlib.Path(sys.argv[sys.argv.index('--results') + 1])\n"
        "(folder / (pathlib.Path(__file__).stem + '.json')).write_text('{\"targets\": {}}')\n"
    )
    (folder / "good.py").write_text(write)
    (folder / "bad.py").write_text(write + "sys.exit(3)\n")
    (folder / "hanging.py").write_text(write + "import time\ntime.sleep(60)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_results_of_a_failed_benchmark_are_taken_away(package: Path) -> None:
    kept = package / "results"
    kept.mkdir()
    (kept / "bad.json").write_text('{"targets": {"old": 1}}')
    (kept / "other.json").write_text("{}")
    assert suite.run_all(("good", "bad"), kept, quick=False) == ["bad"]
    assert {file.name for file in kept.iterdir()} == {"good.json", "other.json", "suite.json"}
    steps = json.loads((kept / "suite.json").read_text())["steps"]
    assert [(step["name"], step["exit_code"]) for step in steps] == [("good", 0), ("bad", 3)]


def test_a_benchmark_that_hangs_is_ended(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "LONGEST", 1.0)
    step = suite.run_step("hanging", package, quick=False)
    assert step["exit_code"] == suite.ENDED
    assert not (package / "hanging.json").exists()


def test_some_run_again_leave_what_is_said_of_the_whole_run(package: Path) -> None:
    (package / "suite.json").write_text("whole")
    assert suite.run_all(("good",), package, quick=True) == []
    assert (package / "suite.json").read_text() == "whole"
