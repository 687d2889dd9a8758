"""The rule packs of a sandbox: those that come with Heyan, and for each simulated county a window around today.

One county is kept closed, its window lying ahead, so that the refusal outside a window can be seen. The windows stand
at the end of a county's file, below a line that says so, and are moved along there: what is written above it stays as
it is, and a file without that line is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from pathlib import Path

from gateway.party.keyfiles import write_atomic
from gateway.protocol.beijing import BEIJING
from gateway.protocol.divisions import COUNTIES, counties_of
from gateway.protocol.reasons import Text
from gateway.rules.pack import PROVINCE
from gateway.rules.pack_file import read_pack
from gateway.rules.shelf import SHIPPED, open_shelf
from gateway.rules.windows import Window, next_window, window_at

RULES_FOLDER = "rules"
RENEW_BEFORE = 7 * 86_400
"""Seconds before an open window closes, or the closed county's opens, at which both are moved along."""
DAYS_OPEN = 30
"""Whole days that a rehearsal window has left when it is written; the closed county's opens and lasts after as many."""

MARK = "# -- rehearsal windows: `heyan up` moves along what stands below; delete this line to keep it as it is --"

_NAME = Text("演练报名", "rehearsal")
_WINDOWS = re.compile(r"^\[\[windows\]\]$.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)


def closed_county(prefectures: Iterable[str]) -> str:
    """The county to keep closed: the last one of the last prefecture, of which Heyan brings no pack."""
    return counties_of(list(prefectures)[-1])[-1]


def write_rules(folder: Path, prefectures: Iterable[str], closed: str, now: float) -> None:
    """Write the packs of a new sandbox into `folder`: the shipped ones, and a window in each county of `prefectures`.

    A county with a shipped pack keeps its other rules, and of its own windows those that open later.
    """
    folder.mkdir()
    simulated = [county for prefecture in prefectures for county in counties_of(prefecture)]
    for file in SHIPPED.iterdir():
        if file.name.removesuffix(".toml") not in simulated:
            write_atomic(folder / file.name, file.read_bytes())
    for county in simulated:
        shipped = SHIPPED / f"{county}.toml"
        text = _WINDOWS.sub("", shipped.read_text(encoding="utf-8")) if shipped.is_file() else _head(county)
        write_atomic(_file(folder, county), _with_windows(text, county, closed, now).encode())


def renew_rules(folder: Path, closed: str, now: float) -> list[str]:
    """Move windows along that are about to end, or to open in the `closed` county; the counties, one line each.

    Raises MalformedError with the problems of a pack that has been made wrong since.
    """
    done = []
    for file in sorted(folder.glob("??????.toml")):
        text = file.read_text(encoding="utf-8")
        above, mark, _ = text.partition(MARK)
        county = file.stem
        if not mark or _is_fresh(read_pack(str(file), text.encode()).windows or (), now, closed=county == closed):
            continue
        write_atomic(file, _with_windows(above, county, closed, now).encode())
        done.append(f"rehearsal window of {county}")
    return done


def _is_fresh(windows: tuple[Window, ...], now: float, *, closed: bool) -> bool:
    """Whether an open county stays open for long enough, or the closed one closed."""
    is_open, following = window_at(windows, now), next_window(windows, now)
    if closed:
        return not is_open and following is not None and following.opens.timestamp() - now >= RENEW_BEFORE
    return is_open is not None and is_open.closes.timestamp() - now >= RENEW_BEFORE


def _with_windows(text: str, county: str, closed: str, now: float) -> str:
    midnight = datetime.combine(datetime.fromtimestamp(now, BEIJING), time.min, BEIJING)
    ahead = timedelta(days=DAYS_OPEN)
    opens = midnight + ahead if county == closed else midnight - timedelta(days=1)
    rehearsal = Window(_NAME, opens, midnight + (2 * ahead if county == closed else ahead))
    later = [window for window in _shipped_windows(county) if window.opens >= rehearsal.closes]
    return "\n".join([f"{text.rstrip()}\n", MARK, *map(_written, [rehearsal, *later])])


def _shipped_windows(county: str) -> tuple[Window, ...]:
    file = SHIPPED / f"{county}.toml"
    return (read_pack(file.name, file.read_bytes()).windows or ()) if file.is_file() else ()


def _written(window: Window) -> str:
    name = f'{{ zh = "{window.name.zh}", en = "{window.name.en}" }}'
    return f"\n[[windows]]\nname = {name}\nopens = {window.opens.isoformat()}\ncloses = {window.closes.isoformat()}\n"


def _head(county: str) -> str:
    """A pack that states nothing but windows: all else comes from the packs above."""
    year = open_shelf()[PROVINCE].school_year
    return (
        "# Rehearsal windows; not the policy of the place that it names.\n"
        "format = 1\n"
        f'region = "{county}"\n'
        f'version = "{year}.1"\n'
        f'school_year = "{year}"\n'
        f'name = {{ zh = "{COUNTIES[county]}", en = "county {county}" }}\n'
        'basis = { zh = "演练用，不是正式政策", en = "for rehearsals, not a policy" }\n'
    )


def _file(folder: Path, county: str) -> Path:
    return folder / f"{county}.toml"
