"""Processes that are measured: started on a core of theirs, and what CPU time each has used."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from gateway.party.process import SUPERVISOR

AFTERMATH = 0.3
"""Seconds after the last reply in which a server's work still counts: acknowledgements, publication."""
_STOP_SECONDS = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _UTIME, _STIME = 1, 11, 12
"""Places in /proc/PID/stat after the command's closing parenthesis (proc(5): fields 4, 14 and 15, counted from 1)."""


def cores() -> tuple[int, int]:
    """The core of what is measured, and the core of everything else; the same one on a machine with but one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What is started meanwhile by this thread, processes and threads alike, stays on `core`; None: wherever it may."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def serving(module: str, *words: str, core: int | None) -> AsyncIterator[tuple[int, bytes]]:
    """A benchmark's own server, on `core`, as long as entered; its process id, and what it says once it serves.

    A line, which is empty if it ended instead.
    """
    with on_core(core):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"benchmarks.{module}", *words),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, SUPERVISOR: str(os.getpid())},
        )
    try:
        assert process.stdout is not None
        yield process.pid, await process.stdout.readline()
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, in user and kernel mode, all its threads together; steps of a tick (10 ms)."""
    return ticks_of(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")) / _TICKS


def family_seconds(pid: int) -> float:
    """CPU time of a process and of the children that it has now, each as `cpu_seconds` tells it."""
    return sum(map(cpu_seconds, (pid, *children_of(pid))))


def ticks_of(stat: str) -> int:
    """User and system ticks of the text of /proc/PID/stat. The command in it may hold spaces and parentheses."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[_UTIME]) + int(fields[_STIME])


def children_of(parent: int) -> tuple[int, ...]:
    """The processes that a process started and that run now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it ended while we looked
                stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                if int(stat.rpartition(")")[2].split()[_PARENT]) == parent:
                    found.append(int(folder.name))
    return tuple(found)
