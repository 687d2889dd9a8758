"""The figures of an assessment: what each means, and what is counted over what. Nowhere else is one defined.

A check counts once, on the day on which it was first asked within the window; an asking is a check in one leaf. Every
figure is a whole number over a whole number, or a latency over a count. What cannot be known is None, not 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.protocol.reasons import Text
from gateway.protocol.statistics import percentile


@dataclass(frozen=True, slots=True)
class Definition:
    """A figure: its name in both languages, and what is counted over what."""

    name: Text
    text: Text


DEFINITIONS: Mapping[str, Definition] = {
    "verified_online": Definition(
        Text("线上核验率", "verified online"),
        Text(
            "得到“是”或“否”的核验项 ÷ 发起的核验项（无法线上判断、被拒绝、无应答的也计入分母）",
            "checks answered YES or NO / checks asked; UNDETERMINED, refused and unanswered ones count as asked",
        ),
    ),
    "undetermined": Definition(
        Text("无法线上判断率", "undetermined"),
        Text("得到“无法线上判断”的核验项 ÷ 发起的核验项", "checks answered UNDETERMINED / checks asked"),
    ),
    "refused": Definition(
        Text("部门拒绝率", "refused by departments"),
        Text("部门签名拒绝的核验项 ÷ 发起的核验项", "checks refused with a department's signature / checks asked"),
    ),
    "contradicted": Definition(
        Text("部门答复矛盾率", "contradicted"),
        Text(
            "部门答复前后矛盾的核验项 ÷ 发起的核验项",
            "checks of which the department contradicted itself / checks asked",
        ),
    ),
    "unanswered": Definition(
        Text("期内无结果率", "without an answer"),
        Text(
            "期内没有放行任何部门答复的核验项 ÷ 发起的核验项",
            "checks of which no statement of the department was released within the window / checks asked",
        ),
    ),
    "deferred": Definition(
        Text("延后核验率", "deferred"),
        Text("转为延后核验的核验项 ÷ 发起的核验项", "checks that were deferred / checks asked"),
    ),
    "deferred_answered": Definition(
        Text("延后核验答复率", "deferred, answered later"),
        Text(
            "延后核验项中部门此后已答复的（截至所读日志末尾）÷ 转为延后核验的核验项",
            "deferred checks that the department has answered since, up to the end of the log / deferred checks",
        ),
    ),
    "offline_allowed": Definition(
        Text("准予线下核验率", "offline requests allowed"),
        Text(
            "开具的线下核验单 ÷ 提出的线下核验请求（开具的和被拒绝的；重复提出的另计）",
            "offline tickets opened / requests for one, opened or refused; repeated ones count again",
        ),
    ),
    "offline_refused": Definition(
        Text("拒绝线下核验率", "offline requests refused"),
        Text(
            "被拒绝的线下核验请求（应核尽核）÷ 提出的线下核验请求",
            "requests for a ticket refused, because online can tell or was not tried / requests for one",
        ),
    ),
    "offline_resolved": Definition(
        Text("线下核验办结率", "offline tickets resolved"),
        Text(
            "已有签名结果的（截至所读日志末尾）÷ 开具的线下核验单",
            "those with a signed result since, up to the end of the log / offline tickets opened",
        ),
    ),
    "availability": Definition(
        Text("部门应答率", "availability"),
        Text(
            "部门有应答的次数 ÷ 询问部门的次数（按次数，不按时间；重问另计）",
            "askings to which the department said anything / askings, by number and not by time; each retry counts",
        ),
    ),
    "statistics_agree": Definition(
        Text("统计与日志一致率", "statistics agree with the log"),
        Text(
            "统计与日志一致的行 ÷ 比对的行（日期、区县、部门、事项、结果、原因）",
            "rows that are alike / rows compared, by day, county, department, claim, status and reason",
        ),
    ),
    "logged_with_query": Definition(
        Text("答复随办件入日志率", "logged with their query"),
        Text(
            "随办件记入日志的答复 ÷（这些答复 + 事后补记的答复）",
            "answers logged in the leaf of their query / those and statements logged afterwards as recovered",
        ),
    ),
    "department_latency": Definition(
        Text("部门答复用时", "latency of the department"),
        Text("从询问到收到答复，秒；区间内线性插值", "seconds from the ask to the reply; linear within a bucket"),
    ),
    "application_latency": Definition(
        Text("全件核验用时", "latency of the application"),
        Text(
            "从第一次询问到记入日志，秒（有部门应答的）；区间内线性插值",
            "seconds from the first ask to the record, where any department answered; linear within a bucket",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A share. None where the grouping cannot know it."""

    name: str
    numerator: int | None
    denominator: int | None

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of nothing."""
        return self.numerator / self.denominator if self.denominator and self.numerator is not None else None


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in seconds over `count` answers; None if there is none, or the grouping cannot know it."""

    name: str
    count: int | None
    p50: float | None
    p95: float | None


def latency_of(name: str, counts: Sequence[int] | None) -> Latency:
    """Percentiles of bucket counts; None where the grouping cannot know them."""
    if counts is None:
        return Latency(name, None, None, None)
    return Latency(name, sum(counts), percentile(counts, 0.5), percentile(counts, 0.95))
