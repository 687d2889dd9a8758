"""`heyan offline` before it asks anybody: what is refused as usage, and the reasons that it offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.protocol.offline import OFFLINE_REASON_TEXTS, OfflineOutcome, OfflineReason

QUERY = ("--dir", "nowhere", "--requester", "edu-4301", "--request-id")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["offline", *words])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_command_offers_every_reason_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("resolve", "--help") == 0
    shown = capsys.readouterr().out
    assert all(reason.name.lower().replace("_", "-") in shown for reason in OfflineReason)
    assert set(OFFLINE_REASON_TEXTS) == set(OfflineReason)
    assert {reason.outcome for reason in OfflineReason} == set(OfflineOutcome)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("open", *QUERY, "ab" * 16), "--check"),
        (("open", *QUERY, "ab" * 16, "--check", "c1", "--material", "lease"), "--check"),
        (("open", *QUERY, "not hexadecimal", "--check", "c1"), "--request-id"),
        (("open", *QUERY, "ab" * 16, "--check", "c1"), "heyan up"),
        (("resolve", "original-seen", *QUERY, "ab" * 16, "--check", "c1"), "heyan up"),
        (("resolve", "original_seen", *QUERY, "ab" * 16, "--check", "c1"), "heyan up"),
        (("list", "--dir", "nowhere", "--requester", "edu-4301"), "heyan up"),
    ],
)
def test_unusable_words_are_told_on_one_line(
    words: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert option in error
    assert error.count("\n") == 1


def test_reason_of_no_contract_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("resolve", "because", *QUERY, "ab" * 16, "--check", "c1") == 2
    assert "because" in capsys.readouterr().err


def test_staff_key_that_others_may_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "staff-0042.pem"
    key.write_text("x")
    key.chmod(0o644)
    words = ("resolve", "visited", *QUERY, "ab" * 16, "--check", "c1", "--staff-key", str(key))
    assert run(*words) == 2
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["open", "resolve", "list"])
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert f"heyan offline {command}" in " ".join(capsys.readouterr().out.split()).replace("Usage: ", "", 1)
