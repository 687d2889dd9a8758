"""The goal of a rehearsal, as a small text: `p99<2s, refused<1%, rate>=50`.

    goal      = term *("," term)
    term      = measure operator number unit
    operator  = "<" / "<=" / ">" / ">="

| measure | unit | what |
|---|---|---|
| p50, p90, p95, p99, max | s or ms | latency of what was answered or waited for in vain, from the intended arrival |
| answered, unavailable, refused, unanswered | % | of the applications that ended |
| rate | (none) or /s | applications answered in a second, over the whole run |

A measure that has no value (no latency, as nothing was answered) does not reach its goal.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.reasons import Reason, Text

LATENCIES = ("p50", "p90", "p95", "p99", "max")
SHARES = ("answered", "unavailable", "refused", "unanswered")
RATE = "rate"
MEASURES = (*LATENCIES, *SHARES, RATE)
MAX_TERMS = 20

_TERM = re.compile(r"\s*([a-z0-9]+)\s*(<=|>=|<|>)\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(ms|s|%|/s|)\s*")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)
_UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        **{measure: {"s": 1.0, "ms": 0.001} for measure in LATENCIES},
        **{measure: {"%": 1.0} for measure in SHARES},
        RATE: {"": 1.0, "/s": 1.0},
    }
)
"""Of each measure, the units that it may have, and what one of them is."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: the limit is in seconds, percent, or applications a second."""

    measure: str
    comparison: str
    limit: float
    text: str

    def holds(self, value: float | None) -> bool:
        """Whether a value reaches the goal."""
        return value is not None and _OPERATORS[self.comparison](value, self.limit)


def parse_goal(text: str, place: str = "goal") -> tuple[Term, ...]:
    """The terms of a goal, none of an empty text; MalformedError (CONFIGURATION_INVALID), each faulty term located."""
    if not text.strip():
        return ()
    written = text.split(",")
    if len(written) > MAX_TERMS:
        raise MalformedError.at(
            place, f"must have at most {MAX_TERMS} terms / 最多 {MAX_TERMS} 项", Reason.CONFIGURATION_INVALID
        )
    terms: list[Term] = []
    faults: list[FieldViolation] = []
    for number, term in enumerate(written, start=1):
        read = _term(term)
        if isinstance(read, Term):
            terms.append(read)
        else:
            faults.append(FieldViolation(f"{place}, term {number} / 第 {number} 项", f"{read.en} / {read.zh}"))
    if faults:
        raise MalformedError(Reason.CONFIGURATION_INVALID, "goal of the rehearsal", violations=tuple(faults))
    return tuple(terms)


def _term(text: str) -> Term | Text:
    """A term, or what is wrong with it."""
    found = _TERM.fullmatch(text)
    if found is None:
        return Text("应如 p99<2s、refused<1% 或 rate>=50", "must read like p99<2s, refused<1% or rate>=50")
    measure, comparison, number, unit = found.groups()
    if measure not in MEASURES:
        return Text(f"应为其中之一：{'、'.join(MEASURES)}", f"must be about one of {', '.join(MEASURES)}")
    units = _UNITS[measure]
    if unit not in units:
        names = ", ".join(name or "nothing" for name in units)
        return Text(f"{measure} 的单位应为 {names}", f"must have the unit {names} after the number of {measure}")
    return Term(measure, comparison, float(number) * units[unit], "".join(text.split()))
