"""Persons who hold another document than a resident ID, in the sandbox's registers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from random import Random

import pytest

from gateway.protocol.claims import CLAIMS
from gateway.protocol.outcomes import Outcome
from gateway.protocol.subjects import IdType, Subject
from sandbox_departments.people import Family
from sandbox_departments.population import generate_families
from sandbox_departments.register import Question, Standing
from sandbox_departments.registers import SqliteRegister, build_registers, node_keys
from sandbox_departments.truth import answer_of
from tests.county_rules import SHIPPED_RULES

TODAY = date(2027, 6, 1)


def with_documents(family: Family, kind: IdType) -> Family:
    """The same family, its members known by another kind of document."""

    def other(subject: Subject) -> Subject:
        return replace(subject, id_type=kind)

    subjects = {role: other(subject) for role, subject in family.application.subjects.items()}
    return replace(family, application=replace(family.application, subjects=subjects))


@pytest.mark.parametrize("kind", [IdType.HMT_RESIDENCE_PERMIT, IdType.FOREIGN_PERMANENT_RESIDENT])
def test_holders_of_other_documents_are_answered_and_their_number_under_another_kind_is_nobody(
    kind: IdType, tmp_path: Path
) -> None:
    residents = generate_families(Random(7), 40, today=TODAY, rules=SHIPPED_RULES, prefectures=("4301",))
    others = [with_documents(family, kind) for family in residents]
    folders = {key: tmp_path / f"{key[0].value}-{key[1]}" for key in node_keys(("4301",))}
    built = build_registers(others, folders, snapshot_date=TODAY)
    opened = {key: SqliteRegister(path) for key, path in built.items()}
    outcomes = set()
    for resident, family in zip(residents, others, strict=True):
        region = family.application.region
        for claim in CLAIMS.values():
            if not claim.roles <= family.application.subjects.keys():
                continue
            for values in product(*claim.parameters.values()):
                parameters = dict(zip(claim.parameters, values, strict=True))
                asked = [
                    Question(
                        claim.name, region, parameters, {role: who.application.subjects[role] for role in claim.roles}
                    )
                    for who in (family, resident)
                ]
                finding, nobody = opened[claim.department, region[:4]].find(asked)
                expected = answer_of(family, claim.name, region, parameters)
                assert (finding.standing is Standing.KNOWN) == (expected is not Outcome.UNDETERMINED)
                assert nobody.standing is Standing.UNKNOWN
                outcomes.add(expected)
    assert outcomes >= {Outcome.YES, Outcome.NO}
    for register in opened.values():
        register.close()
