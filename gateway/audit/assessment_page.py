"""The assessment as one HTML page: Chinese first, English beside it, and nothing that is loaded from elsewhere.

As the pages of `gateway.rules.guide`: no script, text of 20 px that scales, contrast above 7:1, nothing told by colour
alone, tables whose heads a screen reader can follow; it prints on A3 landscape. Every text is escaped.
"""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.audit.assessment_document import Document
from gateway.audit.figures import DEFINITIONS

DIFFERENCES_SHOWN = 500
"""Rows of a page; CSV and JSON have all."""

_GROUPS = {
    "county": "区县 county",
    "prefecture": "市州 prefecture",
    "province": "省 province",
    "department": "部门 department",
    "requester": "请求方 requester",
}
_LATENCIES = ("department_latency", "application_latency")
_IN_DEPARTMENTS = ("verified_online", "undetermined", "refused", "contradicted", "availability", "statistics_agree")
"""What is shown of a department within a group."""

_ENVIRONMENT = Environment(
    loader=PackageLoader("gateway.audit", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_assessment(document: Document) -> str:
    """The page of a document (`gateway.audit.assessment_document`)."""
    figures = [name for name in DEFINITIONS if name not in _LATENCIES]
    return _ENVIRONMENT.get_template("assessment.html.j2").render(
        **document,
        group=_GROUPS[document["report"]["by"]],
        columns=figures,
        department_columns=list(_IN_DEPARTMENTS),
        latency_columns=list(_LATENCIES),
        shown=document["differences"][:DIFFERENCES_SHOWN],
        share=_share,
        seconds=_seconds,
        number=_number,
    )


def _share(figure: Document) -> str:
    value = figure["value"]
    return "—" if value is None else f"{value:.1%}"


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def _number(count: object) -> str:
    if isinstance(count, int):
        return f"{count:,}"
    return "—" if count is None else str(count)
