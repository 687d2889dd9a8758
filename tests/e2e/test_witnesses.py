"""Two witnesses beside a sandbox, as processes: with kills no false alarm; a planted fork and rollback are caught."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.log_marks import SEEN_FILE
from gateway.party.keyfiles import load_signing_keys
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint, unverified_checkpoint
from gateway.protocol.note import SignerKey
from gateway.protocol.policy import Policy
from gateway.protocol.witness_wire import ADD_CHECKPOINT, AddCheckpoint, checkpoint_path
from gateway.witnessing.policy_file import read_policy
from tests.e2e.conftest import Running, federation, heyan

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

NAMES = ("witness-1", "witness-2")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("witnesses") / "run"
    with federation(folder, 120, prefectures=("4301",), witnesses=2) as started:
        yield started


def verify(running: Running, family: int, *options: str) -> dict[str, object]:
    """One family's verification; its JSON."""
    words = ("--requester", running.requester, "--family", running.families[family].application.family, *options)
    done = heyan("verify", "--dir", str(running.folder), *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def policy_of(running: Running) -> Policy:
    assert running.endpoints.policy is not None
    return read_policy(running.folder / running.endpoints.policy)


async def fetch(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.request("POST" if body else "GET", url, data=body) as answer:
        return answer.status, await answer.read()


def probe(running: Running, name: str, path: str) -> tuple[int, str]:
    """What a party's probes say; status 0 if nobody answers."""
    (process,) = [each for each in running.sandbox.processes() if each.name == name]
    try:
        status, body = asyncio.run(fetch(f"http://127.0.0.1:{process.probes}{path}"))
    except aiohttp.ClientError:
        return 0, ""
    return status, body.decode()


def until(condition: object, seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def kill(running: Running, name: str) -> None:
    running.supervisor._running[name].kill()


def published(running: Running) -> bytes:
    return (running.folder / "gateway/published/0/checkpoint").read_bytes()


def test_receipt_waits_for_witnesses_and_proves_it_offline(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    told = verify(running, 0, "--witnessed", "30", "--receipt", str(file))
    assert told["witnessed"] is True
    assert [each["name"] for each in told["witnesses"]] in (list(NAMES), list(reversed(NAMES)))  # type: ignore[attr-defined]
    key = ("--operator-vkey", running.endpoints.operator_vkey)
    policy = ("--policy", str(running.folder / "policy"))
    words = ("log", "verify-receipt", str(file), *key, "--require-witnessed")
    done = heyan(*words, *policy, "--extract", str(tmp_path / "leaves"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nWITNESSED by witness-" in done.stdout
    assert {path.suffix for path in (tmp_path / "leaves").iterdir()} == {".bin", ".tlog-proof"}
    assert heyan(*words).returncode == 1  # without a policy nobody's word counts
    verify(running, 1, "--receipt", str(tmp_path / "plain.json"))
    done = heyan("log", "verify-receipt", str(tmp_path / "plain.json"), *key, *policy, "--require-witnessed")
    assert done.returncode == 1
    assert "\nUNWITNESSED" in done.stdout


def test_published_checkpoint_and_that_of_each_witness_are_cosigned(running: Running) -> None:
    verify(running, 2, "--witnessed", "30")
    until(lambda: policy_of(running).judge(published(running)).is_witnessed)
    for name in NAMES:
        endpoint = running.endpoints.witnesses[name]
        origin = published(running).partition(b"\n")[0].decode()
        status, note = asyncio.run(fetch(endpoint.url + checkpoint_path(origin)))
        assert status == 200
        assert [each.witness.name for each in policy_of(running).judge(note).cosigned] == [name]


def test_kills_under_load_raise_no_alarm_and_lose_no_quorum(running: Running, tmp_path: Path) -> None:
    for number, name in enumerate(("witness-1", "gateway", "witness-2", "gateway", "witness-1")):
        verify(running, 10 + number)
        kill(running, name)
        until(lambda name=name: probe(running, name, "/readyz")[0] != 200, 10)
        until(lambda name=name: probe(running, name, "/readyz")[0] == 200)
    told = verify(running, 20, "--witnessed", "60", "--receipt", str(tmp_path / "receipt.json"))
    assert told["witnessed"] is True
    assert probe(running, "gateway", "/readyz") == (200, "ready\n")
    _, metrics = probe(running, "gateway", "/metrics")
    assert "heyan_log_contradictions_total 0.0" in metrics
    for name in NAMES:
        assert "heyan_witness_forks_total 0.0" in probe(running, name, "/metrics")[1]
    until(lambda: policy_of(running).judge(published(running)).is_witnessed)


def test_answers_come_while_all_witnesses_are_gone(running: Running) -> None:
    for name in NAMES:
        kill(running, name)
    told = verify(running, 30)
    assert told["witnessed"] is False
    for name in NAMES:
        until(lambda name=name: probe(running, name, "/readyz")[0] == 200)


def test_planted_fork_is_refused_and_kept_as_evidence(running: Running) -> None:
    """A dishonest gateway shows one witness another tree, signed with its own key."""
    shown = unverified_checkpoint(published(running))
    (key,) = load_signing_keys(running.folder / "gateway/keys")
    signer = SignerKey.from_seed(shown.origin, key.private.private_bytes_raw())  # type: ignore[union-attr]
    until(lambda: running.endpoints.witnesses["witness-1"] is not None)
    url = running.endpoints.witnesses["witness-1"].url
    _, note = asyncio.run(fetch(url + checkpoint_path(shown.origin)))
    size = unverified_checkpoint(note).size
    fork = AddCheckpoint(size, (), sign_checkpoint(Checkpoint(shown.origin, size, bytes(32)), [signer]))
    status, _ = asyncio.run(fetch(url + ADD_CHECKPOINT, fork.format()))
    assert status == 422
    assert "heyan_witness_forks_total 1.0" in probe(running, "witness-1", "/metrics")[1]
    with sqlite3.connect(running.folder / "witnesses/witness-1/store.db") as store:
        assert store.execute("SELECT count(*) FROM forks").fetchone() == (1,)
    store.close()


def test_planted_rollback_is_told_by_the_witnesses_though_nothing_of_it_is_left(
    running: Running, tmp_path: Path
) -> None:
    """The store, what was published and what was kept are put back together to an older copy. The last test: the log
    stops, and stays so.
    """
    gateway = running.folder / "gateway"
    copy = tmp_path / "store.db"
    with sqlite3.connect(gateway / "store.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    for number in range(3):
        verify(running, 40 + number)
    verify(running, 43, "--witnessed", "30")
    kill(running, "gateway")
    for file in gateway.glob("store.db*"):
        file.unlink()
    shutil.rmtree(gateway / "published")
    (gateway / "witnessed-0.checkpoint").unlink()
    (gateway / SEEN_FILE).unlink()
    shutil.copy(copy, gateway / "store.db")
    (gateway / "store.db").chmod(0o600)
    until(lambda: "LOG_ROLLED_BACK" in probe(running, "gateway", "/readyz")[1])
    assert probe(running, "gateway", "/readyz")[0] == 503
    proof = (gateway / "log_rolled_back.checkpoint").read_bytes()
    with sqlite3.connect(copy) as store:
        (size,) = store.execute("SELECT size FROM shards").fetchone()
    store.close()
    assert unverified_checkpoint(proof).size > size
    words = ("--requester", running.requester, "--family", running.families[50].application.family)
    assert heyan("verify", "--dir", str(running.folder), *words).returncode == 3  # it records nothing any more
