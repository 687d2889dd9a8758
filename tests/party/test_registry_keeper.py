from __future__ import annotations

import asyncio
import fcntl
import os

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.operator.desk import Desk
from gateway.party import registry_keeper
from gateway.party.registry_keeper import RegistryKeeper, operator_key
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError, NotCurrentError
from gateway.protocol.reasons import Reason
from tests.party.conftest import POLICE


@pytest.fixture
def keeper(federation):
    return RegistryKeeper(federation.registry_files(POLICE), federation.clock)


def refused_reasons(logs):
    return [line["error"].split(":")[0] for line in logs if line["event"] == "registry_refused"]


def test_newer_version_is_adopted_and_persisted(federation, keeper):
    seen = federation.registry_files(POLICE).seen
    assert keeper.current().version == 1
    assert not keeper.refresh()
    federation.desk.sign(federation.clock())
    assert keeper.refresh()
    assert not keeper.refresh()
    assert keeper.current().version == 2
    assert seen.read_text() == keeper.current().token


def test_registry_rolled_back_is_refused_also_after_a_restart(federation, keeper):
    old = keeper.current().token
    federation.desk.sign(federation.clock())
    keeper.refresh()
    federation.desk.registry_file.write_text(old)
    with capture_logs() as logs:
        assert not keeper.refresh()
        assert not keeper.refresh()
        restarted = RegistryKeeper(federation.registry_files(POLICE), federation.clock)
    assert keeper.current().version == restarted.current().version == 2
    assert refused_reasons(logs) == [Reason.REGISTRY_ROLLED_BACK] * 2  # once by each keeper, not once a look


def test_second_registry_of_one_version_is_refused(federation, keeper):
    held = keeper.current()
    federation.desk.registry_file.unlink()
    federation.clock.now += 5
    federation.desk.save(msgspec.structs.replace(federation.desk.draft(), version=0))
    forked = federation.desk.sign(federation.clock())
    assert (forked.version, forked.token == held.token) == (held.version, False)
    with capture_logs() as logs:
        assert not keeper.refresh()
    assert keeper.current() is held
    assert refused_reasons(logs) == [Reason.REGISTRY_FORKED]


@pytest.mark.parametrize("token", ["", "not a token", "e30.e30.e30", "\x00\xff"])
def test_unsigned_document_leaves_the_old_one_in_force(federation, keeper, token):
    federation.desk.registry_file.write_bytes(token.encode("latin-1"))
    with capture_logs() as logs:
        assert not keeper.refresh()
        assert not keeper.refresh()
    assert len(refused_reasons(logs)) == 1
    assert keeper.current().version == 1


def test_registry_of_another_operator_is_refused(federation, keeper, tmp_path):
    other = Desk.create(tmp_path / "other", "test", federation.clock())
    other.save(federation.desk.draft())
    other.sign(federation.clock())
    federation.desk.registry_file.write_bytes(other.registry_file.read_bytes())
    with capture_logs() as logs:
        assert not keeper.refresh()
    assert keeper.current().version == 1
    assert refused_reasons(logs) == [Reason.REGISTRY_INVALID]


def test_tampered_payload_is_refused(federation, keeper):
    token = federation.desk.sign(federation.clock()).token
    header, payload, signature = token.split(".")
    middle = len(payload) // 2
    changed = payload[:middle] + ("A" if payload[middle] != "A" else "B") + payload[middle + 1 :]
    federation.desk.registry_file.write_text(".".join((header, changed, signature)))
    assert not keeper.refresh()
    assert keeper.current().version == 1


def test_expired_registry_is_held_but_stops_new_work(federation, keeper):
    federation.clock.now += 31 * 86_400
    assert keeper.current().version == 1
    with pytest.raises(NotCurrentError) as refused:
        keeper.current().require_current(federation.clock())
    assert refused.value.reason is Reason.REGISTRY_EXPIRED


def test_registry_from_the_future_is_adopted_once_its_time_has_come(federation, keeper):
    federation.desk.sign(federation.clock() + 60)
    assert not keeper.refresh()
    federation.clock.now += 60
    assert keeper.refresh()


def test_damaged_own_copy_stops_the_start_instead_of_trusting_the_published_file(federation, keeper):
    federation.registry_files(POLICE).seen.write_text("damaged")
    with pytest.raises(HeyanError):
        RegistryKeeper(federation.registry_files(POLICE), federation.clock)


def test_version_that_cannot_be_persisted_is_not_used(federation, keeper):
    federation.desk.sign(federation.clock())
    seen = federation.registry_files(POLICE).seen
    seen.unlink()
    (seen / "in the way").mkdir(parents=True)
    with capture_logs() as logs:
        assert not keeper.refresh()
        assert not keeper.refresh()
    assert keeper.current().version == 1
    assert len(logs) == 1


def test_missing_published_file_starts_with_the_own_copy_and_without_one_says_so(federation, keeper):
    federation.desk.registry_file.unlink()
    files = federation.registry_files(POLICE)
    assert RegistryKeeper(files, federation.clock).current().version == 1
    files.seen.unlink()
    with pytest.raises(NotCurrentError, match="no registry yet"):
        RegistryKeeper(files, federation.clock).current()


async def test_running_keeper_picks_up_a_new_version(federation, keeper):
    task = asyncio.create_task(keeper.run(interval=0.01))
    federation.desk.sign(federation.clock())
    async with asyncio.timeout(5):
        while keeper.current().version != 2:  # noqa: ASYNC110 - the keeper announces nothing
            await asyncio.sleep(0.01)
    task.cancel()


def test_operator_key_bears_the_id_of_its_vkey(federation):
    key = operator_key(federation.desk.vkey + "\n")
    assert key.key_id == "+".join(federation.desk.vkey.split("+")[:2])
    with pytest.raises((MalformedError, ForgedError)):
        operator_key(federation.desk.vkey.replace("test", "best"))


def test_version_that_another_process_of_the_party_has_kept_is_not_rolled_back(federation, keeper):
    """The published file is rolled back between the looks of two processes: the second one never saw the newest."""
    federation.desk.sign(federation.clock())
    between = federation.desk.registry_file.read_text()
    other = RegistryKeeper(federation.registry_files(POLICE), federation.clock)
    federation.desk.sign(federation.clock())
    assert other.refresh()
    federation.desk.registry_file.write_text(between)
    assert keeper.current().version == 1
    with capture_logs() as logs:
        keeper.refresh()
    assert keeper.current().version == 3
    assert refused_reasons(logs) == [Reason.REGISTRY_ROLLED_BACK]
    assert federation.registry_files(POLICE).seen.read_text() == other.current().token


def test_process_that_holds_the_copy_for_ever_is_told_of_and_stops_nobody(federation, keeper, monkeypatch):
    monkeypatch.setattr(registry_keeper, "PATIENCE", 0.05)
    federation.desk.sign(federation.clock())
    holder = os.open(federation.registry_files(POLICE).seen.parent, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with capture_logs() as logs:
            assert not keeper.refresh()
            restarted = RegistryKeeper(federation.registry_files(POLICE), federation.clock)
        assert [line["event"] for line in logs] == ["registry_refused"] * 2
        assert keeper.current().version == restarted.current().version == 1
    finally:
        os.close(holder)
    assert keeper.refresh()
    assert keeper.current().version == 2
