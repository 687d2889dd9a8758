"""What answers make of the rules: for each material whether it is exempt, checked offline, owed or open; for each group
whether it is supported. A pure function of rules and answers, so that whoever holds a receipt computes it again.

An answer is YES, NO or UNDETERMINED, and worth as much as Kleene's three values: all-of is the least of its members,
any-of the greatest. A technical fault (UNAVAILABLE) or a refusal is one of the three that nobody knows yet, so each
requirement has a least and a greatest worth:

    both YES              exempt     the paper need not be handed in
    both UNDETERMINED     offline    asking again changes nothing: staff look at the paper
    both NO               owed       the family hands the paper in
    they differ           open       asking again may change it (应核尽核: no paper before that)

So one YES decides an any-of and one NO an all-of, whatever the rest. A question that was not asked (no co-resident, no
question about one) supports nothing: it counts as NO, and never makes a requirement open. A better answer (NO,
UNDETERMINED, YES) never lowers either worth: what is exempt stays exempt, and what is not owed does not become owed.
It may turn offline into open, where the paper is saved if another department says YES too. The order of alternatives
never matters.

A group is supported when each of its materials is exempt; its standing is that of all its materials together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, unique

from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.rules.pack import Exemption, Material
from gateway.rules.region_rules import RegionRules
from gateway.rules.requirements import AnyOf, Question, Requirement, alternatives_of

Answers = Mapping[Question, Outcome]


@unique
class Standing(IntEnum):
    """Where a material or a group stands. OPEN is better or worse than OFFLINE as the missing answers turn out."""

    OWED = 1
    OPEN = 2
    OFFLINE = 3
    EXEMPT = 4


@dataclass(frozen=True, slots=True)
class MaterialVerdict:
    """One material: its standing, which of the three exemptions if exempt, and the answers that decide it.

    `grounds` are the questions of YES that make it exempt, the undetermined ones to look at offline, those without an
    answer that keep it open (asking any other again changes nothing), or those of NO. Of papers that are owed because
    nothing was asked, none.
    """

    material: Material
    standing: Standing
    exemption: Exemption | None
    grounds: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """One group with the verdict of each of its materials."""

    group: Group
    standing: Standing
    materials: tuple[MaterialVerdict, ...]

    @property
    def supported(self) -> bool:
        """Whether the answers alone show that the family belongs to the group."""
        return self.standing is Standing.EXEMPT


def judge(rules: RegionRules, school: School, answers: Answers) -> tuple[GroupVerdict, ...]:
    """The verdict of every group of `school`, in the rules' order."""
    return tuple(judge_group(rules, school, group, answers) for group in rules.groups_of(school))


def supported_groups(verdicts: Iterable[GroupVerdict]) -> tuple[Group, ...]:
    """The groups that the answers support."""
    return tuple(verdict.group for verdict in verdicts if verdict.supported)


def judge_group(rules: RegionRules, school: School, group: Group, answers: Answers) -> GroupVerdict:
    """The verdict of one group; MalformedError naming the group if the rules have no such row."""
    materials = rules.materials_of(school, group)
    worths = [_worth_of(material, answers) for material in materials]
    standing = _standing(_Worth(min(worth.least for worth in worths), min(worth.greatest for worth in worths)))
    return GroupVerdict(group, standing, tuple(judge_material(material, answers) for material in materials))


def judge_material(material: Material, answers: Answers) -> MaterialVerdict:
    """The verdict of one material, whose references are filled in."""
    standing = _standing(_worth_of(material, answers))
    exemption = material.exemption if standing is Standing.EXEMPT else None
    return MaterialVerdict(material, standing, exemption, _grounds(material.requirement, standing, answers))


_NO, _UNDETERMINED, _YES = range(3)


@dataclass(frozen=True, slots=True)
class _Worth:
    """The least and the greatest that a requirement may turn out to be worth."""

    least: int
    greatest: int

    @property
    def is_known(self) -> bool:
        """Whether no missing answer can change it."""
        return self.least == self.greatest


_WORTHS: Mapping[Outcome, _Worth] = {
    Outcome.YES: _Worth(_YES, _YES),
    Outcome.NO: _Worth(_NO, _NO),
    Outcome.UNDETERMINED: _Worth(_UNDETERMINED, _UNDETERMINED),
    Outcome.UNAVAILABLE: _Worth(_NO, _YES),
    Outcome.REFUSED: _Worth(_NO, _YES),
}
_STANDINGS = {_NO: Standing.OWED, _UNDETERMINED: Standing.OFFLINE, _YES: Standing.EXEMPT}
_OFFLINE_ONLY = _Worth(_UNDETERMINED, _UNDETERMINED)
"""A material that no department can verify: always for staff."""


def _worth_of(material: Material, answers: Answers) -> _Worth:
    return _OFFLINE_ONLY if material.requirement is None else _worth(material.requirement, answers)


def _worth(requirement: Requirement, answers: Answers) -> _Worth:
    if isinstance(requirement, Question):
        return _WORTHS[answers.get(requirement, Outcome.NO)]
    choose = max if isinstance(requirement, AnyOf) else min
    members = [_worth(member, answers) for member in requirement.members]
    return _Worth(choose(member.least for member in members), choose(member.greatest for member in members))


def _standing(worth: _Worth) -> Standing:
    return _STANDINGS[worth.least] if worth.is_known else Standing.OPEN


def _grounds(requirement: Requirement | None, standing: Standing, answers: Answers) -> tuple[Question, ...]:
    if requirement is None:
        return ()
    if standing is Standing.EXEMPT:
        holding = (
            alternative
            for alternative in alternatives_of(requirement)
            if all(answers.get(question) is Outcome.YES for question in alternative)
        )
        return min(holding, key=lambda alternative: (len(alternative), sorted(alternative)))
    return tuple(dict.fromkeys(question for question in _deciding(requirement, answers) if question in answers))


def _deciding(requirement: Requirement, answers: Answers) -> Iterator[Question]:
    """The questions on which the worth of `requirement` turns, leaving out members that cannot change it."""
    if isinstance(requirement, Question):
        yield requirement
        return
    whole = _worth(requirement, answers)
    for member in requirement.members:
        worth = _worth(member, answers)
        if whole.is_known:
            decides = worth == whole
        elif isinstance(requirement, AnyOf):
            decides = not worth.is_known and worth.greatest > whole.least
        else:
            decides = not worth.is_known and worth.least < whole.greatest
        if decides:
            yield from _deciding(member, answers)
