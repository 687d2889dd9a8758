"""Plans: what to ask for an application, and of whom. Until counties write rule packs, from annex 2's matrix."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from gateway.protocol.claims import Role, claim_named
from gateway.protocol.digests import Kind, digest
from gateway.protocol.divisions import is_county
from gateway.protocol.errors import MalformedError
from gateway.protocol.matrix import (
    PURPOSE_ENROLMENT,
    Group,
    Material,
    School,
    materials_of,
    plan_checks,
)
from gateway.protocol.registry import Registry
from heyan.v1 import check_pb2
from heyan.v1 import gateway_service_pb2 as pb

_E = TypeVar("_E", bound=StrEnum)


def make_plan(request: pb.GetPlanRequest, registry: Registry, now: float) -> pb.GetPlanResponse:
    """The plan of annex 2 for a county, a kind of school and a group, for a family that has every role.

    Raises MalformedError naming the field, or NotGrantedError (REGION_NOT_SERVED) if a check has no node.
    """
    if not is_county(request.region):
        raise MalformedError.at("region", "must be the GB/T 2260 code of a county of Hunan")
    school = _member(School, request.school, "school")
    group = _member(Group, request.group, "group")
    materials = materials_of(school, group)
    checks = []
    for number, planned in enumerate(plan_checks(school, group, frozenset(Role)), start=1):
        node = registry.node_for(planned.claim, request.region)
        checks.append(
            pb.PlannedCheck(
                check_id=f"c{number}",
                claim=planned.claim,
                region=request.region,
                parameters=_parameters(planned.parameters),
                roles=sorted(role.value for role in claim_named(planned.claim).roles),
                department=node.id,
                sealing_key_ids=[key.kid for key in registry.sealing_keys(node.id, now)],
                materials=planned.materials,
            )
        )
    plan = pb.GetPlanResponse(
        checks=checks, materials=[_material(material) for material in materials], purpose=PURPOSE_ENROLMENT
    )
    plan.rules_digest = digest(Kind.RULES, _rules(plan))
    return plan


def _rules(plan: pb.GetPlanResponse) -> bytes:
    """What of a plan is rule: without the nodes and keys, which change while the rules stand."""
    rules = pb.GetPlanResponse()
    rules.CopyFrom(plan)
    for check in rules.checks:
        check.ClearField("department")
        check.ClearField("sealing_key_ids")
    return rules.SerializeToString(deterministic=True)


def _parameters(parameters: Mapping[str, str]) -> list[check_pb2.Parameter]:
    return [check_pb2.Parameter(name=name, value=value) for name, value in sorted(parameters.items())]


def _material(material: Material) -> pb.PlannedMaterial:
    return pb.PlannedMaterial(
        key=material.key,
        name_zh=material.text.zh,
        name_en=material.text.en,
        alternatives=[pb.Alternative(claims=claims) for claims in material.alternatives],
    )


def _member(kind: type[_E], value: str, field: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise MalformedError.at(field, "must be one of " + ", ".join(member.value for member in kind)) from None
