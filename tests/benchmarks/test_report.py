"""The report says of each target what the files say, and no more; the README holds just that."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report as reporting
from benchmarks.kept import fallen, read_notes, read_results, seen_in
from benchmarks.report import MARKER, between_markers, markers, report, row_of
from benchmarks.setting import RESULTS
from benchmarks.targets import TARGETS

BEGIN, END = markers(MARKER)
README = Path(__file__).parents[2] / "README.md"
BY_ID = {target.id: target for target in TARGETS}
MACHINE = {
    "cpu": "A CPU",
    "cores": 2,
    "python": "3.11",
    "grpcio": "1.85",
    "cryptography": "50",
    "sqlite": "3.40",
    "time": "2027-01-02T03:04:05Z",
    "command": "python -m benchmarks.suite",
}


def results(
    file: str, target: str, value: float, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    entry = {"value": value, "low": value if low is None else low, "high": value if high is None else high}
    return {file: {"machine": MACHINE, "targets": {target: entry}}}


def test_a_met_ratio_is_told_with_its_range() -> None:
    found = row_of(BY_ID["single_over_echo"], results("gateway_core", "single_over_echo", 0.4567, 0.4, 0.5), {})
    assert found[1:] == ("≥ 0.4", "≥ 0.55", "0.457 (0.4–0.5)", "met")


def test_a_missed_target_says_by_how_much_and_why() -> None:
    seen = results("gateway_core", "single_over_echo", 0.3)
    assert row_of(BY_ID["single_over_echo"], seen, {"single_over_echo": "A reason."})[-1] == (
        "**missed** by 25 %. A reason."
    )


def test_a_note_about_a_target_that_is_met_is_not_shown() -> None:
    seen = results("gateway_core", "single_over_echo", 0.6)
    assert row_of(BY_ID["single_over_echo"], seen, {"single_over_echo": "A reason."})[-1] == "stretch met"


def test_shares_are_told_in_percent_and_thousands_with_commas() -> None:
    assert row_of(BY_ID["floor_share"], results("gateway_core", "floor_share", 0.2871), {})[3] == "28.7 %"
    assert row_of(BY_ID["append_rate"], results("appending", "append_rate", 61_234.5), {})[3] == "61,200 leaves/s"
    assert row_of(BY_ID["disk_per_check"], results("disk", "disk_per_check", 1_007.4), {})[3] == "1,007 bytes"


def test_a_longer_run_stands_beside_the_suites_and_must_reach_the_target_too() -> None:
    both = {**results("appending", "append_rate", 60_000), **results("appending_large", "append_rate", 40_000)}
    *_, seen, judged = row_of(BY_ID["append_rate"], both, {})
    assert seen == "60,000 leaves/s; 40,000 leaves/s †"
    assert judged == "**missed** by 20 %."


def test_what_is_not_measured_is_told_as_that() -> None:
    assert row_of(BY_ID["fsck_rate"], {}, {})[3:] == ("–", "not measured")


def test_the_table_has_a_row_for_each_target_and_says_what_failed_and_what_is_newer() -> None:
    steps = [{"name": "fsck", "seconds": 60.0, "exit_code": 0}, {"name": "peers", "seconds": 60.0, "exit_code": 1}]
    newer = results("fsck", "fsck_rate", 1e6)
    newer["fsck"]["machine"] = {**MACHINE, "time": "2027-01-03T00:00:00Z"}
    text = report({"suite": {"machine": MACHINE, "steps": steps}, **newer}, {})
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(TARGETS) + 2
    assert "2 cores of A CPU; python 3.11, grpcio 1.85" in text
    assert "`python -m benchmarks.suite`, 2 minutes, 2027-01-02" in text
    assert "Failed in that run: peers." in text
    assert "Measured again since: fsck (2027-01-03)." in text


def test_a_table_replaces_only_what_stands_between_the_markers() -> None:
    assert between_markers(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == f"a\n{BEGIN}\nnew\n{END}\nb\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_a_file_without_one_pair_of_markers_is_left_alone(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "README.md"
    file.write_text(text)
    monkeypatch.setattr(sys, "argv", ["report", "--results", str(tmp_path), "--readme", str(file)])
    with pytest.raises(SystemExit) as ended:
        reporting.main()
    assert ended.value.code == 2
    assert file.read_text() == text


def test_a_note_about_no_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.toml").write_text('nonsense = "x"\n')
    with pytest.raises(ValueError, match="nonsense"):
        read_notes(tmp_path)


def test_results_are_read_by_the_names_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "fsck.json").write_text(json.dumps(results("fsck", "fsck_rate", 5.0)["fsck"]))
    assert seen_in(read_results(tmp_path), BY_ID["fsck_rate"])["fsck"].value == 5.0


def test_a_ratio_that_fell_or_is_missing_is_named() -> None:
    kept = {
        **results("gateway_core", "single_over_echo", 0.5),
        **results("peers", "system_over_envoy", 3.0),
        **results("fsck", "fsck_rate", 1e6),
    }
    now = {**results("gateway_core", "single_over_echo", 0.2), **results("fsck", "fsck_rate", 1.0)}
    assert fallen(kept, now) == [
        "single_over_echo: 0.5 is kept, the run saw 0.2",
        "system_over_envoy: 3 is kept, and the run does not say",
    ]
    assert fallen(kept, kept) == []


@pytest.mark.skipif(not (RESULTS / "suite.json").exists(), reason="no run of the whole suite is kept")
def test_the_readme_tells_what_is_kept() -> None:
    text = README.read_text(encoding="utf-8")
    assert between_markers(text, report(read_results(RESULTS), read_notes(RESULTS))) == text
