"""Paper in the assessment: allowed, refused with reasons, and resolved."""

from __future__ import annotations

import pytest

from gateway.audit.assessment import Assessment, Grouping
from gateway.protocol.offline import OfflineGround
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.audit.logs import DAY_1, FURONG, LAND, MIDNIGHT, YUELU, Asked, Books, audited

OPEN = "OfflineService/OpenOfflineTicket"


async def assessed(books: Books, by: Grouping = Grouping.COUNTY) -> Assessment:
    return (await audited(books, (DAY_1,))).assess(by)


def of(assessment: Assessment, code: str) -> dict[str, tuple[int | None, int | None]]:
    (line,) = (line for line in assessment.lines if line.code == code)
    return {
        figure.name.removeprefix("offline_"): (figure.numerator, figure.denominator)
        for figure in line.figures
        if figure.name.startswith("offline_")
    }


@pytest.fixture
def books() -> Books:
    """Furong: three tickets, one resolved on the day and one later, two requests refused; Yuelu: one refused."""
    made = Books()
    made.record(Asked())
    made.open_ticket("first", OfflineGround.UNDETERMINED)
    made.open_ticket("second", OfflineGround.UNAVAILABLE)
    made.open_ticket("paper only", OfflineGround.OFFLINE_ONLY)
    made.resolve_ticket("first")
    made.refuse("OFFLINE_ANSWERED", OPEN, region=FURONG)
    made.refuse("OFFLINE_ANSWERED", OPEN, region=FURONG)
    made.refuse("OFFLINE_TOO_EARLY", OPEN, region=YUELU)
    made.resolve_ticket("second", at=MIDNIGHT + 5 * 86_400)
    return made


async def test_tickets_and_refused_requests_are_counted_by_county(books: Books) -> None:
    assessment = await assessed(books)
    assert of(assessment, FURONG) == {"allowed": (3, 5), "refused": (2, 5), "resolved": (2, 3)}
    assert of(assessment, YUELU) == {"allowed": (0, 1), "refused": (1, 1), "resolved": (0, 0)}
    assert {
        reason: count for (status, reason), count in assessment.total.reasons.items() if status == "OFFLINE_REFUSED"
    } == {
        "OFFLINE_ANSWERED": 2,
        "OFFLINE_TOO_EARLY": 1,
    }
    assert [reason for status, reason in assessment.total.reasons if status == "OFFLINE_ALLOWED"] == [
        "OFFLINE_ONLY",
        "UNAVAILABLE",
        "UNDETERMINED",
    ]
    assert not assessment.differences


async def test_refused_request_for_paper_names_no_department_so_the_share_is_unknown(books: Books) -> None:
    assert of(await assessed(books, Grouping.DEPARTMENT), LAND) == {
        "allowed": (2, None),
        "refused": (None, None),
        "resolved": (2, 2),
    }


async def test_requester_is_held_to_what_it_asked_on_paper_wherever_that_was(books: Books) -> None:
    books.refuse("OFFLINE_NOT_ATTEMPTED", OPEN)  # of no request, so of no county
    assert of(await assessed(books, Grouping.REQUESTER), fed.REQUESTER)["refused"] == (4, 7)
    assert (await assessed(books)).total.figure("offline_refused").denominator == 7


async def test_refusals_in_a_summary_count_too_though_it_names_no_method(books: Books) -> None:
    counts = [log_pb2.ReasonCount(reason="OFFLINE_ANSWERED", count=90, region=FURONG)]
    event = log_pb2.RefusalSummaryEvent(peer=fed.REQUESTER, counts=counts, digests_root=bytes(32))
    books.append(log_pb2.LogLeaf(refusal_summary=event))
    assert of(await assessed(books), FURONG)["refused"] == (92, 95)


async def test_results_do_not_count_twice_nor_for_a_ticket_of_another_window(books: Books) -> None:
    books.resolve_ticket("first")
    books.resolve_ticket("of last year")
    books.open_ticket("of tomorrow", OfflineGround.UNDETERMINED, at=MIDNIGHT + 86_400)
    books.resolve_ticket("of tomorrow", at=MIDNIGHT + 86_400)
    assert of(await assessed(books), FURONG)["resolved"] == (2, 3)


async def test_refusals_of_others_than_requesters_are_no_line_of_theirs(books: Books) -> None:
    books.refuse("PEER_ROLE_NOT_ALLOWED", peer=fed.AUDITOR)
    assessment = await assessed(books, Grouping.REQUESTER)
    assert [line.code for line in assessment.lines] == [fed.REQUESTER]
    assert assessment.refusals[fed.AUDITOR, "Verify", "PEER_ROLE_NOT_ALLOWED"] == 1


async def test_tickets_beyond_what_is_remembered_are_told(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audit.logged_checks.MAX_OPEN", 1)
    assert (await assessed(books)).forgotten == 2
