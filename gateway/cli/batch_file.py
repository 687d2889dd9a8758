"""The file of a batch: which families apply, a line each. CSV as a spreadsheet writes it, or JSON lines.

CSV has a header with the column `family` and, where wanted, `consent` (path of a consent file, beside the batch if it
is relative) and `group` (empty: the one that the application states; open: whichever the answers support). JSON lines
are objects with these names; others are passed over, so that truth.jsonl is a batch. A key of a family is short and
plain: it stands in the results, which a spreadsheet opens, so it may neither begin a formula nor hold the number of an
identity document.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.matrix import Group
from gateway.protocol.reasons import Reason

if TYPE_CHECKING:
    import _csv

MOST_LINES = 200_000
"""Far above the applications of a season in any county."""
_LONGEST_LINE = 64 << 10
OPEN = "open"
COLUMNS = ("family", "consent", "group")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LIKE_AN_IDENTITY_NUMBER = re.compile(r"(?<!\d)\d{15}(\d{2}[\dXx])?(?!\d)")


@dataclass(frozen=True, slots=True)
class Line:
    """One application of a batch."""

    number: int
    family: str
    consent: Path | None
    group: str
    """A group of annex 2, OPEN, or empty for the one that the application states."""


class _Record(msgspec.Struct, frozen=True):
    family: str
    consent: str | None = None
    group: str | None = None


_decoder = msgspec.json.Decoder(_Record)


def read_batch(file: Path) -> Iterator[Line | FieldViolation]:
    """The lines of `file` in order, and in place of a bad one what is wrong with it, naming the line.

    Raises MalformedError (CONFIGURATION_INVALID) if the file as a whole is none.
    """
    with file.open("rb") as opened:
        first = opened.read(_LONGEST_LINE).removeprefix(b"\xef\xbb\xbf").lstrip()
    rows = _json_rows(file) if first.startswith(b"{") else _csv_rows(file)
    for count, row in enumerate(rows, start=1):
        if count > MOST_LINES:
            raise _unusable(file, f"has more than {MOST_LINES:,} lines: split it")
        if isinstance(row, FieldViolation):
            yield row
        else:
            yield _line(file.parent, *row)


def _line(folder: Path, number: int, record: _Record) -> Line | FieldViolation:
    if not _KEY.fullmatch(record.family):
        return _at(number, "family must be 1 to 64 letters, digits, '_', '.' or '-', and begin with a letter or digit")
    if _LIKE_AN_IDENTITY_NUMBER.search(record.family):
        return _at(number, "family must not hold the number of an identity document: it would stand in the results")
    group = record.group or ""
    if group not in {"", OPEN, *Group}:
        return _at(number, f"group must be empty, {OPEN} or one of " + ", ".join(Group))
    if not (record.consent or "").isprintable():
        return _at(number, "consent must be the path of a file")
    return Line(number, record.family, folder / record.consent if record.consent else None, group)


def _json_rows(file: Path) -> Iterator[tuple[int, _Record] | FieldViolation]:
    with file.open("rb") as opened:
        for number, data in enumerate(opened, start=1):
            line = data.removeprefix(b"\xef\xbb\xbf").strip()
            if not line:
                continue
            try:
                yield number, _decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield _at(number, 'must be a JSON object with "family", a text')


def _csv_rows(file: Path) -> Iterator[tuple[int, _Record] | FieldViolation]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            yield from _rows_of(file, csv.reader(opened, strict=True))
    except UnicodeDecodeError:
        raise _unusable(file, "is not UTF-8: save it as CSV UTF-8 / 不是 UTF-8 编码，请另存为 CSV UTF-8") from None


def _rows_of(file: Path, reader: _csv.Reader) -> Iterator[tuple[int, _Record] | FieldViolation]:
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(file, header)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _csv_row(reader.line_num, header, cells)
    except csv.Error:
        raise _unusable(file, f"line {reader.line_num} is no CSV: a quote is not closed, or stands in a cell") from None


def _csv_row(number: int, header: list[str], cells: list[str]) -> tuple[int, _Record] | FieldViolation:
    if len(cells) != len(header):
        return _at(number, f"must have {len(header)} cells, as the header, and has {len(cells)}")
    values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    return number, _Record(values["family"], values.get("consent"), values.get("group"))


def _check_header(file: Path, header: list[str]) -> None:
    if "family" not in header:
        raise _unusable(file, "line 1 must be a header with the column family (CSV), or a JSON object")
    for place, name in enumerate(header, start=1):
        if name not in COLUMNS or header.index(name) != place - 1:
            raise _unusable(file, f"line 1, column {place}: must be family, consent or group, each once")


def _at(number: int, description: str) -> FieldViolation:
    return FieldViolation(f"line {number}", description)


def _unusable(file: Path, description: str) -> MalformedError:
    return MalformedError.at(str(file), description, Reason.CONFIGURATION_INVALID)
