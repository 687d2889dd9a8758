"""Identifiers of persons: read as a clerk or a parent types them, normalised, and refused before anything is sent.

Resident ID 公民身份号码, GB 11643-1999: six digits of area, eight of birth date, three of sequence (odd: male),
and one check character, ISO 7064 MOD 11-2, which detects every single wrong character and every transposition.

- The area is not looked up: people keep the code of the division in which they were first registered, and many of
  those divisions no longer exist.
- Areas 81, 82 and 83 (港澳台居民居住证) and numbers that begin with 9 (外国人永久居留身份证, form of 2023) share the
  algorithm but belong to other documents, for which `IdType` has no kind yet: they are refused as such, so
  that one person never comes to be known under two kinds of document.
- A violation says what is expected and where; no error of this module ever holds what was typed.

Whether a number was ever issued, and to whom, only the police know: this module does not.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from types import MappingProxyType
from typing import Protocol

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import MAX_NAME_BYTES, IdType, Subject, normalise_name

RESIDENT_ID_LENGTH = 18
"""Characters of a resident ID (GB 11643-1999); the 15-digit numbers of before 1999 ended in 2013."""

MAX_TYPED_LENGTH = 64
"""Characters read at all: room for an ID number with stray spaces around it."""

AREA_LENGTH = 6
"""Digits of the area (GB/T 2260)."""

MAX_SEQUENCE = 999
"""Persons told apart by one area and birth date: three digits."""

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10X98765432"
_RESIDENCE_PERMIT_AREAS = ("81", "82", "83")
_FOREIGN_RESIDENT_PREFIX = "9"


def check_resident_id(text: str, *, today: date | None = None, field: str = "id_number") -> str:
    """The resident ID in `text`, normalised: NFKC (fullwidth digits), no white space around it, upper-case X.

    With `today`, a birth date after it is refused too. Raises MalformedError (IDENTIFIER_MALFORMED) whose one
    violation is located at `field` and says what is expected in both languages.
    """
    if len(text) > MAX_TYPED_LENGTH:
        raise _violation(field, "must be 18 characters", "应为 18 位")
    number = unicodedata.normalize("NFKC", text).strip().upper()
    if len(number) != RESIDENT_ID_LENGTH:
        raise _violation(field, "must be 18 characters", "应为 18 位")
    if not _is_digits(number[:17]) or not (_is_digits(number[17]) or number[17] == "X"):
        raise _violation(field, "must be 17 digits, then a digit or X", "前 17 位应为数字，末位应为数字或 X")
    born_on = _birth_date(number, field)
    if today is not None and born_on > today:
        raise _violation(
            field, "characters 7 to 14 must not be a date in the future", "第 7 至 14 位出生日期不应晚于今天"
        )
    if number[17] != check_character(number[:17]):
        raise _violation(
            field, "the check character (the last) does not fit the other 17", "末位校验码与前 17 位不符，请逐位核对"
        )
    if number.startswith(_RESIDENCE_PERMIT_AREAS):
        raise _violation(
            field,
            "areas 81, 82 and 83 belong to the residence permit of Hong Kong, Macao and Taiwan residents",
            "81、82、83 开头的号码属于港澳台居民居住证，不是居民身份证",
        )
    if number.startswith(_FOREIGN_RESIDENT_PREFIX):
        raise _violation(
            field,
            "numbers that begin with 9 belong to the foreign permanent resident's identity card",
            "9 开头的号码属于外国人永久居留身份证，不是居民身份证",
        )
    return number


def check_subject(subject: Subject, *, prefix: str = "") -> Subject:
    """`subject` with its number normalised by its kind of document, and its name normalised.

    `prefix` goes before the field names of violations ("subjects.child."). Raises MalformedError
    (IDENTIFIER_MALFORMED).
    """
    number = _CHECKS[subject.id_type](subject.id_number, field=f"{prefix}id_number")
    name = normalise_name(subject.name)
    if not 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES:
        raise _violation(f"{prefix}name", "must be 1 to 120 bytes of UTF-8", "姓名应为 1 至 120 字节")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise _violation(f"{prefix}name", "must hold no control character", "姓名不应含控制字符")
    return replace(subject, id_number=number, name=name)


def resident_id(area: str, birth: date, sequence: int) -> str:
    """The resident ID of `area` (six digits), `birth` and `sequence` (1 to 999, odd: male), with its check character.

    Raises MalformedError (IDENTIFIER_MALFORMED).
    """
    if len(area) != AREA_LENGTH or not _is_digits(area):
        raise _violation("area", "must be six digits", "应为 6 位数字")
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise _violation("sequence", "must be from 1 to 999", "应为 1 至 999")
    first17 = f"{area}{birth.year:04}{birth.month:02}{birth.day:02}{sequence:03}"
    return first17 + check_character(first17)


def check_character(first17: str) -> str:
    """The check character of 17 ASCII digits (GB 11643-1999, ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, first17, strict=True))
    return _CHECK_CHARACTERS[total % 11]


def _birth_date(number: str, field: str) -> date:
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        # Not chained: some versions of Python name the value in the text of this ValueError.
        raise _violation(
            field, "characters 7 to 14 must be a date that exists (YYYYMMDD)", "第 7 至 14 位应为真实存在的出生日期"
        ) from None


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _violation(field: str, english: str, chinese: str) -> MalformedError:
    return MalformedError.at(field, f"{english} / {chinese}", Reason.IDENTIFIER_MALFORMED)


class _Check(Protocol):
    def __call__(self, text: str, /, *, field: str) -> str: ...


_CHECKS: Mapping[IdType, _Check] = MappingProxyType({IdType.RESIDENT_ID: check_resident_id})
