"""The live progress of a rehearsal: a bar and a line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gateway.season.rehearsal import End, Tally
from gateway.season.rehearsal_report import text_of_seconds

_REFRESH = 0.5
_PLAIN = 5.0
"""Seconds between lines where nobody watches."""
_WINDOW = 5
"""Seconds over which the rates are taken."""


async def show_progress(console: Console, tally: Tally, planned: Sequence[int], elapsed: Callable[[], float]) -> None:
    """Show how it goes until cancelled."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_PLAIN)
            console.print(status_line(tally, planned, elapsed()), markup=False, highlight=False, soft_wrap=True)
    bar = Progress(
        BarColumn(bar_width=24), TextColumn("{task.description}"), console=console, auto_refresh=False, transient=True
    )
    with bar:
        task = bar.add_task("", total=sum(planned))
        while True:
            done = tally.ended
            bar.update(task, completed=done, description=status_line(tally, planned, elapsed()))
            bar.refresh()
            await asyncio.sleep(_REFRESH)


def status_line(tally: Tally, planned: Sequence[int], elapsed: float) -> str:
    """Where the run stands after `elapsed` seconds: rates of its last seconds, all else of the whole."""
    ends = tally.ends
    over = range(max(0, int(elapsed) - _WINDOW), int(elapsed))
    span = max(1, len(over))
    due = sum(planned[second] for second in over if second < len(planned)) / span
    sent = sum(tally.seconds[second].sent for second in over if second in tally.seconds) / span
    return (
        f"{elapsed:4.0f} s  sent {tally.sent}/{sum(planned)}  {sent:.1f}/s of {due:.1f}/s  "
        f"under way {tally.under_way}  answered {ends[End.ANSWERED]}  "
        f"p50 {text_of_seconds(tally.latency.percentile(50))}  p99 {text_of_seconds(tally.latency.percentile(99))}  "
        f"refused {ends[End.REFUSED]}  unavailable {ends[End.UNAVAILABLE]}  unanswered {ends[End.UNANSWERED]}  "
        f"wrong {ends[End.WRONG]}"
    )
