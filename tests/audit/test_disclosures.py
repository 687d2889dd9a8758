"""Queries that their requesters disclose to an auditor: what the log says is unavailable, and was answered."""

from __future__ import annotations

import pytest

from gateway.audit.findings import Disagreement, Disclosure, Finding
from gateway.protocol.reasons import Reason
from tests.audit.parties import LAND, LEAF_KEY, ORIGIN, POLICE, Books, held, kinds, named

DISCLOSED = [Disclosure(named("q"), LEAF_KEY)]


def test_answer_that_was_given_out_as_unavailable_is_told_once_its_query_is_disclosed(books: Books) -> None:
    books.state("a", age=5)
    gap = books.log("", age=2)
    books.acknowledge(books.log_recovered("a", age=1))
    assert held(books).findings == ()
    assert held(books, disclosures=DISCLOSED).findings == (Finding(Disagreement.SUPPRESSED, POLICE, named("a"), gap),)


def test_gap_that_a_later_leaf_mends_is_no_suppression(books: Books) -> None:
    books.state("a", age=5)
    books.log("", age=4)
    books.acknowledge(books.log("a", age=3))
    assert held(books, disclosures=DISCLOSED).findings == ()


def test_gap_logged_before_the_department_answered_is_no_suppression(books: Books) -> None:
    books.log("", age=5)
    books.state("a", age=2)
    books.acknowledge(books.log_recovered("a", age=1))
    assert held(books, disclosures=DISCLOSED).findings == ()


def test_gap_of_another_department_or_query_is_no_suppression(books: Books) -> None:
    books.state("a", age=5)
    books.log("", department=LAND, age=2)
    books.log("", query="other", age=2)
    books.acknowledge(books.log_recovered("a", age=1))
    assert held(books, disclosures=[*DISCLOSED, Disclosure(named("other"), LEAF_KEY)]).findings == ()


@pytest.mark.parametrize("twice", [True, False])
def test_contradiction_that_the_gateway_reports_is_told_unless_the_journal_has_it(books: Books, twice: bool) -> None:
    books.state("yes", batch="one", age=5)
    books.state("no" if twice else "yes", batch="two", age=5)
    books.log("", reason=Reason.ANSWERS_CONTRADICT, age=4)
    index = books.log_recovered("yes", *(["no"] if twice else []), age=3)
    books.acknowledge(index, batch="one")
    books.acknowledge(index, batch="two")
    assert kinds(held(books, disclosures=DISCLOSED)) == ([] if twice else [Disagreement.SUPPRESSED])


def test_ticket_and_result_that_a_receipt_leaves_out_are_told(books: Books) -> None:
    gap = books.log("")
    opened, result = books.log_ticket(), books.log_result()
    shown = Disclosure(named("q"), LEAF_KEY, frozenset({gap}), size=3)
    found = held(books, disclosures=[shown]).findings
    assert found == tuple(Finding(Disagreement.DROPPED, ORIGIN, index=leaf) for leaf in (opened, result))
    whole = Disclosure(named("q"), LEAF_KEY, frozenset({gap, opened, result}), size=3)
    assert held(books, disclosures=[whole]).findings == ()


def test_ticket_opened_after_the_receipt_or_of_another_query_is_not_missed_in_it(books: Books) -> None:
    gap = books.log("")
    books.log_ticket("other")
    earlier = Disclosure(named("q"), LEAF_KEY, frozenset({gap}), size=2)
    books.log_ticket()
    books.log_result("other")
    assert held(books, disclosures=[earlier, *DISCLOSED]).findings == ()
