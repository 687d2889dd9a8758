from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from gateway.party.keyfiles import (
    Watched,
    destroy,
    load_sealing_keys,
    load_signing_key,
    load_signing_keys,
    newest_usable,
    read_private,
    save_sealing_key,
    save_signing_key,
    write_atomic,
    write_private,
)
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse, Suite
from tests.party.conftest import POLICE


def fresh_key(kid: str = "k1") -> SigningKey:
    return SigningKey(kid, ec.generate_private_key(ec.SECP256R1()))


def test_private_file_is_born_with_mode_0600_whatever_the_umask(tmp_path: Path):
    old = os.umask(0)
    try:
        write_private(tmp_path / "new" / "key", b"secret")
    finally:
        os.umask(old)
    assert (tmp_path / "new" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path):
    target = tmp_path / "taken"
    target.mkdir()
    (target / "inside").touch()
    with pytest.raises(OSError, match="taken"):
        write_atomic(target, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_private_key_that_others_may_read_is_refused_with_what_to_do(tmp_path: Path, mode: int):
    path = save_signing_key(tmp_path, fresh_key())
    path.chmod(mode)
    with pytest.raises(MalformedError, match="chmod 600") as refused:
        load_signing_key(path)
    assert refused.value.reason is Reason.CONFIGURATION_INVALID
    with pytest.raises(MalformedError, match="chmod 600"):
        load_signing_keys(tmp_path)


def test_error_of_a_damaged_key_names_the_file_and_shows_nothing_of_it(tmp_path: Path):
    write_private(tmp_path / "k.pem", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(MalformedError) as refused:
        load_signing_key(tmp_path / "k.pem")
    assert "k.pem" in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


def test_missing_file_and_folder_are_errors_of_configuration(tmp_path: Path):
    for attempt in (read_private, load_signing_key, load_signing_keys, load_sealing_keys):
        with pytest.raises(MalformedError) as refused:
            attempt(tmp_path / "missing")
        assert refused.value.reason is Reason.CONFIGURATION_INVALID


def test_signing_keys_come_back_under_the_name_of_their_file(tmp_path: Path):
    keys = [fresh_key("b"), fresh_key("a")]
    for key in keys:
        save_signing_key(tmp_path, key)
    (tmp_path / ".half-written.pem").write_bytes(b"")
    loaded = load_signing_keys(tmp_path)
    assert [key.key_id for key in loaded] == ["a", "b"]
    assert {key.public_key() for key in loaded} == {key.public_key() for key in keys}
    (alone,) = load_signing_keys(tmp_path / "a.pem")
    assert alone.public_key() == loaded[0].public_key()


@pytest.mark.parametrize(("suite", "size"), [(Suite.X25519, 32), (Suite.HYBRID, 96)])
def test_sealing_keys_come_back_with_their_suite(tmp_path: Path, suite: Suite, size: int):
    save_sealing_key(tmp_path, "s1", suite, os.urandom(size))
    loaded = load_sealing_keys(tmp_path)
    assert loaded["s1"].suite is suite
    assert loaded["s1"].key_id == "s1"


@pytest.mark.parametrize("content", [b"", b"rot13 AAAA\n", b"X25519/HKDF-SHA256/AES-128-GCM AAAA\n", b"\xff\xfe"])
def test_damaged_sealing_key_is_refused(tmp_path: Path, content: bytes):
    write_private(tmp_path / "s.key", content)
    with pytest.raises(MalformedError, match="HPKE suite"):
        load_sealing_keys(tmp_path)


def test_destroyed_key_leaves_no_bytes_in_another_link_to_it(tmp_path: Path):
    path = save_sealing_key(tmp_path, "s1", Suite.X25519, b"\x41" * 32)
    other = tmp_path / "link"
    os.link(path, other)
    destroy(path)
    assert not path.exists()
    assert set(other.read_bytes()) == {0}


def test_key_that_the_registry_does_not_list_yet_is_not_signed_with(federation):
    keys = federation.folder(POLICE).keys
    registry = federation.desk.published()
    now = federation.clock()
    before = newest_usable(load_signing_keys(keys), registry, POLICE.uri, KeyUse.ANSWER, now)
    save_signing_key(keys, fresh_key("answer-99999999-unlisted"))
    after = newest_usable(load_signing_keys(keys), registry, POLICE.uri, KeyUse.ANSWER, now)
    assert after.key_id == before.key_id


def test_other_key_under_a_listed_kid_is_not_signed_with(federation):
    keys = federation.folder(POLICE).keys
    (kid,) = (key.key_id for key in load_signing_keys(keys))
    save_signing_key(keys, fresh_key(kid))
    with pytest.raises(ForgedError) as refused:
        newest_usable(
            load_signing_keys(keys), federation.desk.published(), POLICE.uri, KeyUse.ANSWER, federation.clock()
        )
    assert refused.value.reason is Reason.KEY_UNKNOWN


def test_watched_value_follows_its_file_and_survives_a_bad_one(tmp_path: Path):
    path = tmp_path / "k.pem"
    save_signing_key(tmp_path, fresh_key("k"))
    watched = Watched((path,), lambda: load_signing_key(path))
    first = watched.value
    assert not watched.refresh()
    with capture_logs() as logs:
        write_private(path, b"garbage")
        assert not watched.refresh()
        assert not watched.refresh()
        path.unlink()
        assert not watched.refresh()
    assert [line["event"] for line in logs] == ["files_refused"] * 2  # once for each state of the file
    assert watched.value is first
    second = fresh_key("k")
    save_signing_key(tmp_path, second)
    assert watched.refresh()
    assert watched.value.public_key() == second.public_key()
    assert watched.generation == 1


def test_watched_folder_notices_new_and_removed_keys(tmp_path: Path):
    save_signing_key(tmp_path, fresh_key("a"))
    watched = Watched((tmp_path,), lambda: load_signing_keys(tmp_path))
    save_signing_key(tmp_path, fresh_key("b"))
    assert watched.refresh()
    assert [key.key_id for key in watched.value] == ["a", "b"]
    (tmp_path / "a.pem").unlink()
    assert watched.refresh()
    assert [key.key_id for key in watched.value] == ["b"]
