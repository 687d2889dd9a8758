"""A staggered calendar: openings are moved by whole days, a few, each for a reason that can be told.

The heuristic, for each prefecture alone (others do not share its departments):

1. Take the highest backlog. The suspects are the windows whose first hour feeds it, the largest first.
2. For a suspect, look at the days that it may open on: within `most_days` of its own day, inside the season, not on a
   day of `not_on`, on a working day if it opened on one, and in the order that the calendar asks for. Take those with
   the fewest applicants of other openings first, the nearer first; try the best `tries` of them in the simulation.
3. Keep the move if the prefecture's list of peaks, highest first, becomes smaller; then begin again. A peak that no
   move lowers is left, and the next lower one is looked at.

It ends: each move makes that list smaller, and there are at most `most_moves`. Lengths, times of day and applicants
stay as they are. It finds a good calendar, not the best one; a peak that one window makes alone stays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.season.assumptions import Setting
from gateway.season.simulation import BusyPeriod, simulate_prefecture
from gateway.season.windows import HOUR, Calendar, Key, Window, order_of, season_of, year_of

_WEEK = 7
_WORKING_DAYS = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a proposal may go from the calendar."""

    most_days: int = 14
    """Days between a window's own opening and the proposed one, either way."""
    most_moves: int = 40
    """Moves in one prefecture."""
    tries: int = 4
    """Days tried for one suspect, in the simulation."""
    not_on: frozenset[int] = frozenset()
    """Ordinals of days on which no moved window may open."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What became of one window."""

    before: Window
    after: Window

    @property
    def days(self) -> int:
        """Days later; negative is earlier."""
        return self.after.day - self.before.day


def propose(calendar: Calendar, setting: Setting, limits: Limits) -> Calendar:
    """The staggered calendar, in the order of `calendar`."""
    by_prefecture: dict[str, list[Window]] = defaultdict(list)
    for window in calendar:
        by_prefecture[window.prefecture].append(window)
    order = order_of(calendar)
    placed = {window.key: window for window in calendar}
    season = season_of(year_of(calendar))
    for prefecture in sorted(by_prefecture):
        search = _Search(by_prefecture[prefecture], placed, order, season, setting, limits)
        search.run()
    return tuple(placed[window.key] for window in calendar)


def shifts(before: Calendar, after: Calendar) -> tuple[Shift, ...]:
    """The windows that moved, in the order of the calendar."""
    return tuple(Shift(one, other) for one, other in zip(before, after, strict=True) if one != other)


class _Search:
    """The moves of one prefecture. Changes `placed`, of its own windows only."""

    def __init__(
        self,
        windows: Sequence[Window],
        placed: dict[Key, Window],
        order: Sequence[tuple[Key, Key]],
        season: tuple[int, int],
        setting: Setting,
        limits: Limits,
    ) -> None:
        self._own: Mapping[Key, Window] = {window.key: window for window in windows}
        self._placed = placed
        self._order = order
        self._season = season
        self._setting = setting
        self._limits = limits

    def run(self) -> None:
        """Move until nothing lowers a peak, or the moves are used up."""
        peaks = self._peaks()
        for _ in range(self._limits.most_moves):
            lower = self._move(peaks)
            if lower is None:
                return
            peaks = lower

    def _move(self, peaks: Sequence[BusyPeriod]) -> Sequence[BusyPeriod] | None:
        """Make the first move that lowers the peaks, and return them; None if there is none."""
        height = _height(peaks)
        for peak in peaks:
            suspects = sorted(self._suspects(peak), key=lambda window: (-window.applicants, window.key))
            if len(suspects) == 1:
                continue  # it makes this peak alone, on whatever day it opens
            for window in suspects:
                for day in self._days(window):
                    self._placed[window.key] = window.shifted(day - window.day)
                    lower = self._peaks()
                    if _height(lower) < height:
                        return lower
                self._placed[window.key] = window
        return None

    def _peaks(self) -> Sequence[BusyPeriod]:
        """Every busy period of the prefecture, the highest first."""
        courses = simulate_prefecture([self._placed[key] for key in self._own], self._setting)
        found = [period for course in courses for period in course.busy]
        return sorted(found, key=lambda period: (-period.backlog, period.starts, period.department))

    def _suspects(self, peak: BusyPeriod) -> Iterator[Window]:
        for key in self._own:
            window = self._placed[key]
            if window.opens < peak.peaks and window.opens + HOUR > peak.starts:
                yield window

    def _days(self, window: Window) -> Sequence[int]:
        """The days to try for `window`, the best first."""
        rush: Counter[int] = Counter()
        for key in self._own:
            if key != window.key:
                rush[self._placed[key].day] += self._placed[key].applicants
        home = self._own[window.key].day
        allowed = [
            day
            for day in range(home - self._limits.most_days, home + self._limits.most_days + 1)
            if day != window.day and self._allows(window.shifted(day - window.day), home)
        ]
        allowed.sort(key=lambda day: (rush[day], abs(day - home), day))
        return allowed[: self._limits.tries]

    def _allows(self, window: Window, home: int) -> bool:
        start, end = self._season
        if window.opens < start or window.closes > end or window.day in self._limits.not_on:
            return False
        if _is_working_day(home) and not _is_working_day(window.day):
            return False
        for first, second in self._order:
            if first == window.key and window.closes > self._placed[second].opens:
                return False
            if second == window.key and self._placed[first].closes > window.opens:
                return False
        return True


def _height(peaks: Sequence[BusyPeriod]) -> tuple[int, ...]:
    """What a move must make smaller: the peaks in whole checks, the highest first."""
    return tuple(round(peak.backlog) for peak in peaks)


def _is_working_day(day: int) -> bool:
    """Monday to Friday: ordinal 1 was a Monday. Holidays are told by `Limits.not_on`."""
    return (day - 1) % _WEEK < _WORKING_DAYS
