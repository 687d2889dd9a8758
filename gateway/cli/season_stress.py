"""`heyan season stress`: a rehearsal of opening morning, on a running federation, with synthetic families."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.cli.endpoints import Endpoints, open_client, read_endpoints
from gateway.cli.exit_codes import EXIT_INCONCLUSIVE, EXIT_INTERRUPTED, EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, require_writable, usage_error
from gateway.cli.stress_attempts import Verify
from gateway.cli.stress_driver import Driver
from gateway.cli.stress_families import Applicant, choose_families, make_applicants, requester_of, uses_of
from gateway.cli.stress_live import show_progress
from gateway.cli.stress_metrics import read_gateway
from gateway.cli.stress_print import print_report
from gateway.client import Client
from gateway.party.process import cancel_all
from gateway.season.arrivals import Arrival, arrivals_of, by_second
from gateway.season.goal import parse_goal
from gateway.season.node_counters import growth
from gateway.season.profile import SAMPLE, Profile, Shape, make_profile, read_values
from gateway.season.rehearsal import Rehearsal, Tally, Verdict
from gateway.season.rehearsal_page import rehearsal_html
from gateway.season.rehearsal_report import to_json
from sandbox_departments.truth import Truth

_MOST_BYTES = 100_000
"""Far above a profile."""
_DAILY_BUDGET = 10
"""Requests of one education system about one person that a department answers in a day, unless it is told otherwise."""
_LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")
_EXITS = {
    Verdict.PASSED: 0,
    Verdict.NO_GOAL: 0,
    Verdict.FAILED: EXIT_REFUSED,
    Verdict.INCONCLUSIVE: EXIT_INCONCLUSIVE,
    Verdict.INTERRUPTED: EXIT_INTERRUPTED,
}


def stress(  # noqa: PLR0913 - each is an option of the command
    *,
    folder: RequiredFolder,
    profile: str = Shape.OPENING.value,
    applicants: int | None = None,
    rate: float | None = None,
    seconds: float | None = None,
    connections: int | None = None,
    in_flight: int | None = None,
    seed: int | None = None,
    goal: str | None = None,
    verify_receipts: Verify = "sample",
    html: Path | None = None,
    as_json: JsonOption = False,
) -> int:
    """Drive a running federation of `heyan up` as opening morning will, and judge it by a goal.

    Applicants come as the profile says, whether or not those before have their answers, and each one's time counts
    from when they were due: a gateway that holds everybody up cannot hide it. Every answer is held against the truth;
    a wrong one fails the run. Consents are given before the clock starts. Ctrl-C ends it with a report of what was.

    Exit code 0 if the goal is reached, 1 if not or an answer is wrong, 4 if this machine was too slow to tell, 130
    after Ctrl-C.

    Examples: `heyan season stress --dir run`,
    `heyan season stress --dir run --profile opening --applicants 500 --seconds 60 --goal "p99<2s, refused<1%"`,
    `heyan season stress --dir run --profile steady --rate 20 --html rehearsal.html`

    Parameters
    ----------
    folder
        A running federation's folder.
    profile
        opening (the first hour of an opening, compressed), steady, or a TOML file as `heyan season profile` writes it.
    applicants
        Families that come. Half of them apply twice, unless a file says otherwise.
    rate
        The same, as applicants a second on average.
    seconds
        Time in which they come.
    connections
        Connections of each education system to the gateway.
    in_flight
        Applications under way at once, at most.
    seed
        Of the arrivals, and of the families that come.
    goal
        What must hold, such as "p99<2s, refused<1%, unavailable<1%, rate>=20". Measures: p50, p90, p95, p99, max
        (s or ms); answered, refused, unavailable, unanswered (%); rate (applications answered in a second).
    verify_receipts
        Whose signatures and proofs are verified: of every twentieth receipt (sample), of all, or of none. Outcomes are
        held against the truth always. Verifying takes the generator's own time.
    html
        Write the report as one page that loads nothing.
    """
    if html is not None:
        require_writable(html, "--html")
    given = {
        "applicants": applicants,
        "rate": rate,
        "seconds": seconds,
        "connections": connections,
        "in_flight": in_flight,
        "seed": seed,
        "goal": goal,
    }
    wanted = _profile(profile, {name: value for name, value in given.items() if value is not None})
    parse_goal(wanted.goal, "goal" if goal is None else "--goal")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        run = runner.run(_rehearse(folder, wanted, verify_receipts, Console(stderr=True, highlight=False)))
    if html is not None:
        html.write_text(rehearsal_html(run), encoding="utf-8")
    if as_json:
        print_json(to_json(run))
    else:
        print_report(Console(), run)
    return _EXITS[run.verdict]


def profile(*, out: Path) -> None:
    """Write a profile for `heyan season stress`, every value with its meaning, to begin with.

    Example: `heyan season profile --out opening.toml`

    Parameters
    ----------
    out
        File to write.
    """
    require_writable(out, "--out")
    out.write_text(SAMPLE, encoding="utf-8")
    sys.stdout.write(f"{out} written. Next: heyan season stress --dir run --profile {out}\n")


def _profile(named: str, given: Mapping[str, Any]) -> Profile:
    if named in set(Shape):
        return make_profile({}, {"shape": named, **given})
    file = Path(named)
    if not file.is_file():
        raise usage_error(
            "--profile", f"{named} is no file: opening, steady or a TOML file / 应为 opening、steady 或文件"
        )
    if file.stat().st_size > _MOST_BYTES:
        raise usage_error("--profile", f"{named} is too large / 文件过大")
    try:
        return make_profile(read_values(file.read_text(encoding="utf-8")), given)
    except UnicodeDecodeError:
        raise usage_error("--profile", f"{named} is not UTF-8 / 不是 UTF-8 编码") from None


async def _rehearse(folder: Path, profile: Profile, verify: Verify, console: Console) -> Rehearsal:
    endpoints = read_endpoints(folder)
    if not endpoints.gateway.grpc.startswith(_LOOPBACK):
        raise usage_error(
            "--dir", "holds a gateway elsewhere: only one on this machine is put under load / 只压测本机的网关"
        )
    arrivals = arrivals_of(profile, Random(profile.seed).random)  # noqa: S311 - a rehearsal is to be repeatable
    families = choose_families(folder, endpoints, profile.applicants, profile.seed)
    uses = uses_of(arrivals, len(families))
    if uses > _DAILY_BUDGET:
        console.print(
            f"{profile.applicants} applicants are {len(families)} families, up to {uses} times each: departments "
            f"answer {_DAILY_BUDGET} requests a day about one person. Make a larger --population.",
            markup=False,
        )
    async with AsyncExitStack() as stack:
        clients = await _connect(stack, folder, endpoints, families, profile.connections)
        applicants = await _prepare(folder, families, uses, clients, console)
        return await _drive(folder, profile, verify, console, arrivals, applicants, clients)


async def _connect(
    stack: AsyncExitStack, folder: Path, endpoints: Endpoints, families: Sequence[Truth], connections: int
) -> dict[str, list[Client]]:
    """The clients of every education system that somebody applies to."""
    requesters = sorted({requester_of(truth, endpoints) for truth in families})
    return {
        name: [await stack.enter_async_context(open_client(folder, name)) for _ in range(connections)]
        for name in requesters
    }


async def _prepare(
    folder: Path, families: Sequence[Truth], uses: int, clients: Mapping[str, Sequence[Client]], console: Console
) -> tuple[Applicant, ...]:
    """Every family's consent, with a bar where somebody watches."""
    columns = (
        TextColumn("Consents, before the clock starts"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    firsts = {name: held[0] for name, held in clients.items()}
    began = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(families))
        applicants = await make_applicants(folder, families, uses, firsts, lambda: progress.advance(task))
    console.print(
        f"{len(applicants)} families consented in {time.monotonic() - began:.1f} s; the clock starts", markup=False
    )
    return applicants


async def _drive(
    folder: Path,
    profile: Profile,
    verify: Verify,
    console: Console,
    arrivals: Sequence[Arrival],
    applicants: Sequence[Applicant],
    clients: Mapping[str, Sequence[Client]],
) -> Rehearsal:
    tally, planned = Tally(), by_second(arrivals)
    driver = Driver(profile, arrivals, applicants, clients, tally, verify)
    before = await read_gateway(folder)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, driver.stop)
    showing = asyncio.create_task(show_progress(console, tally, planned, lambda: driver.elapsed))
    try:
        elapsed = await driver.run()
    finally:
        await cancel_all([showing])
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    after = await read_gateway(folder)
    return Rehearsal(
        profile=profile,
        goal=parse_goal(profile.goal),
        planned=planned,
        tally=tally,
        elapsed=elapsed,
        verify_receipts=verify,
        connections=sum(len(held) for held in clients.values()),
        interrupted=driver.stopped,
        counters=growth(before, after) if before is not None and after is not None else {},
    )
