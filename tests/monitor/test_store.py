"""A monitor killed at each step of its cycle, and its file damaged, cut short, of another log, or in use."""

from __future__ import annotations

import sqlite3

import pytest

from gateway.monitor.alarms import Alarm, Kind
from gateway.monitor.rules import QueryLimit, Rules
from gateway.monitor.state import MonitorState
from gateway.monitor.store import MonitorStore, read_seen
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.reasons import Reason
from tests.audit import logs
from tests.monitor.following import ORIGIN, Following, Shown, verifications

LEAVES = verifications(700)
RULES = Rules(queries=(QueryLimit(100, "hour"),))


class Killed(BaseException):
    """The process ends here."""


def killing(step: int, *, persisted: bool) -> type[MonitorStore]:
    """A store whose process is killed in its nth commit, before or after that is durable."""

    class Killing(MonitorStore):
        commits = 0

        def commit(self, state, alarms, deferred):
            type(self).commits += 1
            if self.commits == step and not persisted:
                raise Killed
            done = super().commit(state, alarms, deferred)
            if self.commits == step:
                raise Killed
            return done

    return Killing


def growing(folder) -> Following:
    """A log that has just grown by what raises two alarms, one of them across two chunks of leaves."""
    folder.mkdir()
    books = logs.Books()
    erasure = logs.log_pb2.ErasureEvent(ground=logs.log_pb2.ERASURE_GROUND_RETENTION_OVER, grant_tags=[bytes(32)])
    books.append(logs.log_pb2.LogLeaf(erasure=erasure))
    return Following(folder, Shown([*books.leaves_, *LEAVES]), rules=RULES)


@pytest.mark.parametrize("persisted", [False, True], ids=["before", "after"])
async def test_monitor_killed_in_any_commit_loses_no_alarm_and_tells_none_twice(tmp_path, monkeypatch, persisted):
    monkeypatch.setattr("gateway.monitor.cycle.CHUNK", 64)
    whole = growing(tmp_path / "whole")
    await whole.look()
    assert whole.stored() == ["EVIDENCE_ERASED", "QUERY_RATE"]
    step = 0
    while True:
        step += 1
        cut = growing(tmp_path / str(step))
        cut.restart(killing(step, persisted=persisted))
        try:
            await cut.look()
        except Killed:
            assert cut.store.state.processed <= len(cut.shown.leaves)
        else:
            break
        cut.restart()
        await cut.look(600)
        assert cut.ids() == whole.ids(), step
        assert cut.store.state.processed == len(cut.shown.leaves)
        assert cut.store.state.frontier == whole.store.state.frontier
    assert step > 12


@pytest.mark.parametrize("persisted", [False, True], ids=["before", "after"])
async def test_monitor_killed_while_it_finds_a_fork_tells_it_once(tmp_path, persisted):
    for step in (1, 2, 3):
        cut = Following(tmp_path / str(step), Shown(LEAVES[:300])) if (tmp_path / str(step)).mkdir() is None else None
        assert cut is not None
        await cut.look()
        cut.shown.leaves = LEAVES[1:400]
        cut.restart(killing(step, persisted=persisted))
        try:
            await cut.look()
        except Killed:
            cut.restart()
            await cut.look()
        assert cut.stored() == ["FORKED"]
        assert cut.store.state.processed == 300
        (folder,) = cut.store.evidence.iterdir()
        assert sorted(file.name for file in folder.iterdir()) == ["remembered.checkpoint", "shown.checkpoint"]


async def test_disk_that_is_full_loses_nothing(tmp_path):
    class Full(MonitorStore):
        full = True

        def commit(self, state, alarms, deferred):
            if self.full and state.processed:
                raise UnreachableError(Reason.INTERNAL, "full")
            return super().commit(state, alarms, deferred)

    following = growing(tmp_path / "log")
    following.restart(Full)
    for _ in range(2):
        with pytest.raises(UnreachableError):
            await following.look()
    assert following.store.state.processed == 0
    following.store.full = False
    await following.look()
    assert following.stored() == ["EVIDENCE_ERASED", "QUERY_RATE"]


async def test_rollback_is_noticed_by_a_monitor_that_was_killed_before_it_read_the_entries(tmp_path):
    following = Following(tmp_path, Shown(LEAVES))
    following.restart(killing(2, persisted=False))
    with pytest.raises(Killed):
        await following.look()
    following.shown.leaves = LEAVES[:500]
    following.restart()
    assert await following.kinds() == ["ROLLED_BACK"]


# -- the file -----------------------------------------------------------------------------------------------------


def refused(path, origin=ORIGIN) -> str:
    with pytest.raises(MalformedError) as error:
        MonitorStore(path, origin)
    assert error.value.reason is Reason.CONFIGURATION_INVALID
    return error.value.detail


async def test_state_is_the_same_after_a_restart(tmp_path):
    following = Following(tmp_path, Shown(LEAVES), rules=RULES, places={"m": Shown(LEAVES[:9])})
    await following.look()
    before = following.store.state
    following.restart()
    assert following.store.state == before
    assert MonitorState.decode(before.encode()) == before


@pytest.mark.parametrize("keep", [0, 1, 100, 512, 4_096, 9_000])
async def test_file_that_was_cut_short_is_refused_and_kept(tmp_path, keep):
    following = Following(tmp_path, Shown(LEAVES), rules=RULES)
    await following.look()
    following.store.close()
    whole = following.file.read_bytes()
    assert len(whole) > 9_000
    following.file.write_bytes(whole[:keep])
    assert "keep it as evidence" in refused(following.file)
    assert following.file.read_bytes() == whole[:keep]


def test_state_of_another_log_is_refused(tmp_path):
    MonitorStore(tmp_path / "m.db", ORIGIN).close()
    told = refused(tmp_path / "m.db", "other.test")
    assert f"is of the log {ORIGIN}, not other.test: keep it for that log" in told


def test_file_that_is_no_monitors_is_refused(tmp_path):
    (tmp_path / "m.db").write_text("notes of mine")
    assert "no monitor's" in refused(tmp_path / "m.db")
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE state (text, digest)")
    database.close()
    assert "no monitor's" in refused(tmp_path / "other.db")


async def test_state_that_a_disk_changed_is_refused(tmp_path):
    following = Following(tmp_path, Shown(LEAVES))
    await following.look()
    following.store.close()
    with sqlite3.connect(following.file) as database:
        database.execute("UPDATE state SET text = replace(text, '\"processed\": 700', '\"processed\": 701')")
    database.close()
    assert "damaged" in refused(following.file)


def test_file_in_use_is_refused_and_free_again_after(tmp_path):
    first = MonitorStore(tmp_path / "m.db", ORIGIN)
    assert "in use by another monitor" in refused(tmp_path / "m.db")
    first.close()
    MonitorStore(tmp_path / "m.db", ORIGIN).close()


async def test_what_a_monitor_saw_can_be_read_while_it_runs(tmp_path):
    following = Following(tmp_path, Shown(LEAVES))
    assert read_seen(following.file, ORIGIN) == ""
    await following.look()
    assert read_seen(following.file, ORIGIN) == following.store.state.seen
    for path, origin in ((following.file, "other.test"), (tmp_path / "nowhere", ORIGIN)):
        with pytest.raises(MalformedError):
            read_seen(path, origin)


def test_alarm_that_is_raised_again_is_not_stored_again(tmp_path):
    store = MonitorStore(tmp_path / "m.db", ORIGIN, posts=True)
    alarm = Alarm(ORIGIN, Kind.RESTORED, "7", 1.0)
    assert store.commit(store.state, [alarm], {}) == [alarm]
    (number, _), *_ = store.unposted(9)
    store.mark_posted(number)
    assert store.commit(store.state, [alarm], {}) == []
    assert (store.unposted(9), len(store.untold())) == ([], 1)
    store.mark_told([number])
    assert store.untold() == []
    store.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"format": 2}',
        MonitorState(ORIGIN).encode().replace('"processed": 0', '"processed": 1'),
    ],
)
def test_text_that_is_no_state_is_malformed(text):
    with pytest.raises(MalformedError):
        MonitorState.decode(text)
