"""Plans: what to ask for an application, and of whom, by the rules of its county."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.protocol.application import read_choice
from gateway.protocol.claims import REGISTRY_FIELDS, Role, claim_named
from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import MalformedError
from gateway.protocol.matrix import PURPOSE_ENROLMENT, Group, School
from gateway.protocol.registry import Registry
from gateway.rulebook import Rulebook
from gateway.rules.pack import Material
from gateway.rules.region_rules import RegionRules, plan_checks
from gateway.rules.requirements import Question, alternatives_of
from gateway.rules.windows import Window, next_window, window_at
from gateway.verdicts import field_question, write_exemption
from heyan.v1 import check_pb2
from heyan.v1 import gateway_service_pb2 as pb


def make_plan(request: pb.GetPlanRequest, rulebook: Rulebook, registry: Registry, now: float) -> pb.GetPlanResponse:
    """The plan for a county, a kind of school and a group, or all groups of the school if none is named.

    Raises MalformedError naming the field, or NotGrantedError (REGION_NOT_SERVED) if a check has no node.
    """
    region, school, group = read_choice(request.region, request.school, request.group)
    rules = rulebook.rules_of(region)
    groups = (group,) if group is not None else rules.groups_of(school)
    planning = _Planning(rules, registry, now)
    planned = plan_checks(rules, school, groups, _roles(request.roles))
    for number, check in enumerate(planned, start=1):
        planning.add(f"c{number}", Question(check.claim, tuple(sorted(check.parameters.items()))), check.materials)
    plan = pb.GetPlanResponse(
        checks=planning.checks.values(),
        materials=_materials(rules, school, groups, planning.checks),
        purpose=PURPOSE_ENROLMENT,
        rules_digest=rules.digest(),
        assurance=rules.assurance_of(school, groups).value,
        groups=[each.value for each in groups],
        fields=[planning.field(name) for name in rules.fields],
        rules=rulebook.bundle_of(region),
    )
    is_open, following = window_at(rules.windows, now), next_window(rules.windows, now)
    if is_open is not None:
        plan.window_end_time.CopyFrom(to_timestamp(is_open.closes.timestamp()))
    if following is not None:
        plan.next_window.CopyFrom(_window(following))
    return plan


def _roles(names: Sequence[str]) -> frozenset[Role]:
    """The roles that a family can fill; all if it names none."""
    if not set(names) <= {role.value for role in Role}:
        raise MalformedError.at("roles", "must be of " + ", ".join(role.value for role in Role))
    return frozenset(map(Role, names)) or frozenset(Role)


class _Planning:
    """Makes the checks of one plan, each with its node; `checks` by question."""

    def __init__(self, rules: RegionRules, registry: Registry, now: float) -> None:
        self._region = rules.region
        self._registry = registry
        self._now = now
        self.checks: dict[Question, pb.PlannedCheck] = {}

    def add(self, check_id: str, question: Question, materials: Iterable[str]) -> None:
        """Plan a question of some materials."""
        self.checks[question] = self._check(check_id, question, materials)

    def field(self, name: str) -> pb.PlannedField:
        """A field of the student record with its check."""
        text, check = REGISTRY_FIELDS[name], self._check(f"f.{name}", field_question(name))
        return pb.PlannedField(field=name, name_zh=text.zh, name_en=text.en, check=check)

    def _check(self, check_id: str, question: Question, materials: Iterable[str] = ()) -> pb.PlannedCheck:
        node = self._registry.node_for(question.claim, self._region)
        return pb.PlannedCheck(
            check_id=check_id,
            claim=question.claim,
            region=self._region,
            parameters=[check_pb2.Parameter(name=name, value=value) for name, value in question.parameters],
            roles=sorted(role.value for role in claim_named(question.claim).roles),
            department=node.id,
            sealing_key_ids=[key.kid for key in self._registry.sealing_keys(node.id, self._now)],
            materials=materials,
        )


def _materials(
    rules: RegionRules, school: School, groups: Iterable[Group], checks: Mapping[Question, pb.PlannedCheck]
) -> list[pb.PlannedMaterial]:
    """What the groups owe, each material once, with the groups that owe it."""
    found: dict[str, pb.PlannedMaterial] = {}
    for group in groups:
        for material in rules.materials_of(school, group):
            if material.key not in found:
                found[material.key] = _material(material, checks)
            found[material.key].groups.append(group.value)
    return list(found.values())


def _material(material: Material, checks: Mapping[Question, pb.PlannedCheck]) -> pb.PlannedMaterial:
    alternatives = alternatives_of(material.requirement) if material.requirement is not None else ()

    def check_ids(alternative: tuple[Question, ...]) -> list[str]:
        return [checks[question].check_id for question in alternative] if checks.keys() >= set(alternative) else []

    return pb.PlannedMaterial(
        key=material.key,
        name_zh=material.name.zh,
        name_en=material.name.en,
        alternatives=[
            pb.Alternative(claims=[question.claim for question in alternative], check_ids=check_ids(alternative))
            for alternative in alternatives
        ],
        exemption=write_exemption(material.exemption),
        assurance=material.assurance.value,
        is_condition=material.condition,
        note_zh=material.note.zh if material.note else "",
        note_en=material.note.en if material.note else "",
    )


def _window(window: Window) -> pb.Window:
    return pb.Window(
        name_zh=window.name.zh,
        name_en=window.name.en,
        open_time=to_timestamp(window.opens.timestamp()),
        close_time=to_timestamp(window.closes.timestamp()),
    )
