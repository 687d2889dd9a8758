"""CSV for a spreadsheet: with a byte order mark, without which it takes Chinese for something else, and no cell that it
would run, since texts of the log are whatever a gateway wrote there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that a spreadsheet takes for a formula (OWASP: CSV injection), full-width ones among them."""


def write_spreadsheet(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """The text of a CSV file. None is an empty cell, a float has four places."""
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out)
    writer.writerow(head)
    for row in rows:
        writer.writerow([_safe(cell) for cell in row])
    return out.getvalue()


def _safe(cell: object) -> object:
    """What a spreadsheet shows and does not run."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4f}"
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return "'" + cell
    return cell
