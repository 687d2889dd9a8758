"""What replaces a paper: a question to a department, all of several requirements, or any of them. Nothing else.

The language is closed: no negation (a negative fact is a claim of its own), no number, no condition. A parameter is a
value of the claim's allow-list or one of three references, which are filled in when the rules are applied:

    @level          the level of the school applied for
    @school_year    the school year of the pack
    @months         the months of social insurance that the region sets
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

MAX_DEPTH = 4
"""Levels of `all` and `any`; annex 2 needs two."""

MAX_QUESTIONS = 12
"""Questions of one requirement; annex 2 needs three."""

MAX_ALTERNATIVES = 16
"""Alternatives of one requirement when written out, each all of its questions."""

LEVEL, SCHOOL_YEAR, MONTHS = "@level", "@school_year", "@months"
REFERENCES = (LEVEL, SCHOOL_YEAR, MONTHS)


@dataclass(frozen=True, slots=True, order=True)
class Question:
    """A claim with its parameters, by name; the region is that of the rules."""

    claim: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As a person reads it: `insurance.paid_months@1(months=12)`."""
        listed = ", ".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.claim}({listed})" if listed else self.claim


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds when every member does."""

    members: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when one member does."""

    members: tuple[Requirement, ...]


Requirement = Question | AllOf | AnyOf


def questions_of(requirement: Requirement) -> Iterator[Question]:
    """Every question of `requirement`, in its order; one that stands twice comes twice."""
    if isinstance(requirement, Question):
        yield requirement
        return
    for member in requirement.members:
        yield from questions_of(member)


def depth_of(requirement: Requirement) -> int:
    """Levels of `all` and `any`: 0 for a question alone."""
    if isinstance(requirement, Question):
        return 0
    return 1 + max(depth_of(member) for member in requirement.members)


def alternatives_of(requirement: Requirement) -> tuple[tuple[Question, ...], ...]:
    """The requirement written out: it holds when all questions of one alternative do. Each question once in each."""
    if isinstance(requirement, Question):
        return ((requirement,),)
    branches = [alternatives_of(member) for member in requirement.members]
    if isinstance(requirement, AnyOf):
        found = [alternative for branch in branches for alternative in branch]
    else:
        found = [tuple(question for part in parts for question in part) for parts in product(*branches)]
    return tuple(dict.fromkeys(tuple(dict.fromkeys(alternative)) for alternative in found))


def alternative_count(requirement: Requirement) -> int:
    """How many alternatives there are at most, without writing them out."""
    if isinstance(requirement, Question):
        return 1
    counts = [alternative_count(member) for member in requirement.members]
    if isinstance(requirement, AnyOf):
        return sum(counts)
    total = 1
    for count in counts:
        total *= count
    return total


def bind(requirement: Requirement, values: Mapping[str, str]) -> Requirement:
    """`requirement` with each reference replaced by its value in `values`; all that occur must be there."""
    if isinstance(requirement, Question):
        filled = tuple(
            (name, values[value] if value in REFERENCES else value) for name, value in requirement.parameters
        )
        return Question(requirement.claim, filled)
    return type(requirement)(tuple(bind(member, values) for member in requirement.members))
