"""Real department nodes in this process: rules, journal and simulated register, without a network.

`RealNode` is the gateway's port to one, so that a pipeline can be tested against what departments really answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from random import Random

from gateway.departments.port import Acknowledgement, Ask, OnBatch, Reply
from gateway.protocol.attestation import open_batch, read_proof, read_signed_batch
from gateway.protocol.claims import CLAIMS, DepartmentKind, Role
from gateway.protocol.divisions import counties_of
from gateway.protocol.errors import UnreachableError
from gateway.protocol.keys import SigningKey
from gateway.protocol.presentation import write_presentation, write_presented_part, write_signed_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.sealing import OpeningKey
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.answerer import Answerer, Sources, Terms
from sandbox_departments.answering import Budget
from sandbox_departments.journal import Journal
from sandbox_departments.people import KNOWN_ROLES, Blemish, Enrolment, Family, Flaw, Holding, Situation, birth_window
from sandbox_departments.population import generate_families
from sandbox_departments.register import Question, Register, Standing
from sandbox_departments.registers import SqliteRegister, build_registers
from sandbox_departments.replies import Incoming
from tests import federation as fed
from tests.county_rules import SHIPPED_RULES
from tests.fakes import FakeStandings

PREFECTURE = "4301"
SNAPSHOT = date(2027, 1, 1)


@dataclass(frozen=True)
class NodeKeys:
    """The keys of a node of `tests.federation`."""

    opened: OpeningKey
    key: SigningKey

    def opening(self) -> Mapping[str, OpeningKey]:
        return {self.opened.key_id: self.opened}

    def signing(self, registry: Registry, now: float) -> SigningKey:
        return self.key


class RealNode:
    """A node of `tests.federation` over a register; keeps every message that it answered with."""

    def __init__(
        self,
        kind: DepartmentKind,
        federation: fed.Federation,
        register: Register,
        folder: Path,
        clock: Callable[[], float],
        *,
        on_batch: OnBatch = lambda *_: None,
        budget: Budget | None = None,
    ) -> None:
        self.department = fed.DEPARTMENTS[kind]
        self.messages: list[bytes] = []
        self.journal_file = folder / f"{kind.value}-journal.db"
        self._federation = federation
        self._clock = clock
        self._on_batch = on_batch
        self._journal = Journal(self.journal_file)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.answerer = Answerer(
            Terms(self.department, bytes(32), budget or Budget(10, fed.DAY)),
            sources=Sources(
                registry=lambda: federation.registry,
                keys=NodeKeys(federation.opening_keys[self.department], federation.signing_keys[self.department]),
                register=register,
                standings=FakeStandings(),
            ),
            journal=self._journal,
            thread=self._thread,
            clock=clock,
            randomness=Random(kind.value).randbytes,  # the same nonces for the same asks in the same order
        )

    async def ask(self, ask: Ask, timeout: float) -> tuple[Reply, ...]:  # noqa: ASYNC109 - the port's
        message = pb.Ask(
            ask_id=1,
            query=write_signed_query(ask.signed),
            part=write_presented_part(ask.part),
            grants=[write_presentation(grant) for grant in ask.grants],
        )
        (answered,) = await self.answerer.answer([Incoming(1, fed.GATEWAY, message)])
        self.messages.append(answered.message.SerializeToString())
        (reply,) = answered.message.replies
        if reply.fault:
            raise UnreachableError(Reason[reply.fault])
        signed = read_signed_batch(answered.message.batch)
        proofs = tuple(map(read_proof, reply.statements))
        self._on_batch(self.department, signed, proofs)
        return (Reply(signed, open_batch(signed, self._federation.registry, self._clock()), proofs),)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Nothing is settled here: the node owes nobody."""

    def close(self) -> None:
        self._thread.shutdown()
        self._journal.close()


def standing_as(family: Family, standing: Standing, roles: Sequence[Role] = tuple(Role)) -> Family:
    """`family` as every department would have it, with the persons of `roles` standing so in each."""
    if standing is Standing.KNOWN:
        return replace(family, blemishes=())
    return replace(
        family,
        blemishes=tuple(
            Blemish(department, role, standing)
            for department, known in KNOWN_ROLES.items()
            for role in known
            if role in roles
        ),
    )


def families(count: int) -> tuple[Family, ...]:
    """Families of one prefecture, in order or not, of whom every department knows everybody."""
    made = generate_families(Random(7), count, today=SNAPSHOT, rules=SHIPPED_RULES, prefectures=(PREFECTURE,))
    return tuple(standing_as(family, Standing.KNOWN) for family in made)


def open_registers(people: Sequence[Family], folder: Path) -> dict[DepartmentKind, SqliteRegister]:
    """The registers of one prefecture's departments, built in `folder`."""
    folders = {(kind, PREFECTURE): folder / kind.value for kind in DepartmentKind}
    paths = build_registers(people, folders, snapshot_date=SNAPSHOT)
    return {kind: SqliteRegister(path) for (kind, _), path in paths.items()}


def questions_about(family: Family) -> list[Question]:
    """Every claim that the family's roles allow, in its own county, each with its first parameters."""
    subjects = family.application.subjects
    return [
        Question(
            claim.name,
            family.application.region,
            {name: values[0] for name, values in claim.parameters.items()},
            {role: subjects[role] for role in claim.roles},
        )
        for claim in CLAIMS.values()
        if claim.roles <= subjects.keys()
    ]


def with_everything(family: Family) -> Family:
    """Whatever a claim asks for is there, in the family's county; so the child's hukou is not elsewhere."""
    region = family.application.region
    held = (Holding(region, SNAPSHOT),)
    level, year = _cohort()
    situation = Situation(
        child_hukou=region,
        guardian_hukou=region,
        same_household=True,
        registered_guardian=family.application.subjects[Role.GUARDIAN],
        card=Holding(region),
        age_cohort=(level, year),
        born_on=birth_window(level, year)[0],
        permits=held,
        homes=held,
        co_resident_homes=held,
        leases=held,
        public_housing=held,
        insured=((region, 80),),
        fields_on_file=CLAIMS["enrolment.field_on_file@1"].parameters["field"],
    )
    return replace(family, situation=situation)


def with_nothing(family: Family) -> Family:
    """Nothing is there; the hukou and a school place are in another county."""
    elsewhere = next(county for county in counties_of(PREFECTURE) if county != family.application.region)
    level, year = _cohort()
    situation = Situation(
        child_hukou=elsewhere,
        guardian_hukou=None,
        same_household=False,
        registered_guardian=family.application.subjects[Role.CO_RESIDENT],
        card=Holding(elsewhere, flaw=Flaw.CANCELLED),
        age_cohort=(level, year - 1),
        born_on=birth_window(level, year - 1)[0],
        enrolments=(Enrolment(elsewhere, level, is_current=True),),
    )
    return replace(family, situation=situation)


def _cohort() -> tuple[str, int]:
    """The level and school year that `questions_about` asks for."""
    parameters = CLAIMS["enrolment.of_school_age@1"].parameters
    return parameters["level"][0], int(parameters["year"][0])
