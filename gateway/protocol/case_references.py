"""References of cases, which stand in the log for good: short, plain, and no identifier of a person."""

from __future__ import annotations

import re

from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf_events import CASE_REFERENCE

_SEPARATORS = re.compile(r"[._-]")
_IDENTIFIER = re.compile(r"\d{15}|[A-Za-z]{3}\d{12}")
"""Identity cards have 15 digits (of before 1999), or 17 and a check character; permanent residents' cards of before
2023 three letters and 12 digits. Separators hide none."""
_PHONE = re.compile(r"(?<!\d)(?:(?:00)?86[._-]*)?1[._-]*[3-9](?:[._-]*\d){9}(?!\d)")
"""A mobile number, with or without its country, however it is written."""


def check_case_reference(text: str) -> str:
    """The reference; MalformedError if it is none, or could be the number of a person's document or telephone."""
    if CASE_REFERENCE.fullmatch(text) is None:
        raise MalformedError.at("case_reference", "must be 1 to 40 of A-Z, a-z, 0-9, '.', '_' and '-'")
    if _IDENTIFIER.search(_SEPARATORS.sub("", text)) or _PHONE.search(text):
        raise MalformedError.at(
            "case_reference", "must not hold what could be a person's number: the log keeps it for good"
        )
    return text
