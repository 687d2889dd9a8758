"""The assessment as CSV: one figure on each line, for a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.audit.assessment_document import Document
from gateway.audit.spreadsheet import write_spreadsheet

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
    """The CSV of a document (`gateway.audit.assessment_document`)."""
    return write_spreadsheet(_HEAD, _rows(document))


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
        yield _row(*who, figure=item["status"], names=item["status_zh"], reason=item["reason"], top=item["count"])


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
