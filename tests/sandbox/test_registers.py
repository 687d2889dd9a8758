"""The simulated registers answer as was meant, read only, and with the same work whoever is found."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from random import Random

import pytest

from gateway.protocol.claims import CLAIMS, Claim, DepartmentKind, Role, claim_named
from gateway.protocol.divisions import counties_of, prefecture_of
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.outcomes import Outcome
from gateway.protocol.subjects import IdType, Subject
from sandbox_departments.circumstances import HOUSEHOLD_KINDS, Scene, alter_situation, applicable_circumstances
from sandbox_departments.people import Blemish, Circumstance, Family, PersonSource, birth_window
from sandbox_departments.population import DEFAULT_PREFECTURES, generate_families
from sandbox_departments.register import Finding, Question, Register, Standing
from sandbox_departments.register_facts import CLOSING_KEY
from sandbox_departments.registers import REGISTER_FILE, NodeKey, SqliteRegister, build_registers, node_keys
from sandbox_departments.truth import answer_of
from tests.county_rules import SHIPPED_RULES

TODAY = date(2027, 6, 1)
NOBODY = Subject(IdType.RESIDENT_ID, "439900201801150016", "无名氏")

Registers = Mapping[NodeKey, SqliteRegister]


@pytest.fixture(scope="module")
def families() -> tuple[Family, ...]:
    return generate_families(Random(7), 600, today=TODAY, rules=SHIPPED_RULES)


@pytest.fixture(scope="module")
def folder(families: tuple[Family, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nodes")
    build_registers(
        families, {key: folder_of(root, key) for key in node_keys(DEFAULT_PREFECTURES)}, snapshot_date=TODAY
    )
    return root


@pytest.fixture(scope="module")
def registers(folder: Path) -> Iterator[Registers]:
    opened = {key: SqliteRegister(folder_of(folder, key) / REGISTER_FILE) for key in node_keys(DEFAULT_PREFECTURES)}
    yield opened
    for register in opened.values():
        register.close()


def folder_of(root: Path, key: NodeKey) -> Path:
    return root / f"{key[0].value}-{key[1]}"


def questions_about(family: Family, regions: set[str]) -> Iterator[Question]:
    """Every claim that the family's roles allow, with every value of its parameters, in every one of `regions`."""
    subjects = family.application.subjects
    for claim in CLAIMS.values():
        if claim.roles <= subjects.keys():
            about = {role: subjects[role] for role in claim.roles}
            for values in product(*claim.parameters.values()):
                for region in sorted(regions):
                    yield Question(claim.name, region, dict(zip(claim.parameters, values, strict=True)), about)


def outcome_of(claim: Claim, finding: Finding) -> Outcome:
    if finding.standing is not Standing.KNOWN:
        return Outcome.UNDETERMINED
    return Outcome.YES if finding.fact != claim.negative else Outcome.NO


def places_of(family: Family) -> set[str]:
    """The family's county, another one there, and wherever the family has something, within its prefecture."""
    application, situation = family.application, family.situation
    holdings = (situation.permits, situation.homes, situation.co_resident_homes, situation.leases)
    places = {application.region, counties_of(application.region[:4])[0], situation.child_hukou}
    places |= {situation.guardian_hukou, *(region for region, _ in situation.insured)}
    places |= {holding.region for held in holdings for holding in held}
    places |= {enrolment.region for enrolment in situation.enrolments}
    return {place for place in places if place is not None and place[:4] == application.region[:4]}


def first_with(families: tuple[Family, ...], circumstance: Circumstance) -> Family:
    return next(family for family in families if circumstance in family.circumstances)


def test_registers_agree_with_the_truth_for_every_claim(families: tuple[Family, ...], registers: Registers) -> None:
    outcomes: dict[str, set[Outcome]] = defaultdict(set)
    for family in families:
        batches: dict[NodeKey, list[Question]] = defaultdict(list)
        for question in questions_about(family, places_of(family)):
            batches[claim_named(question.claim).department, prefecture_of(question.region)].append(question)
        for key, questions in batches.items():
            for question, finding in zip(questions, registers[key].find(questions), strict=True):
                outcome = outcome_of(claim_named(question.claim), finding)
                asked = (family.application.family, question.claim, question.region, dict(question.parameters))
                assert outcome is answer_of(family, *asked[1:]), asked
                if question.region == family.application.region:
                    outcomes[question.claim].add(outcome)
    assert outcomes.keys() == CLAIMS.keys()
    assert all(found == {Outcome.YES, Outcome.NO, Outcome.UNDETERMINED} for found in outcomes.values()), outcomes


@pytest.mark.parametrize("circumstance", Circumstance)
def test_registers_agree_with_the_truth_for_every_kind_under_every_circumstance(
    circumstance: Circumstance, families: tuple[Family, ...], tmp_path: Path
) -> None:
    rng = Random(3)
    altered = []
    for family, kind in zip(families, HOUSEHOLD_KINDS, strict=False):
        if circumstance in applicable_circumstances(kind, CLAIMS.keys()):
            region = family.application.region
            elsewhere = counties_of(region[:4])[-1]
            scene = Scene(region, elsewhere, TODAY, rng, PersonSource(rng))
            altered.append(replace(family, situation=alter_situation(family.situation, circumstance, scene)))
    assert altered
    folders = {key: folder_of(tmp_path, key) for key in node_keys(DEFAULT_PREFECTURES)}
    opened = {key: SqliteRegister(path) for key, path in build_registers(altered, folders, snapshot_date=TODAY).items()}
    for family in altered:
        for question in questions_about(family, places_of(family)):
            claim = claim_named(question.claim)
            (finding,) = opened[claim.department, question.region[:4]].find([question])
            asked = (family.application.family, question.claim, question.region, dict(question.parameters))
            assert outcome_of(claim, finding) is answer_of(family, *asked[1:]), asked
    for register in opened.values():
        register.close()


def test_a_node_of_another_prefecture_knows_nobody(families: tuple[Family, ...], registers: Registers) -> None:
    family = next(family for family in families if family.application.region.startswith("4301"))
    for question in questions_about(family, {"430302"}):
        (finding,) = registers[claim_named(question.claim).department, "4303"].find([question])
        assert finding.standing is Standing.UNKNOWN
        assert answer_of(family, question.claim, "430302", question.parameters) is Outcome.UNDETERMINED


def test_the_finer_reason_is_the_blemish(families: tuple[Family, ...], registers: Registers) -> None:
    standings = set()
    for family in families:
        for blemish in family.blemishes:
            for question in questions_about(family, {family.application.region}):
                claim = claim_named(question.claim)
                if claim.department is blemish.department and claim.roles == {blemish.role}:
                    (finding,) = registers[claim.department, family.application.region[:4]].find([question])
                    assert finding.standing is blemish.standing
                    standings.add(finding.standing)
    assert standings == set(Standing) - {Standing.KNOWN}


@pytest.mark.parametrize("first", list(Standing)[:-1])
@pytest.mark.parametrize("second", list(Standing)[:-1])
def test_of_two_troubled_subjects_the_first_of_the_enum_is_told(
    first: Standing, second: Standing, families: tuple[Family, ...], tmp_path: Path
) -> None:
    police = DepartmentKind.POLICE
    blemishes = (Blemish(police, Role.CHILD, first), Blemish(police, Role.GUARDIAN, second))
    family = Family(families[0].application, families[0].situation, (), blemishes)
    build_registers([family], {(police, "4301"): tmp_path}, snapshot_date=TODAY)
    subjects = {role: family.application.subjects[role] for role in (Role.GUARDIAN, Role.CHILD)}
    with SqliteRegister(tmp_path / REGISTER_FILE) as register:
        (finding,) = register.find([Question("guardianship.guardian_of@1", "430102", {}, subjects)])
    assert finding.standing is min(first, second, key=list(Standing).index)


def test_guardianship_is_of_both_persons(families: tuple[Family, ...], registers: Registers) -> None:
    ones, others = (
        next(f for f in families if f.application.region == region and not f.blemishes and not f.circumstances)
        for region in ("430102", "430103")
    )
    register = registers[DepartmentKind.POLICE, "4301"]
    for guardian, holds in ((ones, True), (others, False)):
        subjects = {
            Role.CHILD: ones.application.subjects[Role.CHILD],
            Role.GUARDIAN: guardian.application.subjects[Role.GUARDIAN],
        }
        (finding,) = register.find([Question("guardianship.guardian_of@1", "430102", {}, subjects)])
        assert finding == Finding(Standing.KNOWN, holds)


def test_one_household_is_of_both_persons(families: tuple[Family, ...], registers: Registers) -> None:
    shared = [
        f
        for f in families
        if Role.CO_RESIDENT in f.application.subjects and not f.circumstances and f.application.region[:4] == "4301"
    ]
    child = shared[0].application.subjects[Role.CHILD]
    for family, holds in ((shared[0], True), (shared[1], False)):
        subjects = {Role.CHILD: child, Role.CO_RESIDENT: family.application.subjects[Role.CO_RESIDENT]}
        (finding,) = registers[DepartmentKind.POLICE, "4301"].find(
            [Question("kinship.same_household@1", "430102", {}, subjects)]
        )
        assert finding == Finding(Standing.KNOWN, holds)


@pytest.mark.parametrize(
    ("days", "is_of_age"), [((2020, 8, 31), False), ((2020, 9, 1), True), ((2021, 8, 31), True), ((2021, 9, 1), False)]
)
def test_school_age_turns_at_the_end_of_august(days: tuple[int, int, int], is_of_age: bool, tmp_path: Path) -> None:
    first, last = birth_window("primary", 2027)
    assert (first <= date(*days) <= last) == is_of_age
    family = generate_families(Random(1), 1, today=TODAY, rules=SHIPPED_RULES)[0]
    education = DepartmentKind.EDUCATION
    build_registers([family], {(education, "4301"): tmp_path}, snapshot_date=TODAY)
    with sqlite3.connect(tmp_path / REGISTER_FILE) as connection:
        connection.execute("UPDATE pupils SET born_on = ?", (date(*days).isoformat(),))
    connection.close()
    subjects = {Role.CHILD: family.application.subjects[Role.CHILD]}
    question = Question("enrolment.of_school_age@1", "430102", {"level": "primary", "year": "2027"}, subjects)
    with SqliteRegister(tmp_path / REGISTER_FILE) as register:
        assert register.find([question]) == (Finding(Standing.KNOWN, is_of_age),)


def test_the_applicants_spelling_with_spaces_still_matches(families: tuple[Family, ...], registers: Registers) -> None:
    child = families[0].application.subjects[Role.CHILD]
    typed = Subject(child.id_type, child.id_number, f" {child.name[0]}\u3000{child.name[1:]} ")
    (finding,) = registers[DepartmentKind.POLICE, "4301"].find(
        [Question("hukou.child_registered@1", "430102", {}, {Role.CHILD: typed})]
    )
    assert finding == Finding(Standing.KNOWN, True)


def test_known_and_unknown_persons_take_the_same_statements(families: tuple[Family, ...], registers: Registers) -> None:
    statements: list[str] = []
    troubled = (
        Circumstance.RECORD_AMBIGUOUS,
        Circumstance.NAME_MISMATCH,
        Circumstance.RECORD_PROTECTED,
        Circumstance.RECORD_STALE,
    )
    asked_about = [families[0], *(first_with(families, circumstance) for circumstance in troubled)]
    for claim in CLAIMS.values():
        shapes = set()
        for family in asked_about:
            for subjects in (
                {role: family.application.subjects.get(role, NOBODY) for role in claim.roles},
                dict.fromkeys(claim.roles, NOBODY),
            ):
                register = registers[claim.department, family.application.region[:4]]
                parameters = {name: values[0] for name, values in claim.parameters.items()}
                statements.clear()
                register._connection.set_trace_callback(statements.append)
                register.find([Question(claim.name, family.application.region, parameters, subjects)])
                register._connection.set_trace_callback(None)
                shapes.add(re.sub(r"'[^']*'|\b\d+\b", "?", "\n".join(statements)))
                assert len(statements) == len(claim.roles) + 1 + 2  # with BEGIN and ROLLBACK
        assert len(shapes) == 1, claim.name


def test_every_lookup_goes_by_an_index(registers: Registers) -> None:
    for (department, _), register in registers.items():
        plans: list[str] = []
        connection = register._connection
        for table, columns in (
            (name, [row[1] for row in connection.execute(f"PRAGMA table_info({name})")])
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if name != "meta"
        ):
            kind, number = columns[:2]
            lookup = f"SELECT 1 FROM {table} WHERE {kind} = '' AND {number} = ''"  # noqa: S608 (names of the schema)
            plan = connection.execute(f"EXPLAIN QUERY PLAN {lookup}")
            plans += [row[3] for row in plan]
        assert plans, department
        assert all(plan.startswith("SEARCH") for plan in plans), plans


def test_a_register_cannot_be_written_through_the_adapter(registers: Registers) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        registers[DepartmentKind.LAND, "4301"]._connection.execute("DELETE FROM homes")


def test_the_register_tells_whose_it_is_and_of_which_date(registers: Registers) -> None:
    for (department, prefecture), register in registers.items():
        port: Register = register
        assert port.snapshot_date == TODAY
        assert (register.department, register.prefecture) == (department, prefecture)


def test_no_questions_have_no_findings(registers: Registers) -> None:
    assert registers[DepartmentKind.HRSS, "4303"].find([]) == ()


@pytest.mark.parametrize(
    ("claim", "parameters", "roles"),
    [
        ("property.owns_home@1", {}, [Role.GUARDIAN]),
        ("identity.valid@9", {}, [Role.GUARDIAN]),
        ("identity.valid@1", {"months": "6"}, [Role.GUARDIAN]),
        ("identity.valid@1", {}, [Role.CHILD]),
        ("identity.valid@1", {}, []),
        ("identity.valid@1", {}, [Role.GUARDIAN, Role.CHILD]),
    ],
)
def test_a_question_that_is_not_this_departments_is_refused(
    claim: str, parameters: dict[str, str], roles: list[Role], registers: Registers
) -> None:
    with pytest.raises(MalformedError):
        registers[DepartmentKind.POLICE, "4301"].find(
            [Question(claim, "430102", parameters, dict.fromkeys(roles, NOBODY))]
        )


def test_a_missing_file_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        SqliteRegister(tmp_path / "absent.db")


def test_a_file_that_is_no_register_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "noise.db").write_bytes(b"noise" * 1000)
    with pytest.raises(UnreachableError):
        SqliteRegister(tmp_path / "noise.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    connection.close()
    with pytest.raises(UnreachableError):
        SqliteRegister(tmp_path / "other.db")


def test_a_fault_while_asking_is_unreachable_and_names_nobody(families: tuple[Family, ...], tmp_path: Path) -> None:
    build_registers(families[:1], {(DepartmentKind.LAND, "4301"): tmp_path}, snapshot_date=TODAY)
    guardian = families[0].application.subjects[Role.GUARDIAN]
    question = Question("property.owns_home@1", "430102", {}, {Role.GUARDIAN: guardian})
    register = SqliteRegister(tmp_path / REGISTER_FILE)
    with sqlite3.connect(tmp_path / REGISTER_FILE) as connection:
        connection.execute("DROP TABLE homes")
    connection.close()
    with pytest.raises(UnreachableError):
        SqliteRegister(tmp_path / REGISTER_FILE)
    for _ in range(2):  # the read transaction of the first is over
        with pytest.raises(UnreachableError) as caught:
            register.find([question])
        assert guardian.id_number not in f"{caught.value} {caught.value.detail}"
    register.close()
    with pytest.raises(UnreachableError):
        register.find([question])


@pytest.mark.parametrize("table", ["persons", "homes"])
def test_a_register_without_closing_rows_is_refused_and_never_says_no(
    table: str, families: tuple[Family, ...], tmp_path: Path
) -> None:
    build_registers(families[:1], {(DepartmentKind.LAND, "4301"): tmp_path}, snapshot_date=TODAY)
    with sqlite3.connect(tmp_path / REGISTER_FILE) as connection:
        connection.execute(f"DELETE FROM {table} WHERE id_type = ?", (CLOSING_KEY,))  # noqa: S608 (a name above)
    connection.close()
    with pytest.raises(UnreachableError):
        SqliteRegister(tmp_path / REGISTER_FILE)


def test_a_register_is_rebuilt_in_place_with_the_same_bytes(families: tuple[Family, ...], tmp_path: Path) -> None:
    nodes = {(DepartmentKind.HOUSING, "4301"): tmp_path / "made" / "by-build"}
    (path,) = build_registers(families, nodes, snapshot_date=TODAY).values()
    first = path.read_bytes()
    (path.parent / f"{REGISTER_FILE}.new").write_bytes(b"left by a crash")
    build_registers(iter(families), nodes, snapshot_date=TODAY)
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == [REGISTER_FILE]


def test_a_prefecture_without_families_has_an_empty_register(families: tuple[Family, ...], tmp_path: Path) -> None:
    build_registers(families, {(DepartmentKind.POLICE, "4331"): tmp_path}, snapshot_date=TODAY)
    with SqliteRegister(tmp_path / REGISTER_FILE) as register:
        (finding,) = register.find([Question("identity.valid@1", "433101", {}, {Role.GUARDIAN: NOBODY})])
    assert finding == Finding(Standing.UNKNOWN, False)
