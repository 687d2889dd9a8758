"""What the sandbox's counties ask, by rule packs: the port of the simulated families, and of their guardians."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from gateway.protocol.claims import FIELD_ON_FILE
from gateway.protocol.matrix import PlannedCheck
from gateway.protocol.outcomes import Outcome
from gateway.rulebook import Rulebook
from gateway.rules.region_rules import RegionRules, plan_checks
from gateway.rules.requirements import Question
from gateway.rules.verdict import GroupVerdict, judge, supported_groups
from sandbox_departments.county_rules import Asked, Judgement
from sandbox_departments.people import Case


class SandboxRules:
    """What follows from the packs in `folder`, or from those that come with Heyan, as they are when this is made.

    Keeps what it worked out, since many families share a case. Raises MalformedError with every problem of the packs.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._rulebook = Rulebook(folder)
        self._asked: dict[Case, Asked] = {}
        self._judged: dict[tuple[Case, tuple[Outcome, ...]], Judgement] = {}

    def rules_of(self, county: str) -> RegionRules:
        """The rules of a county."""
        return self._rulebook.rules_of(county)

    def asked(self, case: Case) -> Asked:
        """What a family of `case` is asked."""
        if case not in self._asked:
            self._asked[case] = self._work_out(case)
        return self._asked[case]

    def judged(self, case: Case, outcomes: Sequence[Outcome]) -> Judgement:
        """What `outcomes` come to, one for each check of `asked(case).plan`, in its order."""
        key = case, tuple(outcomes)
        if key not in self._judged:
            verdicts = self.verdicts(case, outcomes)
            own = next(verdict for verdict in verdicts if verdict.group is case.group)
            materials = {each.material.key: each.standing.name for each in own.materials}
            self._judged[key] = Judgement(supported_groups(verdicts), MappingProxyType(materials))
        return self._judged[key]

    def verdicts(self, case: Case, outcomes: Sequence[Outcome]) -> tuple[GroupVerdict, ...]:
        """The verdict of every group of the school on `outcomes`, as for `judged`."""
        questions = map(_question, self.asked(case).plan)
        return judge(self.rules_of(case.region), case.school, dict(zip(questions, outcomes, strict=True)))

    def _work_out(self, case: Case) -> Asked:
        rules = self.rules_of(case.region)
        own = plan_checks(rules, case.school, (case.group,), case.roles)
        whole = plan_checks(rules, case.school, rules.groups_of(case.school), case.roles)
        questions = set(map(_question, own))
        materials = rules.materials_of(case.school, case.group)
        return Asked(
            own=own,
            others=tuple(check for check in whole if _question(check) not in questions),
            fields=tuple(PlannedCheck(FIELD_ON_FILE, MappingProxyType({"field": name}), ()) for name in rules.fields),
            offline=tuple(material.key for material in materials if material.requirement is None),
            school_year=int(rules.school_year),
        )


def _question(check: PlannedCheck) -> Question:
    return Question(check.claim, tuple(check.parameters.items()))
