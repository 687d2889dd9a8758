"""The figures of the assessment, against a little log that is counted by hand."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest

from gateway.audit.assessment import Assessment, Grouping, Line
from gateway.audit.figures import DEFINITIONS
from gateway.auditing import window_of
from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf import CheckStatus
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.audit.logs import (
    DAY_1,
    DAY_2,
    DAY_3,
    FURONG,
    HOME,
    LAND,
    MIDNIGHT,
    POLICE,
    UNREACHABLE,
    YUELU,
    Asked,
    Books,
    audited,
    little_log,
    silent,
)

Share = tuple[int | None, int | None]


def shares(line: Line) -> dict[str, Share]:
    return {figure.name: (figure.numerator, figure.denominator) for figure in line.figures}


async def assessed(books: Books, by: Grouping = Grouping.COUNTY, days: tuple[str, ...] = (DAY_1, DAY_2)) -> Assessment:
    return (await audited(books, days)).assess(by)


def of(assessment: Assessment, code: str) -> dict[str, Share]:
    (line,) = (line for line in assessment.lines if line.code == code)
    return shares(line)


async def test_counties_are_as_counted_by_hand() -> None:
    assessment = await assessed(little_log())
    assert [line.code for line in assessment.lines] == [FURONG, YUELU]
    assert of(assessment, FURONG) == {
        "verified_online": (3, 4),  # two of the police, and the late one
        "undetermined": (1, 4),
        "refused": (0, 4),
        "contradicted": (0, 4),
        "unanswered": (0, 4),
        "deferred": (0, 4),
        "deferred_answered": (0, 0),
        "offline_allowed": (0, 0),
        "offline_refused": (0, 0),
        "offline_resolved": (0, 0),
        "availability": (4, 5),  # the late check was asked twice
        "statistics_agree": (9, 9),  # six rows on the first day, three on the second
        "logged_with_query": (None, None),
    }
    assert of(assessment, YUELU) == {
        "verified_online": (1, 3),
        "undetermined": (0, 3),
        "refused": (1, 3),
        "contradicted": (0, 3),
        "unanswered": (1, 3),  # answered after the window
        "deferred": (0, 3),
        "deferred_answered": (0, 0),
        "offline_allowed": (0, 0),
        "offline_refused": (0, 0),
        "offline_resolved": (0, 0),
        "availability": (2, 3),
        "statistics_agree": (6, 6),
        "logged_with_query": (None, None),
    }
    assert assessment.differences == ()


async def test_total_is_the_sum_and_knows_what_was_recovered() -> None:
    total = shares((await assessed(little_log())).total)
    assert total["verified_online"] == (4, 7)
    assert total["availability"] == (6, 8)
    assert total["logged_with_query"] == (6, 7)


@pytest.mark.parametrize(("by", "code"), [(Grouping.PREFECTURE, "4301"), (Grouping.PROVINCE, "43")])
async def test_prefecture_and_province_are_the_sum_of_their_counties(by: Grouping, code: str) -> None:
    assessment = await assessed(little_log(), by)
    assert [line.code for line in assessment.lines] == [code]
    assert of(assessment, code)["verified_online"] == (4, 7)


async def test_departments_are_told_apart_everywhere_and_within_a_county() -> None:
    assessment = await assessed(little_log(), Grouping.DEPARTMENT)
    assert of(assessment, POLICE)["availability"] == (3, 3)
    assert of(assessment, LAND)["availability"] == (3, 5)
    assert of(assessment, LAND)["logged_with_query"] == (3, 4)
    within = {(line.code, line.department): shares(line) for line in (await assessed(little_log())).departments}
    assert within[FURONG, LAND]["availability"] == (2, 3)
    assert within[YUELU, LAND]["availability"] == (1, 2)
    assert within[YUELU, POLICE]["verified_online"] == (1, 1)


async def test_requesters_are_told_apart_and_what_is_not_kept_of_them_is_unknown_and_not_zero() -> None:
    assessment = await assessed(little_log(), Grouping.REQUESTER)
    mine, other = of(assessment, fed.REQUESTER), of(assessment, fed.OTHER_REQUESTER)
    assert (mine["availability"], other["availability"]) == ((4, 5), (2, 3))
    assert mine["verified_online"] == (None, 4)
    assert mine["statistics_agree"] == (None, None)
    assert all(latency.p50 is None for line in assessment.lines for latency in line.latencies)


async def test_refusals_of_requesters_are_counted_with_those_in_summaries() -> None:
    assert (await assessed(little_log())).refusals == {
        (fed.REQUESTER, "Verify", "GRANT_REVOKED"): 2,
        (fed.REQUESTER, "Verify", "QUERY_EXPIRED"): 1,
        (fed.REQUESTER, "", "OVERLOADED"): 40,
    }


async def test_reasons_are_counted_by_asking_and_by_request() -> None:
    assert (await assessed(little_log())).total.reasons == {
        ("REFUSED", "BUDGET_EXHAUSTED"): 1,
        ("REFUSED_BY_GATEWAY", "GRANT_REVOKED"): 2,
        ("REFUSED_BY_GATEWAY", "OVERLOADED"): 40,
        ("REFUSED_BY_GATEWAY", "QUERY_EXPIRED"): 1,
        ("UNAVAILABLE", UNREACHABLE): 2,
    }


async def test_latency_is_read_off_the_buckets() -> None:
    (furong, _) = (await assessed(little_log())).lines
    department, application = furong.latencies
    assert (department.count, application.count) == (4, 3)  # of parts and of leaves
    assert department.p50 == pytest.approx(0.05 + 0.05 * 2 / 3)  # the second of three in 50 to 100 ms
    assert application.p95 == pytest.approx(0.75 + 0.25 * 0.85)


async def test_contradicted_and_withheld_answers_count_as_heard_and_only_the_first_as_final() -> None:
    books = Books()
    contradicted = Asked(LAND, HOME, status=CheckStatus.CONTRADICTED, verified=False, reason="ANSWERS_CONTRADICT")
    withheld = Asked(status=CheckStatus.WITHHELD, verified=False, reason="GRANT_REVOKED")
    books.record(contradicted, withheld)
    figures = of(await assessed(books), FURONG)
    assert figures["availability"] == (2, 2)
    assert figures["contradicted"] == (1, 2)
    assert figures["unanswered"] == (1, 2)


async def test_check_that_is_asked_again_and_again_is_one_check() -> None:
    books = Books()
    for _ in range(5):
        books.record(silent("same"))
    figures = of(await assessed(books), FURONG)
    assert figures["unanswered"] == (1, 1)
    assert figures["availability"] == (0, 5)


async def test_day_is_that_of_the_leaf_in_beijing_and_the_last_one_is_not_included() -> None:
    assert of(await assessed(little_log(), days=(DAY_1,)), FURONG)["verified_online"] == (2, 4)
    assert of(await assessed(little_log(), days=(DAY_2,)), FURONG)["verified_online"] == (1, 1)
    assert of(await assessed(little_log(), days=(DAY_3,)), YUELU)["verified_online"] == (1, 1)
    assert (await assessed(little_log(), days=("2027-07-01",))).lines == ()


async def test_leaves_whose_clock_ran_backwards_count_on_the_day_that_they_bear() -> None:
    books = Books()
    for at in (MIDNIGHT + 86_401, MIDNIGHT + 10, MIDNIGHT + 86_402):
        books.record(Asked(), at=at)
    for day, count in ((DAY_1, 1), (DAY_2, 2)):
        assessment = await assessed(books, days=(day,))
        assert of(assessment, FURONG)["verified_online"] == (count, count)
        assert not assessment.differences


@pytest.mark.parametrize(("first", "end"), [(DAY_1, DAY_1), (DAY_2, DAY_1), ("2027-01-01", "2030-01-01")])
def test_window_that_is_empty_or_too_long_is_refused(first: str, end: str) -> None:
    with pytest.raises(MalformedError):
        window_of(first, end)


async def test_checks_beyond_what_is_remembered_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audit.logged_checks.MAX_OPEN", 2)
    books = Books()
    for number in range(4):
        books.record(silent(f"check {number}"))
    books.record(Asked(LAND, HOME, check="check 0"))
    assessment = await assessed(books)
    assert assessment.forgotten == 2
    assert of(assessment, FURONG)["verified_online"] == (1, 4)


@pytest.mark.slow
async def test_hundred_thousand_leaves_take_no_more_memory_than_their_kinds() -> None:
    """What is kept grows with days, places and unanswered checks, not with leaves."""
    books = Books()
    for number in range(1_000):
        region = f"43010{number % 6 + 1}"
        books.record(Asked(LAND, HOME, region, verified=bool(number % 3)), at=MIDNIGHT + number * 80)
    books.leaves_ *= 100
    for counts in books.counts.values():
        for key in counts:
            counts[key] *= 100
    note = books.note()
    books.note = lambda size=None: note  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        assessment = await assessed(books)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not assessment.differences
    assert shares(assessment.total)["availability"] == (100_000, 100_000)
    assert peak < 8 << 20, peak  # the leaves themselves are some 20 MB


async def test_figures_of_an_empty_window_are_of_nothing() -> None:
    books = Books()
    books.append(log_pb2.LogLeaf(registry=log_pb2.RegistryEvent(version=1, digest=bytes(32))))
    assessment = await assessed(books)
    assert assessment.lines == ()
    assert assessment.total.figure("verified_online").value is None


def test_every_figure_is_documented_under_its_own_name_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/assessment.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` (\S+) \|", page, re.MULTILINE))
    assert rows == {name: definition.name.zh for name, definition in DEFINITIONS.items()}
