"""Log and journals held against each other: every contradiction is found, and no honest accident is taken for one."""

from __future__ import annotations

import pytest

from gateway.audit.findings import Disagreement, Finding, Reconciliation
from gateway.audit.reconciliation import reconcile
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Reason
from tests.audit.parties import (
    LAND,
    NOW,
    ORIGIN,
    OTHER_GATEWAY,
    OTHER_REQUESTER,
    POLICE,
    Books,
    held,
    kinds,
    named,
    note,
)

DAY = 86_400.0


# -- honest books -------------------------------------------------------------------------------------------


def test_books_that_agree_are_clean(books: Books) -> None:
    books.state("a", "b", age=2)
    books.log_other()
    index = books.log("a", "b", age=1)
    books.acknowledge(index, index)
    assert held(books, allowed=0.0) == Reconciliation((), 0, 0)


def test_empty_journal_and_a_log_of_other_departments_are_clean(books: Books) -> None:
    books.log("x", department=LAND)
    assert held(books, allowed=0.0).findings == ()


def test_what_a_crash_leaves_behind_is_no_finding(books: Books) -> None:
    """Signed and sent twice, logged as recovered and again as an answer, acknowledged twice: all honest."""
    books.state("a", batch="first", age=9)
    books.log_recovered("a", age=8)
    books.state("a", batch="again", repeated=True, age=7)
    index = books.log("a", age=6)
    books.state("a", batch="again", repeated=True, age=5)
    books.acknowledge(0, batch="first")
    books.acknowledge(index, batch="again")
    books.acknowledge(index, batch="again")
    assert held(books, allowed=0.0) == Reconciliation((), 0, 0)


def test_answer_that_came_late_is_counted_as_recovered(books: Books) -> None:
    books.state("a", age=3)
    books.log("", age=4)
    books.acknowledge(books.log_recovered("a", age=2))
    assert held(books, allowed=0.0) == Reconciliation((), 0, 1)


def test_withheld_answer_is_logged_and_no_finding(books: Books) -> None:
    books.state("a")
    books.acknowledge(books.log("a", status=CheckStatus.WITHHELD))
    assert held(books, allowed=0.0).findings == ()


def test_refusal_logged_for_every_check_of_its_part_is_clean(books: Books) -> None:
    books.state("a", refused=Reason.BUDGET_EXHAUSTED)
    books.acknowledge(books.log("a", "a", status=CheckStatus.REFUSED))
    assert held(books, allowed=0.0).findings == ()


def test_answer_that_is_younger_than_allowed_is_owed_and_no_finding(books: Books) -> None:
    books.state("a", "b", age=DAY / 2)
    books.log_other()
    assert held(books) == Reconciliation((), 2, 0)


def test_leaf_newer_than_the_journal_as_read_is_no_finding(books: Books) -> None:
    books.log("newer")
    assert reconcile(books.view(), [books.journal(read_time=NOW + 5)]).findings == ()


def test_batches_of_a_gateway_with_another_log_are_not_looked_for_in_this_one(books: Books) -> None:
    books.state("a", gateway=OTHER_GATEWAY, age=2 * DAY)
    books.log_other()
    assert held(books, allowed=0.0).findings == ()


# -- what the gateway hides or makes up ---------------------------------------------------------------------


def test_answer_that_was_never_logged_is_found_once_its_time_is_over(books: Books) -> None:
    books.state("a", "b", age=DAY)
    books.log("a", age=DAY - 1)
    assert held(books).findings == (Finding(Disagreement.UNLOGGED, POLICE, named("b")),)


def test_unlogged_statement_of_several_batches_is_told_once(books: Books) -> None:
    books.state("a", batch="one", age=DAY)
    books.state("a", batch="two", repeated=True, age=DAY)
    books.log_other()
    assert kinds(held(books)) == [Disagreement.UNLOGGED]


def test_statement_logged_under_another_departments_name_counts_as_unlogged(books: Books) -> None:
    books.state("a", age=DAY)
    books.log("a", department=LAND)
    assert kinds(held(books)) == [Disagreement.UNLOGGED]


def test_logged_answer_that_was_never_acknowledged_is_found(books: Books) -> None:
    books.state("a", age=DAY)
    books.log("a", age=DAY - 1)
    assert held(books).findings == (Finding(Disagreement.UNACKNOWLEDGED, POLICE, named("b")),)


@pytest.mark.parametrize("recovered", [False, True])
def test_statement_that_the_department_never_made_is_found(books: Books, recovered: bool) -> None:
    books.log_other()
    index = books.log_recovered("made up") if recovered else books.log("made up")
    assert held(books).findings == (Finding(Disagreement.UNKNOWN, POLICE, named("made up"), index),)


def test_acknowledgement_by_a_leaf_that_does_not_name_the_statement_is_found(books: Books) -> None:
    books.state("a", "b")
    books.log("a")
    other = books.log("b")
    books.acknowledge(other, other)
    shown = note(books.leaves)
    assert held(books).findings == (Finding(Disagreement.WRONG_LEAF, POLICE, named("a"), other, (shown,)),)


def test_acknowledged_statement_that_no_leaf_names_is_found_at_once(books: Books) -> None:
    books.state("a")
    books.acknowledge(books.log_other())
    assert kinds(held(books)) == [Disagreement.WRONG_LEAF, Disagreement.UNLOGGED]


@pytest.mark.parametrize(
    ("stated", "logged"),
    [
        ({"refused": Reason.BUDGET_EXHAUSTED}, {"status": CheckStatus.ANSWERED}),
        ({}, {"status": CheckStatus.REFUSED}),
        ({}, {"requester": OTHER_REQUESTER}),
    ],
)
def test_statement_that_the_log_tells_otherwise_is_found(books: Books, stated: dict, logged: dict) -> None:  # type: ignore[type-arg]
    books.state("a", **stated)
    index = books.log("a", **logged)
    books.acknowledge(index)
    assert held(books).findings == (Finding(Disagreement.MISREPORTED, POLICE, named("a"), index),)


def test_statement_used_for_a_second_query_is_found(books: Books) -> None:
    books.state("a", query="first")
    books.acknowledge(books.log("a", query="first"))
    second = books.log("a", query="second")
    assert held(books).findings == (Finding(Disagreement.REUSED, POLICE, named("a"), second),)


# -- time ---------------------------------------------------------------------------------------------------


def test_leaf_dated_before_its_statement_was_signed_is_found(books: Books) -> None:
    books.state("a", age=100)
    index = books.log("a", age=111)
    books.acknowledge(index)
    assert held(books).findings == (Finding(Disagreement.MISDATED, POLICE, named("a"), index),)


def test_leaf_dated_after_it_was_acknowledged_is_found(books: Books) -> None:
    books.state("a", age=100)
    index = books.log("a", age=10)
    books.acknowledge(index, age=21)
    assert kinds(held(books)) == [Disagreement.MISDATED]


def test_clocks_within_tolerance_are_no_finding(books: Books) -> None:
    books.state("a", age=100)
    books.acknowledge(books.log("a", age=110), age=120)
    assert held(books).findings == ()


def test_late_leaf_that_bears_an_early_time_is_found(books: Books) -> None:
    books.log("x", department=LAND, age=10)
    books.log("y", department=LAND, age=70)
    late = books.log("z", department=LAND, age=71)
    assert held(books).findings == (Finding(Disagreement.BACKWARDS, ORIGIN, index=late),)


# -- withdrawals --------------------------------------------------------------------------------------------


def test_answer_on_a_grant_whose_withdrawal_was_logged_before_is_found(books: Books) -> None:
    books.log("x", department=LAND)
    books.log_withdrawal()
    index = books.log("y", department=LAND, query="other")
    assert held(books).findings == (Finding(Disagreement.WITHDRAWN, ORIGIN, index=index),)


def test_answer_withheld_after_a_withdrawal_or_on_another_grant_is_clean(books: Books) -> None:
    books.log_withdrawal()
    books.log("x", department=LAND, status=CheckStatus.WITHHELD)
    books.log("y", department=LAND, grant="another")
    assert held(books).findings == ()


def refused_and_answered(books: Books, after: float) -> int:
    """A refusal of a grant as withdrawn, and an answer on it; the answer's leaf."""
    books.state("refused", batch="one", query="one", refused=Reason.GRANT_REVOKED, age=100)
    books.acknowledge(books.log("refused", query="one", status=CheckStatus.REFUSED, age=99), batch="one", age=98)
    books.state("answered", batch="two", query="two", age=100 - after)
    index = books.log("answered", query="two", age=99 - after)
    books.acknowledge(index, batch="two", age=98 - after)
    return index


def test_answer_on_a_grant_that_was_refused_as_withdrawn_is_found(books: Books) -> None:
    index = refused_and_answered(books, 61)
    assert held(books).findings == (Finding(Disagreement.REINSTATED, POLICE, named("answered"), index),)


def test_channels_that_see_a_withdrawal_at_different_times_are_no_finding(books: Books) -> None:
    refused_and_answered(books, 60)
    assert held(books).findings == ()


def test_answer_on_another_grant_or_one_of_several_is_no_reinstatement(books: Books) -> None:
    books.state("refused", batch="one", query="one", refused=Reason.GRANT_REVOKED, age=900)
    books.acknowledge(books.log("refused", query="one", status=CheckStatus.REFUSED, age=899), batch="one", age=898)
    books.state("another", batch="two", query="two", age=800)
    books.acknowledge(books.log("another", query="two", grant="another", age=799), batch="two", age=798)
    assert held(books).findings == ()
    books.state("several", batch="three", query="three", refused=Reason.GRANT_REVOKED, age=700)
    books.acknowledge(
        books.log("several", query="three", also="second", grant="g3", status=CheckStatus.REFUSED, age=699),
        batch="three",
        age=698,
    )
    books.state("alone", batch="four", query="four", age=600)
    books.acknowledge(books.log("alone", query="four", grant="g3", age=599), batch="four", age=598)
    assert held(books).findings == ()
