"""The report of a rehearsal on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from gateway.season.rehearsal import Rehearsal, Verdict
from gateway.season.rehearsal_report import (
    DEPARTMENT_HEADINGS,
    METHOD,
    METHOD_DEPARTMENTS,
    VERDICTS,
    Row,
    departments,
    generator,
    goals,
    measures,
    reasons,
)

_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.NO_GOAL: "none"}


_WIDE = frozenset({3, 9})
"""Columns of departments that are left out: answered, which follows from the others, and hedges."""


def print_report(console: Console, run: Rehearsal) -> None:
    """Every table of the report that has a row, and the verdict last, where a person looks."""
    _table(console, "Result 结果", ("", ""), measures(run))
    _table(console, "Departments 部门", _narrow(DEPARTMENT_HEADINGS), map(_narrow, departments(run)))
    _table(console, "Reasons 原因", ("where 何处", "reason 原因", "times 次数"), reasons(run))
    _table(console, "Generator 压测端", ("", ""), generator(run))
    _table(console, "Goal 目标", ("", "value 实际", ""), goals(run))
    for line in run.tally.wrong:
        console.print(f"wrong 错误: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    for line in (METHOD, METHOD_DEPARTMENTS):
        console.print(line, markup=False, highlight=False)
    zh, en = VERDICTS[run.verdict]
    console.print(f"\n{en} / {zh}", style=_STYLES.get(run.verdict, "yellow"), markup=False, highlight=False)


def _narrow(row: Row) -> Row:
    """The columns for which a terminal has room; the page and `--json` have all."""
    return tuple(cell for place, cell in enumerate(row) if place not in _WIDE)


def _table(console: Console, title: str, headings: Row, rows: Iterable[Row]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right", overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*row)
    if table.row_count:
        console.print(table, highlight=False)
        console.print()
