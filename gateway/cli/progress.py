"""Progress bars on standard error, if that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Tell = Callable[[int, int], None]
"""Told how much is done, of how much."""
TellStep = Callable[[str, int, int], None]
"""Told which step runs, how much of it is done, of how much (0 if unknown)."""


@contextmanager
def counting(what: str) -> Iterator[Tell]:
    """A bar of `what`, which vanishes when all is done."""
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, whole: int) -> None:
            bar.update(task, completed=done, total=whole)

        yield tell


@contextmanager
def stepping() -> Iterator[TellStep]:
    """A bar of whichever step runs, which vanishes when all is done."""
    with _bar(TaskProgressColumn()) as bar:
        task = bar.add_task("")

        def tell(step: str, done: int, whole: int) -> None:
            bar.update(task, description=step, completed=done, total=whole or None)

        yield tell


def _bar(amount: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
