"""Laws of the verdict: no better answer makes it worse, no order matters, and open means that another try may tell."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Text
from gateway.rules.pack import Exemption, Material
from gateway.rules.requirements import AllOf, AnyOf, Question, alternatives_of, questions_of
from gateway.rules.verdict import Standing, judge_group, judge_material
from tests.rules.packs import shipped

QUESTIONS = [Question(f"q{number}") for number in range(5)]
ATTESTED = (Outcome.YES, Outcome.NO, Outcome.UNDETERMINED)
UNKNOWN = (Outcome.UNAVAILABLE, Outcome.REFUSED)

requirements = st.recursive(
    st.sampled_from(QUESTIONS),
    lambda inner: st.builds(
        lambda kind, members: kind(tuple(members)),
        st.sampled_from([AllOf, AnyOf]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=6,
)
answers = st.dictionaries(st.sampled_from(QUESTIONS), st.sampled_from([*ATTESTED, *UNKNOWN]))


def material(requirement):
    return Material("m", Text("甲", "m"), requirement, Exemption.E_CERTIFICATE)


def standing(requirement, given_answers):
    return judge_material(material(requirement), given_answers).standing


def turned(requirement):
    if isinstance(requirement, Question):
        return requirement
    return type(requirement)(tuple(turned(member) for member in reversed(requirement.members)))


@given(requirements, answers)
def test_undetermined_that_becomes_yes_never_makes_a_verdict_worse(requirement, given_answers):
    before = standing(requirement, given_answers)
    for question in questions_of(requirement):
        if given_answers.get(question) is Outcome.UNDETERMINED:
            assert standing(requirement, {**given_answers, question: Outcome.YES}) >= before


@given(requirements, answers)
def test_order_of_alternatives_does_not_matter(requirement, given_answers):
    one, other = (judge_material(material(each), given_answers) for each in (requirement, turned(requirement)))
    assert (one.standing, one.exemption) == (other.standing, other.exemption)
    assert set(one.grounds) == set(other.grounds)


@given(requirements, answers)
def test_open_is_exactly_what_another_try_may_change(requirement, given_answers):
    unknown = [question for question in set(questions_of(requirement)) if given_answers.get(question) in UNKNOWN]
    outcomes = {
        standing(requirement, {**given_answers, **dict(zip(unknown, tried, strict=True))})
        for tried in product(ATTESTED, repeat=len(unknown))
    }
    found = standing(requirement, given_answers)
    assert Standing.OPEN not in outcomes
    assert outcomes == {found} if found is not Standing.OPEN else len(outcomes) > 1


@given(requirements, answers)
def test_exempt_is_exactly_one_alternative_of_all_yes(requirement, given_answers):
    holds = any(
        all(given_answers.get(question) is Outcome.YES for question in each) for each in alternatives_of(requirement)
    )
    verdict = judge_material(material(requirement), given_answers)
    assert (verdict.standing is Standing.EXEMPT) == holds
    assert (verdict.exemption is not None) == holds
    if holds:
        assert tuple(sorted(verdict.grounds)) in {tuple(sorted(each)) for each in alternatives_of(requirement)}


@given(requirements, answers)
def test_material_that_is_not_exempt_says_what_decides_it(requirement, given_answers):
    asked = {question: given_answers.get(question, Outcome.NO) for question in questions_of(requirement)}
    assert judge_material(material(requirement), asked).grounds != ()


def test_one_yes_exempts_an_any_of_whatever_the_others():
    for outcome in Outcome:
        found = {QUESTIONS[0]: Outcome.YES, QUESTIONS[1]: outcome}
        assert standing(AnyOf(tuple(QUESTIONS[:2])), found) is Standing.EXEMPT


def test_one_no_makes_an_all_of_owed_whatever_the_others():
    for outcome in Outcome:
        found = {QUESTIONS[0]: Outcome.NO, QUESTIONS[1]: outcome}
        assert standing(AllOf(tuple(QUESTIONS[:2])), found) is Standing.OWED


def test_no_paper_is_asked_while_another_try_may_still_exempt():
    found = {QUESTIONS[0]: Outcome.UNDETERMINED, QUESTIONS[1]: Outcome.UNAVAILABLE}
    assert standing(AnyOf(tuple(QUESTIONS[:2])), found) is Standing.OPEN


def test_offline_only_material_is_offline_whatever_was_answered():
    rules = shipped("430302")
    asked = {
        question: Outcome.YES
        for each in rules.materials_of(School.PUBLIC_PRIMARY, Group.HUKOU_SHARED_HOME)
        if each.requirement is not None
        for question in questions_of(each.requirement)
    }
    verdict = judge_group(rules, School.PUBLIC_PRIMARY, Group.HUKOU_SHARED_HOME, asked)
    assert verdict.standing is Standing.OFFLINE
    assert [each.material.key for each in verdict.materials if each.standing is Standing.OFFLINE] == [
        "co_residence_statement"
    ]
    assert not verdict.supported
