"""`heyan season` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.season.sample import sample_text
from gateway.season.windows import read_calendar


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["season", *(str(argument) for argument in arguments)])
    return int(ended.value.code or 0)


@pytest.fixture
def calendar(tmp_path: Path, capsys) -> Path:
    file = tmp_path / "season.csv"
    assert run("sample", "--out", file) == 0
    capsys.readouterr()
    return file


def test_the_sample_is_written_and_planned_with_every_output(calendar: Path, tmp_path: Path, capsys) -> None:
    assert calendar.read_text(encoding="utf-8") == sample_text()
    outputs = {option: tmp_path / f"plan{option}" for option in ("--png", "--html", "--out")}
    assert run("plan", calendar, *(word for pair in outputs.items() for word in pair)) == 0
    assert "35,211" in capsys.readouterr().out
    assert outputs["--png"].read_bytes().startswith(b"\x89PNG")
    assert outputs["--html"].read_text(encoding="utf-8").startswith("<!doctype html>")
    assert run("plan", outputs["--out"], "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["before"]["peak_backlog"], again["moves"]) == (0, [])


def test_json_tells_both_sides_and_the_moves(calendar: Path, capsys) -> None:
    assert run("plan", calendar, "--json", "--not-on", "2027-06-23", "--most-days", 10) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["before"]["peak_backlog"] > plan["after"]["peak_backlog"]
    assert {"prefecture", "department", "peak_backlog", "backlog_by_day"} <= plan["before"]["departments"][0].keys()
    assert plan["before"]["overlaps"][0]["applicants"] > 0
    assert plan["moves"]
    assert all(abs(move["days"]) <= 10 and "2027-06-23" not in move["opens_after"] for move in plan["moves"])


def test_settings_change_the_simulation(calendar: Path, tmp_path: Path, capsys) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[capacity]\npolice = 1000\neducation = 1000\n", encoding="utf-8")
    assert run("plan", calendar, "--json", "--settings", settings) == 0
    assert json.loads(capsys.readouterr().out)["before"]["peak_backlog"] == 0


def test_faults_are_told_in_both_languages_with_their_places(calendar: Path, tmp_path: Path, capsys) -> None:
    text = calendar.read_text(encoding="utf-8").replace("430102,芙蓉区,primary", "430102,芙蓉,primary", 1)
    calendar.write_text(text, encoding="utf-8")
    assert run("plan", calendar) == 2
    assert (
        "line 2, name must be the name of the county of this code / 与代码对应的县区名称不符" in capsys.readouterr().err
    )
    calendar.write_bytes(sample_text().encode("gb18030"))
    assert run("plan", calendar) == 2
    assert "save it as UTF-8" in capsys.readouterr().err
    assert run("plan", tmp_path / "missing.csv") == 2


def test_file_without_end_is_refused_and_no_key_of_it_reaches_the_terminal_raw(calendar: Path, tmp_path, capsys):
    assert run("plan", "/dev/zero") == 2
    assert "must be at most" in capsys.readouterr().err
    settings = tmp_path / "settings.toml"
    settings.write_text('"\\u001b[2J\\u202e" = 1\n', encoding="utf-8")
    assert run("plan", calendar, "--settings", settings) == 2
    assert capsys.readouterr().err.startswith("heyan: \\x1b[2J\\u202e must be one of assumptions")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--most-days", "151"), ("--most-moves", "-1"), ("--not-on", "tomorrow"), ("--png", "missing/plan.png")],
)
def test_an_option_out_of_bounds_is_named(calendar: Path, capsys, option: str, value: str) -> None:
    assert run("plan", calendar, option, value) == 2
    assert option in capsys.readouterr().err


def test_the_plan_of_the_sample_reads_back_in_the_season(calendar: Path, tmp_path: Path) -> None:
    assert run("plan", calendar, "--out", tmp_path / "out.csv") == 0
    assert len(read_calendar((tmp_path / "out.csv").read_text(encoding="utf-8"))) == 244
