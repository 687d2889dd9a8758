"""A requirement as a pack writes it, read within bounds:

replaced_by = "property.owns_home@1"
replaced_by = { claim = "insurance.paid_months@1", months = "@months" }
replaced_by = { any = ["housing.public_housing@1", { all = ["…", "…"] }] }
"""

from __future__ import annotations

from gateway.protocol.claims import CLAIMS, Claim
from gateway.protocol.reasons import Text
from gateway.rules.lines import Path
from gateway.rules.reading import Section, Source, one_of
from gateway.rules.requirements import (
    LEVEL,
    MAX_ALTERNATIVES,
    MAX_DEPTH,
    MAX_QUESTIONS,
    MONTHS,
    SCHOOL_YEAR,
    AllOf,
    AnyOf,
    Question,
    Requirement,
    alternative_count,
    questions_of,
)

_VALUES = {
    LEVEL: CLAIMS["enrolment.of_school_age@1"].parameters["level"],
    SCHOOL_YEAR: CLAIMS["enrolment.of_school_age@1"].parameters["year"],
    MONTHS: CLAIMS["insurance.paid_months@1"].parameters["months"],
}
"""What each reference may stand for; it fits a parameter whose allow-list has all of it."""

_SHAPE = Text(
    "应为声明名，或 { claim }、{ all }、{ any } 之一",
    'must be a claim, or a table with one of "claim", "all" and "any"',
)


def read_requirement(source: Source, value: object, path: Path, *, months: bool) -> Requirement | None:
    """The requirement of `value`; None after a problem. `months`: whether @months may stand in it."""
    requirement = _Reader(source, months=months).requirement(value, path, 0)
    if requirement is None:
        return None
    if len(list(questions_of(requirement))) > MAX_QUESTIONS:
        source.fail(path, Text(f"至多 {MAX_QUESTIONS} 个声明", f"must ask at most {MAX_QUESTIONS} claims"))
        return None
    if alternative_count(requirement) > MAX_ALTERNATIVES:
        source.fail(path, Text(f"展开后至多 {MAX_ALTERNATIVES} 种", f"must be at most {MAX_ALTERNATIVES} alternatives"))
        return None
    return requirement


class _Reader:
    def __init__(self, source: Source, *, months: bool) -> None:
        self._source = source
        self._months = months

    def requirement(self, value: object, path: Path, depth: int) -> Requirement | None:
        if isinstance(value, str):
            return self._question(value, {}, path, path)
        if isinstance(value, dict):
            operators = [key for key in ("all", "any", "claim") if key in value]
            if operators == ["claim"]:
                return self._question(value["claim"], value, path, (*path, "claim"))
            if operators in (["all"], ["any"]):
                return self._compound(operators[0], Section(self._source, value, path), depth + 1)
        self._source.fail(path, _SHAPE)
        return None

    def _compound(self, operator: str, section: Section, depth: int) -> Requirement | None:
        members = section.items(operator)
        section.end()
        if depth > MAX_DEPTH:
            section.fail(operator, Text(f"至多嵌套 {MAX_DEPTH} 层", f"must nest at most {MAX_DEPTH} deep"))
            return None
        if len(members) == 1 or len(members) > MAX_QUESTIONS:
            section.fail(operator, Text(f"应有 2 至 {MAX_QUESTIONS} 项", f"must have 2 to {MAX_QUESTIONS} members"))
            return None
        place = section.at(operator)
        read = [self.requirement(member, (*place, number), depth) for number, member in enumerate(members)]
        found = tuple(member for member in read if member is not None)
        if not found or len(found) != len(members):
            return None
        return AllOf(found) if operator == "all" else AnyOf(found)

    def _question(self, name: object, table: dict[str, object], path: Path, place: Path) -> Question | None:
        claim = CLAIMS.get(name) if isinstance(name, str) else None
        if claim is None:
            self._source.fail(place, one_of(CLAIMS))
            return None
        given = {key: value for key, value in table.items() if key != "claim"}
        sound = True
        for key in given.keys() - claim.parameters.keys():
            self._source.fail((*path, key), Text("该声明没有此参数", "is no parameter of this claim"))
            sound = False
        parameters: list[tuple[str, str]] = []
        for key in sorted(claim.parameters):
            value = given.get(key)
            if isinstance(value, str) and value in self._allowed(claim, key):
                parameters.append((key, value))
            else:
                self._source.fail((*path, key), one_of(self._allowed(claim, key)))
                sound = False
        return Question(claim.name, tuple(parameters)) if sound else None

    def _allowed(self, claim: Claim, parameter: str) -> tuple[str, ...]:
        listed = claim.parameters[parameter]
        fitting = (
            reference
            for reference, values in _VALUES.items()
            if set(values) <= set(listed) and (reference != MONTHS or self._months)
        )
        return (*listed, *fitting)
