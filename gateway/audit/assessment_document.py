"""The assessment as a document that holds for JSON, CSV and HTML alike: every figure with numerator and denominator.

An auditor's document is exact. One for publication is not: a county with one application on a day would have told
what became of it. There counts from 1 to 4 are "<5", others are rounded to the nearest 5, each for itself and totals
too, so that no difference of published numbers gives a small one; shares are of the rounded numbers, in whole percent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.audit.assessment import Assessment, Line
from gateway.audit.figures import DEFINITIONS, Figure, Latency
from gateway.audit.logged_checks import DEFERRED, OFFLINE_ALLOWED, OFFLINE_REFUSED, REFUSED_BY_GATEWAY
from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reason_texts import text_of
from gateway.protocol.reasons import Reason, Text

LEAST_PUBLISHED = 5
"""Smallest count that is published, and the step to which others are rounded: common for statistics on persons."""

SUPPRESSED = f"<{LEAST_PUBLISHED}"
_PROVINCE = {"43": "湖南省"}
_STATUSES = {
    CheckStatus.REFUSED.name: "部门拒绝",
    CheckStatus.UNAVAILABLE.name: "无应答",
    CheckStatus.WITHHELD.name: "未放行",
    CheckStatus.CONTRADICTED.name: "答复矛盾",
    DEFERRED: "延后",
    OFFLINE_ALLOWED: "准予线下核验",
    OFFLINE_REFUSED: "拒绝线下核验",
    REFUSED_BY_GATEWAY: "网关拒绝",
}

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
                {
                    "status": status,
                    "status_zh": _STATUSES.get(status, ""),
                    **_reason(reason),
                    "count": self.count(count),
                }
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


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
