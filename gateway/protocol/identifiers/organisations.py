"""Organisation code 统一社会信用代码, GB 32100-2015: office, kind, six digits of area, nine characters, a check.

The check character (modulo 31) finds every single wrong character and every swap of two, but for one: the first
character against the check character itself, whose weights are equal.
"""

from __future__ import annotations

from gateway.protocol.identifiers.rules import Rule, violation
from gateway.protocol.identifiers.spelling import PROVINCES, is_digits, spell

ORGANISATION_CODE_LENGTH = 18

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""Without I, O, S, V and Z, which are read as digits or as each other; a character's place is its value."""

_MODULUS = len(ALPHABET)
_WEIGHTS = tuple(pow(3, place, _MODULUS) for place in range(ORGANISATION_CODE_LENGTH - 1))
_NATIONAL = "10"
"""Area 100000: registered with an office of the State itself."""


def check_organisation_code(text: str, *, field: str = "organisation_code") -> str:
    """The organisation code in `text`, normalised. Raises MalformedError (IDENTIFIER_MALFORMED)."""
    code = spell(text)
    if code is None or len(code) != ORGANISATION_CODE_LENGTH:
        raise violation(Rule.ORGANISATION_LENGTH, field)
    if any(character not in ALPHABET for character in code):
        raise violation(Rule.ORGANISATION_ALPHABET, field)
    area = code[2:8]
    if not is_digits(area) or area[:2] not in PROVINCES | {_NATIONAL}:
        raise violation(Rule.ORGANISATION_AREA, field)
    if code[-1] != organisation_check_character(code[:-1]):
        raise violation(Rule.CHECK_CHARACTER, field)
    return code


def organisation_check_character(first17: str) -> str:
    """The check character of 17 characters of the alphabet (GB 32100-2015)."""
    total = sum(weight * ALPHABET.index(character) for weight, character in zip(_WEIGHTS, first17, strict=True))
    return ALPHABET[-total % _MODULUS]
