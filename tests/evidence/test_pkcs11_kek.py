"""A key-encryption key in a PKCS#11 token (SoftHSM): used in it, never out of it, and told when it is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.pkcs11_kek import Token, TokenKek
from gateway.evidence.vault import Vault
from gateway.protocol.errors import LogUnavailableError, MalformedError

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL, PIN, SO_PIN = "heyan-test", "24681357", "13572468"
GRANT = bytes([7]) * 32
KEY = bytes(range(32))
SOFTHSM = shutil.which("softhsm2-util")

pytestmark = pytest.mark.skipif(SOFTHSM is None or not MODULE.is_file(), reason="SoftHSM is not installed")


@dataclass
class Device:
    """A token in a folder of its own, which can be taken away and put back."""

    folder: Path

    @property
    def pin(self) -> Path:
        return self.folder / "pin"

    def write_pin(self, pin: str) -> None:
        self.pin.unlink(missing_ok=True)
        self.pin.write_text(pin + "\n")
        self.pin.chmod(0o600)

    def token(self) -> Token:
        return Token(MODULE, LABEL, self.pin)

    def make_key(self, label: str) -> None:
        import pkcs11  # noqa: PLC0415 - where it is not installed, these tests are left out

        attributes = pkcs11.Attribute
        template = {attributes.EXTRACTABLE: False, attributes.SENSITIVE: True, attributes.TOKEN: True}
        uses = {attributes.WRAP: True, attributes.UNWRAP: True, attributes.ENCRYPT: True, attributes.DECRYPT: True}
        found = pkcs11.lib(str(MODULE)).get_token(token_label=LABEL)
        with found.open(user_pin=PIN, rw=True) as session:
            session.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True, template={**template, **uses})

    def take_away(self) -> None:
        (self.folder / "tokens").rename(self.folder / "elsewhere")
        (self.folder / "tokens").mkdir()

    def put_back(self) -> None:
        (self.folder / "tokens").rmdir()
        (self.folder / "elsewhere").rename(self.folder / "tokens")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    pkcs11 = pytest.importorskip("pkcs11")
    (tmp_path / "tokens").mkdir()
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
    assert SOFTHSM is not None
    command = [SOFTHSM, "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", SO_PIN]
    subprocess.run(command, check=True, capture_output=True, env=os.environ)
    library = pkcs11.lib(str(MODULE))
    library.reinitialize()  # the folder of an earlier test is gone
    made = Device(tmp_path)
    made.write_pin(PIN)
    made.make_key("one")
    made.make_key("two")
    return made


@pytest.fixture
def token(device: Device) -> Iterator[Token]:
    made = device.token()
    yield made
    made.close()


def test_evidence_key_is_wrapped_in_the_token_and_only_there(token: Token) -> None:
    keks = Keks([TokenKek(token, "one")])
    wrapped = keks.wrap(KEY, GRANT)
    assert KEY not in wrapped
    assert keks.unwrap(wrapped, GRANT) == KEY
    assert keks.complaints() == []
    assert keks.waits
    with pytest.raises(LogUnavailableError):
        keks.unwrap(wrapped, bytes(32))
    with pytest.raises(LogUnavailableError):
        Keks([TokenKek(token, "two"), FileKek(bytes(32))]).unwrap(wrapped, GRANT)
    assert keks.unwrap(wrapped, GRANT) == KEY  # a row that was changed is no trouble for the next


def test_key_of_the_token_cannot_be_read(token: Token) -> None:
    def read(_session: Any, kek: Any) -> bytes:
        value: bytes = kek[token.binding.Attribute.VALUE]
        return value

    with pytest.raises(LogUnavailableError):
        token.use("one", read)


def test_token_without_gcm_wraps_a_key_that_is_used_once(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    kek = TokenKek(token, "one")
    by_gcm = kek.wrap(KEY, b"bound")
    real = kek._wrap

    def without(session: Any, key: Any, plain: bytes, bound: bytes) -> bytes:
        slot = SimpleNamespace(get_mechanisms=set)
        fake = SimpleNamespace(token=SimpleNamespace(slot=slot), create_object=session.create_object)
        return real(fake, key, plain, bound)

    monkeypatch.setattr(kek, "_wrap", without)
    by_key_wrap = kek.wrap(KEY, b"bound")
    assert (by_gcm[:1], by_key_wrap[:1]) == (b"\x01", b"\x02")
    assert KEY not in by_key_wrap
    for wrapped in (by_gcm, by_key_wrap):
        assert kek.unwrap(wrapped, b"bound") == KEY
        for bent in (wrapped[:-1], wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"\x03" + wrapped[1:], wrapped[:1], b""):
            with pytest.raises(LogUnavailableError):
                kek.unwrap(bent, b"bound")
        with pytest.raises(LogUnavailableError):
            kek.unwrap(wrapped, b"other")


def test_session_that_was_lost_is_opened_again(token: Token) -> None:
    kek = TokenKek(token, "one")
    wrapped = kek.wrap(KEY, b"bound")
    token._session.close()
    assert kek.unwrap(wrapped, b"bound") == KEY


def test_token_that_is_taken_away_is_told_and_works_again_when_it_is_back(device: Device, token: Token) -> None:
    keks = Keks([TokenKek(token, "one")])
    wrapped = keks.wrap(KEY, GRANT)
    device.take_away()
    for _ in range(2):
        with pytest.raises(LogUnavailableError) as refused:
            keks.unwrap(wrapped, GRANT)
        assert LABEL in refused.value.detail
    (complaint,) = keks.complaints()
    assert "is not there" in complaint
    device.put_back()
    assert keks.unwrap(wrapped, GRANT) == KEY
    assert keks.complaints() == []


def test_token_that_hangs_holds_nobody_up_for_long_and_works_again_when_it_answers(device: Device) -> None:
    token, answers, done = Token(MODULE, LABEL, device.pin, patience=0.2), threading.Event(), threading.Event()

    def hang(_session: Any, _key: Any) -> None:
        answers.wait()
        done.set()

    kek = TokenKek(token, "one")
    with pytest.raises(LogUnavailableError, match="does not answer"):
        token.use("one", hang)
    for attempt in (lambda: kek.wrap(KEY, b"bound"), lambda: kek.unwrap(b"\x01" + bytes(60), b"bound")):
        with pytest.raises(LogUnavailableError, match="does not answer"):
            attempt()
    assert kek.complaint() is not None
    token.close()  # does not wait either
    answers.set()
    done.wait()
    while kek.complaint() is not None:
        pass
    assert kek.unwrap(kek.wrap(KEY, b"bound"), b"bound") == KEY


def test_wrong_pin_is_not_tried_again_before_its_file_changes(device: Device) -> None:
    """Three tries lock a token."""
    device.write_pin("00000000")
    token = device.token()
    keks = Keks([TokenKek(token, "one")])
    for _ in range(8):
        (complaint,) = keks.complaints()
        assert "PIN" in complaint
        assert "00000000" not in complaint
    device.write_pin(PIN)
    assert keks.complaints() == []
    token.close()


@pytest.mark.parametrize("trouble", ["none", "open to others"])
def test_pin_file_that_is_missing_or_readable_is_told(device: Device, trouble: str) -> None:
    if trouble == "none":
        device.pin.unlink()
    else:
        device.pin.chmod(0o644)
    token = device.token()
    (complaint,) = Keks([TokenKek(token, "one")]).complaints()
    assert "PIN file" in complaint
    token.close()


def test_key_that_the_token_does_not_have_is_told_by_its_label(token: Token) -> None:
    (complaint,) = Keks([TokenKek(token, "one"), TokenKek(token, "three")]).complaints()
    assert "'three'" in complaint


def test_module_that_is_none_is_a_mistake_of_the_settings(device: Device, tmp_path: Path) -> None:
    (tmp_path / "none.so").write_bytes(b"")
    with pytest.raises(MalformedError):
        Token(tmp_path / "none.so", LABEL, device.pin)


def test_keys_rotate_from_a_file_into_the_token_and_from_key_to_key(token: Token) -> None:
    old = Keks([FileKek(bytes(32))])
    wrapped = old.wrap(KEY, GRANT)
    one, two = TokenKek(token, "one"), TokenKek(token, "two")
    rotating = Keks([one, FileKek(bytes(32))])
    assert not rotating.is_current(wrapped)
    in_token = rotating.wrap(rotating.unwrap(wrapped, GRANT), GRANT)
    assert Keks([one]).unwrap(in_token, GRANT) == KEY
    assert Keks([two, one]).unwrap(in_token, GRANT) == KEY


def test_token_is_not_asked_again_for_what_was_unwrapped_a_moment_ago(device: Device, token: Token) -> None:
    kept = Vault(Keks([TokenKek(token, "one")]))
    wrapped = kept.wrap(KEY, GRANT)
    device.take_away()
    assert kept.unwrap(wrapped, GRANT) == KEY
    kept.forget(GRANT)
    with pytest.raises(LogUnavailableError):
        kept.unwrap(wrapped, GRANT)
    device.put_back()
