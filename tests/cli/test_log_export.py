"""`heyan log export`, and the words by which commands name a log, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.exit_codes import EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE
from gateway.cli.log_sources import LogOptions, open_log
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.note import SignerKey
from tests.static_logs import ORIGIN, SIGNER, leaves, note_of, write_log

VKEY = SIGNER.verifier.format()
OTHER = SignerKey.from_seed(ORIGIN, b"\x08" * 32)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "log", leaves(300))


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["log", "export", *map(str, words)])
    return int(ended.value.code or 0)


def test_a_folder_is_copied_and_told(log: Path, tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "copy", "--from", log, "--vkey", VKEY) == 0
    assert f"{ORIGIN}, 300 leaves (300 new)" in capsys.readouterr().out
    assert (tmp_path / "copy/checkpoint").read_bytes() == note_of(leaves(300))
    assert run(tmp_path / "copy", "--from", log, "--vkey", VKEY, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["size"], told["new"], told["entries"]) == (300, 0, True)


def test_hashes_alone_are_copied(log: Path, tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "copy", "--from", log, "--vkey", VKEY, "--no-entries") == 0
    assert "hashes only" in capsys.readouterr().out
    assert not (tmp_path / "copy/tile/entries").exists()


def test_a_log_of_another_key_is_not_copied(log: Path, tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "copy", "--from", log, "--vkey", OTHER.verifier.format()) == EXIT_REFUSED
    assert "KEY_UNKNOWN" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_a_tampered_log_is_told_by_its_tile(log: Path, tmp_path: Path, capsys) -> None:
    tile = log / "tile/0/000"
    tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
    assert run(tmp_path / "copy", "--from", log, "--vkey", VKEY) == EXIT_REFUSED
    told = capsys.readouterr().err
    assert "tile/0/000" in told
    assert "TILE_INVALID" in told
    assert told.count("\n") == 1


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "copy", "--from", "https://127.0.0.1:1/0", "--vkey", VKEY) == EXIT_UNREACHABLE
    assert "PEER_UNREACHABLE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "--dir must say which log"),
        (("--from", "log"), "must say whose signature to believe"),
        (("--from", "http://127.0.0.1:1/0", "--vkey", VKEY), "must be https://"),
        (("--from", "nowhere", "--vkey", VKEY), "is no folder"),
        (("--from", "log", "--vkey", "nonsense"), "--vkey"),
        (("--from", "https://localhost:1/0", "--vkey", VKEY, "--cert", "a.pem"), "belong together"),
        (("--from", "https://localhost:1/0", "--vkey", VKEY, "--cert", "a.pem", "--key", "b.pem"), "a.pem"),
        (("--from", "https://localhost:1/0", "--vkey", VKEY, "--ca", "nowhere.pem"), "nowhere.pem"),
        (("--from", "log", "--config", "settings.toml"), "leave out --from"),
        (("--config", "nowhere.toml"), "nowhere.toml"),
        (("--dir", "nowhere"), "start a federation there"),
    ],
)
def test_what_is_missing_or_wrong_is_told(tmp_path: Path, capsys, words, expected: str) -> None:
    assert run(tmp_path / "copy", *words) == EXIT_USAGE
    assert expected in capsys.readouterr().err


def test_a_second_key_of_the_log_and_witnesses_are_given_after_the_first(log: Path) -> None:
    witness = SignerKey.from_seed("witness.test/w", bytes(32))
    opened = open_log(str(log), LogOptions(vkeys=(VKEY, OTHER.verifier.format(), witness.verifier.format())))
    assert opened.origin == ORIGIN
    assert opened.open(note_of(leaves(5))).size == 5
    assert opened.open(note_of(leaves(5), OTHER)).size == 5
    with pytest.raises(ForgedError):
        opened.open(note_of(leaves(5), SignerKey.from_seed(ORIGIN, b"\x09" * 32)))


def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(MalformedError, match="PEM"):
        open_log("https://localhost:1/0", LogOptions(vkeys=(VKEY,), ca=tmp_path / "ca.pem"))
