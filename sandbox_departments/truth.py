"""The correct answer to every question about the simulated families, computed from what was meant.

Nothing here reads a register or uses the node's code: an answer follows from the family's situation and
blemishes, claim by claim, each stated as the claim's own sentence. Tests and benchmarks hold what a federation
answers against it.

The file of `write_truth` is JSON lines in UTF-8, one family each, byte for byte the same for the same families:
`{"family","group","school","region","child","guardian","co_resident","answers","others","supported","materials"}`. A
person is `{"id_type","id_number","name"}` or null, an answer `{"claim","region","parameters","outcome"}`. `answers`
hold one for every check of the plan of the family's group, in its order, then one for each field of the student record
that the county collects; `others` what the other groups of the school are asked besides. `supported` are the groups
that the answers support, `materials` how those of the family's group stand then (`county_rules.Judgement`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.protocol.claims import FIELD_ON_FILE, Role, check_parameters, claim_named
from gateway.protocol.divisions import prefecture_of
from gateway.protocol.errors import MalformedError, NotFoundError
from gateway.protocol.matrix import Group, PlannedCheck, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import IdType, Subject
from sandbox_departments.county_rules import CountyRules
from sandbox_departments.people import Application, Family
from sandbox_departments.register import Standing


@dataclass(frozen=True, slots=True)
class TrueAnswer:
    """The outcome that a check about the family must have."""

    claim: str
    region: str
    parameters: Mapping[str, str]
    outcome: Outcome


Asking = tuple[str, str, tuple[tuple[str, str], ...]]
"""What a check asks: claim, region, and its parameters in the order of their names."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One line of the file: what the applicant states, every right answer, and what they come to."""

    application: Application
    answers: tuple[TrueAnswer, ...]
    others: tuple[TrueAnswer, ...]
    supported: tuple[Group, ...]
    materials: Mapping[str, str]

    @property
    def plan(self) -> tuple[TrueAnswer, ...]:
        """The answers that materials rest on: without those about fields of the student record."""
        return tuple(answer for answer in self.answers if answer.claim != FIELD_ON_FILE)

    @property
    def outcomes(self) -> dict[Asking, Outcome]:
        """The right outcome of every check that the family may be asked, by what it asks."""
        return {asking(each.claim, each.region, each.parameters): each.outcome for each in self.answers + self.others}


def asking(claim: str, region: str, parameters: Mapping[str, str]) -> Asking:
    """The key of a check in `Truth.outcomes`."""
    return claim, region, tuple(sorted(parameters.items()))


def truth_of(family: Family, rules: CountyRules) -> Truth:
    """The application of `family` with the correct answer to whatever it may be asked, and what that comes to."""
    application = family.application
    asked = rules.asked(application.case)
    own, others, fields = (_answers(family, checks) for checks in (asked.own, asked.others, asked.fields))
    judgement = rules.judged(application.case, [answer.outcome for answer in own + others])
    return Truth(application, own + fields, others, judgement.supported, judgement.materials)


def answer_of(family: Family, claim: str, region: str, parameters: Mapping[str, str]) -> Outcome:
    """The correct outcome of any claim of the vocabulary about `family`, asked in any county.

    A node outside the prefecture of the family's county does not know its people. Raises MalformedError for what no
    node would be asked: an unknown claim, parameter or county, or a role that the family does not have.
    """
    check_parameters(claim_named(claim), parameters)
    if not claim_named(claim).roles <= family.application.subjects.keys():
        raise MalformedError.at("subjects", "the family has nobody in a role of this claim")
    return _answer(family, claim, region, parameters)


def write_truth(path: Path, families: Iterable[Family], rules: CountyRules) -> int:
    """Write the truth of `families` to `path`, replacing it, and return how many lines were written."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for family in families:
            file.write(_to_line(truth_of(family, rules)) + "\n")
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


def places_in_truth(path: Path) -> Iterator[tuple[str, int]]:
    """Each family of the file with the place (byte) of its line, for `truth_at`; MalformedError names a bad line."""
    place = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield _family_decoder.decode(line).family, place
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise MalformedError.at(f"line {number}", "must be a line written by write_truth") from None
            place += len(line)


def truth_at(path: Path, place: int) -> Truth:
    """The truth whose line begins at `place`; MalformedError if none does."""
    with path.open("rb") as file:
        file.seek(place)
        return _from_line(file.readline(), 0)


# -- answers ------------------------------------------------------------------------------------------------


def _answers(family: Family, checks: Iterable[PlannedCheck]) -> tuple[TrueAnswer, ...]:
    region = family.application.region
    return tuple(
        TrueAnswer(check.claim, region, check.parameters, _answer(family, check.claim, region, check.parameters))
        for check in checks
    )


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


class _FamilyOnly(msgspec.Struct, frozen=True):
    """A line of which only the family is wanted, a tenth of the work."""

    family: str


_family_decoder: msgspec.json.Decoder[_FamilyOnly] = msgspec.json.Decoder(_FamilyOnly)


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
            "answers": list(map(_answer_to_json, truth.answers)),
            "others": list(map(_answer_to_json, truth.others)),
            "supported": [group.value for group in truth.supported],
            "materials": dict(truth.materials),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _answer_to_json(answer: TrueAnswer) -> dict[str, Any]:
    return {
        "claim": answer.claim,
        "region": answer.region,
        "parameters": dict(answer.parameters),
        "outcome": answer.outcome.name,
    }


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
        answers, others = (
            tuple(
                TrueAnswer(a["claim"], a["region"], MappingProxyType(dict(a["parameters"])), Outcome[a["outcome"]])
                for a in record[part]
            )
            for part in ("answers", "others")
        )
        supported = tuple(map(Group, record["supported"]))
        materials = MappingProxyType({str(key): str(standing) for key, standing in record["materials"].items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MalformedError.at(f"line {number}", "must be a line written by write_truth") from None
    return Truth(application, answers, others, supported, materials)
