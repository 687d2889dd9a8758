"""Property: the number of a certificate (不动产权证书号), of an older one (房权证), and of a unit (不动产单元号).

Neither has a check digit: only their form, area and year can be held against anything.

- The certificate's brackets occur as (), （） and 〔〕; the one spelling has ().
- Before unified registration (不动产登记暂行条例, 2015-03-01) offices numbered as they liked: older ones are free text.
- A unit (GB/T 37346-2019) is a parcel of 19 characters and a fixture of 9: F building, L forest, Q other, W none.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from gateway.protocol.identifiers.rules import Rule, violation
from gateway.protocol.identifiers.spelling import MAX_TYPED_LENGTH, PROVINCES, is_digits, spell

UNIT_LENGTH = 28
FIRST_YEAR = 2015
"""Unified registration began in this year."""

_PROVINCE_NAMES = frozenset("京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川蜀贵黔云滇藏陕秦甘陇青宁新")
_BRACKETS = str.maketrans("〔〕", "()")
_CERTIFICATE = re.compile(r"(\w)\(([0-9]{4})\)([\u3007\u3400-\u9fff]{1,20})不动产(权|证明)第([0-9A-Z]{1,12})号")
_PARCEL = re.compile(r"[0-9]{6}[GJZ][A-Z][0-9]{5}")
_FIXTURE = re.compile(r"[FLQW][0-9]{8}")


def check_property_certificate(text: str, *, today: date | None = None, field: str = "property_certificate") -> str:
    """The number of the certificate in `text`, normalised. Raises MalformedError (IDENTIFIER_MALFORMED).

    With `today`, a year after it is refused too.
    """
    spelt = spell(text)
    if spelt is None:
        raise violation(Rule.CERTIFICATE_LENGTH, field)
    number = spelt.translate(_BRACKETS)
    parts = _CERTIFICATE.fullmatch(number)
    if parts is None:
        raise violation(Rule.CERTIFICATE_FORM, field)
    province, year, _, kind, _ = parts.groups()
    if province not in _PROVINCE_NAMES:
        raise violation(Rule.CERTIFICATE_PROVINCE, field)
    if kind != "权":
        raise violation(Rule.CERTIFICATE_IS_PROOF, field)
    if int(year) < FIRST_YEAR:
        raise violation(Rule.CERTIFICATE_YEAR_EARLY, field)
    if today is not None and int(year) > today.year:
        raise violation(Rule.CERTIFICATE_YEAR_FUTURE, field)
    return number


def check_older_house_certificate(text: str, *, field: str = "property_certificate") -> str:
    """The number of a certificate of before unified registration: any text, in its one spelling.

    Raises MalformedError (IDENTIFIER_MALFORMED) if it is empty, over 64 characters, or holds a control character.
    """
    spelt = spell(text)
    if not spelt or len(spelt) > MAX_TYPED_LENGTH:
        raise violation(Rule.OLDER_CERTIFICATE, field)
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in spelt):
        raise violation(Rule.OLDER_CERTIFICATE_CONTROL, field)
    return spelt.translate(_BRACKETS)


def check_property_unit(text: str, *, field: str = "property_unit") -> str:
    """The number of the unit in `text`, normalised. Raises MalformedError (IDENTIFIER_MALFORMED)."""
    number = spell(text)
    if number is None or len(number) != UNIT_LENGTH:
        raise violation(Rule.UNIT_LENGTH, field)
    if not is_digits(number[:6]) or number[:2] not in PROVINCES:
        raise violation(Rule.UNIT_AREA, field)
    if not _PARCEL.fullmatch(number[6:19]):
        raise violation(Rule.UNIT_PARCEL, field)
    if not _FIXTURE.fullmatch(number[19:]):
        raise violation(Rule.UNIT_FIXTURE, field)
    return number
