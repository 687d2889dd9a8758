"""What a batch's file may hold: every bad line is told with its number, and no key does harm in a spreadsheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import batch_file
from gateway.cli.batch_file import Line, read_batch
from gateway.protocol.errors import FieldViolation, MalformedError


def lines_of(folder: Path, data: bytes | str) -> list[Line | FieldViolation]:
    file = folder / "batch"
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_batch(file))


def test_csv_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    data = '\ufefffamily,group,consent\r\nF1,,\r\nF-2,neither,"own, 2.json"\r\n,,\r\n F.3 , open ,\r\n'
    assert lines_of(tmp_path, data) == [
        Line(2, "F1", None, ""),
        Line(3, "F-2", tmp_path / "own, 2.json", "neither"),
        Line(5, "F.3", None, "open"),
    ]


def test_json_lines_with_more_than_is_needed(tmp_path: Path) -> None:
    data = '{"family":"F1","group":"neither","answers":[1]}\n\n{"family":"F2","consent":"/c.json","child":null}'
    assert lines_of(tmp_path, data) == [Line(1, "F1", None, "neither"), Line(3, "F2", Path("/c.json"), "")]


@pytest.mark.parametrize(
    "key",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\tF1", '=HYPERLINK("x")', "|cmd", "张小明", "F 1", "F" * 65, "'F1", "F\n1"],
)
def test_key_that_would_do_harm_in_a_spreadsheet_or_name_somebody_is_refused(tmp_path: Path, key: str) -> None:
    quoted = key.replace('"', '""')
    found = lines_of(tmp_path, f'family\nF1\n"x{quoted}"\n"{quoted}"\n')
    told = [item for item in found if isinstance(item, FieldViolation)]
    assert found[0] == Line(2, "F1", None, "")
    assert told
    assert not any(key.strip() in item.description for item in told)


@pytest.mark.parametrize(
    "number",
    [
        "439900201809010016",
        "43990020180901001X",
        "439900180901001",
        "F439900201809010016",
        "zhang-43990020180901001x.2027",
        "439900180901001_1",
    ],
)
def test_identity_number_is_no_key_and_is_not_repeated(tmp_path: Path, number: str) -> None:
    (told,) = lines_of(tmp_path, f"family\n{number}\n")
    assert isinstance(told, FieldViolation)
    assert "identity document" in told.description
    assert number not in f"{told.field}{told.description}"


@pytest.mark.parametrize("key", ["F000001", "2027-4301-000123", "20270901430102000123", "4399002018090100"])
def test_number_of_an_application_is_a_key(tmp_path: Path, key: str) -> None:
    assert lines_of(tmp_path, f"family\n{key}\n") == [Line(2, key, None, "")]


def test_every_bad_line_is_told(tmp_path: Path) -> None:
    found = lines_of(tmp_path, "family,group\n=1,\nF1,nowhere\nF2\nF3,neither,x\nF4,neither\n")
    assert [item.field for item in found if isinstance(item, FieldViolation)] == [f"line {n}" for n in (2, 3, 4, 5)]
    found = lines_of(tmp_path, '{"family":"F1","consent":"a\\u0000b"}\n{"family":"F2","consent":"a\\nb"}\n')
    assert [item.field for item in found if isinstance(item, FieldViolation)] == ["line 1", "line 2"]
    found = lines_of(tmp_path, '{"family":"F1"}\n{"family":1}\n[]\n{"family":"F2"\n{}\n\xff\n')
    assert [item.field for item in found if isinstance(item, FieldViolation)] == [f"line {n}" for n in (2, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "header"),
        (b"name,group\nF1,\n", "header"),
        (b"family,concent\nF1,\n", "column 2"),
        (b"family,family\nF1,F1\n", "column 2"),
        ("family\n张\n".encode("gb18030"), "UTF-8"),
        (b'family\n"F1\n', "quote"),
    ],
)
def test_file_that_is_no_batch_is_refused_as_a_whole(tmp_path: Path, data: bytes, word: str) -> None:
    with pytest.raises(MalformedError) as caught:
        lines_of(tmp_path, data)
    assert word in str(caught.value)


def test_file_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_file, "MOST_LINES", 3)
    with pytest.raises(MalformedError):
        lines_of(tmp_path, "family\n" + "".join(f"F{number}\n" for number in range(4)))
