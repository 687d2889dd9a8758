"""Texts of other parties on a terminal: what a log, a file or a peer says is shown, and never obeyed.

A leaf, a checkpoint's origin or a journal holds whatever somebody wrote there: escape sequences, which a terminal runs,
marks that turn the direction of a line, and the markup of the library that draws tables, which hides text or fails.
"""

from __future__ import annotations

import json

from rich.text import Text


def printable(text: str) -> str:
    """`text` on one line, what a terminal would obey written as an escape."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def cell(*lines: str) -> Text:
    """A cell of a table: the lines that are not empty, without markup."""
    return Text("\n".join(printable(line) for line in lines if line))


def json_text(value: object, indent: int | None = 2) -> str:
    """JSON that a terminal may show: Chinese as it is, what a terminal would obey as JSON's own escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)
