"""The assessment as a document that holds for JSON, CSV and HTML alike: every figure with numerator and denominator.

An auditor's document is exact. One for publication is not: a county with one application on a day would have told
what became of it. There counts from 1 to 4 are "<5", others are rounded to the nearest 5, each for itself and totals
too, so that no difference of published numbers gives a small one; shares are of the rounded numbers, in whole percent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.audit.assessment import DEFINITIONS, Assessment, Figure, Latency, Line
from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Reason, Text, text_of

LEAST_PUBLISHED = 5
"""Smallest count that is published, and the step to which others are rounded: common for statistics on persons."""

SUPPRESSED = f"<{LEAST_PUBLISHED}"
_PROVINCE = {"43": "湖南省"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that a spreadsheet takes for a formula (OWASP: CSV injection)."""

Count = int | str | None
"""A number as shown; SUPPRESSED; or None where it cannot be known."""
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the document says besides its figures. Times are ISO 8601, `names` are of parties by SPIFFE ID."""

    first_day: str
    end_day: str
    gateway: str
    origin: str
    size: int
    root: str
    checkpoint: str
    registry_version: int
    generated: str
    is_over: bool
    """Whether the window had ended when it was read."""
    unreadable: Sequence[int]
    unreadable_count: int
    names: Mapping[str, Text]
    publish: bool = False


def exact(count: int | None) -> Count:
    """The number itself."""
    return count


def published(count: int | None) -> Count:
    """The number as it may be published."""
    if count is None or count == 0:
        return count
    step = LEAST_PUBLISHED
    return SUPPRESSED if count < step else (count + step // 2) // step * step


def document_of(assessment: Assessment, frame: Frame) -> Document:
    """The whole document, of JSON's types only."""
    shown = _Shown(frame)
    return {
        "report": {
            "from": frame.first_day,
            "to": frame.end_day,
            "is_over": frame.is_over,
            "by": assessment.by.value,
            "published": frame.publish,
            "generated": frame.generated,
            "gateway": frame.gateway,
            "registry_version": frame.registry_version,
            "log": {"origin": frame.origin, "size": frame.size, "root": frame.root, "checkpoint": frame.checkpoint},
        },
        "definitions": {
            name: {"zh": item.name.zh, "en": item.name.en, "text_zh": item.text.zh, "text_en": item.text.en}
            for name, item in DEFINITIONS.items()
        },
        "total": shown.line(assessment.total),
        "groups": [shown.line(line) for line in assessment.lines],
        "departments": [shown.line(line) for line in assessment.departments],
        "refusals": [
            {
                "peer": _plain(peer),
                "name": shown.name(peer),
                "method": _plain(method),
                **_reason(reason),
                "count": shown.count(count),
            }
            for (peer, method, reason), count in assessment.refusals.items()
        ],
        "differences": [
            {
                "day": item.day,
                "region": _plain(item.key.region),
                "name": shown.name(item.key.region),
                "department": _plain(item.key.department),
                "claim": _plain(item.key.claim),
                "status": CheckStatus(item.key.status).name if item.key.status else "LATENCY",
                "reason": _plain(item.key.reason),
                "statistics": shown.count(item.counted),
                "log": shown.count(item.logged),
            }
            for item in assessment.differences
        ],
        "unreadable": {"count": frame.unreadable_count, "first": list(frame.unreadable)},
        "forgotten": assessment.forgotten,
    }


class _Shown:
    """Lines as the document shows them."""

    def __init__(self, frame: Frame) -> None:
        self._names = frame.names
        self._publish = frame.publish
        self.count: Callable[[int | None], Count] = published if frame.publish else exact

    def line(self, line: Line) -> Document:
        """A line with its names, figures, latencies and reasons."""
        return {
            "code": _plain(line.code),
            "name": self.name(line.code),
            "department": _plain(line.department),
            "department_name": self.name(line.department),
            "figures": {figure.name: self._figure(figure) for figure in line.figures},
            "latencies": {latency.name: self._latency(latency) for latency in line.latencies},
            "reasons": [
                {"status": status, **_reason(reason), "count": self.count(count)}
                for (status, reason), count in line.reasons.items()
            ],
        }

    def name(self, code: str) -> str:
        """The Chinese name of a county, prefecture, the province or a party; empty if nobody knows it."""
        known = COUNTIES.get(code) or PREFECTURES.get(code) or _PROVINCE.get(code)
        party = self._names.get(code)
        return known or (_plain(party.zh) if party else "")

    def _figure(self, figure: Figure) -> Document:
        numerator, denominator = self.count(figure.numerator), self.count(figure.denominator)
        value = figure.value
        if self._publish:
            whole = isinstance(numerator, int) and isinstance(denominator, int) and denominator > 0
            value = round(min(1.0, numerator / denominator), 2) if whole else None  # type: ignore[operator]
        return {"numerator": numerator, "denominator": denominator, "value": None if value is None else round(value, 6)}

    def _latency(self, latency: Latency) -> Document:
        count = self.count(latency.count)
        hidden = count == SUPPRESSED
        p50, p95 = (None, None) if hidden else (_rounded(latency.p50), _rounded(latency.p95))
        return {"count": count, "p50": p50, "p95": p95}


def _reason(reason: str) -> dict[str, str]:
    text = text_of(Reason(reason)) if reason in Reason.__members__ else Text("", "")
    return {"reason": _plain(reason), "reason_zh": text.zh, "reason_en": text.en}


def _plain(text: str) -> str:
    """A text of the log's without what a terminal would obey: the log is not believed, nor what it has printed."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


# -- CSV ------------------------------------------------------------------------------------------------------

_HEAD = (
    "表 table",
    "代码 code",
    "名称 name",
    "部门 department",
    "部门名称 department name",
    "日期 day",
    "指标 figure",
    "指标名称 figure name",
    "原因 reason",
    "分子 numerator",
    "分母 denominator",
    "值 value",
)


def write_csv(document: Document) -> str:
    """One figure on each line, for a spreadsheet: with a byte order mark, and no cell that begins a formula."""
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out)
    writer.writerow(_HEAD)
    for row in _rows(document):
        writer.writerow([_safe(cell) for cell in row])
    return out.getvalue()


def _rows(document: Document) -> Iterator[tuple[object, ...]]:
    report = document["report"]
    for name in ("from", "to", "by", "generated", "gateway"):
        yield _row("report", figure=name, value=report[name])
    for name in ("origin", "size", "root"):
        yield _row("report", figure=f"log {name}", value=report["log"][name])
    for table, lines in (
        ("total", [document["total"]]),
        ("group", document["groups"]),
        ("department", document["departments"]),
    ):
        for line in lines:
            yield from _rows_of_line(table, line, document["definitions"])
    for item in document["refusals"]:
        yield _row(
            "refusal", item["peer"], item["name"], figure=item["method"], reason=item["reason"], top=item["count"]
        )
    for item in document["differences"]:
        yield _row(
            "difference",
            item["region"],
            item["name"],
            item["department"],
            day=item["day"],
            figure=f"{item['claim']} {item['status']}".strip(),
            reason=item["reason"],
            top=item["statistics"],
            bottom=item["log"],
        )
    yield _row("unreadable", figure="leaves", top=document["unreadable"]["count"])


def _rows_of_line(table: str, line: Document, definitions: Document) -> Iterator[tuple[object, ...]]:
    who = (table, line["code"], line["name"], line["department"], line["department_name"])
    for name, figure in line["figures"].items():
        names = f"{definitions[name]['zh']} {definitions[name]['en']}"
        yield _row(
            *who,
            figure=name,
            names=names,
            top=figure["numerator"],
            bottom=figure["denominator"],
            value=figure["value"],
        )
    for name, latency in line["latencies"].items():
        for share in ("p50", "p95"):
            names = f"{definitions[name]['zh']} {definitions[name]['en']}"
            yield _row(*who, figure=f"{name} {share}", names=names, bottom=latency["count"], value=latency[share])
    for item in line["reasons"]:
        yield _row(*who, figure=item["status"], reason=item["reason"], top=item["count"])


def _row(  # noqa: PLR0913 - the columns
    table: str,
    code: object = "",
    name: object = "",
    department: object = "",
    department_name: object = "",
    *,
    day: object = "",
    figure: object = "",
    names: object = "",
    reason: object = "",
    top: object = "",
    bottom: object = "",
    value: object = "",
) -> tuple[object, ...]:
    return (table, code, name, department, department_name, day, figure, names, reason, top, bottom, value)


def _safe(cell: object) -> object:
    """What a spreadsheet shows and does not run; None is empty."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4f}"
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return "'" + cell
    return cell


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
