"""`heyan log monitor` as it is typed: exit codes for cron, lines and JSON, a process that is ended and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.log_monitor import _Running, unless_stopped
from gateway.cli.monitor_places import ReopenedSource
from gateway.monitor.alarms import Alarm, Kind, line_of
from gateway.monitor.rules_file import read_rules
from gateway.monitor.store import MonitorStore
from gateway.party.process import cancel_all
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.reasons import Reason
from gateway.static_log.tile_source import FolderSource
from tests.audit import logs
from tests.monitor.following import note_of, verifications
from tests.static_logs import write_log

VKEY = logs.signer().verifier.format()
LONG_AGO = logs.MIDNIGHT - 3 * 365 * 86_400
LEAVES = verifications(300, at=LONG_AGO)


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").mkdir()
    return show(tmp_path / "log", LEAVES[:200])


def show(folder: Path, leaves: list[bytes]) -> Path:
    write_log(folder, leaves)
    (folder / "checkpoint").write_bytes(note_of(leaves))
    return folder


def watch(log, *words, capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["log", "monitor", str(log), "--vkey", VKEY, "--once", *map(str, words)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def state(log: Path) -> tuple[str, Path]:
    return "--state", log.parent / "monitor.db"


def test_honest_log_is_0_again_and_again_and_says_nothing(log, capsys):
    assert watch(log, *state(log), capsys=capsys) == (0, "", "")
    show(log, LEAVES)
    assert watch(log, *state(log), capsys=capsys) == (0, "", "")


def test_fork_is_1_told_once_in_both_languages_and_stays_1(log, capsys):
    watch(log, *state(log), capsys=capsys)
    show(log, LEAVES[1:250])
    code, out, _ = watch(log, *state(log), capsys=capsys)
    assert (code, out.count("\n")) == (1, 1)
    assert out.startswith("ALARM FORKED seen_size=200 size=249")
    assert "分叉" in out
    assert watch(log, *state(log), capsys=capsys) == (1, "", "")
    assert len(list(log.parent.glob("monitor.db.evidence/*/*.checkpoint"))) == 2
    show(log, LEAVES)
    assert watch(log, *state(log), capsys=capsys) == (0, "", "")


def test_json_is_a_line_for_each_alarm_and_notices_leave_0(log, capsys):
    pb = logs.log_pb2
    books = logs.Books(leaves_=LEAVES[:200])
    books.append(pb.LogLeaf(restore=pb.RestoreEvent(backup_size=1, restored_size=2)), LONG_AGO + 5)
    show(log, books.leaves_)
    code, out, _ = watch(log, *state(log), "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, told["kind"], told["level"], told["facts"]["entry"]) == (0, "RESTORED", "notice", 200)


def test_rules_are_followed_and_the_example_is_one(log, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["log", "monitor", "--example-rules"])
    assert not ended.value.code
    assert read_rules("example", capsys.readouterr().out.encode()).queries
    rules = tmp_path / "rules.toml"
    rules.write_text('[[queries]]\nat_most = 199\nper = "minute"\n')
    code, out, _ = watch(log, *state(log), "--rules", rules, capsys=capsys)
    assert code == 1
    assert out.startswith("ALARM QUERY_RATE at_most=199 count=200 entry=199 per=minute")
    rules.write_text('[[queries]]\nat_most = 199\nper = "moon"\n')
    code, _, err = watch(log, *state(log), "--rules", rules, capsys=capsys)
    assert (code, "rules.toml:3: queries[0].per" in err) == (2, True)


def test_counties_without_an_open_window_are_told_by_the_packs(log, tmp_path, capsys):
    packs = tmp_path / "packs"
    packs.mkdir()
    province = (Path(__file__).parents[2] / "gateway/rules/packs/43.toml").read_text(encoding="utf-8")
    (packs / "43.toml").write_text(province, encoding="utf-8")
    code, out, _ = watch(log, *state(log), "--packs", packs, capsys=capsys)
    assert code == 1
    assert out.startswith("ALARM OUTSIDE_WINDOW entry=0 ")
    assert "region=430102" in out


def test_log_that_cannot_be_read_is_3(log, capsys):
    (log / "checkpoint").rename(log / "checkpoint.away")
    (log / "checkpoint").mkdir()
    code, out, err = watch(log, *state(log), capsys=capsys)
    assert (code, out) == (3, "")
    assert "the log cannot be read now" in err


def test_mirror_with_another_history_is_a_split_view(log, tmp_path, capsys):
    (tmp_path / "mirror").mkdir()
    mirror = show(tmp_path / "mirror", LEAVES[1:150])
    code, out, _ = watch(log, *state(log), "--mirror", mirror, capsys=capsys)
    assert (code, out.startswith("ALARM SPLIT_VIEW")) == (1, True)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "--state"),
        (("--state", "x.db", "--interval", "0"), "--interval"),
        (("--state", "x.db", "--max-lag", "nan"), "--max-lag"),
        (("--state", "x.db", "--max-age", "60"), "--max-age"),
        (("--state", "x.db", "--webhook", "http://example.cn/"), "--webhook"),
        (("--state", "x.db", "--webhook-secret", "s"), "--webhook-secret"),
        (("--state", "x.db", "--witness", "http://example.cn/"), "--witness"),
    ],
)
def test_wrong_option_is_2_and_named_and_makes_no_file(words, named, log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = watch(log, *words, capsys=capsys)
    assert (code, err.startswith(f"heyan: {named}")) == (2, True)
    assert not (tmp_path / "x.db").exists()


def test_damaged_state_is_2_and_kept(log, capsys):
    watch(log, *state(log), capsys=capsys)
    file = state(log)[1]
    file.write_bytes(file.read_bytes()[:5_000])
    code, _, err = watch(log, *state(log), capsys=capsys)
    assert (code, "keep it as evidence" in err, file.stat().st_size) == (2, True, 5_000)


def test_what_a_monitor_saw_is_held_against_the_log_by_fsck(log, capsys):
    watch(log, *state(log), capsys=capsys)
    for leaves, code, named in ((LEAVES, 0, "sound"), (LEAVES[:100], 1, "ROLLED_BACK"), (LEAVES[1:], 1, "FORKED")):
        for tile in log.rglob("*.p/*"):
            tile.unlink()
        show(log, leaves)
        with pytest.raises(SystemExit) as ended:
            main(["log", "fsck", str(log), "--vkey", VKEY, "--state", str(state(log)[1])])
        assert (ended.value.code or 0) == code
        assert named in capsys.readouterr().out


class _Receiver(BaseHTTPRequestHandler):
    got: list[dict]
    status: int
    note = b""

    def do_GET(self):
        """The monitoring endpoint of a witness of this log."""
        known = self.path == f"/{sha256(logs.fed.LOG_ORIGIN.encode()).hexdigest()}/checkpoint"
        self.send_response(200 if known and self.note else 404)
        self.end_headers()
        self.wfile.write(self.note if known else b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.status == 200:
            self.got.append(json.loads(body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    handler = type("Handler", (_Receiver,), {"got": [], "status": 500})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}/"
    yield handler
    server.shutdown()
    server.server_close()


def test_alarm_that_a_webhook_does_not_take_is_brought_by_the_next_run(log, receiver, monkeypatch, capsys):
    monkeypatch.setattr("gateway.cli.log_monitor.ONCE_ROUNDS", 1)
    watch(log, *state(log), capsys=capsys)
    show(log, LEAVES[:100])
    code, _, err = watch(log, *state(log), "--webhook", receiver.url, capsys=capsys)
    assert (code, receiver.got) == (1, [])
    assert "1 alarms are kept for the next run" in err
    receiver.status = 200
    show(log, LEAVES)
    assert watch(log, *state(log), "--webhook", receiver.url, capsys=capsys) == (0, "", "")
    assert [alarm["kind"] for alarm in receiver.got] == ["ROLLED_BACK"]


def test_witness_is_asked_for_this_log_and_its_word_held_against_what_is_shown(log, receiver, capsys):
    words = (*state(log), "--witness", receiver.url)
    code, out, err = watch(log, *words, capsys=capsys)
    assert (code, out) == (0, "")
    assert "warning: witness" in err
    receiver.note = note_of(LEAVES[:150])
    assert watch(log, *words, capsys=capsys) == (0, "", "")
    receiver.note = note_of(LEAVES[1:150])
    code, out, _ = watch(log, *words, capsys=capsys)
    assert (code, out.startswith("ALARM SPLIT_VIEW")) == (1, True)


async def test_source_is_opened_anew_and_the_one_before_goes_on_if_that_fails(log, tmp_path):
    places = [log, show_in(tmp_path / "renewed", LEAVES), tmp_path / "nowhere"]
    async with ReopenedSource(lambda: FolderSource(places.pop(0))) as source:
        assert await source.checkpoint() == note_of(LEAVES[:200])
        await source.reopen()
        assert await source.checkpoint() == note_of(LEAVES)
        assert await source.entries(1, 44) == LEAVES[256:]
        with pytest.raises(MalformedError):
            await source.reopen()
        assert len(await source.tile(0, 1, 44)) == 44 * 32


async def test_alarms_are_told_while_a_look_goes_on(tmp_path, capsys):
    """A log that never lets a look end must not keep what was found from whoever is to be told."""
    store = MonitorStore(tmp_path / "monitor.db", logs.fed.LOG_ORIGIN)
    running = object.__new__(_Running)
    object.__setattr__(running, "tell", line_of)
    store.commit(store.state, [Alarm(logs.fed.LOG_ORIGIN, Kind.SPLIT_VIEW, "key", 1.0)], {})
    telling = asyncio.create_task(running._tell_meanwhile(store, None, 0.01))
    for _ in range(200):
        await asyncio.sleep(0.01)
        if not store.untold():
            break
    await cancel_all([telling])
    store.close()
    assert "SPLIT_VIEW" in capsys.readouterr().out


async def test_long_reading_is_cut_short_by_the_end_and_a_finished_one_is_not():
    stop = asyncio.Event()

    async def done():
        return "read"

    async def failing():
        raise UnreachableError(Reason.INTERNAL)

    assert await unless_stopped(stop, done()) == "read"
    with pytest.raises(UnreachableError):
        await unless_stopped(stop, failing())
    asyncio.get_running_loop().call_soon(stop.set)
    assert await unless_stopped(stop, asyncio.sleep(3_600, "never")) is None


def show_in(folder: Path, leaves: list[bytes]) -> Path:
    folder.mkdir()
    return show(folder, leaves)


@pytest.mark.slow
def test_monitor_runs_until_it_is_ended_and_goes_on_where_it_was_killed(log, tmp_path):
    command = [sys.executable, "-m", "gateway.cli", "log", "monitor", str(log), "--vkey", VKEY, "--interval", "0.05"]
    command += ["--state", str(state(log)[1]), "--json"]
    pb = logs.log_pb2
    books = logs.Books(leaves_=LEAVES[:200])
    books.append(pb.LogLeaf(restore=pb.RestoreEvent(backup_size=1, restored_size=2)), LONG_AGO + 5)
    with running(command) as first:
        show(log, books.leaves_)
        told = json.loads(first.stdout.readline())
        assert told["kind"] == "RESTORED"
    show(log, LEAVES[:100])
    with running(command) as second:
        line = json.loads(second.stdout.readline())
        if line["id"] == told["id"]:  # killed before it had noted that this was told: told again, as the same
            line = json.loads(second.stdout.readline())
        assert line["kind"] == "ROLLED_BACK"
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=30) == 0
        assert second.stdout.read() == ""


@contextmanager
def running(command: list[str]):
    """A process of its own, killed at the end if it still runs."""
    environment = {**os.environ, "PYTHONPATH": "protos/gen"}
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "words",
    [
        ("https://me:secret@log.test/0",),
        ("--witness", "https://me:secret@witness.test"),
        ("--mirror", "https://secret@mirror.test/0"),
    ],
    ids=["log", "witness", "mirror"],
)
def test_password_in_a_url_that_would_be_printed_is_refused_and_not_repeated(log, tmp_path, capsys, words):
    place = () if words[0].startswith("https") else (str(log),)
    with pytest.raises(SystemExit) as ended:
        main(["log", "monitor", *place, *words, "--vkey", VKEY, "--state", str(tmp_path / "monitor.db"), "--once"])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert "password" in told.err
    assert "secret" not in told.err + told.out
