"""不动产权证书号 and 不动产单元号: both bracket forms, the year, and every part of a unit's number."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol.errors import MalformedError
from gateway.protocol.identifiers import (
    check_older_house_certificate,
    check_property_certificate,
    check_property_unit,
)
from gateway.protocol.identifiers.rules import TEXTS, Rule
from gateway.protocol.reasons import Reason

CERTIFICATE = "湘(2024)长沙市不动产权第0000000号"
UNIT = "439900001001GB00001F00010001"


def refused(check, text: str, rule: Rule, **options) -> None:
    with pytest.raises(MalformedError) as caught:
        check(text, field="home", **options)
    assert caught.value.reason is Reason.IDENTIFIER_MALFORMED
    (found,) = caught.value.violations
    assert found.field == "home"
    assert found.description == f"{TEXTS[rule].en} / {TEXTS[rule].zh}"
    assert len(text) < 4 or rule is Rule.CERTIFICATE_FORM or text not in f"{caught.value} {found.description}"


@pytest.mark.parametrize(
    "typed",
    [
        CERTIFICATE,
        "湘（2024）长沙市不动产权第0000000号",
        "湘〔2024〕长沙市不动产权第0000000号",
        " 湘 ( 2024 ) 长沙市 不动产权 第 0000000 号 ",
        "湘（２０２４）长沙市不动产权第０００００００号",
    ],
)
def test_every_bracket_form_is_one_certificate(typed: str) -> None:
    assert check_property_certificate(typed, today=date(2024, 1, 1)) == CERTIFICATE


def test_letters_of_a_certificate_become_upper_case() -> None:
    assert check_property_certificate("湘(2024)长沙市不动产权第00a000b号") == "湘(2024)长沙市不动产权第00A000B号"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", Rule.CERTIFICATE_FORM),
        ("湘2024长沙市不动产权第0000000号", Rule.CERTIFICATE_FORM),
        ("湘(2024)不动产权第0000000号", Rule.CERTIFICATE_FORM),
        ("湘(2024)长沙市不动产权第0000000", Rule.CERTIFICATE_FORM),
        ("湘(2024)长沙市不动产权第号", Rule.CERTIFICATE_FORM),
        ("湘(2024)长沙市不动产权第0000000000000号", Rule.CERTIFICATE_FORM),
        ("湘(2024)长沙市不动产权第00ß0号", Rule.CERTIFICATE_FORM),
        ("湘(٢٠٢٤)长沙市不动产权第0000000号", Rule.CERTIFICATE_FORM),
        ("长房权证字第00000000号", Rule.CERTIFICATE_FORM),
        ("湘" * 65, Rule.CERTIFICATE_LENGTH),
        ("长(2024)长沙市不动产权第0000000号", Rule.CERTIFICATE_PROVINCE),
        ("湘(2024)长沙市不动产证明第0000000号", Rule.CERTIFICATE_IS_PROOF),
        ("湘(2014)长沙市不动产权第0000000号", Rule.CERTIFICATE_YEAR_EARLY),
    ],
)
def test_each_violation_of_a_certificate_is_named(text: str, rule: Rule) -> None:
    refused(check_property_certificate, text, rule)


def test_a_certificate_of_next_year_is_refused_only_when_today_is_given() -> None:
    assert check_property_certificate("湘(2028)长沙市不动产权第1号") == "湘(2028)长沙市不动产权第1号"
    refused(
        check_property_certificate,
        "湘(2028)长沙市不动产权第1号",
        Rule.CERTIFICATE_YEAR_FUTURE,
        today=date(2027, 12, 31),
    )


def test_older_certificates_are_free_text_within_bounds() -> None:
    assert check_older_house_certificate(" 长房权证 〔2009〕 字第００1号 ") == "长房权证(2009)字第001号"
    refused(check_older_house_certificate, " \u3000", Rule.OLDER_CERTIFICATE)
    refused(check_older_house_certificate, "房" * 65, Rule.OLDER_CERTIFICATE)
    refused(check_older_house_certificate, "\ufdfa" * 10, Rule.OLDER_CERTIFICATE)  # NFKC makes 18 letters of each
    refused(check_older_house_certificate, "房权证\x00", Rule.OLDER_CERTIFICATE_CONTROL)
    refused(check_older_house_certificate, "房权证\ud800", Rule.OLDER_CERTIFICATE_CONTROL)


@pytest.mark.parametrize(
    "typed", [UNIT, UNIT.lower(), "439900 001001 GB00001 F00010001", "４３９９００001001GB00001F00010001"]
)
def test_a_unit_is_one_number_however_it_is_typed(typed: str) -> None:
    assert check_property_unit(typed) == UNIT


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", Rule.UNIT_LENGTH),
        ("4" * 65, Rule.UNIT_LENGTH),
        (UNIT[:-1], Rule.UNIT_LENGTH),
        ("4399A0001001GB00001F00010001", Rule.UNIT_AREA),
        ("999900001001GB00001F00010001", Rule.UNIT_AREA),
        ("43990000100AGB00001F00010001", Rule.UNIT_PARCEL),
        ("439900001001AB00001F00010001", Rule.UNIT_PARCEL),
        ("439900001001G100001F00010001", Rule.UNIT_PARCEL),
        ("439900001001GB0000AF00010001", Rule.UNIT_PARCEL),
        ("439900001001GB00001A00010001", Rule.UNIT_FIXTURE),
        ("439900001001GB00001F0001000A", Rule.UNIT_FIXTURE),
    ],
)
def test_each_violation_of_a_unit_is_named(text: str, rule: Rule) -> None:
    refused(check_property_unit, text, rule)


@given(st.from_regex(r"\A43[0-9]{10}[GJZ][A-Z][0-9]{5}[FLQW][0-9]{8}\Z"))
def test_every_unit_of_the_province_is_accepted(number: str) -> None:
    assert check_property_unit(number.lower()) == number


anything = st.text(st.characters(), max_size=70) | st.text("湘(（〔2024〕）)长沙市不动产权第0A号 ", max_size=40)


@given(st.sampled_from([check_property_certificate, check_older_house_certificate, check_property_unit]), anything)
@example(check_property_certificate, CERTIFICATE)
@example(check_older_house_certificate, "e \u0301")
def test_arbitrary_text_is_refused_or_normalised(check, text: str) -> None:
    try:
        number = check(text)
    except MalformedError:
        return
    assert check(number) == number
