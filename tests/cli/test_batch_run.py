"""A batch that is killed, refused, lied to or left alone at any step spends no use twice and comes to its end."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consent.consent_file import ConsentFile
from gateway.bulk import Pace
from gateway.cli import batch_run
from gateway.cli.batch_file import Line
from gateway.cli.batch_prepare import Asked, Sources
from gateway.cli.batch_results import write_results
from gateway.cli.batch_run import BatchRun
from gateway.cli.batch_state import BatchIdentity, BatchOutcome, BatchState, Item, Prepared
from gateway.party.statuses import to_status
from gateway.protocol.errors import HeyanError, MalformedError, NotCurrentError, NotGrantedError, UnreachableError
from gateway.protocol.matrix import Group, School
from gateway.protocol.reasons import Reason
from heyan.v1 import gateway_service_pb2 as pb
from tests import federation as fed
from tests.gateway.conftest import NOW, Gateway, department_of, open_gateway
from tests.stream_gateway import StreamCall, StreamGateway

WHOSE = BatchIdentity("0" * 64, "operator", "/run", "edu-4301")
QUICK = Pace(in_flight=4, patience=1.0, least_pause=0.001, most_pause=0.002, retry=0.001)
FAMILIES = 5


class KilledError(BaseException):
    """The process ends here, as by kill -9: nothing of it is caught or kept."""


@dataclass
class Steps:
    """Counts the steps of a run, and kills it at one; whoever is dead takes no further step."""

    at: int | None = None
    taken: int = 0
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def step(self) -> None:
        self.taken += 1
        if self.at is not None and self.taken >= self.at:
            self.killed.set()
            raise KilledError


class MortalState(BatchState):
    """A state whose process may die before and after each transaction."""

    steps: Steps

    def save_prepared(self, prepared: Iterable[Prepared]) -> None:
        self.steps.step()
        super().save_prepared(prepared)
        self.steps.step()

    def save_outcomes(self, outcomes: Iterable[BatchOutcome]) -> None:
        self.steps.step()
        super().save_outcomes(outcomes)
        self.steps.step()


@dataclass
class Batch:
    """A batch of families over one gateway; each `run` is a process of its own."""

    gateway: Gateway
    file: Path
    served: StreamGateway
    consents: dict[str, list[ConsentFile]] = field(default_factory=dict)
    plan_for: Group | None = Group.HOME_AND_HUKOU
    defer: float | None = None

    async def run(self, steps: Steps | None = None) -> dict[str, str]:
        """One run; how each application stands then. Raises KilledError where `steps` says so."""
        steps = steps or Steps()

        async def consent(item: Item) -> ConsentFile:
            steps.step()
            made = self.gateway.federation.issue()
            self.consents.setdefault(item.family, []).append(made)
            return made

        with MortalState(self.file, WHOSE) as state:
            state.steps = steps
            if not state.is_filled:
                fill(state)
            sources = Sources(lambda _: Asked(fed.REGION, School.PUBLIC_PRIMARY, self.plan_for), consent, self.defer)
            client, clock = self.served.client(), self.gateway.clock
            run = BatchRun(state, client, sources, clock=clock, on_outcome=lambda _: steps.step(), pace=QUICK)
            await until_killed(run.run(), steps)
            return {row.family: row.status for row in state.rows()}

    def rows(self) -> list[dict[str, str]]:
        """The results as a spreadsheet reads them."""
        with BatchState(self.file, WHOSE) as state:
            write_results(self.file.with_name("out.csv"), state.rows())
        with self.file.with_name("out.csv").open(newline="") as opened:
            return list(csv.DictReader(opened))

    def uses(self) -> list[int]:
        """Uses of each family, over all consents that it ever gave."""
        return [
            sum(max(self.gateway.used(consent)) for consent in self.consents.get(f"F{number}", ()))
            for number in range(1, FAMILIES + 1)
        ]


def fill(state: BatchState) -> None:
    with state.filling(WHOSE):
        for number in range(1, FAMILIES + 1):
            state.add(Line(number, f"F{number}", None, ""))
            state.locate(f"F{number}", number)


async def until_killed(run: Coroutine[None, None, None], steps: Steps) -> None:
    running, killed = asyncio.create_task(run), asyncio.create_task(steps.killed.wait())
    await asyncio.wait({running, killed}, return_when=asyncio.FIRST_COMPLETED)
    killed.cancel()
    running.cancel()
    (outcome,) = await asyncio.gather(running, return_exceptions=True)
    if steps.killed.is_set():
        raise KilledError
    if isinstance(outcome, BaseException):
        raise outcome


@pytest.fixture
async def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Batch]:
    monkeypatch.setattr(batch_run, "AT_ONCE", 3)
    async with open_gateway(tmp_path, fed.Federation.create(NOW)) as gateway:
        served = StreamGateway(gateway)
        served._scripts = [served.honest]
        yield Batch(gateway, tmp_path / "out.csv.state", served)
        await served.close()


ALL = [f"F{number}" for number in range(1, FAMILIES + 1)]
ALL_OK = dict.fromkeys(ALL, "OK")


async def test_batch_is_answered_with_one_use_and_one_request_each(batch: Batch) -> None:
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES
    assert set(batch.served.received.values()) == {1}
    rows = batch.rows()
    assert [row["family"] for row in rows] == ALL
    assert len({row["request_id"] for row in rows}) == FAMILIES
    assert {row["supported_groups"] for row in rows} == {"home_and_hukou"}
    assert {row["hukou.child_registered@1"] for row in rows} == {"YES"}
    assert {(row["status"], row["run_again"], row["owed"], row["not_known"]) for row in rows} == {("OK", "", "0", "0")}
    assert all(int(row["exempt"]) > 0 for row in rows)


async def test_second_run_asks_nothing(batch: Batch) -> None:
    await batch.run()
    before = dict(batch.served.received)
    assert await batch.run() == ALL_OK
    assert batch.served.received == before


async def test_open_group_is_told_which_groups_the_answers_support(batch: Batch) -> None:
    batch.plan_for = None
    assert await batch.run() == ALL_OK
    assert all("home_and_hukou" in row["supported_groups"].split() for row in batch.rows())


async def test_run_killed_at_any_step_goes_on_without_a_doubled_use(batch: Batch) -> None:
    """At every step of a run, and of the run that goes on; what was sent is sent again in the same bytes only."""
    at = 0
    while True:
        at += 1
        batch.file.unlink(missing_ok=True)
        batch.consents.clear()
        batch.served.received.clear()
        kills = 0
        for run in range(3):
            try:
                standing = await batch.run(Steps(at + 3 * run) if run < 2 else None)
                break
            except KilledError:
                kills += 1
                await batch.gateway.pipeline.drain()
        assert standing == ALL_OK
        assert batch.uses() == [1] * FAMILIES, f"killed at step {at}"
        assert len(batch.served.received) == FAMILIES, f"killed at step {at}"
        if kills == 0:
            break
    assert at > 15


async def killed_after_the_commit(batch: Batch) -> None:
    """The gateway carried what was in flight and told nothing of it; then the client was killed."""

    async def mute(call: StreamCall) -> None:
        while (request := await batch.served.take(call)) is not None:
            await batch.served.answered(request)
            if sum(batch.served.received.values()) == QUICK.in_flight:
                steps.killed.set()

    steps = Steps()
    honest, batch.served._scripts = batch.served._scripts, [mute]
    with pytest.raises(KilledError):
        await batch.run(steps)
    batch.served._scripts = honest
    assert sum(batch.uses()) == QUICK.in_flight


async def test_run_killed_before_it_heard_an_answer_is_told_it_from_the_log(batch: Batch) -> None:
    await killed_after_the_commit(batch)
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES
    assert len(batch.served.received) == FAMILIES


# -- queries that have expired ------------------------------------------------------------------------------


async def killed_before_anything_is_sent(batch: Batch) -> None:
    async def deaf(_call: StreamCall) -> None:
        steps.killed.set()
        await asyncio.Event().wait()

    steps = Steps()
    honest, batch.served._scripts = batch.served._scripts, [deaf]
    with pytest.raises(KilledError):
        await batch.run(steps)
    batch.served._scripts = honest


async def test_query_that_expired_before_it_was_accepted_is_asked_anew_on_the_same_consent(batch: Batch) -> None:
    await killed_before_anything_is_sent(batch)
    issued = {family: len(made) for family, made in batch.consents.items()}
    batch.gateway.clock.now += 3_600
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES
    assert all(len(batch.consents[family]) == count for family, count in issued.items())
    assert batch.served.looked_up == len(batch.served.received) - FAMILIES


async def test_query_that_was_accepted_and_then_expired_is_not_asked_anew(batch: Batch) -> None:
    await killed_after_the_commit(batch)
    taken = set(batch.served.received)
    batch.gateway.clock.now += 3_600
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES
    assert {batch.served.received[request] for request in taken} == {2}


async def test_partial_answer_whose_time_is_over_stays_as_it_is_and_spends_nothing_more(batch: Batch) -> None:
    """A new query would spend a use more: what the gateway has is the result."""
    land = department_of(batch.gateway, "property.owns_home@1")
    land.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    assert await batch.run() == dict.fromkeys(ALL, "UNAVAILABLE")
    assert {row["run_again"] for row in batch.rows()} == {"yes"}
    batch.gateway.clock.now += 3_600
    land.failure = None
    assert await batch.run() == dict.fromkeys(ALL, "UNAVAILABLE")
    rows = batch.rows()
    assert {(row["run_again"], row["property.owns_home@1"], row["hukou.child_registered@1"]) for row in rows} == {
        ("", "UNAVAILABLE", "YES")
    }
    assert batch.uses() == [1] * FAMILIES
    assert len(batch.served.received) == FAMILIES


async def test_unavailable_check_is_asked_again_by_the_next_run_in_the_same_bytes(batch: Batch) -> None:
    land = department_of(batch.gateway, "property.owns_home@1")
    land.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    await batch.run()
    land.failure = None
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES
    assert set(batch.served.received.values()) == {2}
    assert {row["property.owns_home@1"] for row in batch.rows()} == {"YES"}


async def test_deferred_batch_is_finished_by_another_run_long_after_its_queries_expired(batch: Batch) -> None:
    batch.defer = 36_000.0
    land = department_of(batch.gateway, "property.owns_home@1")
    land.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    assert await batch.run() == dict.fromkeys(ALL, "DEFERRED")
    assert {row["run_again"] for row in batch.rows()} == {"yes"}
    land.failure = None
    batch.gateway.clock.now += 3_600
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES
    assert len(batch.served.received) == FAMILIES


@pytest.mark.parametrize("reason", [Reason.QUERY_EXPIRED, Reason.RULES_CHANGED])
async def test_gateway_that_takes_no_query_ever_does_not_keep_the_run_going(batch: Batch, reason: Reason) -> None:
    refuse_all(batch, NotCurrentError(reason))
    assert await batch.run() == dict.fromkeys(ALL, reason.value)
    assert {row["run_again"] for row in batch.rows()} == {"yes"}
    assert len(batch.served.received) == 3 * FAMILIES
    batch.served._scripts = [batch.served.honest]
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES


# -- what is refused, and who lies --------------------------------------------------------------------------


def refuse_all(batch: Batch, error: HeyanError, only: Callable[[int], bool] = lambda _: True) -> None:
    async def refuse(call: StreamCall) -> None:
        while (request := await batch.served.take(call)) is not None:
            if only(request.item):
                call.answer(pb.VerifyStreamResponse(item=request.item, error=to_status(error)))
            else:
                call.answer(await batch.served.answered(request))

    batch.served._scripts = [refuse]


async def test_refused_application_is_final_and_holds_up_no_other(batch: Batch) -> None:
    refuse_all(batch, NotGrantedError(Reason.GRANT_REVOKED), lambda item: item == 2)
    assert Counter((await batch.run()).values()) == {"OK": FAMILIES - 1, "GRANT_REVOKED": 1}
    before = dict(batch.served.received)
    assert Counter((await batch.run()).values()) == {"OK": FAMILIES - 1, "GRANT_REVOKED": 1}
    assert batch.served.received == before


async def test_closed_window_is_no_final_answer(batch: Batch) -> None:
    refuse_all(batch, NotCurrentError(Reason.WINDOW_CLOSED))
    assert await batch.run() == dict.fromkeys(ALL, "WINDOW_CLOSED")
    batch.served._scripts = [batch.served.honest]
    batch.gateway.clock.now += 86_400
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES


async def test_answers_swapped_between_applications_are_no_results_and_the_next_run_mends_it(batch: Batch) -> None:
    async def swap(call: StreamCall) -> None:
        first, second = await batch.served.take(call), await batch.served.take(call)
        assert first is not None
        assert second is not None
        for asked, told in ((first, second), (second, first)):
            answer = await batch.served.answered(asked)
            answer.item = told.item
            call.answer(answer)
        await batch.served.honest(call)

    batch.served._scripts = [swap]
    assert Counter((await batch.run()).values()) == {"RECEIPT_INVALID": 2, "OK": FAMILIES - 2}
    batch.served._scripts = [batch.served.honest]
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES


async def test_gateway_that_calls_an_accepted_query_expired_is_asked_what_it_knows_of_it(batch: Batch) -> None:

    async def deny(call: StreamCall) -> None:
        while (request := await batch.served.take(call)) is not None:
            await batch.served.answered(request)
            error = to_status(NotCurrentError(Reason.QUERY_EXPIRED))
            call.answer(pb.VerifyStreamResponse(item=request.item, error=error))

    batch.served._scripts = [deny]
    standing = await batch.run()
    assert standing == ALL_OK, "what GetVerification knows is the result, whatever the stream said"
    assert batch.uses() == [1] * FAMILIES


async def test_family_without_a_co_resident_is_not_asked_about_one(batch: Batch) -> None:
    batch.plan_for = Group.HUKOU_SHARED_HOME
    assert await batch.run() == ALL_OK
    rows = batch.rows()
    assert {row["property.co_resident_owns_home@1"] for row in rows} == {""}


async def test_run_whose_gateway_is_gone_ends_and_the_next_one_goes_on(batch: Batch) -> None:
    async def gone(_call: StreamCall) -> None:
        raise UnreachableError(Reason.SHUTTING_DOWN, retry_after=0.001)

    honest, batch.served._scripts = batch.served._scripts, [gone]
    with pytest.raises(UnreachableError):
        await batch.run()
    assert set(Counter(row["status"] for row in batch.rows())) <= {"SHUTTING_DOWN", "NOT_ASKED"}
    batch.served._scripts = honest
    assert await batch.run() == ALL_OK
    assert batch.uses() == [1] * FAMILIES


async def test_file_that_fails_ends_the_run_and_costs_no_application_its_result(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> ConsentFile:
        raise MalformedError.at("consent.json", "cannot be read", Reason.CONFIGURATION_INVALID)

    with monkeypatch.context() as patched:
        patched.setattr(fed.Federation, "issue", fail)
        with pytest.raises(MalformedError):
            await batch.run()
    assert {row["status"] for row in batch.rows()} == {"NOT_ASKED"}
    assert await batch.run() == ALL_OK


async def test_issuer_that_is_gone_ends_the_run_and_asks_nothing(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> ConsentFile:
        raise UnreachableError(Reason.PEER_UNREACHABLE, retry_after=0.3)

    with monkeypatch.context() as patched:
        patched.setattr(fed.Federation, "issue", fail)
        with pytest.raises(UnreachableError):
            await batch.run()
    assert batch.served.received == {}
    assert await batch.run() == ALL_OK
