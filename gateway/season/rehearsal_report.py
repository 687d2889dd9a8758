"""The report of a rehearsal: rows that a terminal and a page show alike, and JSON for a program."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from gateway.season.goal import LATENCIES, RATE
from gateway.season.histogram import Histogram
from gateway.season.node_counters import NodeCounters
from gateway.season.rehearsal import Department, End, Rehearsal, Verdict

METHOD = (
    "Latency counts from when each application was due, whether or not it could be sent then, over what was answered "
    "or waited for in vain; percentiles by nearest rank, rounded up by less than 0.8 %."
)
METHOD_ZH = (
    "时延从每份申请的应到时刻算起（无论当时能否发出），含得到答复的和等不到答复的；百分位取最近秩，上取误差小于 0.8%。"
)
METHOD_DEPARTMENTS = (
    "A department's latency: from the gateway's asking it to its answer, as the gateway's metrics count it while the "
    "run lasts; the upper end of a bucket. Attestations bear whole seconds, which tell nothing of it."
)
_TOO_SLOW = (
    "INCONCLUSIVE: the generator itself was too late to tell; use a machine with free cores, a lower rate, "
    "or --verify-receipts none"
)
VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.PASSED: ("通过：目标全部达到", "PASSED: every term of the goal holds"),
    Verdict.FAILED: (
        "未通过：有目标未达到，或有错误答复",
        "FAILED: a term of the goal does not hold, or an answer was wrong",
    ),
    Verdict.INCONCLUSIVE: (
        "不能下结论：压测端自身未跟上",
        _TOO_SLOW,
    ),
    Verdict.INTERRUPTED: ("中途停止", "INTERRUPTED: this is what was seen until then"),
    Verdict.NO_GOAL: ("未设目标", "NO GOAL: nothing was to be reached, and no answer was wrong"),
}

_BUSY = 1.5
"""Processes that wanted a core, for each core, above which that is said beside the number."""

Row = tuple[str, ...]


def measures(run: Rehearsal) -> Iterator[Row]:
    """Label and value of what the goal may speak of."""
    yield "applications answered a second 每秒答复", f"{run.rate:.1f}"
    yield "checks of an application 每份申请的核验项", f"{run.checks_per_application:.1f}"
    for name in LATENCIES:
        label = "latency max 最长时延" if name == "max" else f"latency {name} 时延"
        yield label, text_of_seconds(run.value_of(name))
    labels = {
        End.ANSWERED: "answered 答复",
        End.UNAVAILABLE: "checks left unavailable 有核验项暂不可用",
        End.REFUSED: "refused 拒绝",
        End.UNANSWERED: "unanswered 无答复",
        End.WRONG: "wrong 错误",
    }
    for end, label in labels.items():
        share = run.tally.share(end)
        yield label, f"{run.tally.ends[end]:,}" + ("" if share is None else f" ({share:.2f} %)")
    if run.tally.ends[End.CUT_SHORT]:
        yield "cut short 中断", f"{run.tally.ends[End.CUT_SHORT]:,}"


def goals(run: Rehearsal) -> Iterator[Row]:
    """Term, value and whether it holds."""
    for item in run.judged:
        yield item.term.text, _value(item.term.measure, item.value), "holds 达到" if item.holds else "FAILS 未达到"


def generator(run: Rehearsal) -> Iterator[Row]:
    """Label and value of how well the generator kept up."""
    health = run.tally.health
    yield "applications sent 发出", f"{run.tally.sent:,} of {sum(run.planned):,}"
    yield "sent late, p99 发出延迟", text_of_seconds(health.late.percentile(99))
    yield "event loop late, p99 事件循环延迟", text_of_seconds(health.loop_lag.percentile(99))
    yield "of one core 占单核", f"{run.cpu_share:.0f} %"
    busy = " (busy: the figures are of a machine that others used too, or a small one)"
    load = f"{health.machine_load:.1f}" + (busy if health.machine_load > _BUSY else "")
    yield "load of the machine, a core 每核负载", load
    yield "most under way at once 同时最多", f"{run.tally.most_under_way:,}"
    yield "held back by in_flight 因上限等候", f"{health.held_back:,}"
    yield "connections 连接", f"{run.connections:,}"
    yield "receipts verified whole 完整核对的回执", f"{run.tally.receipts_verified:,} ({run.verify_receipts})"


def departments(run: Rehearsal) -> Iterator[Row]:
    """Department, checks, share, answered, refused, unavailable at the end, told unavailable, p50, p99, hedges."""
    total = sum(seen.checks for seen in run.tally.departments.values())
    for name, seen in sorted(run.tally.departments.items()):
        counters = run.counters.get(name)
        yield (
            name,
            f"{seen.checks:,}",
            f"{100 * seen.checks / total:.1f} %" if total else "-",
            f"{seen.answered:,}",
            f"{seen.refused.total():,}",
            f"{seen.left_open:,}",
            f"{seen.unavailable.total():,}",
            "-" if counters is None else _at_most(counters.percentile(50)),
            "-" if counters is None else _at_most(counters.percentile(99)),
            "-" if counters is None else f"{counters.hedges:.0f} / {counters.trips:.0f}",
        )


DEPARTMENT_HEADINGS: Row = (
    "department\n部门",
    "checks\n核验项",
    "share\n占比",
    "answered\n答复",
    "refused\n拒绝",
    "open\n未决",
    "unavail.\n不可用",
    "p50",
    "p99",
    "hedges /\ntrips",
)


def reasons(run: Rehearsal) -> Iterator[Row]:
    """Where, reason, count: refusals and vain waits of applications, retries, and what departments did not answer."""
    for reason, count in run.tally.reasons.most_common():
        yield "application 申请", reason, f"{count:,}"
    for reason, count in run.tally.retries.most_common():
        yield "sent again 重发", reason, f"{count:,}"
    for name, seen in sorted(run.tally.departments.items()):
        for reason, count in (seen.unavailable + seen.refused).most_common():
            yield name, reason, f"{count:,}"


def to_json(run: Rehearsal) -> dict[str, Any]:
    """The report for a program to read: seconds, percent, applications and checks."""
    tally, health = run.tally, run.tally.health
    total = sum(seen.checks for seen in tally.departments.values())
    return {
        "verdict": run.verdict.value,
        "goal": [{"term": item.term.text, "value": _rounded(item.value), "holds": item.holds} for item in run.judged],
        "profile": asdict(run.profile),
        "elapsed_seconds": round(run.elapsed, 3),
        "rate": round(run.rate, 3),
        "applications": {end.value.replace(" ", "_"): tally.ends[end] for end in End},
        "checks_per_application": round(run.checks_per_application, 2),
        "latency_seconds": _latency(tally.latency),
        "reasons": dict(tally.reasons),
        "retries": dict(tally.retries),
        "wrong": list(tally.wrong),
        "departments": {
            name: _department_json(seen, total, run.counters.get(name))
            for name, seen in sorted(tally.departments.items())
        },
        "generator": {
            "kept_up": health.kept_up,
            "planned": sum(run.planned),
            "sent": tally.sent,
            "late_seconds": _latency(health.late),
            "loop_lag_seconds": _latency(health.loop_lag),
            "cpu_percent_of_one_core": round(run.cpu_share, 1),
            "machine_load_per_core": round(health.machine_load, 2),
            "most_under_way": tally.most_under_way,
            "held_back": health.held_back,
            "connections": run.connections,
            "verify_receipts": run.verify_receipts,
            "receipts_verified": tally.receipts_verified,
        },
        "seconds": [
            {
                "planned": run.planned[number] if number < len(run.planned) else 0,
                "sent": run.second(number).sent,
                "answered": run.second(number).answered,
                "other": run.second(number).other,
                "p99_seconds": _rounded(run.second(number).latency.percentile(99)),
            }
            for number in range(length_of(run))
        ],
        "method": {"latency": METHOD, "departments": METHOD_DEPARTMENTS},
    }


def length_of(run: Rehearsal) -> int:
    """Seconds of the run of which something is to be told."""
    return max(len(run.planned), *(number + 1 for number in run.tally.seconds), 1)


def text_of_seconds(value: float | None) -> str:
    """A duration as a person reads it."""
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _value(measure: str, value: float | None) -> str:
    if value is None:
        return "-"
    if measure in LATENCIES:
        return text_of_seconds(value)
    return f"{value:.1f} /s" if measure == RATE else f"{value:.2f} %"


def _at_most(value: float | None) -> str:
    """A percentile of buckets: the upper end of one, of which the last has none."""
    if value is None:
        return "-"
    return "> 10 s" if math.isinf(value) else f"≤ {text_of_seconds(value)}"


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _department_json(seen: Department, total: int, counters: NodeCounters | None) -> dict[str, Any]:
    return {
        "checks": seen.checks,
        "share_percent": round(100 * seen.checks / total, 2) if total else None,
        "answered": seen.answered,
        "refused": dict(seen.refused),
        "left_open": seen.left_open,
        "unavailable": dict(seen.unavailable),
        "gateway": None
        if counters is None
        else {
            **{name: getattr(counters, name) for name in ("asks", "hedges", "failovers", "trips")},
            **{f"p{percent}_seconds": _finite(counters.percentile(percent)) for percent in (50, 99)},
        },
    }


def _latency(seen: Histogram) -> dict[str, float | int | None]:
    named = {f"p{percent}": _rounded(seen.percentile(percent)) for percent in (50, 90, 95, 99)}
    return {"count": seen.count, **named, "max": _rounded(seen.max) if seen.count else None}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
