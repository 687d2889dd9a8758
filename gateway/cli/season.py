"""`heyan season`: plan who opens enrolment when. Reads files, calls `gateway.season`, prints and writes.

The rehearsal is in `season_stress`.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from cyclopts import App
from rich.console import Console
from rich.table import Table

from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, Several, require_writable, usage_error
from gateway.protocol.claims import DEPARTMENT_NAMES, DepartmentKind
from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.season.assumptions import Setting, read_setting
from gateway.season.chart import draw
from gateway.season.page import html_of
from gateway.season.picture import png_of
from gateway.season.proposal import Limits
from gateway.season.report import Plan, Side, make_plan, to_json
from gateway.season.sample import sample_text
from gateway.season.windows import read_calendar, text_of_minute, write_calendar

_CALENDAR_BYTES = 1_000_000
"""Far above 5,000 lines of a calendar."""
_SETTINGS_BYTES = 16_384
"""Ten times every setting of every prefecture; what TOML's dotted keys cost grows with the square of it."""
_ROWS = 12
"""Rows of a table on the terminal; `--json` has all."""

app = App(name="season")
app.command("gateway.cli.season_stress:stress", name="stress", help="Rehearse opening morning on a running federation.")
app.command("gateway.cli.season_stress:profile", name="profile", help="Write a profile for the rehearsal.")


@app.command
def plan(  # noqa: PLR0913 - each is an option of the command
    calendar: Path,
    *,
    settings: Path | None = None,
    png: Path | None = None,
    html: Path | None = None,
    out: Path | None = None,
    most_days: int = Limits().most_days,
    most_moves: int = Limits().most_moves,
    not_on: Several = (),
    as_json: JsonOption = False,
) -> None:
    """Simulate a calendar of enrolment windows, and propose a staggered one with its effect.

    Nobody is asked anything, and nothing of a person is read: the file holds counts. The proposal keeps every window's
    length, hour and applicants, the order that the file asks for, and April to August.

    Examples: `heyan season plan season.csv --html plan.html`, `heyan season plan season.csv --out staggered.csv`

    Parameters
    ----------
    calendar
        The windows and expected applicants, as `heyan season sample` writes them.
    settings
        TOML with [assumptions], [capacity] and [prefecture.4301]: what to assume instead of the defaults.
    png
        Write the chart as a picture (needs the extra `season`).
    html
        Write chart and tables as one page that loads nothing.
    out
        Write the proposed calendar as CSV.
    most_days
        Days by which a window may open earlier or later.
    most_moves
        Windows moved in one prefecture, at most.
    not_on
        A day (YYYY-MM-DD) on which no moved window may open, such as a holiday; may be given again.
    """
    for file, option in ((png, "--png"), (html, "--html"), (out, "--out")):
        if file is not None:
            require_writable(file, option)
    for value, option, most in ((most_days, "--most-days", 150), (most_moves, "--most-moves", 1000)):
        if not 0 <= value <= most:
            raise usage_error(option, f"must be from 0 to {most} / 应为 0 至 {most}")
    limits = Limits(most_days, most_moves, not_on=frozenset(_ordinal(day) for day in not_on))
    windows = read_calendar(_read(calendar, "CALENDAR", _CALENDAR_BYTES))
    setting = Setting() if settings is None else read_setting(_read(settings, "--settings", _SETTINGS_BYTES))
    made = make_plan(windows, setting, limits)
    chart = draw(made)
    if png is not None:
        png.write_bytes(png_of(chart))
    if html is not None:
        html.write_text(html_of(made, chart), encoding="utf-8")
    if out is not None:
        out.write_text(write_calendar(made.after.calendar), encoding="utf-8")
    if as_json:
        print_json(to_json(made))
    else:
        _print(made)


@app.command
def sample(*, out: Path) -> None:
    """Write a fictional calendar of the 14 prefectures and 122 counties, to begin with.

    Example: `heyan season sample --out season.csv`

    Parameters
    ----------
    out
        File to write.
    """
    require_writable(out, "--out")
    out.write_text(sample_text(), encoding="utf-8")
    Console().print(f"{out} holds a fictional calendar. Next: heyan season plan {out}", markup=False, soft_wrap=True)


def _print(made: Plan) -> None:
    console = Console()
    effect = _table("Effect 效果", "", "as it is 现行", "proposed 建议")
    effect.add_row("peak backlog, checks 最高积压", _number(made.before.backlog), _number(made.after.backlog))
    effect.add_row("longest wait 最长等待", _wait(made.before.wait), _wait(made.after.wait))
    effect.add_row("shared openings 同时开放", str(len(made.before.overlaps)), str(len(made.after.overlaps)))
    effect.add_row("moved windows 调整窗口", "", str(len(made.moves)))
    console.print(effect)
    console.print(_prefectures(made))
    _print_overlaps(console, made.before)
    _print_worst(console, "Worst backlogs, as it is 现行最严重的积压", made.before)
    _print_worst(console, "What remains, proposed 建议后仍有的积压", made.after)
    moves = _table("Proposed moves 建议的调整", "county 县区", "stage 学段", "opens 开放", "days 天数")
    for move in made.moves[:_ROWS]:
        name = f"{move.before.county} {COUNTIES[move.before.county]}"
        moves.add_row(name, move.before.stage, text_of_minute(move.after.opens), f"{move.days:+}")
    console.print(moves)
    if len(made.moves) > _ROWS:
        console.print(f"… and {len(made.moves) - _ROWS} more: --json, --html or --out", markup=False)


def _prefectures(made: Plan) -> Table:
    """Each prefecture and department with a backlog before or after."""
    table = _table(
        "By prefecture and department 按市州和部门",
        "",
        "",
        "capacity/s 能力",
        "asked/s 最高请求",
        "backlog 积压",
        "wait 等待",
    )
    after = {(course.prefecture, course.department): course for course in made.after.courses}
    for course in made.before.courses:
        other = after[course.prefecture, course.department]
        if course.backlog or other.backlog:
            table.add_row(
                f"{course.prefecture} {PREFECTURES[course.prefecture]}",
                _department(course.department),
                f"{course.capacity:g}",
                f"{course.most_asked:.0f} → {other.most_asked:.0f}",
                f"{_number(course.backlog)} → {_number(other.backlog)}",
                f"{_wait(course.wait)} → {_wait(other.wait)}",
            )
    return table


def _print_overlaps(console: Console, side: Side) -> None:
    table = _table(
        "Shared openings, as it is 现行同时开放", "prefecture 市州", "opens 开放", "counties 县区", "applicants 人数"
    )
    for overlap in side.overlaps[:_ROWS]:
        name = f"{overlap.prefecture} {PREFECTURES[overlap.prefecture]}"
        table.add_row(name, text_of_minute(overlap.opens), str(len(overlap.counties)), _number(overlap.applicants))
    console.print(table)


def _print_worst(console: Console, title: str, side: Side) -> None:
    table = _table(title, "prefecture 市州", "department 部门", "starts 开始", "ends 结束", "backlog 积压", "wait 等待")
    for period in side.worst(_ROWS):
        table.add_row(
            f"{period.prefecture} {PREFECTURES[period.prefecture]}",
            _department(period.department),
            text_of_minute(period.starts),
            text_of_minute(int(period.ends)),
            _number(period.backlog),
            _wait(period.wait),
        )
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{title}: none 无", markup=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _department(name: str) -> str:
    return f"{DEPARTMENT_NAMES[DepartmentKind(name)].zh.partition('（')[0]} {name}"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _wait(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004 - two minutes


def _read(file: Path, option: str, most: int) -> str:
    with file.open("rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise usage_error(option, f"{file} must be at most {most} bytes / 文件不得超过 {most} 字节")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise usage_error(option, f"{file} is not UTF-8: save it as UTF-8 / 不是 UTF-8 编码，请另存为 UTF-8") from None


def _ordinal(text: str) -> int:
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        raise usage_error("--not-on", "must be a day, YYYY-MM-DD / 应为日期，如 2027-06-21") from None
