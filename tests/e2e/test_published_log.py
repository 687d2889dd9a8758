"""The log of a running federation, read as auditors do: by Go's packages, by tlog-scales, and from a copy."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gateway.cli.log_sources import LogOptions, open_log
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.leaf import read_leaf
from gateway.static_log.tile_proofs import prove_consistency, read_leaves
from tests.e2e.applicants import applicant
from tests.e2e.conftest import Running
from tests.readers.foreign import Client, DoesNotHoldError, build_go_reader, read_with_go, read_with_scales

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 20.0
"""Within which a leaf is published, on a loaded machine."""
NODE = "land-4303"


@pytest.fixture(params=["go", "tlog-scales"])
def read(request, tmp_path_factory):
    """A reader that was not written here."""
    if request.param == "tlog-scales":
        return read_with_scales
    return partial(read_with_go, build_go_reader(tmp_path_factory.mktemp("go")))


async def apply(running: Running) -> int:
    """Have a family apply; the index of the leaf that its receipt proves."""
    async with applicant(running, NODE) as family:
        result = await family.until_answered(family.prepare())
        return max(proof_index(item.proof) for item in result.receipt.leaves)


def proof_index(proof: str) -> int:
    return int(proof.split("index ")[1].split("\n", maxsplit=1)[0])


async def published(running: Running, least: int) -> tuple[Checkpoint, bytes]:
    """The verified checkpoint, once it covers so many leaves."""
    log = open_log(None, LogOptions(folder=running.folder))
    until = time.monotonic() + SECONDS
    async with log.source as source:
        while True:
            note = await source.checkpoint()
            checkpoint = log.open(note)
            if checkpoint.size >= least:
                return checkpoint, note
            assert time.monotonic() < until, "not published in time"
            await asyncio.sleep(0.1)


async def test_live_log_holds_for_readers_that_were_not_written_here(running: Running, tmp_path: Path, read) -> None:
    first = await apply(running)
    before, note = await published(running, first + 1)
    (tmp_path / "older").write_bytes(note)
    second = await apply(running)
    after, _ = await published(running, second + 1)
    assert after.size > before.size
    endpoints, folder = running.endpoints, running.folder
    auditor = endpoints.auditors["auditor"]
    url = endpoints.gateway.log_url
    ca = folder / endpoints.ca
    own = Client(ca, folder / auditor.cert, folder / auditor.key)
    reading = partial(read, url, endpoints.gateway.log_vkey, leaves=(0, first, second), old=tmp_path / "older")
    assert await asyncio.to_thread(reading, client=own) >= after.size
    assert await asyncio.to_thread(reading, client=Client(ca), entries=False) >= after.size
    requester = endpoints.requesters[running.requester]
    for other in (Client(ca), Client(ca, folder / requester.cert, folder / requester.key)):
        with pytest.raises(DoesNotHoldError):
            await asyncio.to_thread(reading, client=other)


async def test_export_of_a_live_log_holds_and_goes_on(running: Running, tmp_path: Path, read) -> None:
    copy, hashes = tmp_path / "copy", tmp_path / "hashes"
    index = await apply(running)
    await published(running, index + 1)
    settings = str(running.folder / "gateway/settings.toml")
    vkey = running.endpoints.gateway.log_vkey
    for _ in range(2):
        done = await asyncio.to_thread(running.heyan, "log", "export", str(copy), "--config", settings, "--json")
        assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert read(str(copy), vkey, leaves=(0, index)) == told["size"]
    words = ("log", "export", str(hashes), "--dir", str(running.folder), "--auditor", "auditor", "--no-entries")
    done = await asyncio.to_thread(running.heyan, *words)
    assert done.returncode == 0, done.stderr
    assert read(str(hashes), vkey, leaves=(0, index), entries=False) > index
    await apply(running)
    await published(running, told["size"] + 1)
    older = tmp_path / "older"
    older.write_bytes((copy / "checkpoint").read_bytes())
    done = await asyncio.to_thread(running.heyan, "log", "export", str(copy), "--dir", str(running.folder))
    assert done.returncode == 0, done.stderr
    assert read(str(copy), vkey, leaves=(0, index), old=older) > told["size"]


async def test_a_receipts_own_checkpoint_is_of_the_published_log(running: Running) -> None:
    """Also where that size was never published: its checkpoint is proven consistent with a later one."""
    log = open_log(None, LogOptions(folder=running.folder))
    async with applicant(running, NODE) as family:
        result = await family.until_answered(family.prepare())
    item = result.receipt.leaves[-1]
    shown = log.open(item.proof.partition("\n\n")[2].encode())
    newest, _ = await published(running, shown.size)
    async with log.source as source:
        await prove_consistency(source, shown, newest)
        index = proof_index(item.proof)
        found = [leaf async for _, leaf in read_leaves(source, index, index + 1, shown)]
    assert found == [item.leaf]
    assert read_leaf(found[0]).HasField("verification")


async def test_metrics_say_how_far_the_log_is_published(running: Running) -> None:
    index = await apply(running)
    await published(running, index + 1)
    process = next(each for each in running.sandbox.processes() if each.name == "gateway")
    url = f"http://127.0.0.1:{process.probes}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("heyan_log_publi"))
    assert float(lines["heyan_log_published_size"]) > index
    assert float(lines["heyan_log_publication_failing"]) == 0
    assert "heyan_log_published_behind_seconds" in lines
