"""The keeper of workers: those that end are replaced, those that are mute killed, and what one must say all hear."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.workers.supervisor import StartFailedError, Supervisor

PROJECT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'protos' / 'gen'}"}
LONG = 60.0


def supervisor_of(*how: str, stop_seconds: float = LONG, silent_seconds: float = LONG) -> Supervisor:
    """Over stand-ins, each as its number says."""

    def words(number: int, end: int) -> list[str]:
        return [sys.executable, "-m", "tests.workers.stand_in", how[number], str(end)]

    return Supervisor(len(how), words, ENVIRONMENT, stop_seconds=stop_seconds, silent_seconds=silent_seconds)


@asynccontextmanager
async def running(*how: str, **seconds: float) -> AsyncIterator[Supervisor]:
    supervisor = supervisor_of(*how, **seconds)
    try:
        await supervisor.start()
        await until_told(supervisor, lambda lines: not any(line.endswith("starting") for line in lines))
        yield supervisor
    finally:
        await supervisor.stop()


async def until_told(supervisor: Supervisor, wanted: Callable[[list[str]], bool]) -> list[str]:
    async with asyncio.timeout(LONG):
        while not wanted(lines := list((await supervisor.readiness()).lines)):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)
    return lines


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_serve_and_all_end() -> None:
    async with running("leading", "good") as supervisor:
        assert (await supervisor.readiness()).lines == ["ready: 2 of 2 workers"]
        pids = list(supervisor.pids().values())
        assert all(map(is_there, pids))
    assert not any(map(is_there, pids))


async def test_first_worker_that_cannot_start_ends_the_gateway_with_its_code() -> None:
    supervisor = supervisor_of("misconfigured", "good")
    with pytest.raises(StartFailedError) as failed:
        await supervisor.start()
    assert failed.value.code == 2
    assert list(supervisor.pids()) == [0]  # nobody else was started
    await supervisor.stop()


async def test_worker_that_is_killed_is_replaced_and_the_others_stay() -> None:
    async with running("leading", "good", "good") as supervisor:
        before = dict(supervisor.pids())
        os.kill(before[1], signal.SIGKILL)
        await until_told(supervisor, lambda lines: "worker 1: starting" in lines)
        assert (await supervisor.readiness()).is_ready
        await until_told(supervisor, lambda lines: lines == ["ready: 3 of 3 workers"])
        now = supervisor.pids()
        assert now[1] != before[1]
        assert (now[0], now[2]) == (before[0], before[2])
        assert b"heyan_worker_restarts_total 1.0" in await supervisor.metrics()


async def test_worker_that_says_nothing_any_more_is_killed_and_replaced() -> None:
    async with running("leading", "good", silent_seconds=3.0) as supervisor:
        mute = supervisor.pids()[1]
        os.kill(mute, signal.SIGSTOP)
        assert "worker 1: does not answer" in await until_told(supervisor, lambda lines: len(lines) == 2)
        await until_told(supervisor, lambda lines: lines == ["ready: 2 of 2 workers"])
        assert supervisor.pids()[1] != mute


async def test_worker_that_cannot_be_understood_is_killed() -> None:
    supervisor = supervisor_of("babbling")
    with pytest.raises(StartFailedError):
        await supervisor.start()
    await supervisor.stop()


async def test_halt_of_one_is_told_to_the_others_and_to_whoever_comes_later() -> None:
    async with running("halting", "good") as supervisor:
        os.kill(supervisor.pids()[0], signal.SIGUSR1)
        lines = await until_told(supervisor, lambda lines: "worker 1: LOG_FORKED" in lines)
        assert lines[0] == "ready: 1 of 2 workers"  # the one that told it does not hear it again
        os.kill(supervisor.pids()[1], signal.SIGKILL)
        await until_told(supervisor, lambda lines: "worker 1: began LOG_FORKED" in lines)


async def test_halt_is_told_to_whoever_is_just_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running("halting", "good", "good") as supervisor:
        start = asyncio.create_subprocess_exec

        async def halted_meanwhile(*words: str, **how: Any) -> asyncio.subprocess.Process:
            os.kill(supervisor.pids()[0], signal.SIGUSR1)
            await until_told(supervisor, lambda lines: "worker 2: LOG_FORKED" in lines)
            return await start(*words, **how)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", halted_meanwhile)
        os.kill(supervisor.pids()[1], signal.SIGKILL)
        await until_told(supervisor, lambda lines: "worker 1: starting" in lines)
        lines = await until_told(supervisor, lambda lines: "worker 1: starting" not in lines)
        assert "worker 1: began LOG_FORKED" in lines


async def test_withdrawal_that_one_was_told_is_told_to_the_others() -> None:
    async with running("good", "good", "good") as supervisor:
        os.kill(supervisor.pids()[2], signal.SIGUSR1)
        lines = await until_told(supervisor, lambda lines: len(lines) == 3)
        assert lines == ["ready: 1 of 3 workers", "worker 0: digest", "worker 1: digest"]


async def test_worker_that_does_not_end_is_killed() -> None:
    async with running("leading", "stubborn", stop_seconds=0.2) as supervisor:
        pids = list(supervisor.pids().values())
    assert not any(map(is_there, pids))


async def test_stop_during_the_start_leaves_nobody_behind() -> None:
    supervisor = supervisor_of("leading", "good")
    starting = asyncio.create_task(supervisor.start())
    async with asyncio.timeout(LONG):
        while not supervisor.pids():  # noqa: ASYNC110 - a process starts
            await asyncio.sleep(0.001)
    pids = list(supervisor.pids().values())
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await supervisor.stop()
    assert not any(map(is_there, pids))


async def test_metrics_are_told_by_worker_and_those_of_the_whole_by_the_one_that_leads() -> None:
    async with running("good", "leading") as supervisor:
        text = (await supervisor.metrics()).decode()
    assert 'heyan_calls_total{method="Verify",worker="0"} 3.0' in text
    assert 'heyan_calls_total{method="Verify",worker="1"} 3.0' in text
    assert [line for line in text.splitlines() if line.startswith("heyan_log_published_size")] == [
        'heyan_log_published_size{worker="1"} 7.0'
    ]
    assert 'heyan_worker_leads{worker="1"} 1.0' in text
    assert "heyan_workers_serving 2.0" in text
    assert text.count("# TYPE heyan_calls_total counter") == 1
