"""What the benchmarks are held against: every target, with its bound, its stretch, and who measures it.

A benchmark writes `"targets": {id: {"value", "low", "high"}}` into its results: the median of its rounds, the least and
the most. Targets are compared with what was measured in the same run on the same machine wherever they can be; those
that are absolute say in which unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from statistics import median
from typing import Any


@unique
class Verdict(StrEnum):
    """How a target stands."""

    STRETCH = "stretch met"
    MET = "met"
    MISSED = "missed"
    OPEN = "not measured"


@unique
class Kind(StrEnum):
    """Whether a larger figure is better."""

    AT_LEAST = "≥"
    AT_MOST = "≤"
    BELOW = "<"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured: the median of the rounds, the least and the most of them."""

    value: float
    low: float
    high: float

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Seen:
        """One entry of `"targets"` in a results file; ValueError if its numbers are in no order."""
        seen = cls(float(entry["value"]), float(entry["low"]), float(entry["high"]))
        if not seen.low <= seen.value <= seen.high:
            raise ValueError(f"{seen.value} is not from {seen.low} to {seen.high}")
        return seen


@dataclass(frozen=True, slots=True)
class Target:
    """One figure to reach.

    `measured_by` is the benchmark that writes it. `apart` names a results file of a run that is too long for each
    suite, and covers more; both must then reach the target. `slack` is the share of the kept figure that a short run
    may lose before `bench-check` calls it fallen; None for absolute figures, which say more of the machine than of
    the code.
    """

    id: str
    what: str
    kind: Kind
    bound: float
    stretch: float | None
    measured_by: str
    unit: str = ""
    apart: str = ""
    slack: float | None = None

    def reaches(self, value: float, bound: float) -> bool:
        """Whether a figure is on the right side of a bound."""
        if self.kind is Kind.AT_LEAST:
            return value >= bound
        return value < bound if self.kind is Kind.BELOW else value <= bound

    def verdict(self, *seen: Seen) -> Verdict:
        """How the target stands by what was measured, in all runs of it."""
        if not seen:
            return Verdict.OPEN
        if not all(self.reaches(each.value, self.bound) for each in seen):
            return Verdict.MISSED
        if self.stretch is not None and all(self.reaches(each.value, self.stretch) for each in seen):
            return Verdict.STRETCH
        return Verdict.MET

    def fell(self, kept: Seen, now: Seen) -> bool:
        """Whether a figure of now is so much worse than the kept one that chance does not explain it."""
        if self.slack is None:
            return False
        if self.kind is Kind.AT_LEAST:
            return now.value < kept.value * self.slack
        return now.value > kept.value / self.slack


def spread(rounds: Sequence[float]) -> dict[str, float]:
    """The entry of `"targets"` for what some rounds saw."""
    return {"value": median(rounds), "low": min(rounds), "high": max(rounds)}


PERCENT, TIMES = "%", "times"
"""Units of ratios, for whoever shows them; the figures themselves are shares of one."""
RATIO = 0.6
"""Slack of a ratio: what short rounds on shared cores were seen to differ by, and half as much again."""
TAIL = 0.3
"""Slack of a ratio of tails, of which a short run holds few samples."""

_GATEWAY, _PEERS, _OVERLOAD = "gateway_core", "peers", "overload"

TARGETS: tuple[Target, ...] = (
    Target(
        "single_over_echo",
        "single-check `Verify` (mTLS, query and grant verified, department batch verified, log durable) against bare "
        "`grpc.aio` echo over mTLS, gateway's core: requests/s of the one by those of the other",
        Kind.AT_LEAST,
        0.40,
        0.55,
        _GATEWAY,
        slack=RATIO,
    ),
    Target(
        "checks_per_echo",
        "5-check applications × 5, against the same echo: attested checks per echo RPC",
        Kind.AT_LEAST,
        1.5,
        2.5,
        _GATEWAY,
        slack=RATIO,
    ),
    Target(
        "system_over_envoy",
        "whole system, 5-check applications, against the same department nodes called through Envoy, mTLS on both "
        "sides, one unary call per check, no consent check and no log in the proxy: its applications/s",
        Kind.AT_LEAST,
        2.0,
        3.0,
        _PEERS,
        unit=TIMES,
        slack=RATIO,
    ),
    Target(
        "system_over_nginx",
        "the same against nginx `grpc_pass`",
        Kind.AT_LEAST,
        2.0,
        3.0,
        _PEERS,
        unit=TIMES,
        slack=RATIO,
    ),
    Target(
        "p99_over_envoy",
        "p99 at 80 % of Envoy's saturation, per application, by Envoy's",
        Kind.AT_MOST,
        1.0,
        None,
        _PEERS,
        unit=TIMES,
        slack=TAIL,
    ),
    Target(
        "idle_over_unary",
        "idle latency, one 5-check application in flight: p50 by that of one direct mTLS unary call to a department",
        Kind.AT_MOST,
        6.0,
        4.0,
        _PEERS,
        unit=TIMES,
        slack=RATIO,
    ),
    Target(
        "floor_share",
        "share of the pure crypto floor (query and grant signature; amortised ones left out)",
        Kind.AT_LEAST,
        0.25,
        0.40,
        _GATEWAY,
        unit=PERCENT,
        slack=RATIO,
    ),
    Target(
        "overload_cooperative",
        "overload, 3 times capacity offered by clients that keep to stream limits and RetryInfo: goodput by capacity",
        Kind.AT_LEAST,
        0.90,
        None,
        _OVERLOAD,
        unit=PERCENT,
        slack=RATIO,
    ),
    Target(
        "overload_flood",
        "overload, 2 times capacity as an uncooperative unary flood: goodput by capacity; no collapse, memory bounded",
        Kind.AT_LEAST,
        0.50,
        0.70,
        _OVERLOAD,
        unit=PERCENT,
        slack=RATIO,
    ),
    Target(
        "append_rate",
        "log append, SQLite, durable, batched, the slowest of the log's sizes",
        Kind.AT_LEAST,
        50_000,
        None,
        "appending",
        unit="leaves/s",
        apart="appending_large",
    ),
    Target(
        "append_flatness",
        "… flat from 10^3 to 10^7 leaves: the slowest size's rate by that at 10^3 (read as: no more than a fifth lost)",
        Kind.AT_LEAST,
        0.80,
        None,
        "appending",
        apart="appending_large",
        slack=RATIO,
    ),
    Target(
        "start_flatness",
        "… start-up independent of size: time to the first commit at the largest size by that at 10^3 (read as: at "
        "most twice, where the log is thousands of times as large)",
        Kind.AT_MOST,
        2.0,
        None,
        "appending",
        apart="appending_large",
        slack=TAIL,
    ),
    Target("fsck_rate", "`heyan log fsck`", Kind.AT_LEAST, 100_000, None, "fsck", unit="leaves/s"),
    Target("rss_start_mib", "gateway memory: RSS at start", Kind.AT_MOST, 200, None, "memory", unit="MiB"),
    Target(
        "rss_growth_mib",
        "gateway memory: growth over 1,000,000 checks",
        Kind.BELOW,
        50,
        None,
        "memory",
        unit="MiB",
        apart="memory_large",
    ),
    Target(
        "disk_per_check",
        "disk per check (one leaf per request, evidence compressed): log, tiles and evidence together",
        Kind.AT_MOST,
        1_000,
        700,
        "disk",
        unit="bytes",
    ),
    Target(
        "two_workers_cpu",
        "two workers on one store: gateway CPU per application by that of one worker (canned departments)",
        Kind.AT_MOST,
        1.15,
        None,
        "workers",
        slack=RATIO,
    ),
)
