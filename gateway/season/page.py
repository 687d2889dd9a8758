"""The plan as one HTML file: no script, nothing loaded from anywhere, readable without colour, in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from gateway.protocol.claims import DEPARTMENT_NAMES, DepartmentKind
from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.season.chart import Box, Chart, Label
from gateway.season.report import Plan, Side
from gateway.season.windows import text_of_minute

WORST_SHOWN = 20

STYLE = (
    "body{font:18px/1.5 sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #767676;padding:.3em .7em;text-align:left}"
    "td.n{text-align:right}svg{max-width:100%;height:auto}"
)
_STAGES = {"primary": "小学 primary", "junior": "初中 junior"}


def html_of(plan: Plan, chart: Chart) -> str:
    """The page of `plan`, with `chart` in it as SVG."""
    effect = table_of(
        ("", "现行日历 as it is", "建议日历 proposed"),
        (
            ("最高积压（项） peak backlog (checks)", f"{plan.before.backlog:,.0f}", f"{plan.after.backlog:,.0f}"),
            ("最长等待（秒） longest wait (seconds)", f"{plan.before.wait:,.0f}", f"{plan.after.wait:,.0f}"),
            ("同时开放 shared openings", str(len(plan.before.overlaps)), str(len(plan.after.overlaps))),
            ("调整窗口 moved windows", "", str(len(plan.moves))),
        ),
    )
    moves = table_of(
        ("县区 county", "学段 stage", "原开放 opened", "建议开放 opens", "建议截止 closes", "天数 days"),
        (
            (
                f"{move.before.county} {COUNTIES[move.before.county]}",
                _STAGES[move.before.stage],
                text_of_minute(move.before.opens),
                text_of_minute(move.after.opens),
                text_of_minute(move.after.closes),
                f"{move.days:+}",
            )
            for move in plan.moves
        ),
    )
    return (
        '<!doctype html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>报名错峰建议 Enrolment season</title>'
        f"<style>{STYLE}</style></head><body><h1>报名错峰建议 <span lang=en>Enrolment season</span></h1>"
        "<p>模拟结果，取决于所列假设；请用上一年数据替换。 "
        "<span lang=en>A simulation: as good as its assumptions.</span></p>"
        f"<h2>效果 Effect</h2>{effect}{svg_of(chart)}"
        f"<h2>最严重的积压（现行日历） Worst backlogs, as it is</h2>{_worst(plan.before)}"
        f"<h2>仍有的积压（建议日历） What remains, proposed</h2>{_worst(plan.after)}"
        f"<h2>建议的调整 Proposed moves</h2>{moves}</body></html>\n"
    )


def svg_of(chart: Chart, title: str = "Longest wait by prefecture and day") -> str:
    """The chart as an SVG element, which a screen reader calls `title`."""
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {chart.width} {chart.height}" width="{chart.width}" font-family="sans-serif">'
    )
    parts = [opening]
    for shape in chart.shapes:
        if isinstance(shape, Box):
            parts.append(
                f'<rect x="{shape.x}" y="{shape.y}" width="{shape.width}" height="{shape.height}" fill="{shape.fill}"/>'
            )
        else:
            parts.append(_text(shape))
    return "".join((*parts, "</svg>"))


def _text(label: Label) -> str:
    anchor = ' text-anchor="middle" dominant-baseline="central"' if label.centred else ' dominant-baseline="hanging"'
    return (
        f'<text x="{label.x}" y="{label.y}" font-size="{label.size}" fill="{label.fill}"{anchor}>'
        f"{escape(label.text)}</text>"
    )


def _worst(side: Side) -> str:
    rows = (
        (
            f"{period.prefecture} {PREFECTURES[period.prefecture]}",
            DEPARTMENT_NAMES[DepartmentKind(period.department)].zh + " " + period.department,
            text_of_minute(period.starts),
            f"{period.backlog:,.0f}",
            f"{period.wait:,.0f}",
            f"{(period.ends - period.starts):,.0f}",
        )
        for period in side.worst(WORST_SHOWN)
    )
    head = (
        "市州 prefecture",
        "部门 department",
        "开始 starts",
        "积压 backlog",
        "等待（秒） wait (s)",
        "持续（分） minutes",
    )
    return table_of(head, rows)


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its rows escaped, or a word that there are none."""
    body = "".join("<tr>" + "".join(f"<td{_class(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return "<p>无 <span lang=en>none</span></p>"
    top = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _class(cell: str) -> str:
    return " class=n" if cell.replace(",", "").lstrip("+-").isdigit() else ""
