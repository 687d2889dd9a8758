"""Texts of a log in a spreadsheet: shown, and never run."""

from __future__ import annotations

import csv
import io

import pytest

from gateway.audit.spreadsheet import write_spreadsheet


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_text_that_a_spreadsheet_takes_for_a_formula_is_a_text(first: str) -> None:
    text = f'{first}HYPERLINK("https://evil.test";"ok")'
    _, (cell, other) = csv.reader(io.StringIO(write_spreadsheet(("a", "b"), [(text, "said")]), newline=""))
    assert (cell, other) == (f"'{text}", "said")
