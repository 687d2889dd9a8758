"""Laws of the verdict, held against an evaluator that tries every answer: what better answers do, what open means."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.claims import Role
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Text
from gateway.rules.pack import Exemption, Material
from gateway.rules.region_rules import plan_checks
from gateway.rules.requirements import AllOf, AnyOf, Question, alternatives_of, questions_of
from gateway.rules.shelf import open_shelf
from gateway.rules.verdict import Standing, judge, judge_group, judge_material
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


def worth(requirement, given_answers):
    """What complete answers make of a requirement, by its alternatives alone: 0 owed, 1 offline, 2 exempt."""
    values = {Outcome.NO: 0, Outcome.UNDETERMINED: 1, Outcome.YES: 2}
    return max(
        min(values[given_answers.get(question, Outcome.NO)] for question in alternative)
        for alternative in alternatives_of(requirement)
    )


def worths(requirements, given_answers):
    """The least and the greatest that all of `requirements` may be worth, by trying each answer for a missing one."""
    asked = {question for each in requirements for question in questions_of(each)}
    unknown = [question for question in asked if given_answers.get(question) in UNKNOWN]
    found = [
        min(worth(each, {**given_answers, **dict(zip(unknown, tried, strict=True))}) for each in requirements)
        for tried in product(ATTESTED, repeat=len(unknown))
    ]
    return min(found), max(found)


def expected_standing(requirements, given_answers):
    least, greatest = worths(requirements, given_answers)
    return [Standing.OWED, Standing.OFFLINE, Standing.EXEMPT][least] if least == greatest else Standing.OPEN


@given(requirements, answers)
def test_verdict_is_that_of_trying_every_answer(requirement, given_answers):
    assert standing(requirement, given_answers) is expected_standing([requirement], given_answers)


BETTER = {Outcome.NO: Outcome.UNDETERMINED, Outcome.UNDETERMINED: Outcome.YES}


@given(requirements, answers)
def test_better_answer_never_takes_an_exemption_and_never_makes_a_paper_owed(requirement, given_answers):
    before = standing(requirement, given_answers)
    for question in questions_of(requirement):
        better = BETTER.get(given_answers.get(question))
        if better is None:
            continue
        after = standing(requirement, {**given_answers, question: better})
        assert (before, after) not in {(Standing.EXEMPT, each) for each in Standing if each is not Standing.EXEMPT}
        assert after is not Standing.OWED or before is Standing.OWED


def test_offline_opens_where_a_better_answer_leaves_one_department_between_family_and_exemption():
    one, two, three = QUESTIONS[:3]
    found = {one: Outcome.UNDETERMINED, two: Outcome.UNDETERMINED, three: Outcome.UNAVAILABLE}
    requirement = AnyOf((one, AllOf((two, three))))
    assert standing(requirement, found) is Standing.OFFLINE
    assert standing(requirement, {**found, two: Outcome.YES}) is Standing.OPEN


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


@given(requirements, answers)
def test_asking_again_what_is_no_ground_changes_nothing(requirement, given_answers):
    verdict = judge_material(material(requirement), given_answers)
    unknown = [question for question in set(questions_of(requirement)) if given_answers.get(question) in UNKNOWN]
    useless = [question for question in unknown if question not in verdict.grounds]
    if verdict.standing is not Standing.OPEN:
        return
    assert set(verdict.grounds) <= set(unknown)
    for tried in product(ATTESTED, repeat=len(unknown)):
        complete = {**given_answers, **dict(zip(unknown, tried, strict=True))}
        for question in useless:
            assert standing(requirement, {**complete, question: Outcome.YES}) is standing(requirement, complete)


def test_what_cannot_decide_is_no_ground():
    one, two, three = QUESTIONS[:3]
    dead = AllOf((one, two))  # one is NO
    for outcome, expected in ((Outcome.UNAVAILABLE, Standing.OPEN), (Outcome.UNDETERMINED, Standing.OFFLINE)):
        found = {one: Outcome.NO, two: outcome, three: outcome}
        verdict = judge_material(material(AnyOf((dead, three))), found)
        assert (verdict.standing, verdict.grounds) == (expected, (three,))


SHIPPED = {region: shipped(region) for region in open_shelf()}


@pytest.mark.parametrize("region", sorted(SHIPPED))
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_shipped_rules_are_judged_as_by_trying_every_answer(region, data):
    rules = SHIPPED[region]
    school = data.draw(st.sampled_from(School))
    planned = plan_checks(rules, school, rules.groups_of(school), frozenset(Role))
    asked = [Question(check.claim, tuple(check.parameters.items())) for check in planned]
    drawn = data.draw(st.dictionaries(st.sampled_from(asked), st.sampled_from(list(Outcome)), max_size=len(asked)))
    missing = [question for question in asked if drawn.get(question) in UNKNOWN]
    drawn |= dict.fromkeys(missing[3:], Outcome.NO)  # each missing answer is tried three ways
    verdicts = judge(rules, school, dict(data.draw(st.permutations(list(drawn.items())))))
    assert verdicts == judge(rules, school, drawn)
    for verdict in verdicts:
        wholes = [each.material.requirement for each in verdict.materials]
        for each in verdict.materials:
            whole = each.material.requirement
            expected = Standing.OFFLINE if whole is None else expected_standing([whole], drawn)
            assert each.standing is expected
            assert (each.exemption is not None) == (each.standing is Standing.EXEMPT)
        if None not in wholes:
            assert verdict.standing is expected_standing(wholes, drawn)
        assert verdict.supported == all(each.standing is Standing.EXEMPT for each in verdict.materials)


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
