"""统一社会信用代码: the standard's sample, and what its check character promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.errors import MalformedError
from gateway.protocol.identifiers import check_organisation_code, organisation_check_character
from gateway.protocol.identifiers.organisations import ALPHABET
from gateway.protocol.identifiers.rules import TEXTS, Rule
from gateway.protocol.reasons import Reason

STANDARD_SAMPLE = "91350100M000100Y43"
FICTIONAL = "11439900MB00000193"
GENUINE = (STANDARD_SAMPLE, FICTIONAL)


def refused(text: str, rule: Rule | None = None) -> None:
    with pytest.raises(MalformedError) as caught:
        check_organisation_code(text, field="employer.code")
    assert caught.value.reason is Reason.IDENTIFIER_MALFORMED
    (found,) = caught.value.violations
    assert found.field == "employer.code"
    assert len(text) < 4 or text not in f"{caught.value} {found.description}"
    if rule is not None:
        assert found.description == f"{TEXTS[rule].en} / {TEXTS[rule].zh}"


@pytest.mark.parametrize("code", GENUINE)
def test_genuine_codes_are_accepted_as_a_clerk_types_them(code: str) -> None:
    assert check_organisation_code(code) == code
    assert check_organisation_code(f" {code[:8].lower()} {code[8:].lower()}\n") == code
    assert check_organisation_code("".join(chr(ord(character) + 0xFEE0) for character in code)) == code


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", Rule.ORGANISATION_LENGTH),
        ("9" * 65, Rule.ORGANISATION_LENGTH),
        (STANDARD_SAMPLE[:-1], Rule.ORGANISATION_LENGTH),
        (STANDARD_SAMPLE.replace("0", "O", 1), Rule.ORGANISATION_ALPHABET),
        ("91350100M000100Z43", Rule.ORGANISATION_ALPHABET),
        ("9135010AM000100Y43", Rule.ORGANISATION_AREA),
        ("91990100M000100Y43", Rule.ORGANISATION_AREA),
        ("91350100M000100Y44", Rule.CHECK_CHARACTER),
    ],
)
def test_each_violation_is_named(text: str, rule: Rule) -> None:
    refused(text, rule)


@pytest.mark.parametrize("code", GENUINE)
def test_every_wrong_character_is_found(code: str) -> None:
    for place, right in enumerate(code):
        for wrong in ALPHABET:
            if wrong != right:
                refused(code[:place] + wrong + code[place + 1 :])


@pytest.mark.parametrize("code", GENUINE)
def test_every_swap_is_found_but_of_the_first_character_with_the_check(code: str) -> None:
    for left in range(18):
        for right in range(left + 1, 18):
            if code[left] != code[right] and (left, right) != (0, 17):
                characters = list(code)
                characters[left], characters[right] = characters[right], characters[left]
                refused("".join(characters))


bodies = st.text(ALPHABET, min_size=9, max_size=9)


@given(bodies, st.integers(0, 16), st.integers(1, 30))
def test_the_check_character_changes_with_any_character(body: str, place: int, step: int) -> None:
    first17 = "11439900" + body
    other = ALPHABET[(ALPHABET.index(first17[place]) + step) % 31]
    assert organisation_check_character(first17) != organisation_check_character(
        first17[:place] + other + first17[place + 1 :]
    )


@given(bodies)
def test_built_codes_are_accepted(body: str) -> None:
    first17 = "11439900" + body
    code = first17 + organisation_check_character(first17)
    assert check_organisation_code(code.lower()) == code


def test_codes_of_offices_of_the_state_are_accepted() -> None:
    first17 = "11100000" + "MB0000019"
    assert check_organisation_code(first17 + organisation_check_character(first17))


@given(st.text(st.characters(), max_size=70) | st.text(ALPHABET + "ioz ９", min_size=17, max_size=20))
def test_arbitrary_text_is_refused_or_normalised(text: str) -> None:
    try:
        code = check_organisation_code(text)
    except MalformedError:
        return
    assert check_organisation_code(code) == code
