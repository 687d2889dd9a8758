"""`heyan dispute` and `heyan consent dispute`: what is wrong is said before anything is asked or spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main

OPEN = ("dispute", "open", "--dir", "none", "--requester", "edu-4301", "--check", "c1")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "words",
    [
        (*OPEN, "--ground", "record-wrong", "--request-id", "no-hexadecimal"),
        (*OPEN, "--ground", "the clerk is wrong", "--request-id", "00" * 16),
        ("dispute", "show", "--dir", "none", "--requester", "edu-4301", "--request-id", "00" * 16),
    ],
    ids=["request_id", "ground", "folder"],
)
def test_usage_errors_end_with_2(words: tuple[str, ...]) -> None:
    assert run(*words) == 2


def test_broken_receipt_is_refused_before_the_issuer_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    file.write_text('{"version": 1, "query": ')
    words = ("consent", "dispute", "--dir", str(tmp_path), "--family", "F000001", "--receipt", str(file))
    assert run(*words, "--check", "c1", "--ground", "other-person") == 1
