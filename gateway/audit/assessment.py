"""The assessment of the notice (督查、通报、考核): what each figure means, and how it comes from leaves and statistics.

Every figure is a whole number over a whole number, or a latency over a count; the definitions stand in DEFINITIONS and
nowhere else. Checks are counted once, on the day on which they were first asked within the window; askings (rows of
leaves) as often as they were logged. What a grouping cannot know (outcomes are not kept by requester) is None, not 0.

Nothing here names a person: groups are counties, prefectures, the province, departments and requesters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique

from gateway.audit.logged_checks import Cell, LoggedChecks, Place
from gateway.audit.tally_sheet import Agreement, Difference, TallySheet
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Text
from gateway.protocol.statistics import BUCKETS, StatisticKey, percentile


@unique
class Grouping(StrEnum):
    """What a line of the report stands for."""

    COUNTY = "county"
    PREFECTURE = "prefecture"
    PROVINCE = "province"
    DEPARTMENT = "department"
    REQUESTER = "requester"

    def code_of(self, region: str, department: str, requester: str) -> str:
        """Which line something belongs to."""
        width = {Grouping.COUNTY: 6, Grouping.PREFECTURE: 4, Grouping.PROVINCE: 2}.get(self)
        if width is not None:
            return region[:width]
        return department if self is Grouping.DEPARTMENT else requester


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
        Text("延后后得到答复率", "deferred, answered later"),
        Text(
            "延后后部门已答复的（截至所读日志末尾）÷ 延后的核验项",
            "deferred checks that the department has answered since, up to the end of the log / deferred checks",
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


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the report: of a group, or of one department within it."""

    code: str
    department: str
    figures: tuple[Figure, ...]
    latencies: tuple[Latency, ...]
    reasons: Mapping[tuple[str, str], int]
    """Askings by status and reason."""

    def figure(self, name: str) -> Figure:
        """A figure of the line by its name; KeyError."""
        return {figure.name: figure for figure in self.figures}[name]


@dataclass(frozen=True, slots=True)
class Assessment:
    """The whole: lines by group, by department within each group, and over everything."""

    by: Grouping
    lines: tuple[Line, ...]
    departments: tuple[Line, ...]
    total: Line
    refusals: Mapping[tuple[str, str, str], int]
    """Of peers by the gateway: (peer, method, reason); the method is empty in what was logged as a summary."""
    differences: tuple[Difference, ...]
    forgotten: int


@dataclass(slots=True)
class _Sums:
    """What is added up for one line."""

    asked: int = 0
    silent: int = 0
    deferred: int = 0
    deferred_answered: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    verified: int = 0
    undetermined: int = 0
    department_times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    application_times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    alike: int = 0
    compared: int = 0
    recovered: int = 0

    def add_cell(self, cell: Cell) -> None:
        self.asked += cell.asked
        self.silent += cell.silent
        self.deferred += cell.deferred
        self.deferred_answered += cell.deferred_answered
        self.rows.update(cell.rows)
        self.reasons.update(cell.reasons)

    def add_statistic(self, key: StatisticKey, count: int) -> None:
        if key.is_latency:
            (self.department_times if key.department else self.application_times)[key.bucket] += count
        elif key.status == CheckStatus.ANSWERED:
            self.verified += count if key.verified else 0
            self.undetermined += 0 if key.verified else count

    def add_agreement(self, agreement: Agreement) -> None:
        self.alike += agreement.alike
        self.compared += agreement.compared

    def line(self, code: str, department: str, by: Grouping | None) -> Line:
        """The figures; `by` is None for the line over everything."""
        counted = by is not Grouping.REQUESTER  # statistics are not kept by requester
        placed = by not in (Grouping.DEPARTMENT, None) or bool(department)  # recoveries name no county
        spoken = sum(self.rows[status.name] for status in CheckStatus if status.is_spoken)
        final = sum(self.rows[status.name] for status in CheckStatus if status.is_final)
        asked = self.asked
        figures = (
            Figure("verified_online", self.verified if counted else None, asked),
            Figure("undetermined", self.undetermined if counted else None, asked),
            Figure("refused", self.rows[CheckStatus.REFUSED.name], asked),
            Figure("contradicted", self.rows[CheckStatus.CONTRADICTED.name], asked),
            Figure("unanswered", asked - final, asked),
            Figure("deferred", self.deferred, asked),
            Figure("deferred_answered", self.deferred_answered, self.deferred),
            Figure("availability", spoken, spoken + self.silent),
            Figure("statistics_agree", self.alike, self.compared)
            if counted
            else Figure("statistics_agree", None, None),
            Figure("logged_with_query", None, None)
            if placed
            else Figure("logged_with_query", spoken, spoken + self.recovered),
        )
        whole = counted and not department and by is not Grouping.DEPARTMENT
        latencies = (
            _latency("department_latency", self.department_times if counted else None),
            _latency("application_latency", self.application_times if whole else None),
        )
        return Line(code, department, figures, latencies, dict(sorted(self.reasons.items())))


def _latency(name: str, counts: Sequence[int] | None) -> Latency:
    if counts is None:
        return Latency(name, None, None, None)
    return Latency(name, sum(counts), percentile(counts, 0.5), percentile(counts, 0.95))


def assess(checks: LoggedChecks, sheet: TallySheet, by: Grouping) -> Assessment:
    """The assessment of what was read, by group."""
    lines: dict[str, _Sums] = {}
    departments: dict[tuple[str, str], _Sums] = {}
    total = _Sums()

    def sums_of(place: Place) -> Iterable[_Sums]:
        """The line, the department's line within it, and the line over everything; a line is of logged checks only."""
        code = by.code_of(place.region, place.department, place.requester)
        if code:
            yield lines.setdefault(code, _Sums())
        if code and place.department and by is not Grouping.DEPARTMENT:
            yield departments.setdefault((code, place.department), _Sums())
        yield total

    for place, cell in checks.cells.items():
        for sums in sums_of(place):
            sums.add_cell(cell)
    for key, count in sheet.rows():
        for sums in sums_of(Place(key.region, key.department, "")):
            sums.add_statistic(key, count)
    for (region, department), agreement in sheet.agreement().items():
        for sums in sums_of(Place(region, department, "")):
            sums.add_agreement(agreement)
    for department, count in checks.recovered.items():
        total.recovered += count
        if by is Grouping.DEPARTMENT:
            lines.setdefault(department, _Sums()).recovered += count
    return Assessment(
        by,
        tuple(sums.line(code, "", by) for code, sums in sorted(lines.items())),
        tuple(sums.line(code, department, by) for (code, department), sums in sorted(departments.items())),
        total.line("", "", None),
        dict(sorted(checks.refusals.items())),
        tuple(sheet.differences()),
        checks.forgotten,
    )
