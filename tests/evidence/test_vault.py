"""Evidence keys and what is under them: every row that was changed, moved, cut short or swapped is found out."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import CACHED_SECONDS, Vault
from gateway.packing import Kind
from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason
from tests.fakes import Clock

OLD, NEW = FileKek(bytes(32)), FileKek(bytes([1]) * 32)
GRANT, OTHER = bytes([7]) * 32, bytes([8]) * 32
LIMIT = 1_000


def vault(*keks: FileKek) -> Vault:
    return Vault(Keks(keks or (OLD,)))


def test_evidence_opens_only_where_it_belongs() -> None:
    kept = vault()
    key = kept.new_key()
    sealed = kept.encrypt(key, b"text", b"row one")
    assert kept.decrypt(key, sealed, b"row one", LIMIT) == b"text"
    for attempt in (
        lambda: kept.decrypt(key, sealed, b"row two", LIMIT),
        lambda: kept.decrypt(key, sealed, b"row one", LIMIT, Kind.GRANT),
        lambda: kept.decrypt(kept.new_key(), sealed, b"row one", LIMIT),
        lambda: kept.decrypt(key, sealed[:-1], b"row one", LIMIT),
        lambda: kept.decrypt(key, b"", b"row one", LIMIT),
    ):
        with pytest.raises(LogUnavailableError):
            attempt()


def test_key_moved_to_another_grant_does_not_open() -> None:
    wrapped = vault().wrap(bytes(range(32)), GRANT)
    assert vault().unwrap(wrapped, GRANT) == bytes(range(32))
    with pytest.raises(LogUnavailableError):
        vault().unwrap(wrapped, OTHER)


@pytest.mark.parametrize("cut", range(69))
def test_truncated_key_does_not_open(cut: int) -> None:
    wrapped = vault().wrap(bytes(32), GRANT)
    assert len(wrapped) == 69
    with pytest.raises(LogUnavailableError):
        vault().unwrap(wrapped[:cut], GRANT)


@pytest.mark.parametrize("at", range(0, 69, 4))
def test_flipped_bit_of_a_wrapped_key_is_found(at: int) -> None:
    wrapped = bytearray(vault().wrap(bytes(32), GRANT))
    wrapped[at] ^= 1
    with pytest.raises(LogUnavailableError):
        vault().unwrap(bytes(wrapped), GRANT)


def test_key_encryption_key_that_is_not_configured_is_named_and_is_no_answer() -> None:
    wrapped = vault(OLD).wrap(bytes(32), GRANT)
    with pytest.raises(LogUnavailableError) as refused:
        vault(NEW).unwrap(wrapped, GRANT)
    assert OLD.id.hex() in refused.value.detail


def test_row_whose_key_encryption_key_was_swapped_by_name_does_not_open() -> None:
    wrapped = vault(OLD, NEW).wrap(bytes(32), GRANT)
    swapped = wrapped[:1] + NEW.id + wrapped[9:]
    with pytest.raises(LogUnavailableError):
        vault(NEW, OLD).unwrap(swapped, GRANT)


def test_both_keys_unwrap_and_the_first_wraps() -> None:
    kept = vault(OLD).wrap(bytes(range(32)), GRANT)
    rotated = vault(NEW, OLD)
    assert rotated.unwrap(kept, GRANT) == bytes(range(32))
    assert not rotated.keks.is_current(kept)
    assert rotated.keks.is_current(rotated.wrap(bytes(32), GRANT))


def test_what_was_kept_before_keys_had_names_and_anything_was_packed_still_opens() -> None:
    nonce, key = bytes(12), bytes(range(32))
    wrapped = nonce + AESGCM(bytes(32)).encrypt(nonce, key, b"key\x00" + GRANT)
    text = nonce + AESGCM(key).encrypt(nonce, b"a receipt", b"row")
    kept = vault(NEW, OLD)
    assert kept.unwrap(wrapped, GRANT) == key
    assert not kept.keks.is_current(wrapped)
    assert kept.decrypt(key, text, b"row", LIMIT) == b"a receipt"
    with pytest.raises(LogUnavailableError):
        kept.unwrap(wrapped, OTHER)
    with pytest.raises(LogUnavailableError):
        kept.decrypt(key, text, b"row", 3)


def test_more_than_its_reader_takes_is_refused_before_it_is_unpacked() -> None:
    kept = vault()
    sealed = kept.encrypt(bytes(32), bytes(10_000_000), b"row", Kind.STATE)
    assert len(sealed) < 2_000  # it would be a bomb
    with pytest.raises(LogUnavailableError):
        kept.decrypt(bytes(32), sealed, b"row", 9_999_999, Kind.STATE)


@pytest.mark.parametrize("keys", [(), (OLD, FileKek(bytes(32)))], ids=["none", "one twice"])
def test_settings_without_a_key_or_with_one_twice_are_refused(keys: tuple[FileKek, ...]) -> None:
    with pytest.raises(MalformedError) as refused:
        Keks(keys)
    assert refused.value.reason is Reason.CONFIGURATION_INVALID


def test_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(MalformedError):
        FileKek(bytes(16))


# -- keys in memory -------------------------------------------------------------------------------------------


class Counting(FileKek):
    """Counts how often it is asked."""

    asked = 0

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        self.asked += 1
        return super().unwrap(wrapped, bound_to)


def test_unwrapped_key_is_kept_for_its_time_and_forgotten_when_it_is_over_or_told() -> None:
    kek, clock = Counting(bytes(32)), Clock(0.0)
    kept = Vault(Keks([kek]), steady=clock)
    wrapped = vault().wrap(bytes(range(32)), GRANT)
    for _ in range(3):
        kept.unwrap(wrapped, GRANT)
    assert kek.asked == 1
    clock.now += CACHED_SECONDS
    kept.unwrap(wrapped, GRANT)
    assert kek.asked == 2
    kept.forget(GRANT)
    kept.unwrap(wrapped, GRANT)
    assert kek.asked == 3
    clock.now += CACHED_SECONDS
    kept.sweep()
    assert not kept._cached


def test_key_in_memory_opens_no_other_row_of_its_grant() -> None:
    kept = vault()
    first, second = kept.wrap(bytes(32), GRANT), kept.wrap(bytes([1]) * 32, GRANT)
    assert kept.unwrap(first, GRANT) == bytes(32)
    assert kept.unwrap(second, GRANT) == bytes([1]) * 32
    with pytest.raises(LogUnavailableError):
        kept.unwrap(second[:-1] + b"\x00", GRANT)


def test_keys_in_memory_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.evidence.vault.CACHED_KEYS", 3)
    kept = vault()
    for number in range(5):
        kept.wrap(bytes(32), bytes([number]) * 32)
    assert list(kept._cached) == [bytes([number]) * 32 for number in (2, 3, 4)]
