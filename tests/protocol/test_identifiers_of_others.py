"""Documents of persons who hold no resident ID: each number is accepted as one kind only."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol.errors import MalformedError
from gateway.protocol.identifiers import (
    check_foreign_permanent_resident,
    check_residence_permit,
    check_resident_id,
    check_subject,
    foreign_permanent_resident,
    resident_id,
)
from gateway.protocol.identifiers.rules import TEXTS, Rule
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import IdType, Subject, canonical_record

RESIDENT = "43990020180115018X"
PERMIT = "810000199001010019"
FOREIGN = "943999199001010011"
OLDER_FOREIGN = "XXA439900900101"
CHECKS = {
    IdType.RESIDENT_ID: check_resident_id,
    IdType.HMT_RESIDENCE_PERMIT: check_residence_permit,
    IdType.FOREIGN_PERMANENT_RESIDENT: check_foreign_permanent_resident,
}
NUMBERS = {
    RESIDENT: IdType.RESIDENT_ID,
    PERMIT: IdType.HMT_RESIDENCE_PERMIT,
    FOREIGN: IdType.FOREIGN_PERMANENT_RESIDENT,
    OLDER_FOREIGN: IdType.FOREIGN_PERMANENT_RESIDENT,
}


def rule_of(check, text: str, **options) -> Rule:
    with pytest.raises(MalformedError) as caught:
        check(text, **options)
    assert caught.value.reason is Reason.IDENTIFIER_MALFORMED
    (found,) = caught.value.violations
    assert found.field == options.get("field", "id_number")
    assert len(text) < 4 or text not in f"{caught.value} {found.description}"
    (rule,) = (rule for rule, text in TEXTS.items() if found.description == f"{text.en} / {text.zh}")
    return rule


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", IdType)
def test_a_number_is_accepted_as_one_kind_of_document_only(number: str, kind: IdType) -> None:
    if NUMBERS[number] is kind:
        assert CHECKS[kind](number, today=date(2027, 6, 1)) == number
    else:
        rule_of(CHECKS[kind], number)


@pytest.mark.parametrize("area", ["810000", "820000", "830000"])
def test_permits_of_each_area_are_accepted_as_a_clerk_types_them(area: str) -> None:
    number = resident_id(area, date(1990, 1, 1), 3)
    spaced = f" {number[:6]} {number[6:14]} {number[14:]}\u3000"
    fullwidth = "".join(chr(ord(character) + 0xFEE0) for character in number.lower())
    assert check_residence_permit(spaced) == check_residence_permit(fullwidth) == number


def test_foreign_numbers_are_accepted_as_a_clerk_types_them() -> None:
    assert check_foreign_permanent_resident(" 943 999 19900101 0011 ") == FOREIGN
    assert check_foreign_permanent_resident("xxa 4399 0090 0101") == OLDER_FOREIGN
    assert check_foreign_permanent_resident("ＸＸＡ４３９９００９００１０１") == OLDER_FOREIGN


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", Rule.LENGTH_18),
        ("8" * 65, Rule.LENGTH_18),
        (PERMIT[:-1], Rule.LENGTH_18),
        (PERMIT[:-1] + "Y", Rule.CHARACTERS_18),
        ("810000199013010019", Rule.BIRTH_DATE),
        ("810000199001010010", Rule.CHECK_CHARACTER),
        (resident_id("810001", date(1990, 1, 1), 1), Rule.PERMIT_AREA),
        (resident_id("840000", date(1990, 1, 1), 1), Rule.PERMIT_AREA),
    ],
)
def test_each_violation_of_a_permit_is_named(text: str, rule: Rule) -> None:
    assert rule_of(check_residence_permit, text) is rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", Rule.FOREIGN_FORM),
        ("9" * 65, Rule.FOREIGN_FORM),
        (FOREIGN[:-1], Rule.FOREIGN_FORM),
        ("XX4439900900101", Rule.FOREIGN_FORM),
        ("ßA439900900101", Rule.FOREIGN_FORM),  # two letters, though upper-case makes three of them
        (FOREIGN[:-1] + "Y", Rule.CHARACTERS_18),
        ("943999199002300011", Rule.BIRTH_DATE),
        ("943999199001010010", Rule.CHECK_CHARACTER),
        (resident_id("999999", date(1990, 1, 1), 1), Rule.FOREIGN_PROVINCE),
    ],
)
def test_each_violation_of_a_foreign_number_is_named(text: str, rule: Rule) -> None:
    assert rule_of(check_foreign_permanent_resident, text) is rule


@pytest.mark.parametrize(
    ("check", "number"),
    [
        (check_residence_permit, resident_id("830000", date(2027, 6, 2), 1)),
        (check_foreign_permanent_resident, foreign_permanent_resident("43", "999", date(2027, 6, 2), 1)),
    ],
)
def test_birth_in_the_future_is_refused_for_every_kind(check, number: str) -> None:
    assert check(number, today=date(2027, 6, 2)) == number
    assert rule_of(check, number, today=date(2027, 6, 1)) is Rule.BIRTH_FUTURE


@pytest.mark.parametrize(
    ("check", "number"), [(check_residence_permit, PERMIT), (check_foreign_permanent_resident, FOREIGN)]
)
def test_every_wrong_character_and_swap_of_neighbours_is_found(check, number: str) -> None:
    for place, right in enumerate(number):
        for wrong in "0123456789X":
            if wrong != right:
                rule_of(check, number[:place] + wrong + number[place + 1 :])
        if place < 17 and right != number[place + 1]:
            rule_of(check, number[:place] + number[place + 1] + right + number[place + 2 :])


people = st.tuples(st.dates(date(1900, 1, 1), date(2027, 1, 1)), st.integers(1, 999))


@given(people, st.sampled_from(["810000", "820000", "830000"]))
def test_built_permits_are_accepted(person, area: str) -> None:
    number = resident_id(area, *person)
    assert check_residence_permit(number.lower(), today=date(2027, 1, 1)) == number


@given(people, st.sampled_from(["11", "43", "65"]), st.integers(0, 999))
def test_built_foreign_numbers_are_accepted(person, province: str, nationality: int) -> None:
    number = foreign_permanent_resident(province, f"{nationality:03}", *person)
    assert check_foreign_permanent_resident(number.lower(), today=date(2027, 1, 1)) == number


@pytest.mark.parametrize(
    ("province", "nationality", "sequence", "field"),
    [
        ("99", "999", 1, "province"),
        ("43", "99", 1, "nationality"),
        ("43", "XXA", 1, "nationality"),
        ("43", "999", 0, "sequence"),
    ],
)
def test_a_foreign_number_is_not_built_from_parts_out_of_bounds(province, nationality, sequence, field) -> None:
    with pytest.raises(MalformedError) as caught:
        foreign_permanent_resident(province, nationality, date(1990, 1, 1), sequence)
    assert caught.value.violations[0].field == field


anything = st.text(st.characters(), max_size=70) | st.text("0123456789Xx ９ab", min_size=14, max_size=20)


@given(st.sampled_from(list(IdType)), anything, st.text(st.characters(), min_size=1, max_size=20))
@example(IdType.FOREIGN_PERMANENT_RESIDENT, "\ud800" * 15, "张")
@example(IdType.FOREIGN_PERMANENT_RESIDENT, OLDER_FOREIGN.lower(), "张")
def test_arbitrary_subjects_of_every_kind_are_refused_or_have_one_record(kind: IdType, number: str, name: str) -> None:
    try:
        subject = check_subject(Subject(kind, number, name))
    except MalformedError:
        return
    assert check_subject(subject) == subject
    assert canonical_record(subject) == canonical_record(Subject(kind, number, name))


def test_a_subject_of_each_kind_is_located_and_held_against_the_day() -> None:
    for kind, area in (
        (IdType.RESIDENT_ID, "439900"),
        (IdType.HMT_RESIDENCE_PERMIT, "820000"),
        (IdType.FOREIGN_PERMANENT_RESIDENT, "943999"),
    ):
        unborn = Subject(kind, resident_id(area, date(2027, 6, 2), 1), "张三")
        assert check_subject(unborn).id_type is kind
        with pytest.raises(MalformedError) as caught:
            check_subject(unborn, today=date(2027, 6, 1), prefix="subjects.child.")
        assert caught.value.violations[0].field == "subjects.child.id_number"


def test_kinds_of_documents_keep_their_names_and_part_the_records() -> None:
    assert [kind.value for kind in IdType] == ["resident_id", "hmt_residence_permit", "foreign_permanent_resident"]
    records = {canonical_record(Subject(kind, PERMIT, "张三")) for kind in IdType}
    assert len(records) == len(IdType)


def test_every_rule_has_its_text_in_both_languages() -> None:
    assert set(TEXTS) == set(Rule)
    for text in TEXTS.values():
        assert any("\u4e00" <= character <= "\u9fff" for character in text.zh)
        assert text.en.isascii() or "不动产" in text.en
