"""`heyan log policy` and `heyan log witness-key`: what they write others read; what is wrong is told by its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.protocol.note import COSIGNATURE, ED25519, ML_DSA_44, SignerKey, VerifierKey
from gateway.witnessing.policy_file import read_policy

LOG = SignerKey.from_seed("log.example/2027", bytes(32)).verifier.format()
Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["log", *words])
        told = capsys.readouterr()
        return ended.value.code, told.out, told.err

    return run


def keys_of(run: Run, folder: Path, *names: str) -> list[str]:
    return [run("witness-key", name, str(folder / f"key-{number}"))[1].strip() for number, name in enumerate(names)]


def test_policy_of_made_keys_is_what_was_asked_for(run: Run, tmp_path: Path) -> None:
    first, second = keys_of(run, tmp_path, "w.example/1", "w.example/2")
    file = tmp_path / "policy"
    words = ("--log", f"{LOG} https://log.example", "--witness", f"{first} https://w1.example/", "--witness", second)
    assert run("policy", "make", *words, "--quorum", "1", "--out", str(file)) == (0, "", "")
    policy = read_policy(file)
    assert [witness.name for witness in policy.witnesses] == ["w.example/1", "w.example/2"]
    assert [witness.url for witness in policy.witnesses] == ["https://w1.example/", ""]
    assert policy.is_met_by(["w.example/2"])
    code, told, _ = run("policy", "check", str(file))
    assert code == 0
    assert "group witnesses: 1 of w.example/1, w.example/2\nquorum witnesses\n" in told
    code, told, _ = run("policy", "check", str(file), "--json")
    assert json.loads(told)["witnesses"][0] == {"name": "w.example/1", "vkey": first, "url": "https://w1.example/"}


@pytest.mark.parametrize(("quorum", "threshold"), [("all", 3), ("any", 1), ("2", 2)])
def test_quorum_is_as_asked(run: Run, tmp_path: Path, quorum: str, threshold: int) -> None:
    words = [word for key in keys_of(run, tmp_path, "a", "b", "c") for word in ("--witness", key)]
    file = tmp_path / "policy"
    assert run("policy", "make", *words, "--quorum", quorum, "--out", str(file))[0] == 0
    assert read_policy(file).groups[0].threshold == threshold


def test_policy_without_witnesses(run: Run) -> None:
    assert run("policy", "make", "--log", LOG, "--quorum", "none") == (0, f"log {LOG}\nquorum none\n", "")


def test_published_key_of_type_01_becomes_a_cosigners(run: Run, tmp_path: Path) -> None:
    published = SignerKey.from_seed("w.example", bytes([5]) * 32).verifier
    assert published.algorithm == ED25519
    assert run("policy", "make", "--witness", published.format(), "--out", str(tmp_path / "policy"))[0] == 0
    (witness,) = read_policy(tmp_path / "policy").witnesses
    assert witness.key == VerifierKey.of("w.example", COSIGNATURE, published.public_key)


def test_two_keys_of_one_name_get_two_names(run: Run, tmp_path: Path) -> None:
    keys = keys_of(run, tmp_path, "w.example", "w.example", "w.example")
    words = [word for key in keys for word in ("--witness", key)]
    assert run("policy", "make", *words, "--out", str(tmp_path / "policy"))[0] == 0
    names = [witness.name for witness in read_policy(tmp_path / "policy").witnesses]
    assert names == ["w.example", "w.example#2", "w.example#3"]


def test_wrong_options_are_named(run: Run, tmp_path: Path) -> None:
    (key,) = keys_of(run, tmp_path, "w")
    for words, told in (
        (("--witness", "nonsense"), "--witness"),
        (("--witness", f"{key} a b"), "--witness"),
        (("--log", key[:-4]), "--log"),
        (("--witness", key, "--witness", key), "--log or --witness"),
        (("--log", key, "--quorum", "none"), "--log or --witness"),
        (("--witness", key, "--quorum", "2"), "--quorum"),
        (("--witness", key, "--quorum", "0"), "--quorum"),
        (("--quorum", "all"), "--quorum"),
    ):
        code, _, said = run("policy", "make", *words)
        assert code == 2
        assert said.startswith(f"heyan: {told} ")


def test_wrong_line_of_a_policy_is_told_with_its_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy"
    file.write_text("# ours\nquorum nobody\n")
    code, _, said = run("policy", "check", str(file))
    assert code == 2
    assert f"{file} line 2: " in said
    assert run("policy", "check", str(tmp_path / "missing"))[0] == 2


def test_key_is_made_once_and_named_well(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "key"
    code, vkey, _ = run("witness-key", "w.example/1", str(file), "--kind", "ml-dsa-44")
    assert (code, VerifierKey.parse(vkey.strip()).algorithm) == (0, ML_DSA_44)
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert run("witness-key", "w.example/1", str(file))[0] == 2
    assert file.read_bytes() == before
    code, _, said = run("witness-key", "with spaces", str(tmp_path / "other"))
    assert code == 2
    assert said.startswith("heyan: NAME ")
    assert not (tmp_path / "other").exists()


def test_witness_with_wrong_settings_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('store = "store.db"\nkey = "key"\nlogs = "logs"\nlisten = "0.0.0.0:8443"\n')
    code, _, said = run("witness", "--config", str(file))
    assert code == 2
    assert "tls" in said
