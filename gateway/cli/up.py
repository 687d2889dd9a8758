"""`heyan up`: a whole federation on loopback, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.department import faulty, is_down, switchable
from gateway.cli.endpoints import read_endpoints
from gateway.cli.options import Workers
from gateway.cli.sandbox import Asked, Sandbox, held, settle
from gateway.cli.sandbox_begin import being_made
from gateway.cli.sandbox_make import make
from gateway.cli.sandbox_renew import renew
from gateway.cli.sandbox_witnesses import tell_witnesses
from gateway.cli.supervisor import Supervisor, require_free
from gateway.operator.desk import Desk
from gateway.party.keyfiles import Stamp, stamp
from gateway.party.process import repeat
from gateway.protocol.divisions import COUNTIES
from gateway.protocol.errors import HeyanError
from gateway.rules.shelf import all_rules, open_shelf

RENEWAL_INTERVAL = 3600.0
"""Seconds between looks at what is about to end."""


def up(  # noqa: PLR0913 - one option each
    folder: Path,
    *,
    seed: int | None = None,
    population: int | None = None,
    prefectures: str | None = None,
    port_base: int | None = None,
    standbys: bool | None = None,
    post_quantum: bool | None = None,
    witnesses: int | None = None,
    gateway_workers: Workers | None = None,
) -> None:
    """Make a federation in FOLDER (the first time) and run it until Ctrl-C, each party as a process of its own.

    Writes FOLDER/endpoints.json, which `heyan verify --dir FOLDER` and other programs read. All people are fictional.
    An existing FOLDER goes on as it was, with what is about to end renewed; one that was cut short is made anew.

    Examples: `heyan up run`, `heyan up run --population 10000 --prefectures 4301,4303`

    Parameters
    ----------
    folder
        Where everything is kept.
    seed
        Of the simulated families: the same seed makes the same families (default 1).
    population
        Number of families (default 2000).
    prefectures
        Prefectures with nodes of their own, separated by commas (default 4301,4303).
    port_base
        First of the ports, two for each party (default 18400).
    standbys
        Run a second process of each department node, to which the gateway turns when the first fails or is slow.
    post_quantum
        Give the log a second key, ML-DSA-44, which signs each checkpoint too.
    witnesses
        How many witnesses to run, each a process of its own, which cosign the log's checkpoints (default 0).
    gateway_workers
        How many processes serve as the gateway together, in this run only (default 1); one for each core to be used.
    """
    codes = tuple(code.strip() for code in prefectures.split(",")) if prefectures is not None else None
    asked = Asked(seed, population, codes, port_base, standbys, post_quantum, witnesses, gateway_workers)
    sandbox = open_sandbox(folder, asked, Console(stderr=True))
    asyncio.run(_run(sandbox))


def open_sandbox(folder: Path, asked: Asked, console: Console) -> Sandbox:
    """The sandbox in `folder`, made or renewed."""
    sandbox = Sandbox(folder, settle(folder, asked), asked.gateway_workers or 1)
    for process in sandbox.processes():
        require_free(process)  # before anything is written
    if held(folder) is None:
        status = f"Making a federation with {sandbox.made.population} fictional families in {folder} …"
        with console.status(status), being_made(sandbox):
            make(sandbox)
    for line in renew(sandbox, time.time()):
        console.print(f"renewed: {line}", highlight=False)
    all_rules(open_shelf(sandbox.rules_folder))  # a wrong pack is told by its line, not by a gateway that ends
    return sandbox


async def start(sandbox: Sandbox, console: Console) -> Supervisor:
    """Start every party, with a progress bar; a supervisor to stop them. Faults that are set are said."""
    processes = tuple(map(switchable, sandbox.processes()))
    supervisor = Supervisor(processes, lambda line: console.print(line, highlight=False), is_down)
    for line in faulty(processes):
        console.print(line, highlight=False)
    columns = (TextColumn("Starting {task.total} parties"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(processes))
        try:
            await supervisor.start(lambda _name: progress.advance(task))
        except BaseException:
            await supervisor.stop()
            raise
    return supervisor


async def _run(sandbox: Sandbox) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    console = Console(stderr=True)
    supervisor = await start(sandbox, console)
    following = asyncio.create_task(repeat(1.0, _Follower(sandbox).look, "tell witnesses the log's keys"))
    try:
        sys.stdout.write(_summary(sandbox))
        sys.stdout.flush()
        while not stop.is_set():
            try:
                async with asyncio.timeout(RENEWAL_INTERVAL):
                    await stop.wait()
            except TimeoutError:
                await _renew(sandbox, console)
    finally:
        following.cancel()
        console.print("Stopping …")
        await supervisor.stop()


class _Follower:
    """Has the witnesses told of keys that the registry gained or lost, before they sign: an operator's doing."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._desk = Desk.open(sandbox.desk_folder)
        self._seen: Stamp | None = None

    async def look(self) -> None:
        """Look at the registry, once a second."""
        seen = stamp([self._desk.registry_file])
        published = self._desk.published() if seen != self._seen else None
        if published is not None:
            tell_witnesses(self._sandbox, published)
        self._seen = seen


async def _renew(sandbox: Sandbox, console: Console) -> None:
    try:
        for line in await asyncio.to_thread(renew, sandbox, time.time()):
            console.print(f"renewed: {line}", highlight=False)
    except HeyanError as error:  # a rule pack that is being edited, say: in an hour again
        console.print(f"not renewed: {error}", highlight=False, markup=False)


def _summary(sandbox: Sandbox) -> str:
    folder, requester = sandbox.folder, sandbox.requesters[0].name
    processes = "\n".join(f"  {process.name:16} 127.0.0.1:{process.port}" for process in sandbox.processes())
    return (
        f"Heyan is up in {folder} with {sandbox.made.population} fictional families (seed {sandbox.made.seed}).\n"
        f"{processes}\n"
        f"Published log: {read_endpoints(folder).gateway.log_url or 'none, the folder is of an earlier version'}\n"
        f"Endpoints: {folder / 'endpoints.json'}; correct answers: {folder / 'truth.jsonl'}\n"
        f"Rules: {sandbox.rules_folder}; enrolment is open everywhere but in {sandbox.made.closed} "
        f"({COUNTIES[sandbox.made.closed]})\n"
        f"Try: heyan verify --dir {folder} --requester {requester} --family F000001\n"
        f"Ctrl-C stops everything.\n"
    )
