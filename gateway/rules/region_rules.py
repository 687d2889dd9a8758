"""The rules of one region, and the plan that follows from them. Made by `layering`, which checks that all fits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from gateway.protocol.claims import Role, claim_named
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import MalformedError
from gateway.protocol.matrix import Group, PlannedCheck, School
from gateway.protocol.reasons import Text
from gateway.protocol.registry_terms import Assurance
from gateway.rules.pack import SOCIAL_INSURANCE, Insurance, Material, Row
from gateway.rules.requirements import (
    LEVEL,
    MONTHS,
    SCHOOL_YEAR,
    AnyOf,
    Question,
    Requirement,
    alternatives_of,
    bind,
    questions_of,
)
from gateway.rules.windows import Window


@dataclass(frozen=True)
class RegionRules:
    """What holds in one region, from all packs that count there.

    `versions` names those packs, province first. `origins` tells of each thing (`materials.lease`,
    `rows.public_primary.neither`, `social_insurance`, `windows`, `guide.consult`, `assurance`) which region's pack
    stated it. `fields` are those of the student record to be collected unless they are on file.
    """

    region: str
    name: Text
    school_year: str
    versions: Mapping[str, str]
    assurance: Assurance
    materials: Mapping[str, Material]
    rows: Mapping[tuple[School, Group], Row]
    insurance: Insurance
    windows: tuple[Window, ...]
    guide: Mapping[str, Text]
    fields: tuple[str, ...]
    origins: Mapping[str, str]

    def groups_of(self, school: School) -> tuple[Group, ...]:
        """The groups of `school`, in the order of the rows."""
        return tuple(group for row_school, group in self.rows if row_school is school)

    def materials_of(self, school: School, group: Group) -> tuple[Material, ...]:
        """What `group` owes at `school`, social insurance included, with every reference filled in.

        Raises MalformedError naming the group if there is no such row.
        """
        owed = self._owed.get((school, group))
        if owed is None:
            owed = self._owed[school, group] = self._filled_in(school, group)
        return owed

    @cached_property
    def _owed(self) -> dict[tuple[School, Group], tuple[Material, ...]]:  # each query is held against it
        return {}

    def _filled_in(self, school: School, group: Group) -> tuple[Material, ...]:
        row = self.rows.get((school, group))
        if row is None:
            raise MalformedError.at("group", "the region's rules have no such group for this kind of school")
        keys = row.materials
        if self.insurance.required and group in self.insurance.groups:
            keys = (*keys, SOCIAL_INSURANCE)
        return tuple(self._bound(self.materials[key], school) for key in keys)

    def assurance_of(self, school: School, groups: Iterable[Group]) -> Assurance:
        """The least identity assurance that a consent needs for all materials of `groups`."""
        levels = [material.assurance for group in groups for material in self.materials_of(school, group)]
        return max([self.assurance, *levels], key=lambda level: level.rank)

    def questions_of(self, school: School, groups: Iterable[Group]) -> Mapping[Question, Assurance]:
        """Every question that the materials of `groups` ask, with the identity assurance that these need."""
        asked = tuple(groups)
        needed = self._needed.get((school, asked))
        if needed is None:
            needed = self._needed[school, asked] = self._assurances(school, asked)
        return needed

    @cached_property
    def _needed(self) -> dict[tuple[School, tuple[Group, ...]], Mapping[Question, Assurance]]:
        return {}

    def _assurances(self, school: School, groups: tuple[Group, ...]) -> Mapping[Question, Assurance]:
        needed: dict[Question, Assurance] = {}
        for group in groups:
            for material in self.materials_of(school, group):
                for question in questions_of(material.requirement) if material.requirement is not None else ():
                    levels = (needed.get(question, Assurance.LOW), material.assurance, self.assurance)
                    needed[question] = max(levels, key=lambda level: level.rank)
        return MappingProxyType(needed)

    def digest(self) -> bytes:
        """What plans and verdicts rest on: 32 bytes over the rules without windows and guide, which may move."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:  # made once: each query is held against it
        ruled = {key: value for key, value in self.document().items() if key not in ("windows", "guide", "origins")}
        text = json.dumps(ruled, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return digest(Kind.RULES, text.encode())

    def document(self) -> dict[str, object]:
        """The rules as values of JSON."""
        return {
            "region": self.region,
            "name": _words(self.name),
            "school_year": self.school_year,
            "versions": dict(self.versions),
            "assurance": self.assurance.value,
            "materials": {key: _material_document(material) for key, material in self.materials.items()},
            "rows": [
                {
                    "school": school.value,
                    "group": group.value,
                    "materials": list(row.materials),
                    "note": _words(row.note),
                }
                for (school, group), row in self.rows.items()
            ],
            "social_insurance": {
                "required": self.insurance.required,
                "months": self.insurance.months or None,
                "groups": [group.value for group in self.insurance.groups],
            },
            "windows": [
                {"name": _words(window.name), "opens": window.opens.isoformat(), "closes": window.closes.isoformat()}
                for window in self.windows
            ],
            "guide": {key: _words(text) for key, text in self.guide.items()},
            "registry_fields": list(self.fields),
            "origins": dict(self.origins),
        }

    def _bound(self, material: Material, school: School) -> Material:
        if material.requirement is None:
            return material
        values = {LEVEL: school.level, SCHOOL_YEAR: self.school_year, MONTHS: self.insurance.months}
        return replace(material, requirement=bind(material.requirement, values))


def plan_checks(
    rules: RegionRules, school: School, groups: Iterable[Group], roles: Set[Role]
) -> tuple[PlannedCheck, ...]:
    """The checks that a family with `roles` asks to be judged for `groups`: each question once, in the rules' order.

    Alternatives that need a person whom the family does not have are left out. All groups of a school together are
    the plan of a family that leaves its group open.
    """
    keys_by_question: dict[Question, list[str]] = {}
    for group in groups:
        for material in rules.materials_of(school, group):
            for question in _fillable(material, roles):
                keys = keys_by_question.setdefault(question, [])
                if material.key not in keys:
                    keys.append(material.key)
    return tuple(
        PlannedCheck(question.claim, MappingProxyType(dict(question.parameters)), tuple(keys))
        for question, keys in keys_by_question.items()
    )


def _fillable(material: Material, roles: Set[Role]) -> list[Question]:
    if material.requirement is None:
        return []
    return [
        question
        for alternative in alternatives_of(material.requirement)
        if all(claim_named(each.claim).roles <= roles for each in alternative)
        for question in alternative
    ]


def requirement_document(requirement: Requirement) -> object:
    """A requirement in the shape in which packs write it, claims always as tables."""
    if isinstance(requirement, Question):
        return {"claim": requirement.claim, **dict(requirement.parameters)}
    operator = "any" if isinstance(requirement, AnyOf) else "all"
    return {operator: [requirement_document(member) for member in requirement.members]}


def _material_document(material: Material) -> dict[str, object]:
    return {
        "name": _words(material.name),
        "replaced_by": None if material.requirement is None else requirement_document(material.requirement),
        "exemption": material.exemption and material.exemption.value,
        "assurance": material.assurance.value,
        "condition": material.condition,
        "note": _words(material.note),
    }


def _words(text: Text | None) -> dict[str, str] | None:
    return None if text is None else {"zh": text.zh, "en": text.en}
