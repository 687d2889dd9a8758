"""What every command does with errors: one line and an exit code, with `--debug` a traceback before it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cyclopts import App

from gateway.cli import app, describe, main
from gateway.protocol.errors import NotGrantedError
from gateway.protocol.reasons import Reason


@pytest.mark.parametrize(
    ("tokens", "code"),
    [
        (("verify", "--dir", "nowhere", "--requester", "edu-4301", "--family", "F000001"), 2),
        (("rules", "show", "4301", "--packs", "nowhere"), 2),
        (("doctor",), 2),
        (("season", "plan", "nowhere.csv"), 2),
        (("no-such-command",), 2),
    ],
)
def test_debug_adds_a_traceback_and_changes_no_exit_code(tokens, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for debug in (False, True):
        with pytest.raises(SystemExit) as ended:
            main([*tokens, *(["--debug"] if debug else [])])
        told = capsys.readouterr().err
        assert ended.value.code == code
        assert "Traceback" not in told or debug
        if tokens != ("no-such-command",):
            assert ("Traceback" in told) == debug
            assert told.splitlines()[-1].startswith("heyan: ")


def commands(group: App, *path: str) -> Iterator[str]:
    """Every command of the command line."""
    for name in group:
        if not name.startswith("-"):
            below = [*commands(group[name], *path, name)]
            yield from below or [" ".join((*path, name))]


@pytest.mark.parametrize("command", [*commands(app)])
def test_help_of_a_command_has_examples_and_the_list_of_commands_one_line(command, capsys):
    *group, name = command.split()
    with pytest.raises(SystemExit) as ended:
        main([*group, name, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert re.search(r"Examples?: .*heyan", shown)
    with pytest.raises(SystemExit):
        main([*group, "--help"])
    assert re.search(rf"│ {name} +[A-Z]", capsys.readouterr().out)


def test_error_is_told_in_both_languages_with_its_reason_last():
    told = describe(NotGrantedError(Reason.GRANT_REVOKED, "the detail"))
    assert re.fullmatch(r"The grant has been withdrawn\..* \(the detail\) .*[\u4e00-\u9fff]+.* \[GRANT_REVOKED\]", told)
