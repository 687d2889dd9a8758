"""What the simulation assumes, each a named parameter, and the capacities it holds them against.

Where the defaults come from:

- `first_hour_percent`, `checks_per_application`, `burst_factor`, `retry_factor`: the load assumptions that the project
  plans with: a quarter of a wave's applicants come in its first hour, five checks each, bursts of three times, retries
  of one and a half times. They are assumptions, not measurements: replace them by last year's counts.
- `burst_minutes`, `day_starts`, `day_ends`: ours; the rest of a wave comes evenly between these hours.
- `share_percent`: checks per department of the five public groups of annex 2, each as frequent as the others
  (`gateway/rules/packs/43.toml`): police 17 of 28, education 5, land 3, housing 3. Social insurance is a toggle of some
  counties: none.
- `capacity`: 20 checks a second for each department of a prefecture. Published figures of comparable exchanges run
  from 2 a second for one server (Finnish guidance: 50 to 125 messages a minute) to 110 (a report about one X-Road
  security server). Heyan's own node and gateway answer thousands a second on one core: the register behind the node is
  the limit. Measure yours in the rehearsal and write it into the settings file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from gateway.protocol.claims import DepartmentKind
from gateway.protocol.divisions import PREFECTURES
from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.reasons import Reason, Text

DEPARTMENTS = tuple(kind.value for kind in DepartmentKind)
DEFAULT_CAPACITY = 20.0
"""Checks a second of one department in one prefecture; see above."""
MIN_CAPACITY, MAX_CAPACITY = 0.1, 1_000_000.0
"""A tenth of what the slowest published exchange does; below it a season's queue would outlast the calendar."""
_PERCENT = 100

_SHARES = MappingProxyType({"police": 60, "land": 11, "hrss": 0, "housing": 11, "education": 18})


@dataclass(frozen=True, slots=True)
class Assumptions:
    """How applicants behave."""

    first_hour_percent: int = 25
    """Of a wave's applicants, those who come in its first hour."""
    burst_minutes: int = 10
    """The first minutes, in which the burst comes."""
    burst_factor: float = 3.0
    """Times the first hour's average, during the burst."""
    retry_factor: float = 1.5
    """Times each check of the first hour is asked."""
    checks_per_application: float = 5.0
    day_starts: int = 8
    """Hour at which applicants begin to come, on days after the opening."""
    day_ends: int = 20
    """Hour at which they stop."""
    share_percent: Mapping[str, int] = field(default_factory=lambda: _SHARES)
    """Of a wave's checks, those of each department."""


@dataclass(frozen=True, slots=True)
class Capacities:
    """Checks a second of each department in each prefecture."""

    default: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(DEPARTMENTS, DEFAULT_CAPACITY))
    prefecture: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, prefecture: str, department: str) -> float:
        """Checks a second."""
        return self.prefecture.get(prefecture, {}).get(department, self.default[department])


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that is assumed."""

    assumptions: Assumptions = field(default_factory=Assumptions)
    capacities: Capacities = field(default_factory=Capacities)


_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "first_hour_percent": (1, 99),
        "burst_minutes": (1, 59),
        "burst_factor": (1, 60),
        "retry_factor": (1, 10),
        "checks_per_application": (0.1, 50),
        "day_starts": (0, 23),
        "day_ends": (1, 24),
    }
)


def read_setting(text: str) -> Setting:
    """The settings of a TOML file, defaults for what it leaves out; MalformedError (CONFIGURATION_INVALID), located.

    Tables: `[assumptions]`, `[assumptions.share_percent]`, `[capacity]` and `[prefecture.4301]`.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of int and datetime too, and of brackets in brackets
        found = re.search(r"line \d+, column \d+", str(error))
        raise _error({found[0] if found else "settings": Text("不是合法的 TOML", "is not TOML")}) from None
    faults: dict[str, Text] = {}
    _only(document, ("assumptions", "capacity", "prefecture"), "", faults)
    assumptions = _assumptions(_table(document, "assumptions", "", faults), faults)
    default = _capacity(_table(document, "capacity", "", faults), "capacity.", faults)
    own = _table(document, "prefecture", "", faults)
    _only(own, tuple(PREFECTURES), "prefecture.", faults)
    prefectures = {
        code: _capacity(_table(own, code, "prefecture.", faults), f"prefecture.{code}.", faults) for code in own
    }
    if faults:
        raise _error(faults)
    return Setting(assumptions, Capacities(dict.fromkeys(DEPARTMENTS, DEFAULT_CAPACITY) | default, prefectures))


def _assumptions(table: Mapping[str, Any], faults: dict[str, Text]) -> Assumptions:
    names = tuple(item.name for item in fields(Assumptions))
    _only(table, names, "assumptions.", faults)
    values: dict[str, Any] = {}
    for name, (least, most) in _BOUNDS.items():
        value = table.get(name, getattr(Assumptions(), name))
        whole = isinstance(getattr(Assumptions(), name), int)
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not least <= value <= most
        ):
            faults[f"assumptions.{name}"] = Text(
                f"应为 {least} 至 {most} 的数", f"must be a number from {least} to {most}"
            )
        values[name] = value
    shares = _table(table, "share_percent", "assumptions.", faults) or _SHARES
    _only(shares, DEPARTMENTS, "assumptions.share_percent.", faults)
    counts = [isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in shares.values()]
    if not all(counts) or sum(shares.values()) != _PERCENT:
        faults["assumptions.share_percent"] = Text("应为合计 100 的整数", "must be whole numbers that add up to 100")
    if not faults and values["burst_minutes"] * values["burst_factor"] > 60:  # noqa: PLR2004 - minutes of the hour
        faults["assumptions.burst_factor"] = Text(
            "高峰人数不应超过首小时总人数", "the burst must not bring more than the first hour does"
        )
    if not faults and values["day_starts"] >= values["day_ends"]:
        faults["assumptions.day_ends"] = Text("应晚于开始时刻", "must be after day_starts")
    return (
        Assumptions(**values, share_percent={name: shares.get(name, 0) for name in DEPARTMENTS})
        if not faults
        else Assumptions()
    )


def _capacity(table: Mapping[str, Any], prefix: str, faults: dict[str, Text]) -> dict[str, float]:
    _only(table, DEPARTMENTS, prefix, faults)
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not MIN_CAPACITY <= value <= MAX_CAPACITY:
            faults[prefix + name] = Text(
                f"应为每秒核验数，{MIN_CAPACITY:g} 至 {MAX_CAPACITY:,.0f}",
                f"must be checks a second, from {MIN_CAPACITY:g} to {MAX_CAPACITY:,.0f}",
            )
    return dict(table)


def _table(document: Mapping[str, Any], name: str, prefix: str, faults: dict[str, Text]) -> Mapping[str, Any]:
    value = document.get(name, {})
    if isinstance(value, dict):
        return value
    faults[prefix + name] = Text("应为一个表", "must be a table")
    return {}


def _only(table: Mapping[str, Any], names: tuple[str, ...], prefix: str, faults: dict[str, Text]) -> None:
    for name in table:
        if name not in names:
            faults[prefix + name] = Text(f"应为其中之一：{'、'.join(names)}", f"must be one of {', '.join(names)}")


def _error(faults: Mapping[str, Text]) -> MalformedError:
    violations = tuple(FieldViolation(place, f"{text.en} / {text.zh}") for place, text in faults.items())
    return MalformedError(Reason.CONFIGURATION_INVALID, "settings of the season", violations=violations)
