"""How typed text is brought to one spelling, and the codes of the provinces that several kinds of numbers hold.

Only ASCII letters change case: `str.upper` would turn some other letters (ß, ı) into ASCII ones.
"""

from __future__ import annotations

import unicodedata

MAX_TYPED_LENGTH = 64
"""Characters read at all: room for a number with stray spaces around it."""

PROVINCES = frozenset(
    (
        *("11", "12", "13", "14", "15", "21", "22", "23", "31", "32", "33", "34", "35", "36", "37"),
        *("41", "42", "43", "44", "45", "46", "50", "51", "52", "53", "54", "61", "62", "63", "64", "65"),
        *("71", "81", "82"),
    )
)
"""The first two digits of GB/T 2260: stable since 1997, while the codes of counties come and go."""

_UPPER = str.maketrans({chr(letter): chr(letter).upper() for letter in range(ord("a"), ord("z") + 1)})


def spell(text: str) -> str | None:
    """`text` in NFKC, without white space, its ASCII letters upper-case; None if it is longer than is read."""
    if len(text) > MAX_TYPED_LENGTH:
        return None
    joined = "".join(unicodedata.normalize("NFKC", text).split())
    # Again: what white space kept apart may compose, and spelling twice must change nothing.
    return unicodedata.normalize("NFKC", joined).translate(_UPPER)


def is_digits(text: str) -> bool:
    """Whether `text` is ASCII digits, at least one."""
    return text.isascii() and text.isdigit()
