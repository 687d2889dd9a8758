"""When a county takes applications: windows in local time, half open: `opens` belongs to the window, `closes` does not.

Hunan keeps Beijing time all year (Asia/Shanghai has known no summer time since 1991), so a window's times carry
+08:00 and mean one instant everywhere. Windows of a county never overlap. Working without any window means closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from gateway.protocol.beijing import BEIJING
from gateway.protocol.reasons import Text

MAX_WINDOWS = 32


@dataclass(frozen=True, slots=True)
class Window:
    """One window, with the name by which the bureau announces it."""

    name: Text
    opens: datetime
    closes: datetime

    def contains(self, now: float) -> bool:
        """Whether the window is open at `now`, seconds since the epoch."""
        return self.opens.timestamp() <= now < self.closes.timestamp()

    @property
    def text(self) -> Text:
        """The window in words, in both languages."""
        opens, closes = (at.astimezone(BEIJING) for at in (self.opens, self.closes))
        return Text(
            f"{self.name.zh}：{_chinese(opens)}至{_chinese(closes)}",
            f"{self.name.en}: {opens:%Y-%m-%d %H:%M} to {closes:%Y-%m-%d %H:%M} (Beijing time)",
        )


def window_at(windows: Sequence[Window], now: float) -> Window | None:
    """The window that is open at `now`."""
    return next((window for window in windows if window.contains(now)), None)


def next_window(windows: Sequence[Window], now: float) -> Window | None:
    """The first window that opens after `now`; None if none is announced."""
    later = [window for window in windows if window.opens.timestamp() > now]
    return min(later, key=lambda window: window.opens, default=None)


def closed_text(windows: Sequence[Window], now: float) -> Text:
    """What a family is told outside a window (非报名时间段温馨提示): when to come back."""
    following = next_window(windows, now)
    if following is None:
        return Text(
            "温馨提示：当前不在报名时间段内，下一次报名时间请关注当地教育行政部门公告。",
            "Enrolment is closed now. The education bureau will announce when it opens next.",
        )
    return Text(
        f"温馨提示：当前不在报名时间段内。下一次报名时间：{following.text.zh}。届时再来即可，无需提前排队。",
        f"Enrolment is closed now. It opens next: {following.text.en}. Come back then; there is no need to queue.",
    )


def first_overlap(windows: Sequence[Window]) -> tuple[int, int] | None:
    """The positions of two windows that share an instant; None if there are none."""
    order = sorted(range(len(windows)), key=lambda number: windows[number].opens)
    for earlier, later in pairwise(order):
        if windows[later].opens < windows[earlier].closes:
            return earlier, later
    return None


def _chinese(at: datetime) -> str:
    return f"{at.year}年{at.month}月{at.day}日{at:%H:%M}"
