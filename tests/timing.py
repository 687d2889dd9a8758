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
from itertools import accumulate
from math import comb

QUANTILES = (0.1, 0.25, 0.5)

FALSE_ALARM = 1e-5
"""The chance that a test finds a difference where none is: among all groups of one call of `differing`."""


def differing(samples: Mapping[str, Sequence[float]], false_alarm: float = FALSE_ALARM) -> dict[str, float]:
    """The groups whose times differ from those of all others, with the corrected p-value."""
    pooled = sorted(time for times in samples.values() for time in times)
    found = {}
    for name, times in samples.items():
        p_value = min(_p_value(times, pooled, quantile) for quantile in QUANTILES) * len(QUANTILES) * len(samples)
        if p_value < false_alarm:
            found[name] = p_value
    return found


def _p_value(times: Sequence[float], pooled: Sequence[float], quantile: float) -> float:
    """How likely so few, or so many, of `times` lie below the quantile, twice the smaller."""
    threshold = pooled[int(quantile * len(pooled))]
    below = sum(time < threshold for time in pooled)
    seen = sum(time < threshold for time in times)
    others = len(pooled) - below
    possible = range(max(0, len(times) - others), min(below, len(times)) + 1)
    # Exact integers: the tails are far too small for sums of rounded terms.
    ways = [comb(below, count) * comb(others, len(times) - count) for count in possible]
    total = sum(ways)
    fewer = list(accumulate(ways))[seen - possible.start]
    more = total - fewer + ways[seen - possible.start]
    return min(1.0, 2 * min(fewer, more) / total)
