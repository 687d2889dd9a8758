"""The time of an application at the requester does not tell how the subject stands: over real processes and mTLS.

The requester sends one check at a time, through the real client, about persons of every standing in every department,
in blocks of one of each standing and in random order within a block, so that whatever the machine does meets all
alike. What is compared is the time of `client.send`, by the quantile test of `tests.timing`: its false alarm is 1 in
100,000. The control adds DELAY to those same samples, for those who are found, and must raise the alarm: a node that
answers one ask at a time would add no less.

An attacker has far fewer samples of a person than the test has of a standing: a department answers ten a day.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from urllib.request import urlopen

import pytest

from consent.consent_file import ConsentFile
from consent.disclosures import group_details
from gateway.asking import Question
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.cli.sandbox_rules import SandboxRules
from gateway.client import Client, Plan
from gateway.protocol.claims import CLAIMS, DepartmentKind
from gateway.protocol.divisions import prefecture_of
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import ATTESTABLE, Outcome
from sandbox_departments.people import Application
from sandbox_departments.register import Question as RegisterQuestion
from sandbox_departments.register import Standing
from sandbox_departments.registers import REGISTER_FILE, SqliteRegister
from tests.e2e.conftest import Running
from tests.timing import differing

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ASKED = (
    "hukou.child_registered@1",
    "identity.valid@1",
    "property.owns_home@1",
    "insurance.paid_months@1",
    "housing.lease_on_file@1",
    "enrolment.of_school_age@1",
)
"""A claim for each person whom each department knows."""
ASKS_OF_A_PERSON = 8
"""By one requester: below the ten that a department allows of one person in a day, with room for other tests'."""
OTHERS = 120
"""The first families, whom the other tests of this folder ask about again and again: theirs is another budget."""
MOST_PERSONS = 4
"""Persons of one standing and claim: more would only make the test longer."""
ENOUGH = 100
"""Samples of each standing, at least."""
DELAY = 0.004
"""Seconds that the control adds. An application takes ten of them on an idle machine of two cores."""

TELLING = (*(standing.value for standing in Standing), *(outcome.name.lower() for outcome in ATTESTABLE))
"""Words that would tell how a person stands, or what a department answered."""

Persons = Mapping[tuple[str, Standing], list["Person"]]


@dataclass(frozen=True)
class Person:
    """Whom one claim may be asked about, and what the right answer must be."""

    claim: str
    parameters: Mapping[str, str]
    application: Application
    standing: Standing


@pytest.fixture(scope="module")
def insured(running: Running) -> Iterator[SandboxRules]:
    """Rules by which every group owes social insurance, so that each department may be asked about anybody."""
    folder = running.folder / running.endpoints.rules
    before = {file: file.read_text(encoding="utf-8") for file in folder.glob("????.toml")}
    for file, text in before.items():
        rest = re.sub(r"^\[social_insurance\]$.*?(?=^\[|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
        groups = ", ".join(f'"{group.value}"' for group in Group)
        file.write_text(f'{rest}\n[social_insurance]\nrequired = true\nmonths = "12"\ngroups = [{groups}]\n')
    time.sleep(2.5)  # the gateway looks once a second
    yield SandboxRules(folder)
    for file, text in before.items():
        file.write_text(text, encoding="utf-8")
    time.sleep(2.5)


@pytest.fixture(scope="module")
def persons(running: Running, insured: SandboxRules) -> Persons:
    """Families by how their person stands, as the registers themselves say."""
    found: dict[tuple[str, Standing], list[Person]] = defaultdict(list)
    prefectures = {requester.name.removeprefix("edu-") for requester in running.sandbox.requesters}
    registers = {
        (kind, prefecture): SqliteRegister(
            running.folder / "departments" / f"{kind.value}-{prefecture}" / REGISTER_FILE
        )
        for kind in DepartmentKind
        for prefecture in prefectures
    }
    for truth in running.families[OTHERS:]:
        application = truth.application
        for check in insured.asked(application.case).plan:
            if check.claim not in ASKED:
                continue
            claim = CLAIMS[check.claim]
            about = {role: application.subjects[role] for role in claim.roles}
            asked = RegisterQuestion(claim.name, application.region, check.parameters, about)
            (finding,) = registers[claim.department, prefecture_of(application.region)].find([asked])
            person = Person(claim.name, check.parameters, application, finding.standing)
            found[claim.name, finding.standing].append(person)
    for register in registers.values():
        register.close()
    return found


class Asker:
    """Sends checks one at a time and keeps the time of each, by the standing of its subject."""

    def __init__(self, client: Client, guardians: Guardians, requester: str) -> None:
        self.times: dict[Standing, list[float]] = {standing: [] for standing in Standing}
        self._client = client
        self._guardians = guardians
        self._requester = requester
        self._consents: dict[tuple[str, str], ConsentFile] = {}
        self._plans: dict[tuple[str, School], Plan] = {}

    async def ask(self, person: Person) -> None:
        application, name = person.application, person.claim
        consent = await self._consent(person)
        plan = await self._plan(application)
        submission = self._client.prepare([Question("c1", name, application.region, person.parameters)], consent, plan)
        began = time.perf_counter()
        result = await self._client.send(submission)
        self.times[person.standing].append(time.perf_counter() - began)
        (answer,) = result.verified.answers
        known = person.standing is Standing.KNOWN
        assert (answer.outcome in (Outcome.YES, Outcome.NO)) if known else (answer.outcome is Outcome.UNDETERMINED)

    async def _plan(self, application: Application) -> Plan:
        key = application.region, application.school
        if key not in self._plans:
            self._plans[key] = await self._client.plan(*key, None)
        return self._plans[key]

    async def _consent(self, person: Person) -> ConsentFile:
        key = person.claim, person.application.family
        if key not in self._consents:
            details = group_details((person.claim,), (person.application.region,), ASKS_OF_A_PERSON)
            self._consents[key] = await self._guardians.consent_to(person.application, self._requester, details)
        return self._consents[key]


@pytest.fixture(scope="module")
def written_before(running: Running) -> dict[str, Written]:
    """What stood there before this module asked: other tests name faults, by words that are standings too."""
    return written(running)


@pytest.fixture(scope="module")
def times(running: Running, persons: Persons, written_before: dict[str, Written]) -> dict[Standing, list[float]]:
    """Times of as many checks of each standing."""
    return asyncio.run(take_times(running, persons))


async def take_times(running: Running, persons: Persons) -> dict[Standing, list[float]]:
    rng = Random(5)
    times: dict[Standing, list[float]] = {standing: [] for standing in Standing}
    for requester in running.sandbox.requesters:
        async with open_client(running.folder, requester.name) as client, Guardians(running.folder) as guardians:
            asker = Asker(client, guardians, requester.name)
            for name in ASKED:
                count = min(MOST_PERSONS, *(len(persons[name, standing]) for standing in Standing))
                assert count, name
                for turn in range(count * ASKS_OF_A_PERSON):
                    for standing in rng.sample(list(Standing), len(Standing)):
                        await asker.ask(persons[name, standing][turn % count])
        for standing, measured in asker.times.items():
            times[standing] += measured
    return times


def test_time_at_the_requester_does_not_tell_the_standing(times: dict[Standing, list[float]]) -> None:
    assert min(map(len, times.values())) >= ENOUGH
    assert differing(times) == {}


def test_a_delay_for_those_who_are_found_is_noticed_at_the_requester(times: dict[Standing, list[float]]) -> None:
    planted = {**times, Standing.KNOWN: [measured + DELAY for measured in times[Standing.KNOWN]]}
    assert Standing.KNOWN in differing(planted)


@dataclass(frozen=True)
class Written:
    """What one process has measured and logged."""

    metrics: frozenset[str]
    lines: tuple[str, ...]

    def since(self, before: Written) -> Written:
        """What is new, or has another value."""
        return Written(self.metrics - before.metrics, self.lines[len(before.lines) :])

    def telling(self) -> set[str]:
        """The words that tell, in any part of a log line and in the labels of what is measured."""
        labels = [label for metric in self.metrics for label in re.findall(r'="([^"]*)"', metric)]
        return {word for word in TELLING for text in (*labels, *self.lines) if word_in(word, text)}


def word_in(word: str, text: str) -> bool:
    """Whether a word stands in a text, on its own or among underscores."""
    return re.search(rf"(?<![a-z]){word}(?![a-z])", text, re.IGNORECASE) is not None


def written(running: Running) -> dict[str, Written]:
    found = {}
    for process in running.sandbox.processes():
        with urlopen(f"http://127.0.0.1:{process.probes}/metrics") as response:
            metrics = frozenset(response.read().decode().splitlines())
        found[process.name] = Written(metrics, tuple(process.log.read_text(encoding="utf-8").splitlines()))
    return found


@pytest.mark.usefixtures("times")
def test_no_metric_or_log_line_of_any_party_names_an_outcome_or_a_standing(
    running: Running, written_before: dict[str, Written]
) -> None:
    """After checks of every standing: words that would tell are neither in what is measured nor in what is written."""
    now = written(running)
    assert all(each.lines for each in now.values())
    found = {name: each.since(written_before[name]) for name, each in now.items()}
    assert {name: new.telling() for name, new in found.items() if new.telling()} == {}
    assert any(
        metric.startswith("heyan_calls_total") for metric in found["gateway"].metrics
    )  # what it did was measured


@pytest.mark.parametrize("word", TELLING)
def test_a_metric_or_log_line_that_names_an_outcome_or_a_standing_is_noticed(word: str) -> None:
    clean = Written(frozenset({'heyan_checks_total{claim="identity.valid@1"} 3.0'}), ('{"message": "answered"}',))
    assert clean.telling() == set()
    for line in (
        f'{{"message": "person {word}"}}',
        f'{{"standings": ["{word.upper()}"]}}',
        f"INFO grpc of_{word}_persons",
    ):
        assert Written(clean.metrics, (*clean.lines, line)).since(clean).telling() == {word}
    metric = f'heyan_checks_total{{claim="identity.valid@1",standing="{word}"}} 1.0'
    assert Written(clean.metrics | {metric}, clean.lines).since(clean).telling() == {word}
