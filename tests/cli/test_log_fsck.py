"""`heyan log fsck` as it is typed: exit codes, what it prints, what it holds against the log."""

from __future__ import annotations

import json

import pytest

from gateway.cli import main
from gateway.protocol.merkle import inclusion_path, leaf_hash
from gateway.protocol.note import SignerKey
from gateway.protocol.proof import InclusionProof
from gateway.protocol.receipt_file import receipt_to_json
from heyan.v1 import receipt_pb2
from tests.static_logs import ORIGIN, SIGNER, leaves, note_of, write_log

VKEY = SIGNER.verifier.format()
DATA = leaves(300)


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").mkdir()
    return write_log(tmp_path / "log", DATA)


def fsck(*words, capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["log", "fsck", *map(str, words)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def receipt(tmp_path, leaf: bytes, index: int, data: list[bytes] = DATA):
    path = inclusion_path([leaf_hash(each) for each in data], index)
    proof = InclusionProof(index, path, note_of(data).decode())
    file = tmp_path / "receipt.json"
    shown = receipt_pb2.Receipt(leaves=[receipt_pb2.LeafProof(leaf=leaf, proof=proof.format())])
    file.write_text(receipt_to_json(shown))
    return file


def test_sound_log_ends_with_0_and_says_so_in_both_languages(log, capsys):
    code, out, err = fsck(log, "--vkey", VKEY, capsys=capsys)
    assert (code, err) == (0, "")
    assert "300 entries" in out
    assert "sound" in out
    assert "完好" in out


def test_bad_place_ends_with_1_named_in_text_and_json(log, capsys):
    tile = log / "tile/0/000"
    tile.write_bytes(b"\x00" + tile.read_bytes()[1:])
    code, out, _ = fsck(log, "--vkey", VKEY, capsys=capsys)
    assert code == 1
    assert "first bad place 首个错误: tile/0/000 entry 0 byte 0 [TILE_CHANGED]" in out
    code, out, _ = fsck(log, "--vkey", VKEY, "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, told["sound"], told["bad"], told["size"]) == (1, False, 1, 300)
    assert (told["found"][0]["place"], told["found"][0]["offset"]) == ("tile/0/000", 0)
    assert set(told["found"][0]["meaning"]) == {"zh", "en"}


def test_checkpoint_of_the_auditor_with_another_root_is_a_fork(log, tmp_path, capsys):
    (tmp_path / "seen").write_bytes(note_of([*DATA[:99], b"another"]))
    (tmp_path / "held").write_bytes(note_of(DATA[:100]))
    held, seen = ("--checkpoint", tmp_path / "held"), ("--checkpoint", tmp_path / "seen")
    assert fsck(log, "--vkey", VKEY, *held, capsys=capsys)[0] == 0
    code, out, _ = fsck(log, "--vkey", VKEY, *held, *seen, capsys=capsys)
    assert code == 1
    assert f"{tmp_path / 'seen'} [FORKED]" in out


def test_receipts_leaf_and_checkpoint_are_held_against_the_log(log, tmp_path, capsys):
    good = receipt(tmp_path, DATA[7], 7)
    code, out, _ = fsck(log, "--vkey", VKEY, "--receipt", good, capsys=capsys)
    assert (code, "2 checkpoints" in out) == (0, True)
    bad = receipt(tmp_path, b"never logged", 7)
    code, out, _ = fsck(log, "--vkey", VKEY, "--receipt", bad, capsys=capsys)
    assert code == 1
    assert "entry 7 [LEAF_NOT_LOGGED]" in out
    forked = receipt(tmp_path, b"x", 299, [*DATA[:-1], b"x"])
    code, out, _ = fsck(log, "--vkey", VKEY, "--receipt", forked, "--json", capsys=capsys)
    assert {each["wrong"] for each in json.loads(out)["found"]} == {"FORKED", "LEAF_NOT_LOGGED"}


def test_receipt_of_another_log_or_none_is_refused_with_its_file(log, tmp_path, capsys):
    other = SignerKey.from_seed("other.test", bytes(32)).verifier.format()
    file = receipt(tmp_path, DATA[7], 7)
    code, _, err = fsck(log, "--vkey", other, "--receipt", file, capsys=capsys)
    assert (code, str(file) in err) == (1, True)
    file.write_text("{")
    code, _, err = fsck(log, "--vkey", VKEY, "--receipt", file, capsys=capsys)
    assert (code, "is not a whole receipt" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code"), [((), 2), (("--vkey", "nonsense"), 2), (("--vkey", VKEY, "--checkpoint", "/nowhere"), 2)]
)
def test_what_is_missing_on_the_command_line_is_named(words, code, log, capsys):
    ended, _, err = fsck(log, *words, capsys=capsys)
    assert (ended, err.count("\n")) == (code, 1)


def test_url_that_does_not_answer_ends_with_3(capsys):
    code, _, err = fsck("https://localhost:1/0", "--vkey", VKEY, capsys=capsys)
    assert (code, "PEER_UNREACHABLE" in err) == (3, True)


def test_log_of_another_origin_than_the_key_is_named(log, capsys):
    other = SignerKey.from_seed("other.test", bytes(32)).verifier.format()
    code, out, _ = fsck(log, "--vkey", other, capsys=capsys)
    assert code == 1
    assert f"is of the log {ORIGIN}, not other.test" in out
