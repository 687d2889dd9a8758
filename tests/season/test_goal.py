"""The goal's grammar: what it means, and where it is wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.season.goal import MEASURES, Term, parse_goal


def test_a_goal_is_read_with_its_units() -> None:
    assert parse_goal(" p99 < 2s,refused<1% , rate>=50, max<=250ms, rate>1.5/s ") == (
        Term("p99", "<", 2.0, "p99<2s"),
        Term("refused", "<", 1.0, "refused<1%"),
        Term("rate", ">=", 50.0, "rate>=50"),
        Term("max", "<=", 0.25, "max<=250ms"),
        Term("rate", ">", 1.5, "rate>1.5/s"),
    )
    assert parse_goal("") == parse_goal("  ") == ()


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("p99<2s", 2.0, False),
        ("p99<=2s", 2.0, True),
        ("rate>50", 50.0, False),
        ("rate>=50", 50.0, True),
        ("p99<2s", None, False),
        ("p99>=0s", None, False),
        ("refused<1%", 0.0, True),
        ("p99<2s", float("nan"), False),
    ],
)
def test_a_bound_is_what_its_sign_says_and_no_value_reaches_none(text, value, holds) -> None:
    assert parse_goal(text)[0].holds(value) is holds


@pytest.mark.parametrize(
    ("text", "number", "says"),
    [
        ("p99<2s,refsed<1%", 2, "one of p50"),
        ("p98<2s", 1, "one of p50"),
        ("p99<2", 1, "unit s, ms"),
        ("p99<2%", 1, "unit s, ms"),
        ("refused<1", 1, "unit %"),
        ("refused<1s", 1, "unit %"),
        ("rate>=50ms", 1, "unit nothing, /s"),
        ("p99<2s,,rate>1", 2, "read like"),
        ("p99<2s,", 2, "read like"),
        ("p99=2s", 1, "read like"),
        ("p99<-2s", 1, "read like"),
        ("p99<1e3s", 1, "read like"),
        ("2s>p99", 1, "read like"),
        ("p99<2s refused<1%", 1, "read like"),
    ],
)
def test_each_faulty_term_is_located_and_explained(text, number, says) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_goal(text, "--goal")
    (found,) = caught.value.violations
    assert caught.value.reason is Reason.CONFIGURATION_INVALID
    assert found.field.startswith(f"--goal, term {number} ")
    assert says in found.description
    assert " / " in found.description


def test_all_faulty_terms_are_told_at_once_but_not_without_end() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_goal("a<1s,p99<1s,b<1s")
    assert len(caught.value.violations) == 2
    with pytest.raises(MalformedError) as caught:
        parse_goal("p99<1s," * 100)
    assert len(caught.value.violations) == 1


@given(st.text(max_size=60))
def test_any_text_is_a_goal_or_a_malformed_one(text) -> None:
    terms = ()
    with contextlib.suppress(MalformedError):
        terms = parse_goal(text)
    assert all(term.measure in MEASURES for term in terms)
