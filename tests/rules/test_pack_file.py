"""A pack that is wrong is refused with file, line and path, in both languages, and never with what came."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.errors import MalformedError
from gateway.protocol.matrix import Group, School
from gateway.rules.lines import MAX_PARTS, lines_of
from gateway.rules.pack import Exemption
from gateway.rules.pack_file import read_pack
from gateway.rules.reading import MAX_ITEMS, MAX_LINE, MAX_PACK, MAX_PROBLEMS
from gateway.rules.shelf import SHIPPED
from tests.rules.packs import head, pack, places, problems, text_of

HAN = re.compile(r"[\u4e00-\u9fff]")
MATERIAL = '[materials.m]\nname = { zh = "甲", en = "m" }\nexemption = "e_certificate"\n'
ROW = '[[rows]]\nschools = ["public_primary"]\ngroup = "neither"\n'
WINDOW = '[[windows]]\nname = {{ zh = "一", en = "one" }}\nopens = {}\ncloses = {}\n'
JUNE = ("2027-06-01T08:00:00+08:00", "2027-06-02T08:00:00+08:00")


def deep(levels: int) -> str:
    requirement = '"identity.valid@1"'
    for _ in range(levels):
        requirement = '{ any = ["property.owns_home@1", ' + requirement + "] }"
    return requirement


def wide(operator: str, count: int) -> str:
    members = ['"identity.valid@1"'] * count
    return "{ " + operator + " = [" + ", ".join(members) + "] }"


PRODUCT = "{ all = [" + ", ".join([wide("any", 2)] * 5) + "] }"

# (what follows the head, where the problem is told)
WRONG = [
    ("unknown = 1\n", "x.toml:7: unknown"),
    ('materials = "none"\n', "x.toml:7: materials"),
    ("[materials.M]\n", "x.toml:7: materials.M"),
    ("[materials]\nm = 3\n", "x.toml:8: materials.m"),
    ('assurance = "face"\n', "x.toml:7: assurance"),
    # materials
    (MATERIAL, "x.toml:7: materials.m.replaced_by"),
    (MATERIAL + 'replaced_by = "property.owns_castle@1"\n', "x.toml:10: materials.m.replaced_by"),
    (MATERIAL + 'replaced_by = ["identity.valid@1"]\n', "x.toml:10: materials.m.replaced_by"),
    (MATERIAL + "replaced_by = { none = [] }\n", "x.toml:10: materials.m.replaced_by"),
    (MATERIAL + "replaced_by = { all = [] }\n", "x.toml:10: materials.m.replaced_by.all"),
    (MATERIAL + f"replaced_by = {wide('all', 1)}\n", "x.toml:10: materials.m.replaced_by.all"),
    (MATERIAL + f"replaced_by = {wide('any', 13)}\n", "x.toml:10: materials.m.replaced_by.any"),
    (MATERIAL + 'replaced_by = { all = ["identity.valid@1"], any = [] }\n', "x.toml:10: materials.m.replaced_by"),
    (
        MATERIAL + 'replaced_by = { any = [\n  "identity.valid@1",\n  "x@1",\n] }\n',
        "x.toml:12: materials.m.replaced_by.any[1]",
    ),
    (
        MATERIAL + 'replaced_by = { any = ["identity.valid@1", { all = ["identity.valid@1", 7] }] }\n',
        "x.toml:10: materials.m.replaced_by.any[1].all[1]",
    ),
    (MATERIAL + f"replaced_by = {deep(5)}\n", "x.toml:10: materials.m.replaced_by" + ".any[1]" * 4 + ".any"),
    (MATERIAL + f"replaced_by = {PRODUCT}\n", "x.toml:10: materials.m.replaced_by"),
    (
        MATERIAL + f"replaced_by = {{ any = [{wide('all', 7)}, {wide('all', 7)}] }}\n",
        "x.toml:10: materials.m.replaced_by",
    ),
    (
        MATERIAL + 'replaced_by = { claim = "identity.valid@1", level = "1" }\n',
        "x.toml:10: materials.m.replaced_by.level",
    ),
    (MATERIAL + 'replaced_by = "insurance.paid_months@1"\n', "x.toml:10: materials.m.replaced_by.months"),
    (
        MATERIAL + 'replaced_by = { claim = "insurance.paid_months@1", months = "7" }\n',
        "x.toml:10: materials.m.replaced_by.months",
    ),
    (
        MATERIAL + 'replaced_by = { claim = "insurance.paid_months@1", months = "@months" }\n',
        "x.toml:10: materials.m.replaced_by.months",
    ),
    (
        MATERIAL + 'replaced_by = { claim = "insurance.paid_months@1", months = "@level" }\n',
        "x.toml:10: materials.m.replaced_by.months",
    ),
    (MATERIAL.replace("e_certificate", "kindness"), "x.toml:9: materials.m.exemption"),
    (MATERIAL + "offline_only = true\n", "x.toml:10: materials.m.offline_only"),
    (MATERIAL + 'offline_only = "yes"\n', "x.toml:10: materials.m.offline_only"),
    ('[materials.m]\nname = "m"\noffline_only = true\n', "x.toml:8: materials.m.name"),
    ('[materials.m]\nname = { zh = "甲" }\noffline_only = true\n', "x.toml:8: materials.m.name.en"),
    ('[materials.m]\nname = { zh = "甲", en = " " }\noffline_only = true\n', "x.toml:8: materials.m.name.en"),
    ('[materials.m]\nname = { zh = "甲", en = "m", fr = "m" }\noffline_only = true\n', "x.toml:8: materials.m.name.fr"),
    # rows
    (ROW, "x.toml:7: rows[0].materials"),
    (ROW + "materials = []\n", "x.toml:10: rows[0].materials"),
    (ROW + 'materials = ["a", "a"]\n', "x.toml:10: rows[0].materials[1]"),
    (ROW + "materials = [1]\n", "x.toml:10: rows[0].materials[0]"),
    (ROW + 'materials = ["social_insurance"]\n', "x.toml:10: rows[0].materials[0]"),
    (ROW.replace("neither", "private_urban") + 'materials = ["a"]\n', "x.toml:9: rows[0].group"),
    (ROW.replace("neither", "rich") + 'materials = ["a"]\n', "x.toml:9: rows[0].group"),
    (ROW.replace("public_primary", "kindergarten") + 'materials = ["a"]\n', "x.toml:8: rows[0].schools[0]"),
    (ROW + 'materials = ["a"]\n' + ROW + 'materials = ["a"]\n', "x.toml:12: rows[1].schools"),
    ("rows = []\n", "x.toml:7: rows"),
    ("[rows]\n", "x.toml:7: rows"),
    # social insurance
    ("[social_insurance]\n", "x.toml:7: social_insurance.required"),
    ('[social_insurance]\nrequired = false\nmonths = "6"\n', "x.toml:9: social_insurance.months"),
    ('[social_insurance]\nrequired = true\nmonths = "6"\n', "x.toml:7: social_insurance.groups"),
    ('[social_insurance]\nrequired = true\nmonths = 6\ngroups = ["neither"]\n', "x.toml:9: social_insurance.months"),
    ('[social_insurance]\nrequired = true\nmonths = "5"\ngroups = ["neither"]\n', "x.toml:9: social_insurance.months"),
    # windows
    (WINDOW.format("2027-06-01T08:00:00", JUNE[1]), "x.toml:9: windows[0].opens"),
    (WINDOW.format("2027-06-01T00:00:00Z", JUNE[1]), "x.toml:9: windows[0].opens"),
    (WINDOW.format('"2027-06-01T08:00:00+08:00"', JUNE[1]), "x.toml:9: windows[0].opens"),
    (WINDOW.format(JUNE[1], JUNE[1]), "x.toml:10: windows[0].closes"),
    (
        WINDOW.format(*JUNE) + WINDOW.format("2027-06-02T07:59:59+08:00", "2027-06-03T08:00:00+08:00"),
        "x.toml:11: windows[1]",
    ),
    (WINDOW.format(*JUNE) * 33, "x.toml:7: windows"),
    # a time whose UTC no calendar has
    (WINDOW.format("0001-01-01T00:00:00+08:00", JUNE[1]), "x.toml:9: windows[0].opens"),
    (WINDOW.format(JUNE[0], "9999-12-31T23:59:59+08:00"), "x.toml:10: windows[0].closes"),
    # guide
    ('[guide]\nphone = { zh = "1", en = "1" }\n', "x.toml:8: guide.phone"),
]


@pytest.mark.parametrize(("body", "place"), WRONG)
def test_wrong_pack_is_refused_at_its_line_and_path(body, place):
    with pytest.raises(MalformedError) as error:
        pack(body)
    assert place in places(error)
    for problem in problems(error):
        english, _, chinese = problem.description.rpartition(" / ")
        assert english
        assert HAN.search(chinese)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (("format = 1", "format = 2"), "x.toml:1: format"),
        (('region = "430102"', 'region = "430199"'), "x.toml:2: region"),
        (('region = "430102"', 'region = "44"'), "x.toml:2: region"),
        (('region = "430102"', ""), "x.toml:1: region"),
        (('"2027.1"', '"one"'), "x.toml:3: version"),
        (('school_year = "2027"', "school_year = 2027"), "x.toml:4: school_year"),
        (('school_year = "2027"', 'school_year = "1999"'), "x.toml:4: school_year"),
    ],
)
def test_wrong_head_is_refused_at_its_line(line, place):
    with pytest.raises(MalformedError) as error:
        read_pack("x.toml", head().replace(*line).encode())
    assert places(error) == {place}


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a = 1\nb =\n", "x.toml:2"),
        (b"a = 1\na = 2\n", "x.toml:2"),
        (b"a = 1\n\nb = '\xff'\n", "x.toml:3"),
        (b"a = " + b"[" * 5_000, "x.toml:1"),
        (b"#" * (MAX_PACK + 1), "x.toml:1"),
        (b"a = 1\n" + b"a." * MAX_LINE + b"a = 1\n", "x.toml:2"),
        (b"a = 1\nb = 2027-02-30T00:00:00Z\n", "x.toml:2"),
    ],
)
def test_what_is_no_toml_is_refused_at_its_line(data, place):
    with pytest.raises(MalformedError) as error:
        read_pack("x.toml", data)
    assert places(error) == {place}


def test_every_problem_of_a_file_is_told_at_once_but_not_without_end():
    with pytest.raises(MalformedError) as error:
        pack("one = 1\ntwo = 2\n" + MATERIAL)
    assert places(error) == {"x.toml:7: one", "x.toml:8: two", "x.toml:9: materials.m.replaced_by"}
    with pytest.raises(MalformedError) as error:
        pack("".join(f"k{number} = 1\n" for number in range(MAX_PROBLEMS + 50)))
    assert len(problems(error)) == MAX_PROBLEMS


def test_no_error_quotes_what_came():
    secret = "439900201801150016"
    for body in (
        f'assurance = "{secret}"\n',
        MATERIAL + f'replaced_by = "{secret}"\n',
        ROW + f'materials = [["{secret}"]]\n',
    ):
        with pytest.raises(MalformedError) as error:
            pack(body)
        assert secret not in str(error.value) + "".join(each.field + each.description for each in problems(error))


@pytest.mark.parametrize(
    "hostile",
    [
        "\\u001b[2J",  # an escape to the terminal
        "\\u009b2J",  # the same in one character
        "\\u202e",  # reads from right to left what follows
        "\\u2066",
        "\\u200b",  # hides
        "\\u2028",  # a line of its own
        "\\u0000",
    ],
)
def test_text_that_would_hide_or_turn_what_a_person_reads_is_refused(hostile):
    with pytest.raises(MalformedError) as error:
        pack(f'[guide]\nconsult = {{ zh = "教育局{hostile}", en = "bureau" }}\n')
    assert places(error) == {"x.toml:8: guide.consult.zh"}


def test_mark_that_windows_editors_put_first_is_passed_over():
    text = "\ufeff" + head() + "unknown = 1\n"
    with pytest.raises(MalformedError) as error:
        read_pack("x.toml", text.encode())
    assert places(error) == {"x.toml:7: unknown"}


def test_hostile_key_is_told_in_ascii_and_cut_short():
    with pytest.raises(MalformedError) as error:
        pack('"\\u001b[2J\\n" = 1\n"' + "键" * 2_000 + '" = 1\n')
    shown = {each.field for each in problems(error)}
    assert 'x.toml:7: "\\u001b[2J\\n"' in shown
    assert all(field.isascii() and len(field) < 400 for field in shown)


def test_keys_within_keys_cost_no_more_than_the_file_is_long():
    """2,000 parts each: noted with every prefix they would be two million keys a line."""
    lines = "".join(f"k{number}" + ".a" * 2_000 + " = 1\n" for number in range(4))
    assert max(len(path) for path in lines_of(lines)) == MAX_PARTS
    with pytest.raises(MalformedError) as error:
        pack(lines)
    assert places(error) == {f"x.toml:{number + 7}: k{number}" for number in range(4)}


def test_list_without_end_is_refused():
    keys = ", ".join(f'"m{number}"' for number in range(MAX_ITEMS + 1))
    with pytest.raises(MalformedError) as error:
        pack(ROW + f"materials = [{keys}]\n")
    assert places(error) == {"x.toml:10: rows[0].materials"}


def test_times_of_a_window_are_read_as_beijing_time():
    first, second = pack(
        WINDOW.format("2027-06-02T08:00:00+08:00", "2027-06-03T08:00:00+08:00") + WINDOW.format(*JUNE)
    ).windows
    assert (first.opens.isoformat(), first.closes.isoformat()) == JUNE
    assert second.opens == first.closes


def test_province_has_annex_2_whole():
    read = read_pack("43.toml", text_of("43").encode())
    rows = {(school, row.group) for row in read.rows for school in row.schools}
    public = {group for group in Group if group is not Group.PRIVATE_URBAN}
    expected = {(school, group) for school in School if school.is_public for group in public}
    assert rows == expected | {(school, Group.PRIVATE_URBAN) for school in School if not school.is_public}
    assert {material.exemption for material in read.materials.values()} == set(Exemption)


@pytest.mark.parametrize("name", [file.name for file in SHIPPED.iterdir()])
def test_line_of_each_key_of_a_shipped_pack_holds_that_key(name):
    text = text_of(name.removesuffix(".toml"))
    rows, lines = text.splitlines(), lines_of(text)
    found = set(paths(tomllib.loads(text)))
    assert found == set(lines)
    for path, line in lines.items():
        words = [part for part in path if isinstance(part, str)]
        if isinstance(path[-1], str):
            assert words[-1] in rows[line - 1]


def paths(value, path=()):
    if path:
        yield path
    if isinstance(value, dict):
        for key, member in value.items():
            yield from paths(member, (*path, key))
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from paths(member, (*path, number))


WORDS = ("a", "b.c", '"d.e"', "=", " = ", "1", '"x"', "'y'", '"""\nz\n"""', "2027-06-01 08:00:00", ".", "# c\n", "\n")
MARKS = ("[", "]", "[[", "]]", "{", "}", ",")
LINES = ("a = 1\n", "[a]\n", "[[b]]\n", "[b.c]\n", "e = [1, {f = 2}]\n", "h = { i.j = 1, k = [\n1,\n] }\n")
PIECES = st.sampled_from([*WORDS, *MARKS, *LINES])


@given(st.lists(PIECES, max_size=24).map("".join))
def test_lines_are_found_of_whatever_toml_there_is(text):
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines_of(text)) == set(paths(value))
