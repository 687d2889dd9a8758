"""Log and journals held against each other: every contradiction is found, and no honest accident is taken for one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.audit.findings import Disagreement, Disclosure, Finding, Reconciliation
from gateway.audit.log_view import LogView, Sighting, forks
from gateway.audit.reconciliation import reconcile
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Reason
from tests.audit.parties import (
    FOREIGN_SIGNER,
    GATEWAY,
    LAND,
    LEAF_KEY,
    NOW,
    ORIGIN,
    OTHER_GATEWAY,
    OTHER_REQUESTER,
    POLICE,
    SIGNER,
    Books,
    named,
    note,
)

DAY = 86_400.0


@pytest.fixture
def books() -> Books:
    return Books()


def held(books: Books, **arguments: object) -> Reconciliation:
    return reconcile(books.view(), [books.journal()], **arguments)  # type: ignore[arg-type]


def kinds(result: Reconciliation) -> list[Disagreement]:
    return [finding.kind for finding in result.findings]


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


# -- checkpoints --------------------------------------------------------------------------------------------


def forked(books: Books) -> str:
    """A checkpoint of the log's size over other leaves, signed by the log."""
    return note([*books.leaves[:-1], b"another leaf"])


def test_department_that_was_shown_another_tree_is_told(books: Books) -> None:
    books.state("a")
    index = books.log("a")
    books.acknowledge(index, shown=forked(books))
    assert held(books).findings == (
        Finding(Disagreement.FORKED, POLICE, checkpoints=(forked(books), books.view().checkpoint)),
    )


def test_fork_that_the_department_itself_refused_is_told(books: Books) -> None:
    books.state("a")
    books.log("a")
    books.refuse_acknowledgement(forked(books))
    assert kinds(held(books)) == [Disagreement.FORKED]


def test_log_that_was_cut_back_is_told(books: Books) -> None:
    books.state("a")
    index = books.log("a")
    books.log_other()
    books.acknowledge(index)
    shown = note(books.leaves)
    result = reconcile(books.view(size=1), [books.journal()])
    assert result.findings == (Finding(Disagreement.CUT_OFF, POLICE, checkpoints=(shown, books.view(1).checkpoint)),)


def test_requester_that_was_shown_another_tree_is_told(books: Books) -> None:
    for _ in range(5):
        books.log_other()
    right, wrong = note(books.leaves, 3), note([*books.leaves[:2], b"another"])
    result = held(books, sightings=[Sighting("right", right), Sighting("wrong", wrong)])
    assert [(finding.kind, finding.holder) for finding in result.findings] == [(Disagreement.FORKED, "wrong")]


def test_two_holders_of_contradicting_checkpoints_need_no_leaf(books: Books) -> None:
    books.log_other()
    one, other = Sighting("one", note(books.leaves)), Sighting("other", forked(books))
    assert forks([one, other, one], books.view()) == [(one, other)]
    assert forks([one, Sighting("one again", one.checkpoint)], books.view()) == []


def test_contradicting_checkpoints_past_the_end_of_the_log_are_told_as_a_pair(books: Books) -> None:
    books.log_other()
    leaves = [*books.leaves, b"x"]
    one, other = note(leaves), note([*books.leaves, b"y"])
    result = held(books, sightings=[Sighting("one", one), Sighting("other", other)])
    assert kinds(result) == [Disagreement.CUT_OFF, Disagreement.CUT_OFF, Disagreement.FORKED]
    assert result.findings[-1].checkpoints == (one, other)


def test_note_that_the_log_never_signed_proves_nothing_about_it(books: Books) -> None:
    books.log_other()
    made_up = note([b"made up"], signer=FOREIGN_SIGNER)
    assert held(books, sightings=[Sighting("liar", made_up), Sighting("liar", "no note")]).findings == ()


def test_acknowledgement_that_no_key_of_the_log_signed_is_told(books: Books) -> None:
    books.state("a")
    index = books.log("a")
    made_up = note(books.leaves, signer=FOREIGN_SIGNER)
    books.acknowledge(index, shown=made_up)
    assert held(books).findings == (Finding(Disagreement.UNPROVEN, POLICE, named("b"), None, (made_up,)),)


def test_acknowledgement_of_fewer_leaves_than_statements_is_told(books: Books) -> None:
    books.state("a", "b")
    books.acknowledge(books.log("a", "b"))
    assert kinds(held(books)) == [Disagreement.UNPROVEN]


@pytest.mark.parametrize("leaves", [[b"another"], []])
def test_leaves_of_another_tree_than_the_checkpoints_cannot_be_reconciled(
    books: Books, leaves: Sequence[bytes]
) -> None:
    books.log_other()
    bent = [*books.leaves[:-1], *([books.leaves[-1] + b"\x00"] if leaves else [])]
    view = LogView(ORIGIN, frozenset({GATEWAY}), (SIGNER.verifier,), bent, note(books.leaves))
    with pytest.raises((ForgedError, MalformedError)):
        reconcile(view, [])


def test_log_longer_than_one_chunk_has_the_right_roots(books: Books) -> None:
    books.log_other()
    books.leaves *= 5_000
    shown = [Sighting(str(size), note(books.leaves, size)) for size in (0, 1, 4_096, 4_097, 4_999)]
    assert held(books, sightings=shown).findings == ()


# -- what a requester discloses -----------------------------------------------------------------------------

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
