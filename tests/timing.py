"""Telling groups of times apart: the statistic of the tests on time, exact and of the standard library only.

The quantile test. Take the time below which a tenth (a quarter, a half) of all samples lie. If the groups do not
differ, how many of a group's samples lie below it follows the hypergeometric distribution, whatever the
distribution of the times. The low quantiles are what an attacker looks at: noise only ever adds to a time, so the
fastest tenth shows a delay of the work itself most sharply (Crosby, Wallach, Riedi: Opportunities and limits of
remote timing attacks, 2009). P-values are two-sided and corrected (Bonferroni) for all groups and quantiles.

Samples must be taken interleaved, in random order, so that a drift of the machine meets all groups alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

QUANTILES = (0.1, 0.25, 0.5)

FALSE_ALARM = 1e-5
"""The chance that a test finds a difference where none is: among all groups of one call of `differing`."""


def differing(
    samples: Mapping[str, Sequence[float]], false_alarm: float = FALSE_ALARM, margin: float = 0.0
) -> dict[str, float]:
    """The groups whose times differ from those of all others by more than `margin` seconds; the corrected p-values.

    The fast end of a group is compared as if it had taken `margin` longer, its slow end as if it had taken less.
    """
    return {
        name: p_value
        for name in samples
        if (p_value := _p_value(name, samples, margin) * len(QUANTILES) * len(samples)) < false_alarm
    }


def _p_value(name: str, samples: Mapping[str, Sequence[float]], margin: float) -> float:
    """The least of all quantiles, twice the smaller side."""
    others = [time for other, times in samples.items() if other != name for time in times]
    return min(
        2 * _tail([time + shift for time in samples[name]], others, quantile, faster=faster)
        for quantile in QUANTILES
        for shift, faster in ((margin, True), (-margin, False))
    )


def _tail(times: Sequence[float], others: Sequence[float], quantile: float, *, faster: bool) -> float:
    """How likely so many of `times`, or so few, lie below the quantile of all."""
    pooled = sorted([*times, *others])
    threshold = pooled[int(quantile * len(pooled))]
    below = sum(time < threshold for time in pooled)
    seen = sum(time < threshold for time in times)
    above = len(pooled) - below
    possible = range(max(0, len(times) - above), min(below, len(times)) + 1)
    # Exact integers: the tails are far too small for sums of rounded terms.
    ways = [comb(below, count) * comb(above, len(times) - count) for count in possible]
    place = seen - possible.start
    return sum(ways[place:] if faster else ways[: place + 1]) / sum(ways)
