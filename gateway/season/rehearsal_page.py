"""The report of a rehearsal as one HTML file: no script, nothing loaded from anywhere, readable without colour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from gateway.season.chart import GRID, INK, PAPER, Box, Chart, Label
from gateway.season.page import STYLE, svg_of, table_of
from gateway.season.rehearsal import Rehearsal
from gateway.season.rehearsal_report import (
    DEPARTMENT_HEADINGS,
    METHOD,
    METHOD_DEPARTMENTS,
    METHOD_ZH,
    VERDICTS,
    departments,
    generator,
    goals,
    length_of,
    measures,
    reasons,
    text_of_seconds,
)

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _GAP = 900, 180, 64, 24, 64, 72
_MOST_COLUMNS = 200
ANSWERED, OTHER, SLOW = "#2f6fab", "#b7312c", "#6a4c93"


def rehearsal_html(run: Rehearsal) -> str:
    """The page of a run."""
    zh, en = VERDICTS[run.verdict]
    profile = run.profile
    wrong = "".join(f"<li>{escape(line)}</li>" for line in run.tally.wrong)
    return (
        '<!doctype html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>核验压力测试 Rehearsal</title>'
        f"<style>{STYLE}</style></head><body><h1>核验压力测试 <span lang=en>Rehearsal of opening morning</span></h1>"
        f"<p><strong>{escape(zh)} <span lang=en>{escape(en)}</span></strong></p>"
        f"<p lang=en>Profile: {escape(profile.shape.value)}, {profile.applicants:,} applicants in "
        f"{profile.seconds:g} s, {profile.again_percent} % of them twice; ran {run.elapsed:.1f} s.</p>"
        f"<h2>目标 Goal</h2>{table_of(('', '实际 value', ''), goals(run))}"
        f"<h2>结果 Result</h2>{table_of(('', ''), measures(run))}"
        f"<p>{METHOD_ZH} <span lang=en>{METHOD}</span></p>"
        f"{svg_of(draw_run(run), 'Throughput and latency over time')}"
        f"{f'<h2>错误 Wrong</h2><ul>{wrong}</ul>' if wrong else ''}"
        f"<h2>部门 Departments</h2>{table_of(DEPARTMENT_HEADINGS, departments(run))}<p lang=en>{METHOD_DEPARTMENTS}</p>"
        f"<h2>原因 Reasons</h2>{table_of(('何处 where', '原因 reason', '次数 times'), reasons(run))}"
        f"<h2>压测端 Generator</h2>{table_of(('', ''), generator(run))}</body></html>\n"
    )


def draw_run(run: Rehearsal) -> Chart:
    """Two panels over time: applications planned, answered and ended otherwise; and the latency's 99th percentile.

    A column is a second, or so many that no more than 200 stand side by side.
    """
    span = math.ceil(length_of(run) / _MOST_COLUMNS)
    columns = math.ceil(length_of(run) / span)
    width = max(1, (_WIDTH - _LEFT - _RIGHT) // columns)
    shapes: list[Box | Label] = [
        Box(0, 0, _WIDTH, _TOP + 2 * (_HEIGHT + _GAP), PAPER),
        Label(_LEFT, 8, f"Applications in each {span} s, by the second in which they ended", 15),
    ]
    shapes += _legend()
    shapes += _throughput(run, span, columns, width)
    top = _TOP + _HEIGHT + _GAP
    shapes.append(Label(_LEFT, top - 28, "99th percentile of the latency, by the second in which they were due", 15))
    shapes += _latency(run, span, columns, width, top)
    return Chart(_WIDTH, _TOP + 2 * (_HEIGHT + _GAP), tuple(shapes))


def _legend() -> Iterator[Box | Label]:
    for x, swatch, text in (
        (_LEFT, Box(_LEFT, 36, 14, 14, ANSWERED), "answered"),
        (_LEFT + 120, Box(_LEFT + 120, 36, 7, 14, OTHER), "ended otherwise (narrow, on top)"),
        (_LEFT + 400, Box(_LEFT + 400, 42, 14, 2, INK), "planned (line)"),
    ):
        yield swatch
        yield Label(x + 20, 36, text)


def _throughput(run: Rehearsal, span: int, columns: int, width: int) -> Iterator[Box | Label]:
    held = [
        [
            (run.planned[at] if at < len(run.planned) else 0, run.second(at).answered, run.second(at).other)
            for at in range(column * span, (column + 1) * span)
        ]
        for column in range(columns)
    ]
    sums = [tuple(sum(item[place] for item in column) for place in range(3)) for column in held]
    most = max(1, *(max(planned, answered + other) for planned, answered, other in sums))
    yield from _axis(_TOP, f"{most}", span, columns, width)
    for column, (planned, answered, other) in enumerate(sums):
        x, bottom = _LEFT + column * width, _TOP + _HEIGHT
        high, more = round(_HEIGHT * answered / most), round(_HEIGHT * other / most)
        inner = max(1, width - 1)
        if high:
            yield Box(x, bottom - high, inner, high, ANSWERED)
        if more:
            yield Box(x, bottom - high - more, max(1, inner // 2), more, OTHER)
        yield Box(x, bottom - round(_HEIGHT * planned / most), inner, 2, INK)


def _latency(run: Rehearsal, span: int, columns: int, width: int, top: int) -> Iterator[Box | Label]:
    found = [
        max((run.second(at).latency.percentile(99) or 0.0) for at in range(column * span, (column + 1) * span))
        for column in range(columns)
    ]
    most = max(*found, 0.001)
    yield from _axis(top, text_of_seconds(most), span, columns, width)
    for column, value in enumerate(found):
        high = round(_HEIGHT * value / most)
        if high:
            yield Box(_LEFT + column * width, top + _HEIGHT - high, max(1, width - 1), high, SLOW)


def _axis(top: int, most: str, span: int, columns: int, width: int) -> Iterator[Box | Label]:
    yield Label(8, top - 6, most)
    yield Label(8, top + _HEIGHT - 10, "0")
    yield Box(_LEFT, top, columns * width, 1, GRID)
    yield Box(_LEFT, top + _HEIGHT, columns * width, 1, INK)
    step = max(1, columns // 10)
    for column in range(0, columns, step):
        yield Label(_LEFT + column * width, top + _HEIGHT + 6, f"{column * span} s", 12)
