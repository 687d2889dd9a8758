"""`heyan audit report` as an auditor types it, over a log made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from gateway.cli import main
from gateway.cli.endpoints import Auditor
from gateway.protocol.identities import parse_identity
from gateway.protocol.statistics import StatisticKey
from tests import federation as fed
from tests.audit.logs import DAY_1, FURONG, HUKOU, POLICE, Asked, Books, federation, little_log, signer

Run = Callable[..., int]


class Connected(Books):
    """Books that are entered as a connection is."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch) -> Connected:
    little = little_log()
    made = Connected(little.leaves_, little.counts)
    auditor = Auditor(made, lambda: federation().registry, parse_identity(fed.GATEWAY))  # type: ignore[arg-type]
    monkeypatch.setattr("gateway.cli.audit.open_auditor", lambda _folder, _auditor: auditor)
    return made


def run(*words: object) -> int:
    days = ("--from", DAY_1, "--to", "2027-06-03")
    with pytest.raises(SystemExit) as ended:
        main(["audit", "report", "--dir", "run", "--auditor", "auditor", *days, *map(str, words)])
    return int(ended.value.code or 0)


def test_honest_log_is_reported_in_every_form(books: Connected, tmp_path: Path, capsys) -> None:
    csv, html = tmp_path / "report.csv", tmp_path / "report.html"
    assert run("--csv", csv, "--html", html) == 0
    shown = capsys.readouterr().out
    assert "agree row by row" in shown
    assert "75.0%" in shown
    assert " 3/4 " in shown
    assert csv.read_bytes().startswith(b"\xef\xbb\xbf")
    assert csv.read_bytes().count(b"\r\r") == 0
    assert html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["figures"]["verified_online"]["numerator"] == 3


def test_disagreement_is_named_row_by_row_and_ends_with_1_and_still_makes_the_report(
    books: Connected, tmp_path: Path, capsys
) -> None:
    books.counts[DAY_1][StatisticKey(FURONG, POLICE, HUKOU, 1, True)] += 5
    html = tmp_path / "report.html"
    assert run("--html", html) == 1
    shown = capsys.readouterr().out
    assert f"{DAY_1} {FURONG} {POLICE} {HUKOU} ANSWERED" in shown
    assert "statistics 7, log 2" in shown
    assert "agree row by row" not in shown
    assert "不一致：1 行" in html.read_text(encoding="utf-8")


def test_leaf_that_cannot_be_read_is_said_and_ends_with_1(books: Connected, capsys) -> None:
    books.leaves_.append(b"from the future")
    assert run() == 1
    assert "1 leaves cannot be read: update heyan" in capsys.readouterr().out


def test_log_that_does_not_hold_gives_no_report(books: Connected, tmp_path: Path, capsys) -> None:
    books.signer = signer(fed.OTHER_GATEWAY)
    html = tmp_path / "report.html"
    assert run("--html", html) == 1
    assert not html.exists()
    assert capsys.readouterr().err.startswith("heyan: ")


def test_checkpoint_is_remembered_and_moves_on(books: Connected, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    assert run("--checkpoint", file) == 0
    assert file.read_text() == books.note()
    books.record(Asked())
    assert run("--checkpoint", file) == 0
    assert file.read_text() == books.note()


def test_log_that_went_backwards_is_refused_and_both_notes_are_kept_to_convict_it(
    books: Connected, tmp_path: Path, capsys
) -> None:
    file = tmp_path / "checkpoint"
    run("--checkpoint", file)
    remembered = file.read_text()
    books.leaves_.pop()
    assert run("--checkpoint", file) == 1
    assert "[PROOF_INVALID]" in capsys.readouterr().err
    assert file.read_text() == remembered
    assert (tmp_path / "checkpoint.shown").read_text() == books.note()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"not a note\n"])
def test_checkpoint_file_that_is_none_is_not_overwritten(books: Connected, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "checkpoint"
    file.write_bytes(content)
    assert run("--checkpoint", file) == 2
    assert file.read_bytes() == content


def test_text_of_a_hostile_log_does_not_reach_the_terminal(books: Connected, capsys) -> None:
    books.record(Asked(department="\x1b]0;owned\x07", region="\x9b2J"))
    books.counts[DAY_1].clear()
    assert run() == 1
    assert not {"\x1b", "\x07", "\x9b"} & set(capsys.readouterr().out)


@pytest.mark.parametrize(
    "words", [("--from", "2027-6-1"), ("--to", DAY_1), ("--by", "person"), ("--csv", "/nowhere/x")]
)
def test_usage_is_said_before_anything_is_read(books: Connected, words: tuple[str, str]) -> None:
    assert run(*words) == 2
    assert books.calls == []


def test_publication_shows_no_small_count_on_the_terminal_either(books: Connected, capsys) -> None:
    assert run("--publish") == 0
    assert "<5" in capsys.readouterr().out
