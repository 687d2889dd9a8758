"""A simulated register does the same work whomever it finds: as many steps of SQLite, as many pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from gateway.protocol.claims import CLAIMS, Claim, DepartmentKind
from gateway.protocol.subjects import IdType, Subject
from sandbox_departments.register import Question, Standing
from sandbox_departments.registers import SqliteRegister, build_registers
from tests.nodes import PREFECTURE, SNAPSHOT, families, questions_about, standing_as

MOST_EXTRA_STEPS = 0.06
"""A comparison of two values takes a step more or less by its result; a row that is read takes twenty."""


def steps_of(path: Path, question: Question) -> int:
    """How many steps SQLite takes for a question, preparing the statements included, on a fresh connection."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    with SqliteRegister(path) as register:
        register._connection.set_progress_handler(step, 1)
        register.find([question])
        register._connection.set_progress_handler(None, 0)
    return steps


@dataclass(frozen=True)
class Mixed:
    """Registers in which families stand in every way there is, and what to ask of them, by claim and standing."""

    paths: Mapping[DepartmentKind, Path]
    questions: Mapping[tuple[str, Standing], list[Question]]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    folder, rng = tmp_path_factory.mktemp("mixed"), Random(5)
    people = [
        (standing, standing_as(family, standing))
        for family in families(400)
        for standing in rng.sample(list(Standing), 1)
    ]
    folders = {(kind, PREFECTURE): folder / kind.value for kind in DepartmentKind}
    paths = build_registers([family for _, family in people], folders, snapshot_date=SNAPSHOT)
    questions: dict[tuple[str, Standing], list[Question]] = defaultdict(list)
    for standing, family in people:
        for question in questions_about(family):
            questions[question.claim, standing].append(question)
    assert questions.keys() == {(claim, standing) for claim in CLAIMS for standing in Standing}
    return Mixed({kind: path for (kind, _), path in paths.items()}, questions)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
def test_a_register_takes_as_many_steps_whomever_it_finds(claim: Claim, mixed: Mixed) -> None:
    steps = {
        standing: [
            steps_of(mixed.paths[claim.department], question) for question in mixed.questions[claim.name, standing][:8]
        ]
        for standing in Standing
    }
    means = [sum(counts) / len(counts) for counts in steps.values()]
    assert max(means) - min(means) <= MOST_EXTRA_STEPS * min(means), steps


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
def test_a_person_behind_all_others_is_looked_up_with_the_same_steps(claim: Claim, mixed: Mixed) -> None:
    """Else the end of the register would show where it is: windows there are filled by closing rows."""
    path = mixed.paths[claim.department]
    about = mixed.questions[claim.name, Standing.UNKNOWN][0]
    usual = steps_of(path, about)
    for id_type in IdType:
        nobody = dict.fromkeys(claim.roles, Subject(id_type, "Z99999999", "无名氏"))
        steps = steps_of(path, replace(about, subjects=nobody))
        assert abs(steps - usual) <= 2 * MOST_EXTRA_STEPS * usual, id_type  # no column of a closing row is anybody's


def test_every_lookup_is_a_window_of_a_covering_index(mixed: Mixed) -> None:
    """So that a row that is found costs no page that nobody's would not."""
    for path in mixed.paths.values():
        with SqliteRegister(path) as register:
            statements = {"persons": register._person, **register._facts}
            for name, statement in statements.items():
                names = {word.strip(",)") for word in statement.replace(":", " :").split() if word.startswith(":")}
                values = dict.fromkeys((word[1:] for word in names), "x") if names else ("x", "x")
                plan = [
                    row[3] for row in register._connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
                ]
                lookups = [step for step in plan if "subquery" not in step]
                assert lookups, name
                assert all("USING COVERING INDEX" in step for step in lookups), (name, plan)
                assert " AND " not in statement.split(" FROM ")[0], name  # would stop at the first that fails
