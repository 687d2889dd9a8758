"""Statistics beside the log: counted with the leaf or not at all, on its day, and read in pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError, MalformedError, NotGrantedError, UnreachableError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, Tallies, beijing_day, read_key
from gateway.statistics import Statistics
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from heyan.v1 import log_service_pb2
from tests import federation as fed
from tests.fakes import sign
from tests.gateway.conftest import NOW, PEER, Gateway, department_of

TODAY = beijing_day(int(NOW))
DAY = "2027-06-01"
HUKOU, GUARDIAN, LAND = "hukou.child_registered@1", "guardianship.guardian_of@1", "property.owns_home@1"
KEYS = tuple(
    StatisticKey(region, department, claim, status, False, reason, 0)
    for region in ("430102", "430103")
    for department in ("spiffe://heyan/department/a", "spiffe://heyan/department/b")
    for claim in ("a@1", "b@1")
    for status, reason in ((1, ""), (3, "DEPARTMENT_UNREACHABLE"))
)


def counted(gateway: Gateway, day: str = TODAY) -> dict[tuple[str, int, bool, str], int]:
    """Counts of checks by claim, status, verdict and reason; all of one county."""
    rows = gateway.store.statistics(day, None, 1_000).rows
    assert {key.region for key, _ in rows} <= {fed.REGION}
    return {(key.claim, key.status, key.verified, key.reason): count for key, count in rows if not key.is_latency}


def timed(gateway: Gateway, day: str = TODAY) -> Counter[str]:
    """How many latencies are counted, by department; the empty one is the application's."""
    found: Counter[str] = Counter()
    for key, count in gateway.store.statistics(day, None, 1_000).rows:
        if key.is_latency:
            found[key.department.rpartition("/")[2]] += count
    return found


# -- what is counted ------------------------------------------------------------------------------------------


async def test_yes_and_no_are_counted_alike_and_undetermined_apart(gateway: Gateway) -> None:
    department_of(gateway, HUKOU).outcomes = {HUKOU: Outcome.NO}
    department_of(gateway, LAND).outcome = Outcome.UNDETERMINED
    await gateway.verify(gateway.submission())
    await gateway.verify(gateway.submission())
    assert counted(gateway) == {
        (HUKOU, 1, True, ""): 2,
        (GUARDIAN, 1, True, ""): 2,
        (LAND, 1, False, ""): 2,
    }


async def test_dead_and_refusing_departments_are_counted_with_their_reasons(gateway: Gateway) -> None:
    department_of(gateway, HUKOU).failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT, "planted")
    department_of(gateway, LAND).refusal = Reason.BUDGET_EXHAUSTED
    await gateway.verify(gateway.submission())
    assert counted(gateway)[HUKOU, int(CheckStatus.UNAVAILABLE), False, "DEPARTMENT_TIMED_OUT"] == 1
    assert counted(gateway)[LAND, int(CheckStatus.REFUSED), False, "BUDGET_EXHAUSTED"] == 1
    assert department_of(gateway, HUKOU).department.rpartition("/")[2] not in timed(gateway)
    assert timed(gateway)[""] == 1


async def test_contradiction_counts_as_such_and_as_heard(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    seen: list[int] = []

    def flip(statement):  # type: ignore[no-untyped-def]
        seen.append(1)
        return statement if len(seen) % 2 else replace(statement, outcome=Outcome.NO)

    land.copies, land.bend = 2, flip
    await gateway.verify(gateway.submission())
    assert counted(gateway)[LAND, int(CheckStatus.CONTRADICTED), False, "ANSWERS_CONTRADICT"] == 1
    assert timed(gateway)[land.department.rpartition("/")[2]] == 1


async def test_withheld_answers_count_without_their_outcome(gateway: Gateway) -> None:
    gateway.standings.revoke_after = 1
    with pytest.raises(NotGrantedError):
        await gateway.send(gateway.submission())
    assert {(status, verified, reason) for _, status, verified, reason in counted(gateway)} == {
        (int(CheckStatus.WITHHELD), False, "GRANT_REVOKED")
    }


async def test_retry_counts_only_what_it_asked_again(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    land.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "planted")
    submission = gateway.submission()
    await gateway.verify(submission)
    await gateway.verify(submission)  # brings nothing new: no leaf, no count
    land.failure = None
    await gateway.verify(submission)
    assert counted(gateway) == {
        (HUKOU, 1, True, ""): 1,
        (GUARDIAN, 1, True, ""): 1,
        (LAND, int(CheckStatus.UNAVAILABLE), False, "DEPARTMENT_UNREACHABLE"): 1,
        (LAND, 1, True, ""): 1,
    }
    assert timed(gateway)[""] == 2


async def test_count_is_on_the_day_of_its_leaf_on_both_sides_of_midnight(gateway: Gateway) -> None:
    midnight = (int(NOW) + 8 * 3_600) // 86_400 * 86_400 + 57_600  # the next one in Beijing
    gateway.clock.now = midnight - 0.0000002  # of which the leaf's microseconds make midnight
    await gateway.verify(gateway.submission())
    gateway.clock.now = midnight - 0.001
    await gateway.verify(gateway.submission())
    days = [beijing_day(leaf.log_time.seconds) for leaf in gateway.leaves()]
    assert days == [beijing_day(midnight), beijing_day(midnight - 1)]
    assert [sum(counted(gateway, day).values()) for day in days] == [3, 3]


async def test_clock_set_back_counts_on_the_earlier_day_as_its_leaf_says(gateway: Gateway) -> None:
    gateway.clock.now += 50_000
    await gateway.verify(gateway.submission())
    gateway.clock.now -= 50_000
    await gateway.verify(gateway.submission())
    days = {beijing_day(leaf.log_time.seconds) for leaf in gateway.leaves()}
    assert len(days) == 2
    assert [sum(counted(gateway, day).values()) for day in days] == [3, 3]


async def test_nothing_is_counted_of_what_the_log_cannot_record(gateway: Gateway) -> None:
    gateway.store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await gateway.send(gateway.submission())
    gateway.store.fail_before = False
    assert gateway.store.statistics(TODAY, None, 10).rows == []


async def test_no_row_names_anything_of_a_request(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    await gateway.verify(submission)
    request = log_service_pb2.ListStatisticsRequest(day=TODAY).SerializeToString()
    data = await Statistics(gateway.store).list_statistics(request, PEER, None)  # type: ignore[arg-type]
    leaf = gateway.leaves()[0]
    tags = [leaf.verification.query_tag, *(row.check_tag for row in leaf.verification.checks)]
    digests = [
        submission.signed.digest,
        consent.grants[0].digest,
        *(row.statement_digest for row in leaf.verification.checks),
    ]
    people = [text.encode() for person in fed.FAMILY.values() for text in (person.id_number, person.name)]
    assert not any(secret in data for secret in (*tags, *digests, *people, fed.REQUESTER.encode()))


# -- reading --------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "store.db")
    yield made
    made.close()


def fill(store: SqliteStore, *days: str) -> None:
    store.commit([Entry(b"leaf", tallies=Tallies(day, KEYS)) for day in days], sign)


async def pages(store: SqliteStore, size: int, day: str = DAY) -> list[log_service_pb2.ListStatisticsResponse]:
    found: list[log_service_pb2.ListStatisticsResponse] = []
    while not found or found[-1].rows:
        request = log_service_pb2.ListStatisticsRequest(day=day, page_size=size)
        if found:
            request.after.CopyFrom(found[-1].rows[-1])
        data = await Statistics(store).list_statistics(request.SerializeToString(), PEER, None)  # type: ignore[arg-type]
        found.append(log_service_pb2.ListStatisticsResponse.FromString(data))
    return found


async def test_rows_come_in_pages_in_order_and_none_is_left_out(store: SqliteStore) -> None:
    fill(store, DAY, DAY, "2027-06-02")
    rows = [row for page in await pages(store, 5) for row in page.rows]
    assert [read_key(row) for row in rows] == sorted(KEYS)
    assert {row.count for row in rows} == {2}


async def test_page_is_bounded_whatever_is_asked(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.statistics.MAX_STATISTICS_PER_PAGE", 3)
    fill(store, DAY)
    for size in (0, 1_000):
        assert len((await pages(store, size))[0].rows) == 3


async def test_pages_tell_when_the_day_changed_between_them(store: SqliteStore) -> None:
    fill(store, DAY)
    fill(store, "2027-06-02")
    first = (await pages(store, 5))[0]
    assert (first.tree_size, first.changed_size) == (2, 1)
    fill(store, DAY)
    assert {(page.tree_size, page.changed_size) for page in await pages(store, 5)} == {(3, 3)}


async def test_day_without_a_count_is_empty_and_so_is_a_new_store(store: SqliteStore) -> None:
    (empty,) = await pages(store, 5)
    assert (list(empty.rows), empty.tree_size, empty.changed_size) == ([], 0, 0)


@pytest.mark.parametrize("day", ["", "2027-6-1", "yesterday", "2027-06-01' OR '1'='1"])
async def test_day_that_is_none_is_refused(store: SqliteStore, day: str) -> None:
    request = log_service_pb2.ListStatisticsRequest(day=day).SerializeToString()
    with pytest.raises(MalformedError):
        await Statistics(store).list_statistics(request, PEER, None)  # type: ignore[arg-type]
