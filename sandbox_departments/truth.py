"""The correct answer to every question about the simulated families, computed from what was meant.

Nothing here reads a register or uses the node's code: an answer follows from the family's situation and
blemishes, claim by claim, each stated as the claim's own sentence. Tests and benchmarks hold what a federation
answers against it.

The file of `write_truth` is JSON lines in UTF-8, one family each, byte for byte the same for the same families:
`{"family","group","school","region","child","guardian","co_resident","answers":[{"claim","region","parameters",
"outcome"}]}`, a person being `{"id_type","id_number","name"}` or null, with one answer for every check of the family's
plan, in the plan's order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.protocol.claims import Role, check_parameters, claim_named
from gateway.protocol.divisions import prefecture_of
from gateway.protocol.errors import MalformedError, NotFoundError
from gateway.protocol.matrix import Group, School, materials_of, plan_checks
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import IdType, Subject
from sandbox_departments.people import Application, Family
from sandbox_departments.register import Standing


@dataclass(frozen=True, slots=True)
class TrueAnswer:
    """The outcome that a check of the family's plan must have."""

    claim: str
    region: str
    parameters: Mapping[str, str]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Truth:
    """One line of the file: what the applicant states, and the answers to the plan, in its order."""

    application: Application
    answers: tuple[TrueAnswer, ...]


def truth_of(family: Family) -> Truth:
    """The application of `family` with the correct answer to every check of its plan."""
    application = family.application
    checks = plan_checks(application.school, application.group, application.subjects.keys())
    region = application.region
    return Truth(
        application,
        tuple(
            TrueAnswer(check.claim, region, check.parameters, _answer(family, check.claim, region, check.parameters))
            for check in checks
        ),
    )


def answer_of(family: Family, claim: str, region: str, parameters: Mapping[str, str]) -> Outcome:
    """The correct outcome of any claim of the vocabulary about `family`, asked in any county.

    A node outside the prefecture of the family's county does not know its people. Raises MalformedError for what no
    node would be asked: an unknown claim, parameter or county, or a role that the family does not have.
    """
    check_parameters(claim_named(claim), parameters)
    if not claim_named(claim).roles <= family.application.subjects.keys():
        raise MalformedError.at("subjects", "the family has nobody in a role of this claim")
    return _answer(family, claim, region, parameters)


def holds_for_group(family: Family) -> bool:
    """Whether every material that the family's group owes is replaced: some alternative has only YES."""
    application = family.application
    yes = {answer.claim for answer in truth_of(family).answers if answer.outcome is Outcome.YES}
    return all(
        any(yes.issuperset(alternative) for alternative in material.alternatives)
        for material in materials_of(application.school, application.group)
    )


def write_truth(path: Path, families: Iterable[Family]) -> int:
    """Write the truth of `families` to `path`, replacing it, and return how many lines were written."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for family in families:
            file.write(_to_line(truth_of(family)) + "\n")
            count += 1
    return count


def read_truth(path: Path) -> Iterator[Truth]:
    """The truths of the file in order, one in memory at a time; MalformedError names the first bad line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield _from_line(line, number)


def find_truth(path: Path, family: str) -> Truth:
    """The truth of the family with the id `family` ("F000001"); NotFoundError if the file has none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if family.encode() in line:
                truth = _from_line(line, number)
                if truth.application.family == family:
                    return truth
    raise NotFoundError(Reason.NOT_FOUND, "the truth file has no such family")


# -- answers ------------------------------------------------------------------------------------------------


def _answer(family: Family, claim_name: str, region: str, parameters: Mapping[str, str]) -> Outcome:
    claim = claim_named(claim_name)
    if prefecture_of(region) != prefecture_of(family.application.region):
        return Outcome.UNDETERMINED
    if any(family.standing_at(claim.department, role) is not Standing.KNOWN for role in claim.roles):
        return Outcome.UNDETERMINED
    return Outcome.YES if _IS_TRUE[claim_name](family, region, parameters) else Outcome.NO


_Sentence = Callable[[Family, str, Mapping[str, str]], bool]


def _identity_is_valid(family: Family, _region: str, _parameters: Mapping[str, str]) -> bool:
    return family.situation.card.flaw is None


def _is_the_guardian(family: Family, _region: str, _parameters: Mapping[str, str]) -> bool:
    return family.situation.registered_guardian == family.application.subjects[Role.GUARDIAN]


def _child_is_registered(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return family.situation.child_hukou == region


def _guardian_is_registered(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return family.situation.guardian_hukou == region


def _child_is_registered_elsewhere(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return family.situation.child_hukou not in {None, region}


def _is_one_household(family: Family, _region: str, _parameters: Mapping[str, str]) -> bool:
    return family.situation.same_household


def _permit_is_valid(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return any(permit.holds_in(region) for permit in family.situation.permits)


def _owns_home(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return any(home.holds_in(region) for home in family.situation.homes)


def _owns_no_home(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return not any(home.holds_in(region) for home in family.situation.homes)


def _co_resident_owns_home(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return any(home.holds_in(region) for home in family.situation.co_resident_homes)


def _paid_months(family: Family, region: str, parameters: Mapping[str, str]) -> bool:
    return sum(months for county, months in family.situation.insured if county == region) >= int(parameters["months"])


def _lease_is_on_file(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return any(lease.holds_in(region) for lease in family.situation.leases)


def _lives_in_public_housing(family: Family, region: str, _parameters: Mapping[str, str]) -> bool:
    return any(tenancy.holds_in(region) for tenancy in family.situation.public_housing)


def _is_of_age(family: Family, _region: str, parameters: Mapping[str, str]) -> bool:
    return family.situation.age_cohort == (parameters["level"], int(parameters["year"]))


def _is_not_enrolled_elsewhere(family: Family, region: str, parameters: Mapping[str, str]) -> bool:
    return not any(
        enrolment.is_current and enrolment.level == parameters["level"] and enrolment.region != region
        for enrolment in family.situation.enrolments
    )


def _field_is_on_file(family: Family, _region: str, parameters: Mapping[str, str]) -> bool:
    return parameters["field"] in family.situation.fields_on_file


_IS_TRUE: Mapping[str, _Sentence] = MappingProxyType(
    {
        "identity.valid@1": _identity_is_valid,
        "guardianship.guardian_of@1": _is_the_guardian,
        "hukou.child_registered@1": _child_is_registered,
        "hukou.guardian_registered@1": _guardian_is_registered,
        "hukou.child_registered_elsewhere@1": _child_is_registered_elsewhere,
        "kinship.same_household@1": _is_one_household,
        "residence.permit_valid@1": _permit_is_valid,
        "property.owns_home@1": _owns_home,
        "property.owns_no_home@1": _owns_no_home,
        "property.co_resident_owns_home@1": _co_resident_owns_home,
        "insurance.paid_months@1": _paid_months,
        "housing.lease_on_file@1": _lease_is_on_file,
        "housing.public_housing@1": _lives_in_public_housing,
        "enrolment.of_school_age@1": _is_of_age,
        "enrolment.not_enrolled_elsewhere@1": _is_not_enrolled_elsewhere,
        "enrolment.field_on_file@1": _field_is_on_file,
    }
)


# -- lines --------------------------------------------------------------------------------------------------


def _to_line(truth: Truth) -> str:
    application = truth.application
    return json.dumps(
        {
            "family": application.family,
            "group": application.group.value,
            "school": application.school.value,
            "region": application.region,
            **{role.value: _person_to_json(application.subjects.get(role)) for role in Role},
            "answers": [
                {
                    "claim": answer.claim,
                    "region": answer.region,
                    "parameters": dict(answer.parameters),
                    "outcome": answer.outcome.name,
                }
                for answer in truth.answers
            ],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _person_to_json(subject: Subject | None) -> dict[str, str] | None:
    if subject is None:
        return None
    return {"id_type": subject.id_type.value, "id_number": subject.id_number, "name": subject.name}


def _from_line(line: bytes, number: int) -> Truth:
    try:
        record: dict[str, Any] = json.loads(line)
        people = {role: record[role.value] for role in Role if record[role.value] is not None}
        application = Application(
            record["family"],
            School(record["school"]),
            Group(record["group"]),
            record["region"],
            MappingProxyType(
                {role: Subject(IdType(p["id_type"]), p["id_number"], p["name"]) for role, p in people.items()}
            ),
        )
        answers = tuple(
            TrueAnswer(a["claim"], a["region"], MappingProxyType(dict(a["parameters"])), Outcome[a["outcome"]])
            for a in record["answers"]
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedError.at(f"line {number}", "must be a line written by write_truth") from None
    return Truth(application, answers)
