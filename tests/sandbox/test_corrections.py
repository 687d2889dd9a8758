"""Corrections of the simulated register: what a clerk states is answered from then on, and nothing else changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.protocol.claims import DepartmentKind, Role, claim_named
from gateway.protocol.divisions import counties_of
from gateway.protocol.errors import UnreachableError
from gateway.protocol.outcomes import Outcome
from sandbox_departments.answering import outcome_of
from sandbox_departments.cases import case_of
from sandbox_departments.corrections import CorrectedRegister, correct
from sandbox_departments.register import Question, Standing
from sandbox_departments.registers import REGISTER_FILE, build_registers
from tests.nodes import PREFECTURE, SNAPSHOT, families, standing_as

SECRET = bytes(range(32))
FIRST, SECOND = families(2)
KNOWN = replace(FIRST, situation=replace(FIRST.situation, homes=()))
STRANGER = standing_as(SECOND, Standing.UNKNOWN)
POSITIVE, NEGATIVE = ("property.owns_home@1", "property.owns_no_home@1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build_registers((KNOWN, STRANGER), {(DepartmentKind.LAND, PREFECTURE): tmp_path}, snapshot_date=SNAPSHOT)
    return tmp_path / REGISTER_FILE


@pytest.fixture
def register(path: Path) -> Iterator[CorrectedRegister]:
    with closing(CorrectedRegister(path, SECRET)) as opened:
        yield opened


def question(claim: str = POSITIVE, family: object = KNOWN) -> Question:
    application = family.application  # type: ignore[attr-defined]
    return Question(claim, application.region, {}, {Role.GUARDIAN: application.subjects[Role.GUARDIAN]})


def said(register: CorrectedRegister, *questions: Question) -> list[Outcome]:
    findings = register.find(questions)
    return [outcome_of(claim_named(asked.claim), found) for asked, found in zip(questions, findings, strict=True)]


@pytest.mark.parametrize("claim", [POSITIVE, NEGATIVE])
@pytest.mark.parametrize("family", [KNOWN, STRANGER], ids=["known", "stranger"])
@pytest.mark.parametrize("answer", [True, False])
def test_what_the_clerk_states_is_answered(
    register: CorrectedRegister, path: Path, claim: str, family: object, answer: bool
) -> None:
    asked = question(claim, family)
    correct(path, case_of(asked, SECRET), answer=answer)
    assert said(register, asked) == [Outcome.YES if answer else Outcome.NO]


def test_a_correction_changes_no_other_answer(register: CorrectedRegister, path: Path) -> None:
    asked = question()
    elsewhere = next(county for county in counties_of(PREFECTURE) if county != asked.region)
    others = (question(NEGATIVE), question(family=STRANGER), replace(asked, region=elsewhere))
    before = said(register, asked, *others)
    correct(path, case_of(asked, SECRET), answer=True)
    assert said(register, asked, *others) == [Outcome.YES, *before[1:]]
    assert before[0] is Outcome.NO


def test_a_correction_outlives_the_process_and_is_corrected_in_its_turn(path: Path) -> None:
    case = case_of(question(), SECRET)
    for answer, outcome in ((True, Outcome.YES), (False, Outcome.NO)):
        correct(path, case, answer=answer)
        with closing(CorrectedRegister(path, SECRET)) as register:
            assert said(register, question()) == [outcome]


def test_a_case_is_one_question_about_the_same_persons_under_one_secret() -> None:
    asked = question()
    other_person = question(family=STRANGER).subjects
    cases = {
        case_of(asked, SECRET),
        case_of(asked, bytes(32)),
        case_of(question(NEGATIVE), SECRET),
        case_of(replace(asked, region="430199"), SECRET),
        case_of(replace(asked, parameters={"months": "6"}), SECRET),
        case_of(replace(asked, parameters={"months": "12"}), SECRET),
        case_of(replace(asked, subjects=other_person), SECRET),
        case_of(replace(asked, subjects={Role.CHILD: asked.subjects[Role.GUARDIAN]}), SECRET),
    }
    assert len(cases) == 8
    assert case_of(question(), SECRET) in cases


def test_register_of_an_earlier_version_is_a_fault_and_never_a_no(register: CorrectedRegister, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE corrections")
    with pytest.raises(UnreachableError):
        register.find([question()])
    with pytest.raises(UnreachableError, match="earlier version"):
        CorrectedRegister(path, SECRET)
    with pytest.raises(UnreachableError):
        correct(path, bytes(32), answer=True)
    with pytest.raises(UnreachableError):
        correct(path.with_name("none.db"), bytes(32), answer=True)


def test_register_says_nothing_of_the_person_in_its_corrections(path: Path) -> None:
    asked = question()
    correct(path, case_of(asked, SECRET), answer=True)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM corrections").fetchall()
    assert rows == [(case_of(asked, SECRET), 1)]
