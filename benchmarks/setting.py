"""The federation that a benchmark measures, the machine that it runs on, and the file that its results go to.

The parties are those of `heyan up`: real processes, real mutual TLS, real files. One bound is lifted: departments let
a requester ask about one person as often as it likes, because a benchmark asks about few families again and again.
"""

from __future__ import annotations

import json
import platform
import re
import shlex
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from importlib.metadata import version
from os import cpu_count, getloadavg
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from gateway.cli.sandbox import Asked, Sandbox
from gateway.cli.supervisor import Supervisor, free_port_base
from gateway.cli.up import open_sandbox, start

PREFECTURE = "4301"
RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("cryptography", "grpcio", "protobuf", "sqlite-utils")


@dataclass(frozen=True)
class Measured:
    """A running federation of one prefecture."""

    folder: Path
    sandbox: Sandbox
    supervisor: Supervisor

    @property
    def requester(self) -> str:
        """Who asks."""
        return self.sandbox.requesters[0].name

    def node(self, department: str) -> str:
        """The name of a department's process."""
        return f"{department}-{PREFECTURE}"

    async def gateway_metrics(self) -> dict[str, float]:
        """The gateway's metrics, each summed over its labels."""
        (gateway,) = (process for process in self.sandbox.processes() if process.name == "gateway")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{gateway.probes}/metrics") as response,
        ):
            return sums_of(await response.text())

    def reply_batches(self) -> int:
        """How many reply batches all departments have signed, as their journals say."""
        count = 0
        for node in self.sandbox.nodes.values():
            journal = self.sandbox.folder_of(node) / "journal.db"
            with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
                count += connection.execute("SELECT count(*) FROM batches").fetchone()[0]
        return count

    def gateway_memory(self) -> int:
        """Resident bytes of the gateway's process."""
        status = Path(f"/proc/{self.supervisor.pid('gateway')}/status").read_text(encoding="ascii")
        (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kilobytes) * 1024


def sums_of(text: str) -> dict[str, float]:
    """The samples of a Prometheus text, each name summed over its labels."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = re.split(r"\{[^}]*\}\s*|\s+", line, maxsplit=1)
            sums[name] = sums.get(name, 0.0) + float(value.split()[0])
    return sums


@asynccontextmanager
async def federation(
    population: int, before_start: Callable[[Sandbox], None] = lambda _sandbox: None
) -> AsyncIterator[Measured]:
    """Make a federation of `population` families, change what `before_start` does, start it, and stop it at the end."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="heyan-bench-") as made:
        asked = Asked(population=population, prefectures=(PREFECTURE,), port_base=free_port_base())
        sandbox = open_sandbox(Path(made) / "run", asked, console)
        for node in sandbox.nodes.values():
            with (sandbox.folder_of(node) / "settings.toml").open("r+", encoding="utf-8") as settings:
                rest = settings.read()
                settings.seek(0)
                settings.write("budget_requests = 1000000\n" + rest)
        before_start(sandbox)
        supervisor = await start(sandbox, console)
        try:
            yield Measured(sandbox.folder, sandbox, supervisor)
        finally:
            await supervisor.stop()


def write_results(name: str, results: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write results beside what they were measured on; the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """What was measured on, with what, when, and how to do it again."""
    return {
        "cpu": _cpu_model(),
        "cores": cpu_count(),
        "load_average": getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{package: version(package) for package in _PACKAGES},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": shlex.join(["python", "-m", f"benchmarks.{_module()}", *sys.argv[1:]]),
    }


def _module() -> str:
    """Which benchmark runs: the name of its file, or of its folder."""
    script = Path(sys.argv[0])
    return script.parent.name if script.stem == "__main__" else script.stem


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """A Markdown table; numbers are rounded to what can be read."""
    lines = [headings, tuple("---:" for _ in headings), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
