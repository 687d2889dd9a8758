"""`heyan verify --batch` against real processes: killed midway with -9 and run again, with a gateway that is restarted
meanwhile, every answer is the truth, and no use of any consent is spent twice, at the gateway or at a node.

A small batch by default; the long one: `HEYAN_BATCH=10000 pytest -m e2e tests/e2e/test_batch.py -s`, which tells rates
and memory.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.protocol.claims import CLAIMS, claim_named
from sandbox_departments.truth import Truth
from tests.e2e.conftest import Running
from tests.e2e.kills import Arena, arena

APPLICATIONS = int(os.environ.get("HEYAN_BATCH", "150"))
SECONDS = 300 + APPLICATIONS // 5

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(SECONDS)]


@pytest.fixture
async def where(tmp_path: Path) -> AsyncIterator[Arena]:
    async with arena(tmp_path / "run", APPLICATIONS) as found:
        yield found


@dataclass
class Run:
    """One run of the command, in a process of its own."""

    process: asyncio.subprocess.Process
    began: float
    peak: int = 0
    """Bytes of memory, at most, as far as it was looked at."""

    async def until(self, requests: int, store: Path) -> None:
        """Wait until the gateway knows so many requests."""
        while len(request_ids(store)) < requests:
            assert self.process.returncode is None, "it ended before it could be killed"
            self.look()
            await asyncio.sleep(0.05)

    async def end(self) -> tuple[int, str, str]:
        """Its exit code, and what it wrote."""
        reading = asyncio.create_task(self.process.communicate())
        while not reading.done():
            self.look()
            await asyncio.wait({reading}, timeout=0.5)
        out, error = await reading
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), error.decode()

    def look(self) -> None:
        self.peak = max(self.peak, memory_of(self.process.pid))


async def run_batch(where: Arena, file: Path, results: Path, *more: str) -> Run:
    words = words_of(where.folder, where.requester, file, results)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", *words, *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return Run(process, time.monotonic())


def words_of(folder: Path, requester: str, file: Path, results: Path) -> list[str]:
    whom = ["verify", "--dir", str(folder), "--requester", requester]
    return [*whom, "--batch", str(file), "--results", str(results)]


def memory_of(pid: int) -> int:
    """Resident bytes of a process, at their peak; 0 once it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=30)


def request_ids(store: Path) -> set[str]:
    """Every request that the gateway knows."""
    with closing(read_only(store)) as connection:
        return {request_id.hex() for (request_id,) in connection.execute("SELECT request_id FROM requests")}


def rows_of(results: Path) -> list[dict[str, str]]:
    with results.open(newline="", encoding="ascii") as opened:
        return list(csv.DictReader(opened))


def write_batch(file: Path, families: Sequence[Truth]) -> None:
    file.write_text("family\n" + "".join(f"{truth.application.family}\n" for truth in families))


async def test_batch_killed_midway_and_run_again_agrees_with_truth_and_spends_no_use_twice(
    where: Arena, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    file, results = tmp_path / "applications.csv", tmp_path / "results.csv"
    store = where.folder / "gateway" / "store.db"
    write_batch(file, where.families)
    first = await run_batch(where, file, results)
    await first.until(APPLICATIONS // 3, store)
    first.process.send_signal(signal.SIGKILL)
    await first.process.wait()
    killed_after = time.monotonic() - first.began
    assert not results.exists()
    before = request_ids(store)
    assert APPLICATIONS // 3 <= len(before) < APPLICATIONS

    second = await run_batch(where, file, results, "--json")
    await second.until(2 * APPLICATIONS // 3, store)
    os.kill(where.supervisor.pid("gateway"), signal.SIGTERM)  # it drains, is started again, and the stream is resumed
    code, out, error = await second.end()
    summary = json.loads(out)
    assert (code, summary["answered"], summary["others"]) == (0, APPLICATIONS, {}), error
    assert wrong(rows_of(results), where.families) == []
    assert list(doubled(where, results)) == []
    assert before <= {row["request_id"] for row in rows_of(results)}, "what was accepted before the kill was kept"

    third = await run_batch(where, file, results, "--json")
    assert (await third.end())[0] == 0
    assert len(request_ids(store)) == APPLICATIONS, "a run after the last one asks nothing"
    told = {
        "applications": APPLICATIONS,
        "killed after": f"{killed_after:.0f} s, {len(before)} accepted",
        "second run": f"{summary['seconds']} s, {summary['per_second']} a second",
        "peak memory of the client": f"{max(first.peak, second.peak) >> 20} MiB",
        "peak memory of the gateway": f"{memory_of(where.supervisor.pid('gateway')) >> 20} MiB",
    }
    record_property("batch", told)
    print(told)  # noqa: T201 - shown with -s: what a batch came to


def wrong(rows: Sequence[dict[str, str]], families: Sequence[Truth]) -> list[str]:
    """Families and columns whose result is not the truth."""
    assert [row["family"] for row in rows] == [truth.application.family for truth in families]
    found = []
    for row, truth in zip(rows, families, strict=True):
        expected: dict[str, list[str]] = {}
        for answer in truth.answers:
            value = " ".join(answer.parameters.values()) if claim_named(answer.claim).itemised else ""
            expected.setdefault(answer.claim, []).append(f"{value}={answer.outcome.name}".lstrip("="))
        standings = Counter(truth.materials.values())
        expected |= {name: [str(standings[name.upper()])] for name in ("exempt", "offline", "owed")}
        expected["supported_groups"] = [group for group in truth.supported if group is truth.application.group]
        found += [
            f"{row['family']} {column}"
            for column in (*CLAIMS, "exempt", "offline", "owed", "supported_groups")
            if Counter(row[column].split()) != Counter(expected.get(column, []))
        ]
    return found


def doubled(where: Arena, results: Path) -> Iterator[str]:
    """What was spent more than once, at the gateway or at a node; every request is of one row of the results."""
    shown = [row["request_id"] for row in rows_of(results)]
    if len(set(shown)) != APPLICATIONS or request_ids(where.folder / "gateway" / "store.db") != set(shown):
        yield "the gateway knows other requests than one for each application"
    with closing(read_only(where.folder / "gateway" / "store.db")) as connection:
        if connection.execute("SELECT max(spent) FROM uses").fetchone() != (1,):
            yield "the gateway counted a use twice"
    asked: set[str] = set()
    for node in where.nodes:
        with closing(read_only(where.folder / "departments" / node / "journal.db")) as connection:
            asked |= {value.hex() for (value,) in connection.execute("SELECT request_id FROM uses")}
            most = "SELECT max(count) FROM (SELECT count(*) AS count FROM uses GROUP BY grant_digest, authorization)"
            if connection.execute(most).fetchone()[0] not in (None, 1):
                yield f"{node} was asked twice for one application"
    if asked != set(shown):
        yield "nodes were asked other requests than one for each application"


def test_bad_lines_are_all_told_and_nothing_is_asked(running: Running, tmp_path: Path) -> None:
    file, results, store = tmp_path / "in.csv", tmp_path / "out.csv", running.folder / "gateway" / "store.db"
    file.write_text("family,consent\nF000001,\n=1+1,\nF000002,missing.json\nF999999,\nF000001,\n")
    before = request_ids(store)
    ended = running.heyan(*words_of(running.folder, running.requester, file, results))
    assert (ended.returncode, ended.stdout) == (2, "")
    told = [line.partition(":")[0] for line in ended.stderr.splitlines()]
    assert told == ["line 3", "line 4", "line 5", "line 6", "heyan"]
    assert not list(tmp_path.glob("out.csv*"))
    assert request_ids(store) == before


def test_state_of_another_file_is_refused_and_its_results_stand(running: Running, tmp_path: Path) -> None:
    file, results = tmp_path / "in.csv", tmp_path / "out.csv"
    write_batch(file, running.families[-3:])
    words = words_of(running.folder, running.requester, file, results)
    ended = running.heyan(*words)
    assert ended.returncode == 0, ended.stderr
    before = results.read_bytes()
    write_batch(file, running.families[-4:])
    ended = running.heyan(*words)
    assert ended.returncode == 2
    assert "another input file" in ended.stderr
    assert results.read_bytes() == before


def test_batch_goes_with_its_own_options_only(running: Running, tmp_path: Path) -> None:
    file, results = tmp_path / "in.csv", tmp_path / "out.csv"
    write_batch(file, running.families[-3:])
    words = words_of(running.folder, running.requester, file, results)
    for wrong_words in (
        words_of(running.folder, running.requester, file, file),
        [*words, "--family", "F000001"],
        words[:-2],
        [word for word in words if word != "--batch"][:-2],
    ):
        ended = running.heyan(*wrong_words)
        assert ended.returncode == 2
        assert not results.exists()
