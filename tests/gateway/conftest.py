"""A gateway's pipeline over a real store and log, with fake departments and a standing clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consent.consent_file import ConsentFile
from consent.verified import GenuineGrants
from gateway.admission import Admission
from gateway.allowance import Allowance
from gateway.asking import Envelope, Question, make_submission
from gateway.client import Client, ClientSettings, Plan
from gateway.deferral import DeferralTraffic, DeferralWorker
from gateway.departments.acknowledgements import Acknowledgements
from gateway.departments.traffic import Unanswered
from gateway.dispute_relay import DisputeRelay
from gateway.disputes import Disputes
from gateway.events import Events
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.fan_out import FanOut
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.pipeline import Pipeline
from gateway.protocol.claims import CLAIMS
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.leaf import read_leaf
from gateway.protocol.matrix import School
from gateway.protocol.note import SignerKey
from gateway.protocol.presentation import Submission, write_submission
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.recording import Recording
from gateway.requests import Requests
from gateway.stores.port import Store
from gateway.stores.records import Waiting
from gateway.stores.sqlite import SqliteStore
from gateway.waiting_room import Limits, WaitingRoom
from gateway.watching import Watchers
from heyan.v1 import gateway_service_pb2, log_pb2, receipt_pb2
from tests import federation as fed
from tests.fakes import AnyApplication, Clock, FailingStore, FakeDepartment, FakeStandings

NOW = 1_800_000_000.0
PEER = parse_identity(fed.REQUESTER)
ROOM = Limits(requests=40, size=10_000_000, requests_each=30, size_each=8_000_000)
QUESTIONS = (
    Question("c1", "hukou.child_registered@1", fed.REGION, {}),
    Question("c2", "guardianship.guardian_of@1", fed.REGION, {}),
    Question("c3", "property.owns_home@1", fed.REGION, {}),
)
PLAN = Plan(
    fed.REGION,
    School.PUBLIC_PRIMARY,
    None,
    gateway_service_pb2.GetPlanResponse(purpose="enrolment", rules_digest=bytes(32)),
)
"""Of rules that nobody holds anything against: what rules refuse is tested in test_applications."""


class Brought:
    """What departments were brought of disputes; `failure` is raised instead if set."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.failure: HeyanError | None = None
        self.on_bring: Callable[[str, bytes], Awaitable[None]] | None = None

    async def __call__(self, department: str, message: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        if self.on_bring is not None:
            await self.on_bring(department, message)
        self.messages.append((department, message))


@dataclass
class Gateway:
    """The pipeline under test and what is around it."""

    federation: fed.Federation
    clock: Clock
    store: FailingStore
    log: Log
    pipeline: Pipeline
    requests: Requests
    events: Events
    admission: Admission
    departments: dict[str, FakeDepartment]
    standings: FakeStandings
    metrics: CollectorRegistry
    disputes: Disputes
    relay: DisputeRelay
    brought: Brought
    room: WaitingRoom
    deferral: DeferralWorker
    watchers: Watchers
    vault: Vault
    stamp: LeafStamp
    steady: Clock
    """What the rests of deferred requests are counted by."""
    gone: list[Reason | None]
    """Of each request that waited and does no longer: why, or None if it was answered."""
    away: set[str]
    """Departments that are known not to be ready."""

    async def tick(self, seconds: float = 600.0) -> None:
        """Let so much time pass for the deferral worker, and have it try what is due until nothing is."""
        self.steady.now += seconds
        while True:
            self.deferral.start_due()
            if not self.deferral._tasks:
                return
            await asyncio.gather(*self.deferral._tasks)

    def kept(self) -> list[Waiting]:
        """What waits, as the store has it."""
        return list(self.store.waiting(None, 1000))

    def submission(
        self,
        consent: ConsentFile | None = None,
        questions: Sequence[Question] = QUESTIONS,
        **envelope: Any,
    ) -> Submission:
        """A right submission, made now."""
        values = {
            "requester": fed.REQUESTER,
            "gateway": fed.GATEWAY,
            "purpose": "enrolment",
            "now": self.clock.now,
            **envelope,
        }
        key = self.federation.signing_keys[values["requester"]]
        return make_submission(
            questions,
            consent or self.federation.issue(),
            Envelope(**values),
            self.federation.registry,
            key,
            self.federation.random.randbytes,
        )

    async def verify(self, submission: Submission, peer: Identity = PEER) -> VerifiedReceipt:
        """Send a submission, and check the receipt as a client would."""
        return self.check(await self.send(submission, peer))

    async def send(self, submission: Submission, peer: Identity = PEER) -> receipt_pb2.Receipt:
        return await self.pipeline.verify(write_submission(submission).SerializeToString(), peer, None)

    def check(self, receipt: receipt_pb2.Receipt) -> VerifiedReceipt:
        receipt.registry = self.federation.registry.token
        return verify_receipt(receipt, self.federation.operator.public_key())

    def leaves(self) -> list[log_pb2.LogLeaf]:
        """Everything in the log."""
        return [read_leaf(data) for data in self.store.leaves(0, 1000)]

    def verification_rows(self) -> list[log_pb2.LoggedCheck]:
        return [row for leaf in self.leaves() for row in leaf.verification.checks]

    def used(self, consent: ConsentFile) -> list[int]:
        """How often each element of the guardian's grant is spent."""
        grant = consent.grants[0]
        return [self.store.uses(grant.digest, element.index) for element in grant.authorizations]


@pytest.fixture(scope="session")
def federation() -> fed.Federation:
    return fed.Federation.create(NOW)


@pytest.fixture
async def gateway(tmp_path: Path, federation: fed.Federation) -> AsyncIterator[Gateway]:
    async with open_gateway(tmp_path, federation) as built:
        yield built


@asynccontextmanager
async def open_gateway(folder: Path, federation: fed.Federation) -> AsyncIterator[Gateway]:
    """A gateway whose store is in `folder`, perhaps from before."""
    clock = Clock(NOW)
    store = FailingStore(folder / "store.db")
    signer = SignerKey.from_seed(
        fed.LOG_ORIGIN,
        federation.signing_keys[fed.GATEWAY].private.private_bytes_raw(),  # type: ignore[union-attr]
    )
    log = Log(store, fed.LOG_ORIGIN, signer)

    def registry() -> Any:
        return built.federation.registry

    steady, gone, away = Clock(0.0), list[Reason | None](), set[str]()
    room = WaitingRoom(ROOM, steady, lambda: 1.0, gone.append)
    vault = Vault(Keks([FileKek(bytes(32))]))
    requests = Requests(store, log, vault, registry, (room.committed, lambda key, *_: watchers.committed(key)))
    watchers = Watchers(8, requests.leaves_of)
    standings = FakeStandings()
    departments = {
        uri: FakeDepartment(uri, federation.signing_keys[uri], registry, clock) for uri in fed.DEPARTMENTS.values()
    }
    find: Callable[[str], FakeDepartment | None] = departments.get
    acknowledgements = Acknowledgements(find)
    for department in departments.values():
        department.on_batch = acknowledgements.expect
    stamp = LeafStamp(parse_identity(fed.GATEWAY), registry, clock)
    events = Events(log, requests, acknowledgements, stamp, Allowance(5, 1.0, Reason.OVERLOADED))
    brought = Brought()
    relay = DisputeRelay(store, requests, brought, monotonic=clock)
    disputes = Disputes(
        log=log,
        store=store,
        requests=requests,
        events=events,
        stamp=stamp,
        relay=relay,
        allowance=Allowance(5, 0.1, Reason.TOO_MANY_DISPUTES),
    )
    admission = Admission(total=64)
    metrics = CollectorRegistry()
    unanswered = Allowance(20, 1.0, Reason.TOO_MANY_UNANSWERED)
    recording = Recording(
        identity=parse_identity(fed.GATEWAY),
        clock=clock,
        requests=requests,
        events=events,
        unanswered=unanswered,
    )
    pipeline = Pipeline(
        identity=parse_identity(fed.GATEWAY),
        registry=registry,
        clock=clock,
        requests=requests,
        applications=AnyApplication(),
        status=standings,
        grant_cache=GenuineGrants(),
        departments=FanOut(find, clock, Unanswered(metrics).count),
        recording=recording,
        admission=admission,
        unanswered=unanswered,
        disputes=disputes,
        waiting=room,
    )
    deferral = DeferralWorker(
        room=room,
        requests=requests,
        pipeline=pipeline,
        ready=lambda department: department not in away,
        busy=lambda: admission.busy,
        clock=clock,
        traffic=DeferralTraffic(CollectorRegistry()),
        at_once=4,
    )
    built = Gateway(
        federation=federation,
        clock=clock,
        store=store,
        log=log,
        pipeline=pipeline,
        requests=requests,
        events=events,
        admission=admission,
        departments=departments,
        standings=standings,
        metrics=metrics,
        room=room,
        deferral=deferral,
        watchers=watchers,
        vault=vault,
        stamp=stamp,
        steady=steady,
        gone=gone,
        away=away,
        disputes=disputes,
        relay=relay,
        brought=brought,
    )
    log.start()
    await deferral.load()
    yield built
    await deferral.stop()
    await pipeline.drain()
    await log.stop()
    store.close()


def client_over(connection: object, gateway: Gateway) -> Client:
    """The client SDK of the requester, whose calls go to `connection` in the place of a channel."""
    settings = ClientSettings(
        requester=fed.REQUESTER,
        gateway=fed.GATEWAY,
        target="127.0.0.1:1",
        tls=None,  # type: ignore[arg-type] # no connection is made
        signing_key=lambda: gateway.federation.signing_keys[fed.REQUESTER],
        operator=gateway.federation.operator.public_key(),
    )
    client = Client(settings, lambda: gateway.federation.registry, gateway.clock, lambda: False)
    client._connection = connection  # type: ignore[assignment]
    return client


def department_of(gateway: Gateway, claim: str) -> FakeDepartment:
    """The fake node that answers a claim."""
    return gateway.departments[fed.DEPARTMENTS[CLAIMS[claim].department]]


@pytest.fixture
def land(gateway: Gateway) -> Iterator[FakeDepartment]:
    """The department of the third question, which is down."""
    made = department_of(gateway, "property.owns_home@1")
    made.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    yield made
    if made.gate is not None:
        made.gate.set()  # so that a test that failed does not keep the gateway waiting


OpenStore = Callable[[], Store]


@pytest.fixture(params=["sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the same store again and again."""
    opened: list[Store] = []

    def open_again() -> Store:
        opened.append(SqliteStore(tmp_path / "store.db"))
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()
