"""`heyan verify --batch`: a backlog of applications, with a progress bar, a result file, and a state to go on from."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from consent.consent_file import ConsentFile, read_consent_file
from gateway.cli.batch_file import OPEN, Line, read_batch
from gateway.cli.batch_prepare import Asked, Sources
from gateway.cli.batch_results import DEFERRED, OK, UNAVAILABLE, write_results
from gateway.cli.batch_run import BatchRun
from gateway.cli.batch_state import BatchIdentity, BatchOutcome, BatchState, Item
from gateway.cli.endpoints import Endpoints, open_client, read_endpoints
from gateway.cli.exit_codes import EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE
from gateway.cli.guardians import Guardians
from gateway.cli.options import require_writable, usage_error
from gateway.client import Client
from gateway.protocol.errors import FieldViolation, HeyanError, MalformedError
from gateway.protocol.matrix import Group
from gateway.protocol.reasons import Reason
from sandbox_departments.people import Application
from sandbox_departments.truth import places_in_truth, truth_at

STATE_SUFFIX = ".state"
_MOST_SHOWN = 200
"""Bad lines that are told; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Paths:
    """What a batch reads and writes."""

    folder: Path
    file: Path
    results: Path

    @property
    def state(self) -> Path:
        """The state, beside the results."""
        return self.results.with_name(self.results.name + STATE_SUFFIX)


def verify_batch(paths: Paths, requester: str, *, defer: float | None, as_json: bool) -> int:
    """Ask every application of a batch that has no result yet; write the results; the exit code.

    With `defer` the gateway may go on asking for so many seconds; another run fetches what it has heard meanwhile.
    Raises MalformedError for a file or state that cannot be used, and the domain error that ended the run early: what
    was reached until then is in the results.
    """
    require_writable(paths.results, "--results")
    if paths.results.resolve() == paths.file.resolve():
        raise usage_error("--results", "must be another file than the batch")
    endpoints = read_endpoints(paths.folder)
    client = open_client(paths.folder, requester)
    identity = _identity(paths, endpoints, requester)
    with BatchState(paths.state, identity) as state:
        if not state.is_filled and (problems := _fill(state, identity, paths, endpoints)):
            return _tell_problems(problems)
        began, before = time.monotonic(), _done(state)
        try:
            with _progress(state) as on_outcome:
                if any(is_open for _, is_open in state.statuses()):  # else there is nothing to connect for
                    asyncio.run(_run(state, client, paths, requester, defer, on_outcome))
        finally:
            write_results(paths.results, state.rows())
            seconds = time.monotonic() - began
            summary = _summary(state, paths, seconds=seconds, done=_done(state) - before)
            sys.stdout.write(json.dumps(summary) + "\n" if as_json else _as_text(summary))
        return _exit_code(state)


class Families:
    """The sandbox's families: what each applies for, and its consent, brought or given now."""

    def __init__(self, truth: Path, requester: str, guardians: Guardians) -> None:
        self._truth = truth
        self._requester = requester
        self._guardians = guardians

    def asked(self, item: Item) -> Asked:
        """What an application asks for."""
        application = self._application(item)
        return Asked(application.region, application.school, None if item.group == OPEN else application.group)

    async def consent(self, item: Item) -> ConsentFile:
        """The consent that was brought, or one that the family gives now."""
        if item.consent_file:
            return read_consent_file(Path(item.consent_file))
        return await self._guardians.consent(self._application(item), self._requester)

    def _application(self, item: Item) -> Application:
        application = truth_at(self._truth, item.place).application
        if application.family != item.family:
            raise MalformedError.at(
                str(self._truth), "was changed since the batch began: begin a new one", Reason.CONFIGURATION_INVALID
            )
        return replace(application, group=Group(item.group)) if item.group not in ("", OPEN) else application


async def _run(
    state: BatchState,
    client: Client,
    paths: Paths,
    requester: str,
    defer: float | None,
    on_outcome: Callable[[BatchOutcome], None],
) -> None:
    async with client, Guardians(paths.folder) as guardians:
        families = Families(paths.folder / read_endpoints(paths.folder).truth, requester, guardians)
        sources = Sources(families.asked, families.consent, defer)
        await BatchRun(state, client, sources, clock=time.time, on_outcome=on_outcome).run()


# -- the file -----------------------------------------------------------------------------------------------


class _BadLinesError(Exception):
    """Lines are wrong: nothing is taken."""

    def __init__(self, problems: list[FieldViolation]) -> None:
        super().__init__(f"{len(problems)} bad lines")
        self.problems = problems


def _identity(paths: Paths, endpoints: Endpoints, requester: str) -> BatchIdentity:
    with paths.file.open("rb") as opened:
        digest = file_digest(opened, "sha256").hexdigest()
    return BatchIdentity(digest, endpoints.operator_vkey, str(paths.folder.resolve()), requester)


def _fill(state: BatchState, identity: BatchIdentity, paths: Paths, endpoints: Endpoints) -> list[FieldViolation]:
    """Take every line of the file into the state, or none and tell all that is wrong with them."""
    try:
        with state.filling(identity):
            problems = [problem for line in read_batch(paths.file) if (problem := _take(state, line)) is not None]
            for family, place in places_in_truth(paths.folder / endpoints.truth):
                state.locate(family, place)
            problems += [
                FieldViolation(f"line {line}", "family must be one of truth.jsonl / 应为 truth.jsonl 中的家庭")
                for line in state.unlocated()
            ]
            if problems:
                raise _BadLinesError(problems)
    except _BadLinesError as error:
        return sorted(error.problems, key=lambda problem: int(problem.field.removeprefix("line ")))
    return []


def _take(state: BatchState, line: Line | FieldViolation) -> FieldViolation | None:
    if isinstance(line, FieldViolation):
        return line
    where = f"line {line.number}"
    if line.consent is not None:
        try:
            read_consent_file(line.consent)
        except HeyanError as error:
            return FieldViolation(where, f"consent: {error.detail}")
    earlier = state.add(line)
    return FieldViolation(where, f"family stands on line {earlier} already") if earlier is not None else None


def _tell_problems(problems: list[FieldViolation]) -> int:
    for problem in problems[:_MOST_SHOWN]:
        sys.stderr.write(f"{problem.field}: {problem.description}\n")
    more = f" ({len(problems) - _MOST_SHOWN} more are not shown)" if len(problems) > _MOST_SHOWN else ""
    sys.stderr.write(f"heyan: {len(problems)} line(s) to mend{more}; nothing was asked\n")
    return EXIT_USAGE


# -- what is shown ------------------------------------------------------------------------------------------


class _Rate(ProgressColumn):
    """Applications that ended per second, lately."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed is not None else "-/s")


@contextmanager
def _progress(state: BatchState) -> Iterator[Callable[[BatchOutcome], None]]:
    """A bar on a terminal, nothing elsewhere; to be told of each application that ended."""
    counts = Counter({name: count for (name, is_open), count in state.statuses().items() if not is_open})
    total = sum(state.statuses().values())
    console = Console(stderr=True)
    columns = (
        TextColumn("Verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[answered]} answered, {task.fields[errors]} errors"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        done = counts.total()
        task = progress.add_task("", total=total, completed=done, answered=counts[OK], errors=done - counts[OK])

        def on_outcome(outcome: BatchOutcome) -> None:
            counts[outcome.status] += 1
            progress.update(task, advance=1, answered=counts[OK], errors=counts.total() - counts[OK])

        yield on_outcome


def _done(state: BatchState) -> int:
    return sum(count for (_, is_open), count in state.statuses().items() if not is_open)


def _summary(state: BatchState, paths: Paths, *, seconds: float, done: int) -> dict[str, object]:
    """What became of the batch, over all its runs; seconds and rate are this run's."""
    statuses: Counter[str] = Counter()
    for (status, _), count in state.statuses().items():
        statuses[status] += count
    return {
        "applications": statuses.total(),
        "answered": statuses.pop(OK, 0),
        "not_asked": statuses.pop("", 0),
        "others": dict(statuses.most_common()),
        "run_again": sum(count for (_, is_open), count in state.statuses().items() if is_open),
        "seconds": round(seconds, 1),
        "per_second": round(done / seconds, 1) if seconds else 0.0,
        "results": str(paths.results),
        "state": str(paths.state),
    }


def _as_text(summary: dict[str, object]) -> str:
    others = summary["others"]
    assert isinstance(others, dict)  # noqa: S101 - as _summary makes it
    rate = f"{summary['seconds']} s, {summary['per_second']} a second"
    lines = [
        f"{summary['answered']} of {summary['applications']} applications answered; {rate}",
        *(f"  {count} {status}" for status, count in others.items()),
    ]
    if summary["not_asked"]:
        lines.append(f"  {summary['not_asked']} not asked yet")
    lines.append(f"results: {summary['results']}")
    if summary["run_again"]:
        lines.append(f"{summary['run_again']} may bring more: run the same command again (state: {summary['state']})")
    return "\n".join(lines) + "\n"


def _exit_code(state: BatchState) -> int:
    """3 while another run may bring more or a check stayed unavailable, else 1 if any was refused."""
    statuses = state.statuses()
    if any(is_open or status in (UNAVAILABLE, DEFERRED) for status, is_open in statuses):
        return EXIT_UNREACHABLE
    return EXIT_REFUSED if any(status != OK for status, _ in statuses) else 0
