"""A gateway whose statistics or log are not what it committed: each lie is found, and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.audit.assessment import Grouping
from gateway.audit.tally_sheet import Difference
from gateway.auditing import LogAudit
from gateway.protocol.codec import encode
from gateway.protocol.errors import BadDataError, ForgedError, OverloadedError
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, StatisticsPage
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.audit.logs import (
    DAY_1,
    DAY_2,
    FURONG,
    HUKOU,
    MIDNIGHT,
    POLICE,
    UNREACHABLE,
    YUELU,
    Asked,
    Books,
    audited,
    federation,
    little_log,
    signer,
)

ANSWERED = StatisticKey(FURONG, POLICE, HUKOU, 1, True)


async def differences(books: Books) -> Sequence[Difference]:
    return (await audited(books)).assess(Grouping.COUNTY).differences


async def refused(books: Books, remembered: str | None = None) -> BadDataError:
    with pytest.raises(BadDataError) as caught:
        await audited(books, remembered=remembered)
    return caught.value


@pytest.fixture
def books() -> Books:
    return little_log()


# -- statistics -----------------------------------------------------------------------------------------------


async def test_dropped_count_is_named(books: Books) -> None:
    del books.counts[DAY_1][ANSWERED]
    assert await differences(books) == (Difference(DAY_1, ANSWERED._replace(verified=False), 0, 2),)


async def test_added_count_is_named(books: Books) -> None:
    made_up = StatisticKey(YUELU, POLICE, HUKOU, 3, False, UNREACHABLE)
    books.counts[DAY_2][made_up] = 4
    assert await differences(books) == (Difference(DAY_2, made_up, 4, 0),)


async def test_raised_count_is_named(books: Books) -> None:
    books.counts[DAY_1][ANSWERED] += 1
    assert await differences(books) == (Difference(DAY_1, ANSWERED._replace(verified=False), 3, 2),)


async def test_department_that_was_silent_and_is_counted_as_answering_is_named_twice(books: Books) -> None:
    silent = next(key for key in books.counts[DAY_1] if key.reason == UNREACHABLE and key.region == YUELU)
    books.counts[DAY_1][silent._replace(status=1, verified=True, reason="")] = books.counts[DAY_1].pop(silent)
    assert [(item.counted, item.logged) for item in await differences(books)] == [(1, 0), (0, 1)]


async def test_answer_moved_to_another_county_or_department_is_named(books: Books) -> None:
    books.counts[DAY_1][ANSWERED._replace(region="430103")] = books.counts[DAY_1].pop(ANSWERED)
    assert {item.key.region for item in await differences(books)} == {FURONG, "430103"}


async def test_dropped_latency_is_named(books: Books) -> None:
    timed = next(key for key in books.counts[DAY_1] if key.is_latency and key.department == POLICE)
    books.counts[DAY_1][timed] -= 1
    if not books.counts[DAY_1][timed]:
        del books.counts[DAY_1][timed]
    (difference,) = await differences(books)
    assert difference.key.is_latency
    assert difference.counted == difference.logged - 1


async def test_another_days_statistics_given_twice_are_named(books: Books) -> None:
    books.counts[DAY_2] = books.counts[DAY_1]
    found = await differences(books)
    assert {item.day for item in found} == {DAY_2}
    assert len(found) == 10  # of the day's twelve kinds of rows; two were as frequent on both days


async def test_every_single_change_of_a_count_is_found(books: Books) -> None:
    honest = {day: Counter(counts) for day, counts in books.counts.items()}
    for day in (DAY_1, DAY_2):
        for key in honest[day]:
            for change in (+1, -1):
                books.counts[day] = Counter(honest[day])
                books.counts[day][key] += change
                books.counts[day] = +books.counts[day]
                assert len(await differences(books)) == 1, (day, key, change)
        books.counts[day] = honest[day]
    assert not await differences(books)


Bend = Callable[[StatisticsPage], StatisticsPage]


def bent(books: Books, bend: Bend) -> Books:
    honest = books.statistics

    async def statistics(day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        page, is_last = await honest(day, after)
        return bend(page), is_last

    books.statistics = statistics  # type: ignore[method-assign]
    return books


@pytest.mark.parametrize(
    "bend",
    [
        lambda page: StatisticsPage([*page.rows, *page.rows[-1:]], page.tree_size, page.changed_size),
        lambda page: StatisticsPage(page.rows[::-1], page.tree_size, page.changed_size),
        lambda page: StatisticsPage(page.rows, page.tree_size - 1, 0),
        lambda page: StatisticsPage(page.rows, page.tree_size + 1, page.changed_size),
        lambda page: StatisticsPage(page.rows, page.tree_size, page.tree_size + 1),
    ],
    ids=["a row twice", "out of order", "of a smaller log", "of a larger log", "changed after the log's end"],
)
async def test_statistics_that_contradict_themselves_are_refused(books: Books, bend: Bend) -> None:
    assert (await refused(bent(books, bend))).reason is Reason.STATISTICS_INVALID


async def test_statistics_without_end_are_refused(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.auditing.MAX_ROWS", 100)

    async def endless(_day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        first = int(after.region) + 1 if after is not None else 0
        rows = [(StatisticKey(f"{number:06}", ""), 1) for number in range(first, first + 10)]
        return StatisticsPage(rows, len(books.leaves_), len(books.leaves_)), False

    books.statistics = endless  # type: ignore[method-assign]
    assert (await refused(books)).reason is Reason.STATISTICS_INVALID


async def test_empty_pages_without_end_are_refused(books: Books) -> None:
    async def empty(_day: str, _after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        return StatisticsPage([], len(books.leaves_), 0), False

    books.statistics = empty  # type: ignore[method-assign]
    assert (await refused(books)).reason is Reason.STATISTICS_INVALID


async def test_pages_of_two_moments_are_read_again_and_give_no_false_alarm(books: Books) -> None:
    books.page = 4
    honest, grown = books.statistics, False

    async def statistics(day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        nonlocal grown
        if after is not None and not grown:
            grown = True
            books.record(Asked(), at=MIDNIGHT + 5)
        return await honest(day, after)

    books.statistics = statistics  # type: ignore[method-assign]
    assessment = (await audited(books)).assess(Grouping.COUNTY)
    assert not assessment.differences
    assert assessment.total.figure("verified_online").denominator == 8


async def test_day_that_never_stands_still_is_no_report_and_no_accusation(books: Books) -> None:
    books.page = 4
    honest = books.statistics

    async def statistics(day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        books.record(Asked(), at=MIDNIGHT + 5)
        return await honest(day, after)

    books.statistics = statistics  # type: ignore[method-assign]
    with pytest.raises(OverloadedError):
        await audited(books)


async def test_leaf_that_comes_while_leaves_are_read_is_no_difference(books: Books) -> None:
    honest = books.checkpoint

    async def checkpoint() -> str:
        note = await honest()
        books.record(Asked(), at=MIDNIGHT + 5)
        return note

    books.checkpoint = checkpoint  # type: ignore[method-assign]
    assert not await differences(books)


async def test_statistics_of_before_the_audit_began_cannot_leave_out_what_the_log_had(books: Books) -> None:
    """A gateway that names an old size would have to contradict the checkpoint that it showed first."""
    size = len(books.leaves_)
    old = {day: Counter(counts) for day, counts in books.counts.items()}
    books.record(Asked(), at=MIDNIGHT + 5)

    async def statistics(day: str, _after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        return StatisticsPage(sorted(old.get(day, Counter()).items()), size, size), True

    books.statistics = statistics  # type: ignore[method-assign]
    assert (await refused(books)).reason is Reason.STATISTICS_INVALID


# -- the log --------------------------------------------------------------------------------------------------


def rewritten(data: bytes) -> bytes:
    leaf = log_pb2.LogLeaf.FromString(data)
    leaf.verification.checks[0].region = YUELU
    return encode(leaf)


async def test_rewritten_leaf_gives_no_report(books: Books) -> None:
    note = books.note()
    books.leaves_[2] = rewritten(books.leaves_[2])
    books.note = lambda size=None: note  # type: ignore[method-assign]
    assert (await refused(books)).reason is Reason.PROOF_INVALID


@pytest.mark.parametrize(
    "change", [lambda leaves: leaves.pop(3), lambda leaves: leaves.pop(), lambda leaves: leaves.reverse()]
)
async def test_dropped_or_moved_leaf_gives_no_report(books: Books, change: Callable[[list[bytes]], object]) -> None:
    note, size = books.note(), len(books.leaves_)
    honest = books.statistics

    async def statistics(day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        page, is_last = await honest(day, after)
        return StatisticsPage(page.rows, size, size), is_last

    books.statistics = statistics  # type: ignore[method-assign]
    books.note = lambda size=None: note  # type: ignore[method-assign]
    change(books.leaves_)
    assert (await refused(books)).reason is Reason.PROOF_INVALID


async def test_log_rewritten_and_signed_anew_is_convicted_by_the_remembered_checkpoint(books: Books) -> None:
    remembered = books.note()
    books.leaves_[2] = rewritten(books.leaves_[2])
    books.record(Asked())
    assert not isinstance(await refused(books, remembered), OverloadedError)
    assert (await audited(books)).checkpoint.size == len(books.leaves_)  # nothing else shows it


async def test_log_that_was_shortened_is_convicted_by_the_remembered_checkpoint(books: Books) -> None:
    remembered = books.note()
    books.leaves_.pop()
    error = await refused(books, remembered)
    assert error.reason is Reason.PROOF_INVALID
    assert str(len(books.leaves_)) in error.detail


async def test_log_that_grew_holds_against_the_remembered_checkpoint(books: Books) -> None:
    remembered = books.note()
    books.record(Asked())
    assert (await audited(books, remembered=remembered)).checkpoint.size == len(books.leaves_)


async def test_log_that_is_replaced_while_it_is_read_is_refused(books: Books) -> None:
    other = little_log()
    other.leaves_[2] = rewritten(other.leaves_[2])
    honest = books.checkpoint

    async def checkpoint() -> str:
        note = await honest()
        books.leaves_ = other.leaves_
        return note

    books.checkpoint = checkpoint  # type: ignore[method-assign]
    assert (await refused(books)).reason is Reason.PROOF_INVALID


async def test_checkpoint_by_another_gateways_key_is_refused(books: Books) -> None:
    books.signer = signer(fed.OTHER_GATEWAY)
    assert isinstance(await refused(books), ForgedError)


async def test_checkpoint_by_a_key_that_was_compromised_before_its_leaves_is_refused(books: Books) -> None:
    party = federation().registry.party(fed.GATEWAY)
    stolen = (fed.key_terms(federation().signing_keys[fed.GATEWAY], party.keys[0].use, MIDNIGHT, compromised=MIDNIGHT),)
    changed = federation().changed(lambda document: fed.edit_party(document, fed.GATEWAY, keys=stolen))
    with pytest.raises(ForgedError):
        await LogAudit(books, changed.registry, fed.GATEWAY).read((DAY_1,))


async def test_leaf_that_nobody_can_read_is_counted_and_named_and_its_numbers_are_missed(books: Books) -> None:
    leaf = log_pb2.LogLeaf.FromString(books.leaves_[2])
    leaf.version = 2
    books.leaves_[2] = encode(leaf)
    found = await audited(books)
    assert (found.unreadable, found.unreadable_count) == ((2,), 1)
    assert len(found.assess(Grouping.COUNTY).differences) == 5


async def test_leaves_that_never_come_are_refused(books: Books) -> None:
    async def nothing(start: int) -> Sequence[bytes]:
        return []

    books.leaves = nothing  # type: ignore[method-assign]
    assert (await refused(books)).reason is Reason.PROOF_INVALID


async def test_log_that_names_places_without_end_is_refused(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audit.logged_checks.MAX_PLACES", 3)
    for number in range(5):
        books.record(Asked(region=f"4301{number:02}"))
    assert (await refused(books)).reason is Reason.STATISTICS_INVALID


async def test_what_was_shown_is_kept_as_evidence_when_it_does_not_hold(books: Books, tmp_path: Path) -> None:
    remembered = books.note()
    books.leaves_.pop()
    audit = LogAudit(books, federation().registry, fed.GATEWAY)
    audit.remember(remembered)
    with pytest.raises(ForgedError):
        await audit.read((DAY_1,))
    assert audit.shown == books.note()
