"""Checkpoints that parties were shown, held against the log and each other."""

from __future__ import annotations

import pytest

from gateway.audit.findings import Disagreement, Finding
from gateway.audit.log_view import LogView, Sighting, forks
from gateway.audit.reconciliation import reconcile
from gateway.audit.weights import WEIGHTS, Weight
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.reasons import Reason
from tests.audit.parties import FOREIGN_SIGNER, GATEWAY, ORIGIN, POLICE, SIGNER, Books, held, kinds, named, note


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


@pytest.mark.parametrize("where", ["within", "past the end"])
def test_fork_that_a_thief_may_have_signed_convicts_nobody(books: Books, where: str) -> None:
    """The key was compromised and another signs since: a second tree under it alone may be anybody's who had it."""
    books.log_other()
    one, other = [b"made up"], [*books.leaves, b"x"]
    if where == "past the end":
        one = [*books.leaves, b"y"]
    sightings = [Sighting("one", note(one)), Sighting("other", note(other))]
    kind = {True: Disagreement.CONTESTED, False: Disagreement.FORKED}
    for is_lost in (True, False):
        lost = frozenset({SIGNER.verifier} if is_lost else ())
        keys = (SIGNER.verifier, FOREIGN_SIGNER.verifier)
        shown = note(books.leaves, signer=FOREIGN_SIGNER)
        view = LogView(ORIGIN, frozenset({GATEWAY}), keys, books.leaves, shown, lost)
        assert kind[is_lost] in kinds(reconcile(view, [], sightings=sightings))
        assert kind[not is_lost] not in kinds(reconcile(view, [], sightings=sightings))
    assert WEIGHTS[Disagreement.CONTESTED] is Weight.ASKS


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


@pytest.mark.parametrize("lie", ["another leaf", "fewer", "more"])
def test_leaves_of_another_tree_than_the_checkpoints_cannot_be_reconciled(books: Books, lie: str) -> None:
    books.log("x")
    books.log_other()
    shown = note(books.leaves)
    books.log_other()
    bent = {"another leaf": [books.leaves[2], books.leaves[1]], "fewer": books.leaves[:1], "more": books.leaves}[lie]
    view = LogView(ORIGIN, frozenset({GATEWAY}), (SIGNER.verifier,), bent, shown)
    with pytest.raises(ForgedError) as caught:
        reconcile(view, [])
    assert caught.value.reason is Reason.PROOF_INVALID


def test_leaf_that_cannot_be_read_cannot_be_reconciled(books: Books) -> None:
    books.leaves.append(b"no leaf")
    with pytest.raises(MalformedError):
        held(books)


def test_log_longer_than_one_chunk_has_the_right_roots(books: Books) -> None:
    books.log_other()
    books.leaves *= 5_000
    shown = [Sighting(str(size), note(books.leaves, size)) for size in (0, 1, 4_096, 4_097, 4_999)]
    assert held(books, sightings=shown).findings == ()
