"""Resident IDs: the standard's promises, and that no error ever repeats what was typed."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol.errors import MalformedError
from gateway.protocol.identifiers import check_character, check_resident_id, check_subject, resident_id
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import IdType, Subject, canonical_record

STANDARD_SAMPLE = "11010519491231002X"
FICTIONAL = ("439900201801150016", "43990020180115018X", "439900198707040035")
GENUINE = (STANDARD_SAMPLE, *FICTIONAL)


def violation_of(text: str, today: date | None = None) -> str:
    with pytest.raises(MalformedError) as caught:
        check_resident_id(text, today=today)
    assert caught.value.reason is Reason.IDENTIFIER_MALFORMED
    (violation,) = caught.value.violations
    assert violation.field == "id_number"
    assert " / " in violation.description
    assert len(text) < 4 or text not in f"{caught.value} {caught.value.detail} {violation.description}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return violation.description


@pytest.mark.parametrize("number", GENUINE)
def test_genuine_numbers_are_returned_as_they_are(number: str) -> None:
    assert check_resident_id(number) == number


@pytest.mark.parametrize(
    "typed",
    [
        "  11010519491231002x ",
        "110105 1949 1231 002x",
        "\u300011010519491231002X\n",
        "１１０１０５１９４９１２３１００２Ｘ",
        "11010519491231002ｘ",
        "11010519491231002\u2169",
    ],
)
def test_what_a_clerk_types_is_normalised(typed: str) -> None:
    assert check_resident_id(typed) == STANDARD_SAMPLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "18 characters"),
        ("11010519491231002", "18 characters"),
        ("11010519491231002XX", "18 characters"),
        ("110105491231002", "18 characters"),
        ("1" * 65, "18 characters"),
        ("1101051949123100XX", "17 digits"),
        ("11010519491231002Y", "17 digits"),
        ("A1010519491231002X", "17 digits"),
        ("١١٠١٠٥١٩٤٩١٢٣١٠٠٢X", "17 digits"),
        ("11010519490229002X", "date that exists"),
        ("11010519491301002X", "date that exists"),
        ("11010500001231002X", "date that exists"),
        ("110105194912310021", "check character"),
    ],
)
def test_each_violation_is_named(text: str, expected: str) -> None:
    assert expected in violation_of(text)


@pytest.mark.parametrize("prefix", ["81", "82", "83"])
def test_numbers_of_residence_permits_are_refused_as_another_document(prefix: str) -> None:
    assert "港澳台居民居住证" in violation_of(resident_id(prefix + "0000", date(1990, 1, 1), 1))


def test_numbers_of_foreign_residents_are_refused_as_another_document() -> None:
    assert "外国人永久居留身份证" in violation_of("943999199001010011")


@pytest.mark.parametrize("province", ["00", "10", "16", "30", "47", "55", "66", "84"])
def test_number_of_no_province_is_refused(province: str) -> None:
    assert "code of a province" in violation_of(resident_id(province + "0101", date(1990, 1, 1), 1))


def test_historical_areas_are_accepted() -> None:
    abolished_430122 = resident_id("430122", date(1980, 5, 1), 7)  # 望城县, a district since 2011
    assert check_resident_id(abolished_430122) == abolished_430122


def test_birth_in_the_future_is_refused_only_when_today_is_given() -> None:
    tomorrow = resident_id("439900", date(2027, 6, 2), 1)
    assert check_resident_id(tomorrow) == tomorrow
    assert check_resident_id(tomorrow, today=date(2027, 6, 2)) == tomorrow
    assert "future" in violation_of(tomorrow, today=date(2027, 6, 1))


@pytest.mark.parametrize("number", GENUINE)
def test_every_single_wrong_character_is_detected(number: str) -> None:
    for position, right in enumerate(number):
        for wrong in "0123456789X":
            if wrong != right:
                violation_of(number[:position] + wrong + number[position + 1 :])


@pytest.mark.parametrize("number", GENUINE)
def test_every_adjacent_transposition_is_detected(number: str) -> None:
    for position in range(17):
        first, second = number[position], number[position + 1]
        if first != second:
            violation_of(number[:position] + second + first + number[position + 2 :])


digits17 = st.text("0123456789", min_size=17, max_size=17)


@given(digits17, st.integers(0, 16), st.integers(1, 9))
def test_the_check_character_changes_with_any_digit(first17: str, position: int, step: int) -> None:
    other = str((int(first17[position]) + step) % 10)
    assert check_character(first17) != check_character(first17[:position] + other + first17[position + 1 :])


@given(digits17, st.integers(0, 15))
def test_the_check_character_changes_with_any_transposition(first17: str, position: int) -> None:
    a, b = first17[position], first17[position + 1]
    swapped = first17[:position] + b + a + first17[position + 2 :]
    assert (check_character(first17) == check_character(swapped)) == (a == b)


@given(st.dates(date(1, 1, 1)), st.integers(1, 999))
def test_built_numbers_are_accepted(birth: date, sequence: int) -> None:
    number = resident_id("439900", birth, sequence)
    assert check_resident_id(f" {number.lower()} ") == number


@pytest.mark.parametrize(
    ("area", "sequence", "field"),
    [
        ("43990", 1, "area"),
        ("43990a", 1, "area"),
        ("４３９９００", 1, "area"),
        ("439900", 0, "sequence"),
        ("439900", 1000, "sequence"),
    ],
)
def test_a_number_is_not_built_from_parts_out_of_bounds(area: str, sequence: int, field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        resident_id(area, date(2018, 1, 15), sequence)
    assert caught.value.violations[0].field == field


anything = st.text(st.characters(), max_size=70) | st.text("0123456789Xx ０１Ｘ", min_size=15, max_size=20)


@given(anything)
@example("\ud800" * 18)
@example("ﷺ")
def test_arbitrary_text_is_refused_with_a_domain_error_or_normalised(text: str) -> None:
    try:
        number = check_resident_id(text)
    except MalformedError:
        return
    assert check_resident_id(number) == number


@given(anything, st.text(st.characters()))
@example(STANDARD_SAMPLE, "\ud800")
@example(STANDARD_SAMPLE, "\x00")
def test_arbitrary_subjects_are_refused_with_a_domain_error_or_have_a_canonical_record(number: str, name: str) -> None:
    try:
        subject = check_subject(Subject(IdType.RESIDENT_ID, number, name))
    except MalformedError:
        return
    assert canonical_record(subject)


@given(st.text(st.characters(), max_size=130))
def test_arbitrary_names_are_refused_with_a_domain_error_or_have_a_canonical_record(name: str) -> None:
    try:
        subject = check_subject(Subject(IdType.RESIDENT_ID, STANDARD_SAMPLE, name))
    except MalformedError:
        return
    assert canonical_record(subject)


def test_a_subject_is_returned_normalised() -> None:
    typed = Subject(IdType.RESIDENT_ID, "１1010519491231002x", " 张　三 ")
    assert check_subject(typed) == Subject(IdType.RESIDENT_ID, STANDARD_SAMPLE, "张三")


@pytest.mark.parametrize(
    ("number", "name", "field"),
    [
        ("110105194912310021", "张三", "id_number"),
        (STANDARD_SAMPLE, " \u3000", "name"),
        (STANDARD_SAMPLE, "张" * 41, "name"),
        (STANDARD_SAMPLE, "张\x00三", "name"),
        (STANDARD_SAMPLE, "张\udc00", "name"),
    ],
)
def test_a_violation_of_a_subject_is_located(number: str, name: str, field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        check_subject(Subject(IdType.RESIDENT_ID, number, name), prefix="subjects.child.")
    assert caught.value.reason is Reason.IDENTIFIER_MALFORMED
    (violation,) = caught.value.violations
    assert violation.field == f"subjects.child.{field}"
    assert number not in str(caught.value)
