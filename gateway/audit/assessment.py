"""The assessment of the notice (督查、通报、考核): the figures, from leaves and statistics, by group.

What each figure means stands in `gateway.audit.figures`. Nothing here names a person: groups are counties, prefectures,
the province, departments and requesters. What a grouping cannot know (outcomes are not kept by requester) is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from gateway.audit.figures import Figure, Latency, latency_of
from gateway.audit.logged_checks import Cell, LoggedChecks, Place
from gateway.audit.tally_sheet import Agreement, Difference, TallySheet
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.statistics import BUCKETS, StatisticKey


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
    tickets: int = 0
    tickets_resolved: int = 0
    tickets_refused: int = 0
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
        self.tickets += cell.tickets
        self.tickets_resolved += cell.tickets_resolved
        self.tickets_refused += cell.tickets_refused
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
        # A refused request for paper names no department.
        requested = None if by is Grouping.DEPARTMENT or department else self.tickets + self.tickets_refused
        figures = (
            Figure("verified_online", self.verified if counted else None, asked),
            Figure("undetermined", self.undetermined if counted else None, asked),
            Figure("refused", self.rows[CheckStatus.REFUSED.name], asked),
            Figure("contradicted", self.rows[CheckStatus.CONTRADICTED.name], asked),
            Figure("unanswered", asked - final, asked),
            Figure("deferred", self.deferred, asked),
            Figure("deferred_answered", self.deferred_answered, self.deferred),
            Figure("offline_allowed", self.tickets, requested),
            Figure("offline_refused", None if requested is None else self.tickets_refused, requested),
            Figure("offline_resolved", self.tickets_resolved, self.tickets),
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
            latency_of("department_latency", self.department_times if counted else None),
            latency_of("application_latency", self.application_times if whole else None),
        )
        return Line(code, department, figures, latencies, dict(sorted(self.reasons.items())))


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
