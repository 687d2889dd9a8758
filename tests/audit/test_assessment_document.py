"""The report as JSON, CSV and HTML: whole, alike, escaped, and for publication without small numbers."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from gateway.audit.assessment import Grouping
from gateway.audit.assessment_csv import write_csv
from gateway.audit.assessment_document import Frame, document_of, published
from gateway.audit.assessment_page import render_assessment
from gateway.audit.figures import DEFINITIONS
from gateway.protocol.reasons import Text
from gateway.protocol.statistics import StatisticKey
from tests import federation as fed
from tests.audit.logs import DAY_1, FURONG, HOME, LAND, POLICE, YUELU, Asked, Books, audited, little_log

FRAME = Frame(
    first_day=DAY_1,
    end_day="2027-06-03",
    gateway=fed.GATEWAY,
    origin="heyan.test/log",
    size=10,
    root="root",
    checkpoint="note",
    registry_version=1,
    generated="2027-07-01T08:00:00+08:00",
    is_over=True,
    unreadable=(),
    unreadable_count=0,
    names={POLICE: Text("长沙公安", "Changsha police")},
)
HOSTILE = "<script>alert(1)</script>\x1b]0;x\x07=1+1"


async def document(books: Books, frame: Frame = FRAME, by: Grouping = Grouping.COUNTY) -> dict[str, Any]:
    return document_of((await audited(books)).assess(by), frame)


def crowd(**counts: int) -> Books:
    """So many applications of Furong and Yuelu that were verified; one check each."""
    books = Books()
    for county, count in counts.items():
        for _ in range(count):
            books.record(Asked(region={"furong": FURONG, "yuelu": YUELU}[county]))
    return books


class Page(HTMLParser):
    """What a page holds: tags balanced, cells by row, addresses that would be loaded."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += " ".join(data.split()) + " "


# -- JSON -----------------------------------------------------------------------------------------------------


async def test_json_has_every_figure_with_numerator_and_denominator() -> None:
    made = json.loads(json.dumps(await document(little_log())))
    figures = {name for name in DEFINITIONS if not name.endswith("latency")}
    for line in (*made["groups"], *made["departments"], made["total"]):
        assert line["figures"].keys() == figures
        assert all(figure.keys() == {"numerator", "denominator", "value"} for figure in line["figures"].values())
    (furong, _) = made["groups"]
    assert (furong["name"], furong["figures"]["verified_online"]) == (
        "芙蓉区",
        {"numerator": 3, "denominator": 4, "value": 0.75},
    )
    assert {line["department_name"] for line in made["departments"]} == {"长沙公安", ""}


async def test_document_holds_nothing_of_a_request() -> None:
    books = little_log()
    text = json.dumps(await document(books))
    assert not re.search(r"[0-9a-f]{16,}", text)
    assert "tag" not in text


# -- publication ----------------------------------------------------------------------------------------------


def test_small_counts_are_not_published_and_others_are_rounded() -> None:
    assert [published(count) for count in (None, 0, 1, 4, 5, 7, 8, 12, 13, 1_002)] == [
        None, 0, "<5", "<5", 5, 5, 10, 10, 15, 1_000,
    ]  # fmt: skip


async def test_county_with_one_application_is_not_told_in_publication_nor_by_subtraction() -> None:
    """An auditor's document tells it; two that differ by it alone look alike in publication."""
    frame = replace(FRAME, publish=True)
    with_one, without = await document(crowd(furong=101, yuelu=1), frame), await document(crowd(furong=101), frame)
    (furong, yuelu) = with_one["groups"]
    assert yuelu["figures"]["verified_online"] == {"numerator": "<5", "denominator": "<5", "value": None}
    assert [latency["p50"] for latency in yuelu["latencies"].values()] == [None, None]
    assert furong["figures"]["verified_online"]["numerator"] == 100
    for made in (with_one, without):
        del made["total"]["figures"]["statistics_agree"]  # of kinds of rows, not of applications
    assert with_one["total"] == without["total"]
    exact = await document(crowd(furong=101, yuelu=1))
    assert exact["total"]["figures"]["verified_online"]["numerator"] == 102


async def test_published_share_is_of_the_rounded_numbers() -> None:
    books = Books()
    for number in range(23):
        books.record(Asked(verified=number < 17))
    (line,) = (await document(books, replace(FRAME, publish=True)))["groups"]
    assert line["figures"]["verified_online"] == {"numerator": 15, "denominator": 25, "value": 0.6}


async def test_no_small_number_stands_anywhere_in_a_publication() -> None:
    books = little_log()
    books.counts[DAY_1][StatisticKey(FURONG, LAND, HOME, 3, False, "X")] = 3
    made = await document(books, replace(FRAME, publish=True))
    numbers: list[int] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, int) and not isinstance(value, bool):
            numbers.append(value)

    for part in ("groups", "departments", "total", "refusals", "differences"):
        walk(made[part])
    assert numbers
    assert not any(0 < number < 5 for number in numbers)


# -- CSV ------------------------------------------------------------------------------------------------------


async def test_csv_opens_in_a_spreadsheet_as_chinese_and_holds_what_json_holds() -> None:
    made = await document(little_log())
    text = write_csv(made)
    assert text.encode().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    found = {
        (row["表 table"], row["代码 code"], row["部门 department"], row["指标 figure"]): (
            row["分子 numerator"],
            row["分母 denominator"],
            row["值 value"],
        )
        for row in rows
    }
    assert found["group", FURONG, "", "verified_online"] == ("3", "4", "0.7500")
    assert found["department", YUELU, LAND, "availability"] == ("1", "2", "0.5000")
    assert found["total", "", "", "logged_with_query"] == ("6", "7", "0.8571")
    assert found["group", FURONG, "", "logged_with_query"] == ("", "", "")  # unknown, not 0
    lines = len(made["groups"]) + len(made["departments"]) + 1
    assert (
        sum(row["表 table"] in ("group", "department", "total") and not row["原因 reason"] for row in rows)
        == lines * 17
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_cell_never_begins_a_formula(start: str) -> None:
    books = Books()
    books.record(Asked(department=f"{start}cmd|calc", claim=f"{start}1+1", region=f"{start}30102"))
    books.counts[DAY_1].clear()
    text = write_csv(await document(books, replace(FRAME, names={f"{start}cmd|calc": Text(f"{start}2", "x")})))
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    assert any("cmd|calc" in cell for row in rows for cell in row)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)


# -- HTML -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", Grouping)
@pytest.mark.parametrize("publish", [False, True])
async def test_page_is_whole_and_loads_nothing(by: Grouping, publish: bool) -> None:
    page = Page(render_assessment(await document(little_log(), replace(FRAME, publish=publish), by)))
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "form", "base"}
    addresses = {value for _, attributes in page.tags for name, value in attributes.items() if name in ("href", "src")}
    assert addresses == {"#main"}
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")
    assert sum(tag == "caption" for tag, _ in page.tags) == sum(tag == "table" for tag, _ in page.tags)
    assert ("html", {"lang": "zh-CN"}) in page.tags


async def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    html = render_assessment(await document(little_log()))
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        rows = [row for row in Page(table).rows if row]
        spans = {sum(int(span) for span in re.findall(r'colspan="(\d+)"', table))}
        assert {len(row) for row in rows} <= {len(rows[0]), *([1] if spans != {0} else [])}, rows[0]


async def test_page_says_what_was_counted() -> None:
    page = Page(render_assessment(await document(little_log())))
    (furong,) = (row for row in page.rows if row[0].startswith("芙蓉区") and len(row) > 12)
    assert "75.0% 3 / 4" in furong[1]
    assert furong[7].startswith("— 0 / 0")  # nothing was deferred


async def test_text_is_large_and_dark_enough() -> None:
    html = render_assessment(await document(little_log()))
    assert "html { font-size: 125%; }" in html
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)rem", html)]
    assert min(sizes) * 20 >= 18
    assert {int(size) for size in re.findall(r"font-size: (\d+)px", html)} <= {18}
    assert "color: #1a1a1a; background: #ffffff" in html


async def test_text_of_the_log_is_escaped_and_obeyed_by_no_terminal() -> None:
    books = Books()
    books.record(Asked(department=HOSTILE, claim=HOSTILE, region=HOSTILE))
    books.counts[DAY_1].clear()
    made = await document(books, replace(FRAME, names={HOSTILE: Text(HOSTILE.replace("\x1b", ""), "x")}))
    html = render_assessment(made)
    assert "<script" not in html
    assert Page(html).open == []
    for text in (html, write_csv(made), json.dumps(made, ensure_ascii=False)):
        assert not {"\x1b", "\x07", "\x9b"} & set(text), text[:80]


async def test_disagreement_and_unreadable_leaves_are_said_at_the_top() -> None:
    books = little_log()
    books.counts[DAY_1].clear()
    made = await document(books, replace(FRAME, unreadable=(3,), unreadable_count=1, is_over=False))
    text = render_assessment(made)
    assert "不一致：12 行" in text
    assert "1 条日志无法解读" in text
    assert "统计期尚未结束" in text
    assert "逐行一致" not in text
    assert "逐行一致" in render_assessment(await document(little_log()))
