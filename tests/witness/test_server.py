"""The witness's process over HTTP: every status of the specification, bounds, probes, and what it follows on disk."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from gateway.party.keyfiles import write_private
from gateway.protocol.errors import MalformedError
from gateway.protocol.note import ML_DSA_44, VerifierKey, encode_base64, open_note, parse_note, sign_note
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import (
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    Cosignatures,
    HoldsSize,
    checkpoint_path,
    read_answer,
)
from gateway.witness.config import WitnessConfig
from gateway.witness.files import make_key, read_keys, read_logs
from gateway.witness.server import WitnessServer
from gateway.witness.store import WitnessStore
from tests.fakes import Clock
from tests.fakes_sqlite import TrippedConnection
from tests.witness.conftest import NOW
from tests.witness.signed_log import NEXT, ORIGIN, SIGNER, STRANGER, SignedLog


@dataclass
class Running:
    """A witness that serves."""

    server: WitnessServer
    session: aiohttp.ClientSession
    port: int
    probes: int
    verifier: VerifierKey
    clock: Clock
    folder: Path

    async def post(self, body: bytes) -> tuple[int, str, bytes]:
        async with self.session.post(f"http://127.0.0.1:{self.port}/add-checkpoint", data=body) as response:
            return response.status, response.headers["Content-Type"], await response.read()

    async def get(self, path: str) -> tuple[int, str, bytes]:
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, response.headers["Content-Type"], await response.read()

    async def probe(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.probes}{path}") as response:
            return response.status, await response.text()


def settle(folder: Path, **changes: object) -> WitnessConfig:
    """Settings, and the files that they name."""
    if not (folder / "key").exists():
        make_key(folder / "key", "witness.test/w1")
    (folder / "logs").write_text(f"# logs\n\n{SIGNER.verifier.format()}\n")
    values = {"store": folder / "store.db", "key": folder / "key", "logs": folder / "logs", **changes}
    return WitnessConfig(**values)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(folder: Path, free_port: Callable[[], int], **changes: object) -> AsyncIterator[Running]:
    clock, probes = Clock(NOW), free_port()
    config = settle(folder, probes=f"127.0.0.1:{probes}", **changes)
    server = WitnessServer(config, clock)
    port = await server.start()
    verifier = read_keys(folder / "key")[0].verifier
    async with aiohttp.ClientSession() as session:
        yield Running(server, session, port, probes, verifier, clock, folder)
    await server.stop()


@pytest.fixture
async def running(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Running]:
    async with serving(tmp_path, free_port) as started:
        yield started


async def test_every_status_of_the_specification(running: Running) -> None:
    log = SignedLog.of(9)
    status, kind, body = await running.post(log.request(0, 5))
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    note = open_note(log.note(5).encode() + body, [running.verifier])
    assert note.text == log.checkpoint(5).encode()
    assert isinstance(read_answer(status, {}, body), Cosignatures)

    status, kind, body = await running.post(log.request(3, 9))
    assert (status, kind, body) == (409, "text/x.tlog.size", b"5\n")
    assert read_answer(status, {}, body) == HoldsSize(5)

    foreign = log.note().replace(ORIGIN + "\n", "other.test/log\n", 1)
    stranger = SignedLog.of(9)
    stranger.signers = (STRANGER,)
    wrong_empty = sign_note(f"{ORIGIN}\n0\n{encode_base64(bytes(32))}\n", [SIGNER])
    for body, expected in (
        (b"old 0\n", 400),
        (log.request(9, 5, ()), 400),
        (log.request(5, 9, [bytes(32)] * 64), 400),
        (stranger.request(5), 403),
        (AddCheckpoint(5, (), log.note().replace("\n9\n", "\n8\n")).format(), 403),
        (AddCheckpoint(5, (), foreign).format(), 404),
        (log.request(5, 9, [bytes(32)]), 422),
        (log.fork(4, 1).request(5), 422),
        (AddCheckpoint(0, (), wrong_empty).format(), 422),
        (b"x" * (MAX_REQUEST_BYTES + 1), 413),
    ):
        assert (await running.post(body))[0] == expected, expected
    assert (await running.post(log.request(5, 9)))[0] == 200
    assert (await running.get("/add-checkpoint"))[0] == 405
    _, metrics = await running.probe("/metrics")
    assert 'heyan_witness_answers_total{status="422"} 3.0' in metrics
    assert f'heyan_witness_log_size{{log="{ORIGIN}"}} 9.0' in metrics
    assert "heyan_witness_forks_total 1.0" in metrics


async def test_huge_body_that_says_nothing_of_its_length_is_cut_off(running: Running) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 65_536

    try:
        async with running.session.post(f"http://127.0.0.1:{running.port}/add-checkpoint", data=endless()) as response:
            assert response.status == 413
    except aiohttp.ClientError:
        pass  # the server hung up while we were still sending
    assert (await running.post(SignedLog.of(3).request(0)))[0] == 200


async def test_monitors_get_the_newest_checkpoint_with_both_signatures(running: Running) -> None:
    path = checkpoint_path(ORIGIN)
    assert (await running.get(path))[0] == 404
    log = SignedLog.of(9)
    _, _, lines = await running.post(log.request(0, 5))
    await running.post(log.request(5, 9))
    status, kind, body = await running.get(path)
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    opened = open_note(body, [SIGNER.verifier, running.verifier])
    assert opened.text == log.checkpoint(9).encode()
    assert len(opened.verified) == 2
    assert lines not in body
    for other in (path.upper(), path.replace("/", "//"), "/" + "0" * 64 + "/checkpoint", "/checkpoint"):
        assert (await running.get(other))[0] == 404


async def test_racing_requests_over_http_are_decided_one_after_another(running: Running) -> None:
    log = SignedLog.of(40)
    await running.post(log.request(0, 4))
    fork = log.fork(4, 20)
    answers = await asyncio.gather(
        *(running.post((log if number % 2 else fork).request(4, 10 + number % 7)) for number in range(30))
    )
    assert sum(status == 200 for status, *_ in answers) == 1
    assert {status for status, *_ in answers} == {200, 409}


async def test_rate_of_one_log_is_bounded(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with serving(tmp_path, free_port, advances_burst=2, advances_per_second=0.1) as running:
        log = SignedLog.of(9)
        for size in (1, 2):
            assert (await running.post(log.request(size - 1, size)))[0] == 200
        url = f"http://127.0.0.1:{running.port}/add-checkpoint"
        async with running.session.post(url, data=log.request(2, 3)) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "10")
        running.clock.now += 10
        assert (await running.post(log.request(2, 3)))[0] == 200


async def test_more_than_it_takes_at_once_are_sent_away(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with serving(tmp_path, free_port, max_requests=1) as running:
        release = threading.Event()
        running.server._thread.submit(release.wait)
        first = asyncio.create_task(running.post(SignedLog.of(3).request(0)))
        async with asyncio.timeout(10):
            while not running.server._under_way or running.server._reading:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            assert (await running.post(SignedLog.of(3).request(0)))[0] == 503
            release.set()
            assert (await first)[0] == 200
        assert (await running.post(SignedLog.of(4).request(3)))[0] == 200


async def test_peers_that_bring_no_body_do_not_keep_a_log_from_its_witness(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with serving(tmp_path, free_port, max_requests=4) as running:
        silent = []
        for _ in range(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 999\r\n\r\nold")
            silent.append((reader, writer))
        while len(running.server._reading) < 4:  # noqa: ASYNC110 - the server's own doing
            await asyncio.sleep(0.01)
        log = SignedLog.of(3)
        assert (await running.post(log.request(0)))[0] == 200
        first = await asyncio.wait_for(silent[0][0].readline(), 5)
        assert b"408" in first
        for _, writer in silent:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def test_rotated_log_key_is_taken_from_the_file_while_it_serves(running: Running) -> None:
    log = SignedLog.of(9)
    await running.post(log.request(0, 3))
    log.signers = (NEXT,)
    assert (await running.post(log.request(3, 5)))[0] == 403
    (running.folder / "logs").write_text(f"{SIGNER.verifier.format()}\n{NEXT.verifier.format()}\n")
    await running.server._look()
    assert (await running.post(log.request(3, 5)))[0] == 200
    (running.folder / "logs").write_text("nonsense\n")
    await running.server._look()
    assert (await running.post(log.request(5, 9)))[0] == 200  # a bad file is not taken


async def test_witness_that_cannot_remember_answers_503_wants_no_work_and_recovers(running: Running) -> None:
    log = SignedLog.of(9)
    await running.post(log.request(0, 3))
    connection = TrippedConnection(running.server._store._connection)
    running.server._store._connection = connection  # type: ignore[assignment]
    connection.arm("COMMIT")
    assert (await running.post(log.request(3, 5)))[0] == 503
    assert (await running.probe("/readyz"))[0] == 503
    assert (await running.probe("/healthz"))[0] == 200
    connection.arm(None)
    await running.server._look()
    assert (await running.probe("/readyz"))[0] == 200
    assert (await running.post(log.request(3, 5)))[0] == 200


# -- files and settings -------------------------------------------------------------------------------------


def test_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    for name, algorithm in (("ed", 4), ("pq", ML_DSA_44)):
        file = tmp_path / name
        made = make_key(file, "witness.test/w1", algorithm)
        assert file.stat().st_mode & 0o777 == 0o600
        assert [key.verifier for key in read_keys(file)] == [made]
        with pytest.raises(MalformedError):
            make_key(file, "witness.test/w1")
    both = (tmp_path / "ed").read_bytes() + (tmp_path / "pq").read_bytes()
    write_private(tmp_path / "both", both)
    assert len(read_keys(tmp_path / "both")) == 2
    (tmp_path / "ed").chmod(0o644)
    with pytest.raises(MalformedError):
        read_keys(tmp_path / "ed")


@pytest.mark.parametrize(
    "change", [lambda t: "", lambda t: t * 2, lambda t: t[:-6] + "\n", lambda t: t.replace("w1", "w2")]
)
def test_key_file_that_is_none_is_refused_and_not_shown(tmp_path: Path, change: Callable[[str], str]) -> None:
    file = tmp_path / "key"
    make_key(file, "witness.test/w1")
    text = file.read_text()
    write_private(file, change(text).encode())
    with pytest.raises(MalformedError) as refusal:
        read_keys(file)
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID
    assert text.split("+")[-1][:20] not in str(refusal.value)


@pytest.mark.parametrize("line", ["nonsense", SIGNER.format(), SIGNER.verifier.format() + "x"])
def test_wrong_line_of_the_logs_file_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "logs"
    file.write_text(f"{SIGNER.verifier.format()}\n{line}\n")
    with pytest.raises(MalformedError) as refusal:
        read_logs(file)
    assert "line 2" in str(refusal.value)


def test_without_tls_it_listens_on_loopback_only(tmp_path: Path) -> None:
    settle(tmp_path)
    file = tmp_path / "settings.toml"
    text = 'store = "store.db"\nkey = "key"\nlogs = "logs"\nlisten = "{}"\n'
    for address in ("127.0.0.1:0", "[::1]:0", "localhost:0"):
        file.write_text(text.format(address))
        assert WitnessConfig.from_file(file).store == tmp_path / "store.db"
    file.write_text(text.format("0.0.0.0:8443"))
    with pytest.raises(MalformedError) as refusal:
        WitnessConfig.from_file(file)
    assert "tls" in str(refusal.value)
    file.write_text(text.format("0.0.0.0:8443") + '[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n')
    assert WitnessConfig.from_file(file).tls is not None


def test_store_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = WitnessStore(tmp_path / "store.db")
    assert os.stat(tmp_path / "store.db").st_mode & 0o777 == 0o600  # noqa: PTH116
    store.close()


def test_notes_of_the_store_are_readable_by_anybody_who_knows_the_format(tmp_path: Path) -> None:
    """What monitors get is one note: the text, the log's signature, ours."""
    from tests.witness.conftest import open_witness  # noqa: PLC0415

    witness = open_witness(tmp_path / "w.db", Clock(NOW))
    witness.add(SignedLog.of(3), 0)
    (held,) = witness.store.newest()
    assert [each.name for each in parse_note(held.note.encode()).unverified] == [ORIGIN, "witness.test/w1"]
    witness.store.close()
