"""A whole subject: its number checked as its kind of document asks, its name normalised."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from types import MappingProxyType
from typing import Protocol

from gateway.protocol.identifiers.persons import (
    check_foreign_permanent_resident,
    check_residence_permit,
    check_resident_id,
)
from gateway.protocol.identifiers.rules import Rule, violation
from gateway.protocol.subjects import MAX_NAME_BYTES, IdType, Subject, normalise_name


def check_subject(subject: Subject, *, today: date | None = None, prefix: str = "") -> Subject:
    """`subject` with its number normalised by its kind of document, and its name normalised.

    With `today`, a birth date after it is refused too. `prefix` goes before the field names of violations
    ("subjects.child."). Raises MalformedError (IDENTIFIER_MALFORMED).
    """
    number = _CHECKS[subject.id_type](subject.id_number, today=today, field=f"{prefix}id_number")
    name = normalise_name(subject.name)
    if not 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES:
        raise violation(Rule.NAME_LENGTH, f"{prefix}name")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise violation(Rule.NAME_CONTROL, f"{prefix}name")
    return replace(subject, id_number=number, name=name)


class _Check(Protocol):
    def __call__(self, text: str, /, *, today: date | None, field: str) -> str: ...


_CHECKS: Mapping[IdType, _Check] = MappingProxyType(
    {
        IdType.RESIDENT_ID: check_resident_id,
        IdType.HMT_RESIDENCE_PERMIT: check_residence_permit,
        IdType.FOREIGN_PERMANENT_RESIDENT: check_foreign_permanent_resident,
    }
)
