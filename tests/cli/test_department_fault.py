"""`heyan department fault`: set, shown and lifted in a sandbox's folder; every mistake is one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import describe, exit_code_of
from gateway.cli.department import app, is_down, switchable
from gateway.cli.sandbox import Asked, Sandbox, settle
from gateway.protocol.errors import HeyanError
from sandbox_departments.faults.kinds import Fault, Kind
from sandbox_departments.faults.switch import FILE, read_fault

MADE = '{"seed": 1, "population": 1, "prefectures": ["4301"], "port_base": 20000, "closed": "430182"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sandbox.json").write_text(MADE)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> tuple[int, str, str]:
        """Exit code, standard output, and the error line."""
        try:
            app(["fault", "--dir", str(folder), *words], result_action="return_value", exit_on_error=False)
        except HeyanError as error:
            return exit_code_of(error), capsys.readouterr().out, describe(error)
        return 0, capsys.readouterr().out, ""

    return run


def test_fault_is_set_shown_and_lifted(run, folder) -> None:
    assert run() == (0, "no fault is set\n", "")
    code, said, _ = run("police-4301", "slow", "--seconds", "3", "--after", "2")
    assert code == 0
    assert "police-4301 off" in said
    assert read_fault(folder / "departments/police-4301" / FILE) == Fault(Kind.SLOW, seconds=3.0, after=2)
    run("land-4301", "stale-snapshot")
    code, shown, _ = run()
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["police-4301", "slow"],
        ["land-4301", "stale-snapshot"],
    ]
    assert run("police-4301", "off")[:2] == (0, "police-4301: fault lifted\n")
    assert run("police-4301", "off")[:2] == (0, "police-4301: no fault was set\n")
    assert json.loads(run("--json")[1]) == [
        {"department": "land-4301", "fault": "stale-snapshot", "seconds": 0.0, "days": 30, "after": 0}
    ]
    assert json.loads(run("police-4301", "--json")[1]) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("police-4301", "moody"), "FAULT must be off or one of down, dies-asked"),
        (("police-9999", "slow"), "NODE must be one of police-4301"),
        (("gateway", "slow"), "NODE must be one of"),
        (("../gateway", "slow"), "NODE must be one of"),
        (("police-4301", "garbage", "--seconds", "1"), "--seconds is nothing that garbage takes"),
        (("police-4301", "off", "--after", "1"), "FAULT must be named"),
        (("police-4301", "--seconds", "1"), "FAULT must be named"),
    ],
)
def test_mistake_is_one_error_line_and_changes_nothing(run, folder, words, named) -> None:
    code, said, error = run(*words)
    assert (code, said) == (2, "")
    assert named in error
    assert "\n" not in error
    assert list(folder.rglob(FILE)) == []


def test_folder_that_is_no_sandbox_is_refused(folder, run) -> None:
    (folder / "sandbox.json").unlink()
    code, _, error = run("police-4301", "slow")
    assert code == 2
    assert "holds no sandbox" in error


def test_help_has_a_line_for_each_fault(capsys) -> None:
    app(["fault", "--help"], result_action="return_value", exit_on_error=False)
    shown = capsys.readouterr().out
    assert [kind for kind in Kind if f"{kind.value}:" not in shown] == []


def test_only_department_nodes_of_the_sandbox_are_started_with_a_switch(folder, run) -> None:
    processes = list(map(switchable, Sandbox(folder, settle(folder, Asked())).processes()))
    with_switch = {process.name for process in processes if "--faults" in process.words}
    assert len(processes) == 7
    assert with_switch == {process.name for process in processes} - {"consent", "gateway"}
    run("land-4301", "down")
    run("police-4301", "slow")
    assert [process.name for process in processes if is_down(process)] == ["land-4301"]


def test_standby_has_a_switch_of_its_own(folder, run) -> None:
    (folder / "sandbox.json").write_text(MADE.replace("}", ', "standbys": true}'))
    nodes = [switchable(process) for process in Sandbox(folder, settle(folder, Asked())).processes()][1:-1]
    assert len({process.words[process.words.index("--faults") + 1] for process in nodes}) == len(nodes) == 10
    run("police-4301-standby", "down")
    assert [process.name for process in nodes if is_down(process)] == ["police-4301-standby"]
    assert [row["department"] for row in json.loads(run("--json")[1])] == ["police-4301-standby"]
    run("police-4301", "hangs")
    assert run("police-4301-standby", "off")[1] == "police-4301-standby: fault lifted\n"
    assert [row["department"] for row in json.loads(run("--json")[1])] == ["police-4301"]


def test_every_fault_is_documented_for_operators() -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    section = page.split("## Faults of a sandbox's departments\n")[1].split("\n## ")[0]
    assert [kind for kind in Kind if f"`{kind.value}`" not in section] == []
