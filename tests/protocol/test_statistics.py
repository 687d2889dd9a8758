"""Days, buckets and rows of the statistics."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import (
    BUCKETS,
    StatisticKey,
    Tallies,
    beijing_day,
    bucket_of,
    days_between,
    percentile,
    read_day,
    read_key,
    read_rows,
    write_statistic,
)
from heyan.v1 import log_service_pb2

MIDNIGHT = 1_811_779_200
"""2027-06-01 00:00:00 in Beijing, which is 16:00 the day before in Greenwich."""
CHECKED = StatisticKey("430102", "spiffe://heyan/department/police", "hukou.child_registered@1", 1, True)
TIMED = StatisticKey("430102", "spiffe://heyan/department/police", bucket=3)


def test_day_begins_at_midnight_in_beijing_whatever_the_machine_thinks() -> None:
    assert [beijing_day(MIDNIGHT + offset) for offset in (-1, 0, 86_399, 86_400)] == [
        "2027-05-31",
        "2027-06-01",
        "2027-06-01",
        "2027-06-02",
    ]


@pytest.mark.parametrize("text", ["", "2027-6-1", "20270601", "2027-W22-2", "2027-02-29", "2027-06-01 ", "today"])
def test_day_is_written_in_one_way(text: str) -> None:
    with pytest.raises(MalformedError):
        read_day(text)


def test_days_are_half_open() -> None:
    assert days_between("2027-05-30", "2027-06-02") == ("2027-05-30", "2027-05-31", "2027-06-01")
    assert days_between("2027-06-01", "2027-06-01") == ()


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(-5.0, 0), (0.0, 0), (0.005, 0), (0.0051, 1), (1.0, 9), (1.2, 10), (10.0, 15), (10.01, 16), (1e9, 16)],
)
def test_bucket_holds_its_upper_bound_and_a_clock_set_back_is_in_the_first(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


def test_percentile_lies_evenly_within_its_bucket() -> None:
    counts = [0] * (len(BUCKETS) + 1)
    assert percentile(counts, 0.5) is None
    counts[9] = 10  # from 0.75 to 1 s
    assert percentile(counts, 0.5) == pytest.approx(0.875)
    counts[10] = 10  # from 1 to 1.5 s
    assert percentile(counts, 0.5) == pytest.approx(1.0)
    assert percentile(counts, 0.95) == pytest.approx(1.45)
    counts[16] = 1_000
    assert percentile(counts, 0.95) == 10.0


def test_withheld_leaf_counts_no_outcome() -> None:
    unavailable = CHECKED._replace(status=3, verified=False, reason="DEPARTMENT_UNREACHABLE")
    kept = Tallies("2027-06-01", (CHECKED, unavailable, TIMED)).kept_back(Reason.GRANT_REVOKED)
    withheld = CHECKED._replace(status=int(CheckStatus.WITHHELD), verified=False, reason="GRANT_REVOKED")
    assert kept.keys == (withheld, unavailable, TIMED)


@pytest.mark.parametrize("key", [CHECKED, TIMED])
def test_row_is_read_as_it_was_written(key: StatisticKey) -> None:
    assert read_rows([write_statistic(key, 7)]) == ((key, 7),)


@pytest.mark.parametrize(
    "bent",
    [
        {"status": 0},
        {"status": 99},
        {"status": 3},  # unavailable, and yet verified
        {"bucket": 1},
        {"claim": ""},
    ],
)
def test_row_that_no_leaf_could_have_added_is_refused(bent: dict[str, object]) -> None:
    message = write_statistic(CHECKED, 1)
    for field, value in bent.items():
        setattr(message, field, value)
    with pytest.raises(MalformedError):
        read_key(message)


@pytest.mark.parametrize("count", [0, 1 << 63])
def test_count_of_nothing_or_beyond_a_column_is_refused(count: int) -> None:
    with pytest.raises(MalformedError):
        read_rows([log_service_pb2.Statistic(region="430102", bucket=1, count=count)])


def test_bucket_that_does_not_exist_is_refused() -> None:
    with pytest.raises(MalformedError):
        read_key(log_service_pb2.Statistic(region="430102", bucket=len(BUCKETS) + 1))
