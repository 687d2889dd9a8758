"""Enrolment windows as a bureau writes them: a CSV, read strictly, each fault located by line and column.

    county,name,stage,opens,closes,applicants,after
    430102,芙蓉区,primary,2027-06-21 09:00,2027-06-30 17:00,5210,
    430102,芙蓉区,junior,2027-07-12 09:00,2027-07-21 17:00,4260,430102/primary

- `after` names the window (`county/stage`) that must have closed before this one opens, or is empty.
- All windows lie in April to August of one year (湘教通〔2024〕90号: 办理时间 4–8 月).
- Nothing is guessed: an unknown column, county, name or order is refused, and every faulty cell is named at once.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from gateway.protocol.divisions import COUNTIES
from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.reasons import Reason, Text

COLUMNS = ("county", "name", "stage", "opens", "closes", "applicants", "after")
STAGES = ("primary", "junior")
FIRST_MONTH, LAST_MONTH = 4, 8
HOUR = 60
DAY = 24 * HOUR
MIN_LENGTH = 2 * HOUR
"""Minutes: a window has its first hour and something after it."""
MAX_APPLICANTS = 1_000_000
MAX_LINES = 5_000
"""Far above two windows for each of 122 counties."""
MAX_FAULTS = 20
"""Faults named at once: a file of another kind has one in every cell."""

_APPLICANTS = re.compile(r"[0-9]{1,7}")
_TIME_FORM = "%Y-%m-%d %H:%M"

Key = tuple[str, str]
"""County code and stage."""


@dataclass(frozen=True, slots=True)
class Window:
    """One county's window for one stage; `opens` and `closes` in minutes, `closes` exclusive."""

    county: str
    stage: str
    opens: int
    closes: int
    applicants: int
    after: Key | None = None

    @property
    def key(self) -> Key:
        """What tells windows apart."""
        return self.county, self.stage

    @property
    def prefecture(self) -> str:
        """Four digits of the prefecture."""
        return self.county[:4]

    @property
    def day(self) -> int:
        """Ordinal of the opening day."""
        return self.opens // DAY

    def shifted(self, days: int) -> Window:
        """The same window, `days` later."""
        return replace(self, opens=self.opens + days * DAY, closes=self.closes + days * DAY)


Calendar = tuple[Window, ...]


def minute_of(moment: datetime) -> int:
    """The minute of a civil time."""
    return moment.toordinal() * DAY + moment.hour * HOUR + moment.minute


def text_of_minute(minute: int) -> str:
    """A minute as the CSV writes it."""
    day, rest = divmod(minute, DAY)
    return f"{date.fromordinal(day).isoformat()} {rest // HOUR:02}:{rest % HOUR:02}"


def season_of(year: int) -> tuple[int, int]:
    """The first minute of April and the first after August."""
    return minute_of(datetime(year, FIRST_MONTH, 1)), minute_of(datetime(year, LAST_MONTH + 1, 1))  # noqa: DTZ001 - civil


def year_of(calendar: Sequence[Window]) -> int:
    """The one year of a calendar."""
    return date.fromordinal(calendar[0].day).year


def read_calendar(text: str) -> Calendar:
    """The windows of a CSV, in its order; MalformedError (CONFIGURATION_INVALID) naming every fault, up to a bound."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    faults = _Faults()
    lines: dict[Key, int] = {}
    windows: list[Window] = []
    try:
        if tuple(next(reader, ())) != COLUMNS:
            faults.add(1, "", Text(f"首行应为：{','.join(COLUMNS)}", f"must be the header {','.join(COLUMNS)}"))
            raise faults.error()
        for cells in reader:
            line = reader.line_num
            if line > MAX_LINES:
                faults.add(line, "", Text(f"不应超过 {MAX_LINES} 行", f"must not have more than {MAX_LINES} lines"))
                break
            window = _window(cells, line, faults)
            if window is None:
                continue
            if window.key in lines:
                faults.add(
                    line, "stage", Text("该县区该学段已在前面出现", "this county has a window of this stage already")
                )
                continue
            lines[window.key] = line
            windows.append(window)
    except csv.Error:
        faults.add(reader.line_num, "", Text("不是合法的 CSV", "is not CSV"))
    if not windows and not faults:
        faults.add(2, "", Text("至少应有一个窗口", "must hold at least one window"))
    _check_together(windows, lines, faults)
    if faults:
        raise faults.error()
    return tuple(windows)


def write_calendar(calendar: Iterable[Window]) -> str:
    """The CSV of a calendar; reading it gives the same windows."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for window in calendar:
        writer.writerow(
            (
                window.county,
                COUNTIES[window.county],
                window.stage,
                text_of_minute(window.opens),
                text_of_minute(window.closes),
                window.applicants,
                "/".join(window.after or ()),
            )
        )
    return out.getvalue()


def order_of(calendar: Sequence[Window]) -> tuple[tuple[Key, Key], ...]:
    """Which window must close before which opens: as `after` says, and as one county's windows follow each other."""
    pairs = {(window.after, window.key) for window in calendar if window.after is not None}
    for first in calendar:
        for second in calendar:
            if first.county == second.county and first.closes <= second.opens:
                pairs.add((first.key, second.key))
    return tuple(sorted(pairs))


class _Faults:
    """Faults found so far, each at a line and column."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, column: str, text: Text) -> None:
        place = f"line {line}, {column}" if column else f"line {line}"
        self._found.append(FieldViolation(place, f"{text.en} / {text.zh}"))

    def error(self) -> MalformedError:
        shown = tuple(self._found[:MAX_FAULTS])
        return MalformedError(Reason.CONFIGURATION_INVALID, f"{len(self._found)} faults", violations=shown)


def _window(cells: Sequence[str], line: int, faults: _Faults) -> Window | None:
    """The window of a line, or None after naming what is wrong with it."""
    if len(cells) != len(COLUMNS):
        faults.add(line, "", Text(f"应有 {len(COLUMNS)} 列", f"must have {len(COLUMNS)} columns"))
        return None
    row = dict(zip(COLUMNS, (cell.strip() for cell in cells), strict=True))
    found: dict[str, Text] = {}
    if row["county"] not in COUNTIES:
        found["county"] = Text("应为湖南省县级行政区划代码", "must be a GB/T 2260 county code of Hunan")
    elif row["name"] != COUNTIES[row["county"]]:
        found["name"] = Text("与代码对应的县区名称不符", "must be the name of the county of this code")
    if row["stage"] not in STAGES:
        found["stage"] = Text("应为 primary（小学）或 junior（初中）", "must be primary or junior")
    opens, closes = _minute(row["opens"]), _minute(row["closes"])
    for column, minute in (("opens", opens), ("closes", closes)):
        if minute is None:
            found[column] = Text("应如 2027-06-21 09:00", "must read like 2027-06-21 09:00")
    if opens is not None and closes is not None and closes - opens < MIN_LENGTH:
        found["closes"] = Text("应至少晚于开始时间两小时", "must be at least two hours after the opening")
    if not _APPLICANTS.fullmatch(row["applicants"]) or int(row["applicants"]) > MAX_APPLICANTS:
        found["applicants"] = Text(
            f"应为 0 至 {MAX_APPLICANTS} 的整数", f"must be a whole number from 0 to {MAX_APPLICANTS}"
        )
    for column, text in found.items():
        faults.add(line, column, text)
    if found or opens is None or closes is None:
        return None
    county, slash, stage = row["after"].partition("/")
    after = (county, stage) if slash or county else None
    return Window(row["county"], row["stage"], opens, closes, int(row["applicants"]), after)


def _minute(text: str) -> int | None:
    try:
        moment = datetime.strptime(text, _TIME_FORM)  # noqa: DTZ007 - civil time of the province, as everywhere here
    except ValueError:
        return None
    return minute_of(moment) if moment.strftime(_TIME_FORM) == text else None


def _check_together(windows: Sequence[Window], lines: Mapping[Key, int], faults: _Faults) -> None:
    """What only the whole file can tell: one year, the season, and the order that `after` asks for."""
    by_key = {window.key: window for window in windows}
    for window in windows:
        line = lines[window.key]
        start, end = season_of(year_of(windows))
        if not start <= window.opens < end:
            faults.add(line, "opens", Text("应在同一年的 4 月至 8 月", "must lie in April to August of one year"))
        if window.closes > end:
            faults.add(line, "closes", Text("应不晚于 8 月 31 日", "must not be after 31 August"))
        if window.after is None:
            continue
        before = by_key.get(window.after)
        if before is None:
            faults.add(
                line,
                "after",
                Text("应为本文件中的“代码/学段”，或留空", "must be county/stage of a window of this file"),
            )
        elif before.closes > window.opens:
            faults.add(line, "after", Text("所指窗口应先结束", "the window that it names must close before this opens"))
