"""Numbers of persons' documents: three kinds that share one algorithm, and an older form that has none.

- Resident ID 公民身份号码, GB 11643-1999: six digits of area, eight of birth date, three of sequence (odd: male), and
  one check character.
- Residence permit of Hong Kong, Macao and Taiwan residents 港澳台居民居住证: the same; area 810000, 820000 or 830000.
- Foreign permanent resident 外国人永久居留身份证, form of 2023: 9, province (2), nationality (3), then the same.
- The older form: three letters of nationality and twelve digits.

Invariants:

- The check character, ISO 7064 MOD 11-2, finds every single wrong character and every swap of neighbours.
- Of a resident's area only the province is looked up: people keep the code of the division in which they were first
  registered, and many counties of then no longer exist.
- The older form's inner structure is no published standard: only its shape is checked. One card replaced by the other
  bears another number; that both are one person only the police know.
"""

from __future__ import annotations

import re
from datetime import date

from gateway.protocol.identifiers.rules import Rule, violation
from gateway.protocol.identifiers.spelling import PROVINCES, is_digits, spell

RESIDENT_ID_LENGTH = 18
"""Characters of a resident ID (GB 11643-1999); the 15-digit numbers of before 1999 ended in 2013."""

AREA_LENGTH = 6
"""Digits of the area (GB/T 2260)."""

NATIONALITY_LENGTH = 3
"""Digits of a nationality (ISO 3166-1 numeric)."""

MAX_SEQUENCE = 999
"""Persons told apart by one area and birth date: three digits."""

RESIDENCE_PERMIT_AREAS = ("810000", "820000", "830000")
"""Hong Kong, Macao, Taiwan."""

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10X98765432"
_FOREIGN_RESIDENT_PREFIX = "9"
_OLDER_FOREIGN_FORM = re.compile(r"[A-Z]{3}[0-9]{12}")


def check_resident_id(text: str, *, today: date | None = None, field: str = "id_number") -> str:
    """The resident ID in `text`, normalised: NFKC (fullwidth digits), no white space, upper-case X.

    With `today`, a birth date after it is refused too. Raises MalformedError (IDENTIFIER_MALFORMED) whose one
    violation is located at `field` and says what is expected in both languages.
    """
    number = _check_18(spell(text), today, field)
    if number.startswith(tuple(area[:2] for area in RESIDENCE_PERMIT_AREAS)):
        raise violation(Rule.IS_RESIDENCE_PERMIT, field)
    if number.startswith(_FOREIGN_RESIDENT_PREFIX):
        raise violation(Rule.IS_FOREIGN_RESIDENT, field)
    if number[:2] not in PROVINCES:
        raise violation(Rule.RESIDENT_PROVINCE, field)
    return number


def check_residence_permit(text: str, *, today: date | None = None, field: str = "id_number") -> str:
    """The number of a residence permit of Hong Kong, Macao and Taiwan residents in `text`, normalised.

    Raises MalformedError (IDENTIFIER_MALFORMED), as `check_resident_id` does.
    """
    number = _check_18(spell(text), today, field)
    if not number.startswith(RESIDENCE_PERMIT_AREAS):
        raise violation(Rule.PERMIT_AREA, field)
    return number


def check_foreign_permanent_resident(text: str, *, today: date | None = None, field: str = "id_number") -> str:
    """The number of a foreign permanent resident's card in `text`, of either form, normalised.

    The older form holds no date of birth that could be read for certain, so `today` tells nothing of it. Raises
    MalformedError (IDENTIFIER_MALFORMED).
    """
    typed = spell(text)
    if typed is None:
        raise violation(Rule.FOREIGN_FORM, field)
    if _OLDER_FOREIGN_FORM.fullmatch(typed):
        return typed
    if len(typed) != RESIDENT_ID_LENGTH:
        raise violation(Rule.FOREIGN_FORM, field)
    number = _check_18(typed, today, field)
    if not number.startswith(_FOREIGN_RESIDENT_PREFIX):
        raise violation(Rule.FOREIGN_PREFIX, field)
    if number[1:3] not in PROVINCES:
        raise violation(Rule.FOREIGN_PROVINCE, field)
    return number


def resident_id(area: str, birth: date, sequence: int) -> str:
    """The number of `area` (six digits), `birth` and `sequence` (1 to 999, odd: male), with its check character.

    With an area of `RESIDENCE_PERMIT_AREAS` it is that of a residence permit. Raises MalformedError
    (IDENTIFIER_MALFORMED).
    """
    if len(area) != AREA_LENGTH or not is_digits(area):
        raise violation(Rule.AREA, "area")
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise violation(Rule.SEQUENCE, "sequence")
    first17 = f"{area}{birth.year:04}{birth.month:02}{birth.day:02}{sequence:03}"
    return first17 + check_character(first17)


def foreign_permanent_resident(province: str, nationality: str, birth: date, sequence: int) -> str:
    """The number (form of 2023) of `province` (two digits), `nationality` (three digits), `birth` and `sequence`.

    Raises MalformedError (IDENTIFIER_MALFORMED).
    """
    if province not in PROVINCES:
        raise violation(Rule.PROVINCE, "province")
    if len(nationality) != NATIONALITY_LENGTH or not is_digits(nationality):
        raise violation(Rule.NATIONALITY, "nationality")
    return resident_id(_FOREIGN_RESIDENT_PREFIX + province + nationality, birth, sequence)


def check_character(first17: str) -> str:
    """The check character of 17 ASCII digits (GB 11643-1999, ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, first17, strict=True))
    return _CHECK_CHARACTERS[total % 11]


def _check_18(number: str | None, today: date | None, field: str) -> str:
    """`number` as GB 11643 builds it: length, characters, a date that exists and is not in the future, check."""
    if number is None or len(number) != RESIDENT_ID_LENGTH:
        raise violation(Rule.LENGTH_18, field)
    if not is_digits(number[:17]) or not (is_digits(number[17]) or number[17] == "X"):
        raise violation(Rule.CHARACTERS_18, field)
    born_on = _birth_date(number, field)
    if today is not None and born_on > today:
        raise violation(Rule.BIRTH_FUTURE, field)
    if number[17] != check_character(number[:17]):
        raise violation(Rule.CHECK_CHARACTER, field)
    return number


def _birth_date(number: str, field: str) -> date:
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        # Not chained: some versions of Python name the value in the text of this ValueError.
        raise violation(Rule.BIRTH_DATE, field) from None
