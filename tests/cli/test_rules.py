"""`heyan rules` as a person types it."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.cli import app, main, rules
from gateway.rules.shelf import SHIPPED, open_shelf
from tests.rules.packs import head, shipped, text_of

DOCS = Path(__file__).parents[2] / "docs/rules.md"
MATERIAL = '[materials.lease]\nname = { zh = "租房合同", en = "lease" }\n'
VOID = {"meta", "br", "link", "img", "hr", "input"}


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["rules", *map(str, arguments)])
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped packs, in a folder to change."""
    place = tmp_path / "packs"
    place.mkdir()
    for region in open_shelf():
        (place / f"{region}.toml").write_text(text_of(region), encoding="utf-8")
    return place


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """The example of docs/rules.md, in a file as it says."""
    (block,) = re.findall(r"^ *```toml\n(.*?)^ *```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    file = tmp_path / "430102.toml"
    file.write_text(block, encoding="utf-8")
    return file


def test_documented_pack_holds_and_changes_what_the_page_says(documented, capsys):
    assert run("check", documented) == 0
    assert "430102 芙蓉区 / Furong, version 2027.2: holds" in capsys.readouterr().out
    assert run("diff", "430102", documented, "--json") == 0
    found = {each["item"] for each in json.loads(capsys.readouterr().out)["differences"]}
    assert found == {
        "materials.lease.note",
        "materials.lease.replaced_by",
        "rows.public_junior.neither.materials",
        "social_insurance.months",
        "windows",
        "guide.consult",
    }


def test_wrong_pack_ends_with_1_and_names_file_line_and_path(tmp_path, capsys):
    file = tmp_path / "430102.toml"
    file.write_text(head() + MATERIAL + 'exemption = "kindness"\nreplaced_by = "x@1"\n', encoding="utf-8")
    assert run("check", file) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f'{file}:9: materials.lease.exemption: must be one of "government_issued", ' in told.err
    assert f"{file}:10: materials.lease.replaced_by: must be one of" in told.err
    assert "应为其中之一" in told.err
    assert told.err.endswith("2 problem(s)\n")


def test_check_holds_a_city_against_the_counties_below_it(folder, tmp_path, capsys):
    file = tmp_path / "4301.toml"
    file.write_text(head("4301") + 'assurance = "high"\n', encoding="utf-8")
    (folder / "430102.toml").write_text(head() + 'assurance = "low"\n', encoding="utf-8")
    assert run("check", file, "--packs", folder) == 1
    assert f"{folder / '430102.toml'}:7: assurance: must not be lower than high" in capsys.readouterr().err


def test_check_tells_a_program_the_same(tmp_path, capsys):
    file = tmp_path / "430102.toml"
    file.write_text(head() + "unknown = 1\n", encoding="utf-8")
    assert run("check", file, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["valid"], [each["where"] for each in told["problems"]]) == (False, [f"{file}:7: unknown"])


def test_two_files_of_one_region_are_refused(tmp_path, capsys):
    files = [tmp_path / "one.toml", tmp_path / "two.toml"]
    for file in files:
        file.write_text(head(), encoding="utf-8")
    assert run("check", *files) == 1
    assert str(files[0]) in capsys.readouterr().err


def test_misnamed_pack_of_a_folder_is_refused(folder, capsys):
    (folder / "430102.toml").rename(folder / "430103.toml")
    assert run("show", "43", "--packs", folder) == 1
    assert "430103.toml:3: region must stand in a file named 430102.toml" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["430102.toml.txt", "430102.TOML", "430102 (1).toml", "430102.toml .TOML"])
def test_pack_that_an_editor_named_otherwise_is_not_passed_over(folder, name, capsys):
    (folder / "430102.toml").rename(folder / name)
    assert run("show", "430102", "--packs", folder) == 1
    assert "region must stand in a file named 430102.toml" in capsys.readouterr().err


def test_what_is_no_pack_is_passed_over(folder, capsys):
    for name in ("README.md", ".430102.toml.swp", "._430102.toml", "430102.toml~"):
        (folder / name).write_bytes(b"\xff")
    assert run("show", "430102", "--packs", folder) == 0
    assert "430102 (2027.1)" in capsys.readouterr().out


@pytest.mark.timeout(20)
def test_pipe_among_packs_is_refused_and_not_waited_for(folder, capsys):
    os.mkfifo(folder / "430103.toml")
    assert run("show", "430102", "--packs", folder) == 2
    assert "is no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "missing.toml"),
        ("show", "430199"),
        ("show", "43", "--packs", "missing"),
        ("diff", "43", "44"),
        ("guide", "430199", "--out", "guide"),
    ],
)
def test_what_is_not_there_ends_with_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_show_says_whose_pack_holds(capsys):
    assert run("show", "430104") == 0
    shown = capsys.readouterr().out
    assert "居住证 / residence permit  [4301]" in shown
    assert "or hukou.guardian_registered@1" in shown
    assert "social insurance: 6 months, neither  [430104]" in shown
    assert "public schools: 2027-06-14 09:00" in shown
    assert run("show", "430104", "--json") == 0
    assert json.loads(capsys.readouterr().out)["digest"] == shipped("430104").digest().hex()


def test_diff_of_a_region_with_itself_is_empty(capsys):
    assert run("diff", "4301", "4301") == 0
    assert capsys.readouterr().out == "0 difference(s) between 4301 and 4301.\n"


@pytest.mark.parametrize("command", [rules.check, rules.show, rules.diff, rules.guide])
def test_examples_of_the_help_are_commands(command):
    examples = re.findall(r"`heyan ([^`]+)`", command.__doc__)
    assert examples
    for example in examples:
        assert example.startswith(f"rules {command.__name__} ")
        app.parse_args(example.split(), exit_on_error=False, print_error=False)


# -- guide and form -----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags in balance, what they refer to, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "action") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def pages(out: Path) -> tuple[Page, Page]:
    guide, form = (Page((out / name).read_text(encoding="utf-8")) for name in ("guide.html", "form.html"))
    assert guide.open == form.open == []
    return guide, form


@pytest.mark.parametrize("region", sorted(file.name.removesuffix(".toml") for file in SHIPPED.iterdir()))
def test_guide_and_form_need_nothing_else(region, tmp_path):
    assert run("guide", region, "--out", tmp_path / "out") == 0
    for page in pages(tmp_path / "out"):
        assert page.references == ["#main"]
        assert not {"script", "img", "link", "iframe"} & set(page.tags)
        for count in ("html", "main", "h1", "title"):
            assert page.tags.count(count) == 1
        assert shipped(region).digest().hex() in page.text
    styles = (tmp_path / "out/guide.html").read_text(encoding="utf-8")
    assert "url(" not in styles
    assert "@import" not in styles


def test_guide_says_when_what_and_by_whom(tmp_path):
    assert run("guide", "430104", "--out", tmp_path) == 0
    guide, form = pages(tmp_path)
    assert "公办学校报名：2027年6月14日09:00至2027年6月19日18:00" in guide.text
    assert "岳麓区教育局招生咨询窗口" in guide.text
    assert "缴费满 6 个月" in guide.text
    assert "电子证照" in guide.text
    for group in ("有房有户", "有户无房（第一类）", "有房无户", "有户无房（第二类）", "无房无户"):
        assert form.text.count(f"□ {group}") == 2
    assert form.text.count("□ 民办") == 2


def test_guide_tells_what_is_checked_offline_only(tmp_path):
    assert run("guide", "430302", "--out", tmp_path) == 0
    text = pages(tmp_path)[1].text
    assert "请交复印件，由工作人员线下核验" in text
    assert "原件" not in text  # annex 1: 材料形式 复印件


def test_months_of_the_guide_are_those_that_are_asked(folder, tmp_path):
    """A county's own material may ask other months than the toggle of its city says."""
    material = '[materials.social_insurance]\nname = { zh = "社保", en = "insurance" }\nexemption = "e_certificate"\n'
    asked = 'replaced_by = { claim = "insurance.paid_months@1", months = "24" }\n'
    (folder / "430102.toml").write_text(head() + material + asked, encoding="utf-8")
    assert run("guide", "430102", "--out", tmp_path, "--packs", folder) == 0
    for page in pages(tmp_path):
        assert "缴费满 24 个月" in page.text
        assert "缴费满 12 个月" not in page.text


def test_guide_has_what_annex_1_lists(tmp_path):
    """The rows of 服务指南 that are the same everywhere, and who is asked."""
    assert run("guide", "4301", "--out", tmp_path) == 0
    guide, form = pages(tmp_path)
    for item in (
        *("涉及办理部门", "设定依据", "《义务教育法》第十二条", "公通字〔2016〕21号", "《社会保险法》第四条"),
        *("是否可预约办理", "是否需本人亲自办理", "窗口办理地址", "网上办理地址", "咨询方式", "投诉方式"),
        *("承诺办结时限", "特别程序", "收费情况", "结果名称", "领取方式", "复印件", "不可容缺"),
        *("公安", "自然资源（不动产登记）", "人力资源和社会保障", "住房和城乡建设", "教育（学籍）"),
    ):
        assert item in guide.text
    assert "共同居住人身份证件号码" in form.text


def test_form_says_of_each_group_who_belongs_to_it(tmp_path):
    assert run("guide", "43", "--out", tmp_path) == 0
    text = pages(tmp_path)[1].text
    for group, meaning in {
        "有户无房（第一类）": "住共同居住亲属的房",
        "有户无房（第二类）": "租房居住",
        "有房无户": "孩子户籍不在本地",
        "无房无户": "监护人在本地没有房",
    }.items():
        assert meaning in text.partition(f"□ {group}")[2].partition("材料")[0]


def test_markup_in_a_pack_is_shown_and_not_obeyed(folder, tmp_path):
    hostile = "<script>alert(1)</script><b title='x'>&amp;"
    text = text_of("430102").replace("公办学校报名", hostile)
    (folder / "430102.toml").write_text(text, encoding="utf-8")
    assert run("guide", "430102", "--out", tmp_path / "out", "--packs", folder) == 0
    guide, form = pages(tmp_path / "out")
    assert hostile in guide.text
    assert not {"script", "b"} & {*guide.tags, *form.tags}


def test_text_is_large_and_told_by_words(tmp_path):
    assert run("guide", "430102", "--out", tmp_path) == 0
    html = (tmp_path / "guide.html").read_text(encoding="utf-8")
    assert 16 * int(re.findall(r"html \{ font-size: (\d+)%", html)[0]) / 100 >= 18
    assert float(re.findall(r"line-height: ([\d.]+);\n  font-family", html)[0]) >= 1.3
    assert "user-scalable" not in html
    assert re.search(r"\.skip \{[^}]*min-width: 60px; min-height: 60px", html)
    colours = set(re.findall(r"(?:color|background): (#[0-9a-f]{6})", html))
    light, dark = {"#ffffff", "#eeeeee"}, {"#1a1a1a", "#003a75"}
    assert colours == light | dark
    assert min(contrast(one, other) for one in light for other in dark) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)
