"""Rotating the key-encryption key while the gateway serves: resumable, and the old key is needed no more."""

from __future__ import annotations

import pytest

from gateway.evidence.erasing import Ground
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.rewrapping import rewrap
from gateway.evidence.vault import Vault
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason
from gateway.requests import Requests
from gateway.stores.sqlite_keeping import SqliteKeeping
from gateway.stores.sqlite_key_slots import to_slot
from tests.evidence.erasures import eraser_of, key_of
from tests.gateway.conftest import Gateway

OLD, NEW = FileKek(bytes(32)), FileKek(bytes([1]) * 32)
"""The gateway under test has OLD."""


async def kept(gateway: Gateway, count: int = 5) -> list:
    submissions = [gateway.submission() for _ in range(count)]
    for submission in submissions:
        await gateway.verify(submission)
    return submissions


def reading(gateway: Gateway, *keks: FileKek) -> Requests:
    """A gateway that has these keys, and nothing in memory."""
    return Requests(gateway.store, gateway.log, Vault(Keks(keks)), lambda: gateway.federation.registry)


async def test_everything_opens_under_the_new_key_alone_and_nothing_under_the_old(gateway: Gateway) -> None:
    submissions = await kept(gateway)
    rotation = rewrap(SqliteKeeping(gateway.store), Keks([NEW, OLD]))
    assert (rotation.rewrapped, rotation.current, rotation.unreadable, rotation.swept) == (5, 0, 0, True)
    for submission in submissions:
        assert reading(gateway, NEW).find(key_of(submission)) is not None
        with pytest.raises(LogUnavailableError):
            reading(gateway, OLD).find(key_of(submission))


async def test_rotation_that_is_cut_off_goes_on_where_it_stopped(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.evidence.rewrapping.BATCH", 2)
    await kept(gateway)

    class Stopped(Exception):  # noqa: N818 - no error of the system's
        pass

    looked = 0

    def stop(keys: int) -> None:
        nonlocal looked
        looked += keys
        if looked >= 4:
            raise Stopped

    keeping = SqliteKeeping(gateway.store)
    with pytest.raises(Stopped):
        rewrap(keeping, Keks([NEW, OLD]), stop)
    rotation = rewrap(keeping, Keks([NEW, OLD]))
    assert (rotation.rewrapped, rotation.current) == (1, 4)
    again = rewrap(keeping, Keks([NEW, OLD]))
    assert (again.rewrapped, again.current) == (0, 5)


async def test_gateway_that_serves_goes_on_meanwhile(gateway: Gateway) -> None:
    """It was restarted with both keys, and has the keys of before in memory."""
    consent = gateway.federation.issue(max_uses=3)
    await gateway.verify(gateway.submission(consent))
    gateway.vault.keks = Keks([NEW, OLD])
    rewrap(SqliteKeeping(gateway.store), gateway.vault.keks)
    await gateway.verify(gateway.submission(consent))
    assert rewrap(SqliteKeeping(gateway.store), gateway.vault.keks).rewrapped == 0


async def test_key_that_no_configured_key_unwraps_is_counted_and_the_rest_rotated(gateway: Gateway) -> None:
    await kept(gateway, 3)
    (first, *_) = SqliteKeeping(gateway.store).held_keys(0, 10)
    changed = "UPDATE grant_keys SET wrapped = ? WHERE grant_id = ?"
    gateway.store._writer.execute(changed, (to_slot(bytes(69)), first.position))
    rotation = rewrap(SqliteKeeping(gateway.store), Keks([NEW, OLD]))
    assert (rotation.rewrapped, rotation.unreadable) == (2, 1)


async def test_erased_evidence_is_not_rotated(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    await gateway.verify(gateway.submission(consent))
    await eraser_of(gateway).erase([consent.grants[0].digest], Ground.LAWFUL_REQUEST)
    rotation = rewrap(SqliteKeeping(gateway.store), Keks([NEW, OLD]))
    assert (rotation.rewrapped, rotation.current, rotation.unreadable) == (0, 0, 0)


async def test_newest_key_that_cannot_be_used_stops_the_rotation_and_changes_nothing(gateway: Gateway) -> None:
    class Gone(FileKek):
        def wrap(self, key: bytes, bound_to: bytes) -> bytes:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the token is not there")

    (submission,) = await kept(gateway, 1)
    with pytest.raises(LogUnavailableError):
        rewrap(SqliteKeeping(gateway.store), Keks([Gone(bytes([1]) * 32), OLD]))
    assert reading(gateway, OLD).find(key_of(submission)) is not None
