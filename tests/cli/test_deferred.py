"""What `heyan verify` says about deferral, before it asks anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.exit_codes import EXIT_USAGE
from gateway.cli.options import read_request_id


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        main(["verify", *words])
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--family", "F000001", "--request-id", "00" * 16)], ids=["neither", "both"])
def test_command_asks_for_a_family_or_fetches_a_request_and_never_both(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, said = run(capsys, "--dir", str(tmp_path), "--requester", "edu-4301", *words)
    assert code == EXIT_USAGE
    assert "--family" in said
    assert "--request-id" in said


@pytest.mark.parametrize("text", ["", "00", "xyz", "00" * 33, "0x" + "00" * 16])
def test_request_id_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
    code, said = run(capsys, "--dir", str(tmp_path), "--requester", "edu-4301", "--request-id", text)
    assert code == EXIT_USAGE
    assert "--request-id" in said
    assert len(said.strip().splitlines()) == 1


def test_request_id_is_read_as_it_is_printed() -> None:
    assert read_request_id(bytes(range(16)).hex()) == bytes(range(16))
