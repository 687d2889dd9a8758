"""The profile of a rehearsal: how many applicants come when, how impatient they are, and what is asked of the answers.

A profile is read from a TOML file, from options, or from both, in which case an option goes before the file. The
defaults of the opening hour are those of `assumptions`, with which `heyan season plan` simulates: the burst of its
first minutes, and as many who apply again as make the retry factor.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.limits import MAX_QUERY_LIFETIME
from gateway.protocol.reasons import Reason, Text
from gateway.season.assumptions import Assumptions

AHEAD = 15.0
"""Seconds before its time at which an application may be signed and sealed."""
MOST_PATIENCE = MAX_QUERY_LIFETIME - AHEAD - 5
"""Seconds that all attempts of an applicant may take: a query made ahead must not expire meanwhile."""
_DEFAULTS = Assumptions()
_HOUR = 60


class Shape(StrEnum):
    """How the arrivals lie within the run."""

    STEADY = "steady"
    """As many in each second as in any other, on average."""
    OPENING = "opening"
    """The first hour of an opening, compressed into the run: a burst, then calm."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a rehearsal does. Times are seconds."""

    shape: Shape = Shape.OPENING
    applicants: int = 500
    """Families that come."""
    seconds: float = 60.0
    """Time within which they come."""
    burst_minutes: int = _DEFAULTS.burst_minutes
    """Of the opening hour, the minutes of its burst."""
    burst_factor: float = _DEFAULTS.burst_factor
    """Times the hour's average, during the burst."""
    again_percent: int = round(100 * (_DEFAULTS.retry_factor - 1))
    """Of the applicants, those who apply a second time, as a new request, whatever became of the first."""
    again_after: float = 5.0
    """How long after the first application."""
    patience: float = 10.0
    """How long an applicant waits for an answer, before sending the same request again."""
    attempts: int = 3
    """How often a request is sent, the first time included."""
    pause: float = 1.0
    """How long one who was turned away waits, if the gateway names no longer time."""
    connections: int = 2
    """Connections of each education system to the gateway."""
    in_flight: int = 256
    """Applications under way at once, at most; who comes then waits, and the wait counts."""
    seed: int = 1
    """Of the arrivals, and of the families that come."""
    goal: str = ""
    """What must hold in the end; see `goal`."""

    @property
    def rate(self) -> float:
        """First applications a second, on average over the run."""
        return self.applicants / self.seconds


_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "applicants": (1, 20_000),
        "seconds": (1, 3_600),
        "burst_minutes": (1, 59),
        "burst_factor": (1, 60),
        "again_percent": (0, 100),
        "again_after": (0, 600),
        "patience": (0.1, 10),
        "attempts": (1, 10),
        "pause": (0.05, 30),
        "connections": (1, 64),
        "in_flight": (1, 4_096),
        "seed": (0, 2**32),
    }
)
_RATES = (0.01, 10_000.0)
"""Applicants a second."""
_NAMES = ("rate", *(item.name for item in fields(Profile)))

SAMPLE = """\
# A rehearsal of opening morning: heyan season stress --dir run --profile FILE
# What is left out has the value that stands here.

shape = "opening"     # or "steady": as many in each second as in any other
applicants = 500      # families that come; or give rate = 8.5, applicants a second on average
seconds = 60.0        # the opening hour is compressed into so many seconds
burst_minutes = 10    # of the hour, the first minutes bring ...
burst_factor = 3.0    # ... so many times the hour's average

# Impatience
again_percent = 50    # of the applicants, those who apply a second time, as a new request ...
again_after = 5.0     # ... so many seconds after the first
patience = 10.0       # seconds without an answer, after which the same request is sent again
attempts = 3          # how often a request is sent, the first time included
pause = 1.0           # seconds before the next attempt of one who was turned away

# The generator
connections = 2       # of each education system to the gateway
in_flight = 256       # applications under way at once, at most
seed = 1              # other arrivals and other families

# What must hold in the end. Empty: nothing but that no answer is wrong.
goal = "p99<2s, refused<1%, unavailable<1%, unanswered<1%"
"""


def read_values(text: str) -> Mapping[str, Any]:
    """The values of a TOML file, unchecked; MalformedError (CONFIGURATION_INVALID) if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(at ")[2].rstrip(")")
        raise _error({place or "profile": Text("不是合法的 TOML", "is not TOML")}) from None


def make_profile(written: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Profile:
    """The profile of a file's values and of options, which go before them.

    Raises MalformedError (CONFIGURATION_INVALID) with every fault: at its name in the file, or at its `--option`.
    """
    faults = _Faults(given or {})
    values = {**_without(written, faults.options), **faults.options}
    _check_each(values, faults)
    faults.raise_if_any()
    profile = _built(values)
    _check_together(profile, faults)
    faults.raise_if_any()
    return profile


class _Faults:
    """Collects what is wrong, each at its name in the file or at its `--option`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self._found: dict[str, Text] = {}

    def add(self, name: str, zh: str, en: str) -> None:
        """One fault."""
        self._found[f"--{name.replace('_', '-')}" if name in self.options else name] = Text(zh, en)

    def raise_if_any(self) -> None:
        """MalformedError with all faults."""
        if self._found:
            raise _error(self._found)


def _check_each(values: Mapping[str, Any], faults: _Faults) -> None:
    for name in values:
        if name not in _NAMES:
            faults.add(name, f"应为其中之一：{'、'.join(_NAMES)}", f"must be one of {', '.join(_NAMES)}")
    for name, (least, most) in _BOUNDS.items():
        if name in values and not _is_number(values[name], least, most, whole=isinstance(_default(name), int)):
            faults.add(name, f"应为 {least:g} 至 {most:g} 的数", f"must be a number from {least:g} to {most:g}")
    if values.get("shape", Shape.OPENING) not in set(Shape):
        faults.add("shape", "应为 opening 或 steady", "must be opening or steady")
    if not isinstance(values.get("goal", ""), str):
        faults.add("goal", "应为文字", "must be text")
    if "rate" in values and "applicants" in values:
        faults.add("rate", "不应与 applicants 同时给出", "must not be given beside applicants")
    if "rate" in values and not _is_number(values["rate"], *_RATES, whole=False):
        faults.add("rate", f"应为 {_RATES[0]} 至 {_RATES[1]} 的数", f"must be a number from {_RATES[0]} to {_RATES[1]}")


def _check_together(profile: Profile, faults: _Faults) -> None:
    """What no value tells alone."""
    if profile.burst_minutes * profile.burst_factor > _HOUR:
        faults.add(
            "burst_factor", "高峰人数不应超过首小时总人数", "the burst must not bring more than the first hour does"
        )
    if profile.attempts * (profile.patience + profile.pause) > MOST_PATIENCE:
        faults.add(
            "attempts",
            f"次数乘以（patience 加 pause）不应超过 {MOST_PATIENCE:g} 秒：请求一分钟后失效",
            f"times (patience and pause) must not exceed {MOST_PATIENCE:g} seconds: a request expires after a minute",
        )
    least, most = _BOUNDS["applicants"]
    if not least <= profile.applicants <= most:
        faults.add("rate", f"乘以秒数应为 1 至 {most} 人", f"times the seconds must make 1 to {most} applicants")


def _without(written: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values, but for the number of applicants if an option tells it, in either way."""
    told = {"rate", "applicants"} & options.keys()
    return {name: value for name, value in written.items() if not (told and name in {"rate", "applicants"})}


def _built(values: Mapping[str, Any]) -> Profile:
    chosen = {name: value for name, value in values.items() if name != "rate"}
    if "shape" in chosen:
        chosen["shape"] = Shape(chosen["shape"])
    profile = Profile(**chosen)
    if "rate" not in values:
        return profile
    return Profile(**{**chosen, "applicants": round(values["rate"] * profile.seconds)})


def _default(name: str) -> object:
    return getattr(Profile(), name)


def _is_number(value: object, least: float, most: float, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return least <= value <= most


def _error(faults: Mapping[str, Text]) -> MalformedError:
    violations = tuple(FieldViolation(place, f"{text.en} / {text.zh}") for place, text in faults.items())
    return MalformedError(Reason.CONFIGURATION_INVALID, "profile of the rehearsal", violations=violations)
