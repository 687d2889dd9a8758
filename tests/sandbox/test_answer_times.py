"""The time in which a register and a node answer does not tell how a person stands; without a network.

Samples are taken in random order over persons of every standing, so that whatever the machine does meets all alike.
Each test has its control: the same samples with a delay planted for those who are found must raise the alarm.
The false alarm of a test is that of `tests.timing`, 1 in 100,000. They run alone: beside other tests the controls have
not the power that was measured.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from random import Random

import pytest

from consent.selection import presentations_for
from gateway.asking import Envelope, make_submission
from gateway.asking import Question as Asked
from gateway.departments.port import Ask
from gateway.protocol.claims import CLAIMS, Claim, DepartmentKind
from gateway.protocol.query import open_part, read_query
from sandbox_departments.answering import Budget
from sandbox_departments.people import Family
from sandbox_departments.register import Finding, Question, Standing
from sandbox_departments.registers import SqliteRegister
from tests import federation as fed
from tests.fakes import Clock
from tests.nodes import RealNode, families, open_registers, questions_about, standing_as
from tests.timing import differing

pytestmark = [pytest.mark.slow, pytest.mark.alone]

NOW = 1_800_000_000.0
LOOKUPS = 400
"""Samples of each standing and claim."""
LOOKUP_DELAY = 3e-6
"""Seconds that the control plants in a lookup of some 30 microseconds. A row that is read costs about four."""
LOOKUP_MARGIN = 1e-6
"""Seconds by which lookups may differ. They take the same steps, but a processor guesses branches by what came before:
where most persons are found, whoever is not costs some 0.3 microseconds, on some processors and not on others."""
ANSWERS = 240
"""Samples of each standing; a node that is asked one by one answers some hundred in a second."""
ANSWER_DELAY = 2e-3
"""Seconds that the control plants in an answer of some milliseconds, most of them for keys and fsync."""

STANDINGS = tuple(Standing)


class Delaying:
    """A register that takes longer for those whom it finds: the leak that the tests are to notice."""

    def __init__(self, register: SqliteRegister, delay: float) -> None:
        self._register = register
        self._delay = delay

    @property
    def snapshot_date(self) -> date:
        return self._register.snapshot_date

    def find(self, questions: Sequence[Question]) -> Sequence[Finding]:
        findings = self._register.find(questions)
        if all(finding.standing is Standing.KNOWN for finding in findings):
            end = time.perf_counter() + self._delay
            while time.perf_counter() < end:
                pass
        return findings


@dataclass(frozen=True)
class Square:
    """Six sets of registers of the same people: whoever stands in one way in the first stands in another in each next.

    So every standing is that of the same persons, at the same places of the same files, equally often: nothing else
    goes with it.
    """

    people: tuple[Family, ...]
    registers: tuple[Mapping[DepartmentKind, SqliteRegister], ...]

    def samples(
        self, count: int, wanted: Callable[[Family], bool], rng: Random
    ) -> Iterator[tuple[Family, int, Standing]]:
        """`count` of each standing: a family, in which registers to ask about it, and how it stands there."""
        places = [place for place, family in enumerate(self.people) if wanted(family)]
        for place in islice(cycle(places), count):
            for turn in rng.sample(range(len(STANDINGS)), len(STANDINGS)):
                yield self.people[place], turn, STANDINGS[(place + turn) % len(STANDINGS)]


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Square]:
    people = families(320)
    registers = []
    for turn in range(len(STANDINGS)):
        stands = [
            standing_as(family, STANDINGS[(place + turn) % len(STANDINGS)]) for place, family in enumerate(people)
        ]
        registers.append(open_registers(stands, tmp_path_factory.mktemp("registers")))
    yield Square(people, tuple(registers))
    for opened in registers:
        for register in opened.values():
            register.close()


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- the register -----------------------------------------------------------------------------------------------


def time_lookups(square: Square, claim: Claim, delay: float = 0.0) -> dict[Standing, list[float]]:
    """Seconds of one lookup each; `delay` is planted for those who are found."""
    asked = [
        (Delaying(square.registers[turn][claim.department], delay), question, standing)
        for family, turn, standing in square.samples(
            LOOKUPS, lambda family: claim.roles <= family.application.subjects.keys(), Random(claim.name)
        )
        for question in questions_about(family)
        if question.claim == claim.name
    ]
    times: dict[Standing, list[float]] = {standing: [] for standing in Standing}
    with no_collector():
        for register, question, standing in asked:
            began = time.perf_counter()
            register.find((question,))
            times[standing].append(time.perf_counter() - began)
    return times


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
def test_time_of_a_lookup_does_not_tell_the_standing(claim: Claim, square: Square) -> None:
    assert differing(time_lookups(square, claim), margin=LOOKUP_MARGIN) == {}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
def test_a_lookup_that_takes_longer_for_those_who_are_found_is_noticed(claim: Claim, square: Square) -> None:
    assert Standing.KNOWN in differing(time_lookups(square, claim, LOOKUP_DELAY), margin=LOOKUP_MARGIN)


# -- the node ---------------------------------------------------------------------------------------------------


async def time_answers(
    square: Square, federation: fed.Federation, folder: Path, delay: float
) -> dict[Standing, list[float]]:
    """Seconds of one answer of the police each, from an ask to the signed reply, rules and journal included."""
    kind, clock = DepartmentKind.POLICE, Clock(NOW)
    nodes = [
        RealNode(
            kind,
            federation,
            Delaying(registers[kind], delay),
            folder / str(turn),
            clock,
            budget=Budget(10_000, fed.DAY),
        )
        for turn, registers in enumerate(square.registers)
    ]
    times: dict[Standing, list[float]] = {standing: [] for standing in Standing}
    asks: dict[str, Callable[[], Ask]] = {}
    with no_collector():
        for family, turn, standing in square.samples(ANSWERS, lambda _: True, Random("node")):
            name = family.application.family
            if name not in asks:
                asks[name] = asker(family, federation)
            ask = asks[name]()
            began = time.perf_counter()
            await nodes[turn].ask(ask, 1.0)
            times[standing].append(time.perf_counter() - began)
    for node in nodes:
        node.close()
    return times


def asker(family: Family, federation: fed.Federation) -> Callable[[], Ask]:
    """Makes fresh queries about one family's guardian, all on one consent."""
    application = family.application
    consent = federation.issue(application.subjects, regions=(application.region,), max_uses=1_000)
    questions = [Asked("c1", "identity.valid@1", application.region, {})]

    def ask() -> Ask:
        submission = make_submission(
            questions,
            consent,
            Envelope(fed.REQUESTER, fed.GATEWAY, "enrolment", NOW),
            federation.registry,
            federation.signing_keys[fed.REQUESTER],
            federation.random.randbytes,
        )
        (part,) = submission.parts
        shown = presentations_for(open_part(part.part).part, read_query(submission.signed.query), submission.grants)
        return Ask(submission.signed, part, shown)

    return ask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for turn in range(len(STANDINGS)):
        (tmp_path / str(turn)).mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def federation() -> fed.Federation:
    return fed.Federation.create(NOW)


async def test_time_of_an_answer_does_not_tell_the_standing(square: Square, federation, folder: Path) -> None:
    assert differing(await time_answers(square, federation, folder, delay=0.0)) == {}


async def test_an_answer_that_takes_longer_for_those_who_are_found_is_noticed(
    square: Square, federation, folder: Path
) -> None:
    assert Standing.KNOWN in differing(await time_answers(square, federation, folder, delay=ANSWER_DELAY))
