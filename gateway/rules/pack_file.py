"""One rule pack: TOML bytes → `Pack`. Strict: every problem is located, and unknown keys are refused.

    format = 1                              # of this file format
    region = "4301"                         # "43", four digits of a prefecture, or six of a county
    version = "2027.1"
    school_year = "2027"
    name = { zh = "…", en = "…" }           # every text that a person reads is in both languages
    basis = { zh = "…", en = "…" }          # on which decision the pack rests
    assurance = "low"                       # least identity assurance: low, substantial, high

    [materials.KEY]                         # name, exemption, replaced_by | offline_only, assurance, condition, note
    [[rows]]                                # schools, group, materials, note
    [social_insurance]                      # required; if true, months and groups
    [[windows]]                             # name, opens, closes
    [guide]                                 # texts of annex 1 that differ from place to place
    [registry_fields]                       # collect: fields of the student record, unless they are on file already

What must hold of one file alone is checked here; what depends on the packs above it, in `layering`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType

from gateway.protocol.claims import CLAIMS, REGISTRY_FIELDS
from gateway.protocol.matrix import Group, School
from gateway.protocol.reasons import Text
from gateway.protocol.registry_terms import Assurance
from gateway.rules.pack import GUIDE_FIELDS, SOCIAL_INSURANCE, Exemption, Insurance, Material, Pack, Row, is_region
from gateway.rules.reading import Section, Source
from gateway.rules.requirement_file import read_requirement
from gateway.rules.windows import MAX_WINDOWS, Window, first_overlap

FORMAT = 1

_KEY = r"[a-z][a-z0-9_]{0,40}"
_MONTHS = CLAIMS["insurance.paid_months@1"].parameters["months"]
_YEARS = CLAIMS["enrolment.of_school_age@1"].parameters["year"]
_EIGHT_HOURS = timedelta(hours=8)
_PLAUSIBLE_YEARS = range(2000, 2100)


def read_pack(name: str, data: bytes) -> Pack:
    """The pack in `data`; `name` stands in errors. MalformedError (RULES_INVALID) with every problem, located."""
    source = Source(name, data)
    top = Section(source, source.values, ())
    if top.get("format", required=True) not in (FORMAT, None):
        top.fail("format", Text(f"应为 {FORMAT}", f"must be {FORMAT}"))
    region = top.string("region", r"[0-9]+", _REGION)
    if region is not None and not is_region(region):
        top.fail("region", _REGION)
    version = top.string("version", r"[0-9]{4}\.[0-9]{1,4}", Text("应如 2027.1", 'must be like "2027.1"'))
    year = top.choice("school_year", _YEARS)
    title, basis = top.text("name"), top.text("basis")
    assurance = top.choice("assurance", list(Assurance), required=False)
    materials: dict[str, Material] = {}

    def keep(key: str, section: Section) -> None:
        material = _material(key, section)
        if material is not None:
            materials[key] = material

    top.tables("materials", keep, _KEY, Text("应为小写字母、数字、下划线", "must be lower case letters, digits and _"))
    rows = _rows(top)
    insurance = _insurance(top) if "social_insurance" in top else None
    windows = _windows(top) if "windows" in top else None
    guide = _guide(top) if "guide" in top else {}
    fields = _fields(top) if "registry_fields" in top else None
    top.end()
    source.finish()
    assert region and version and year and title and basis  # noqa: S101, PT018 - a missing one is a problem
    return Pack(
        region=region,
        version=version,
        school_year=year,
        name=title,
        basis=basis,
        assurance=Assurance(assurance) if assurance else None,
        materials=MappingProxyType(materials),
        rows=rows,
        insurance=insurance,
        windows=windows,
        guide=MappingProxyType(guide),
        fields=fields,
        source=source,
    )


_REGION = Text(
    "应为 43、市州前四位或县级六位代码", "must be 43, or the code of a prefecture (4 digits) or county (6) of Hunan"
)


def _material(key: str, section: Section) -> Material | None:
    name = section.text("name")
    offline_only = section.flag("offline_only")
    assurance = section.choice("assurance", list(Assurance), required=False)
    condition = section.flag("condition")
    note = section.text("note", required=False)
    exemption = section.choice("exemption", list(Exemption), required=not offline_only)
    value = section.get("replaced_by", required=not offline_only)
    requirement = None
    if offline_only and (value is not None or exemption is not None):
        section.fail(
            "offline_only", Text("只能线下核验的材料不写 replaced_by、exemption", "excludes replaced_by and exemption")
        )
    elif value is not None:
        requirement = read_requirement(section.source, value, section.at("replaced_by"), months=key == SOCIAL_INSURANCE)
    section.end()
    if name is None or (requirement is None and not offline_only):
        return None
    return Material(
        key=key,
        name=name,
        requirement=requirement,
        exemption=Exemption(exemption) if exemption else None,
        assurance=Assurance(assurance) if assurance else Assurance.LOW,
        condition=condition,
        note=note,
    )


def _rows(top: Section) -> tuple[Row, ...]:
    rows: list[Row] = []
    seen: set[tuple[str, str]] = set()
    for number, value in enumerate(top.items("rows", required=False)):
        section = Section(top.source, value, (*top.at("rows"), number))
        schools = section.choices("schools", list(School))
        group = section.choice("group", list(Group))
        keys = _material_keys(section)
        note = section.text("note", required=False)
        section.end()
        if group is None:
            continue
        for school in schools:
            if School(school).is_public == (group == Group.PRIVATE_URBAN):
                section.fail(
                    "group", Text("附件2没有该类学校的此群体", "annex 2 has no such group for this kind of school")
                )
            elif (school, group) in seen:
                section.fail("schools", Text("该校该群体已有一行", "has a row of this group already"))
            seen.add((school, group))
        rows.append(Row(tuple(School(school) for school in schools), Group(group), keys, note))
    return tuple(rows)


def _material_keys(section: Section) -> tuple[str, ...]:
    keys: list[str] = []
    for number, key in enumerate(section.items("materials")):
        path = (*section.at("materials"), number)
        if not isinstance(key, str):
            section.source.fail(path, Text("应为材料的键", "must be the key of a material"))
        elif key == SOCIAL_INSURANCE:
            section.source.fail(
                path, Text("社保由 [social_insurance] 开关加入", "is added by [social_insurance], not by a row")
            )
        elif key in keys:
            section.source.fail(path, Text("不得重复", "must stand once"))
        else:
            keys.append(key)
    return tuple(keys)


def _insurance(top: Section) -> Insurance | None:
    section = Section(top.source, top.get("social_insurance"), top.at("social_insurance"))
    required = section.flag("required", required=True)
    if required:
        months = section.choice("months", _MONTHS)
        groups = section.choices("groups", list(Group))
        section.end()
        return Insurance(required=True, months=months or "", groups=tuple(Group(group) for group in groups))
    for key in ("months", "groups"):
        if section.get(key) is not None:
            section.fail(key, Text("仅在 required = true 时填写", "belongs to required = true only"))
    section.end()
    return Insurance(required=False)


def _windows(top: Section) -> tuple[Window, ...]:
    windows: list[Window] = []
    places: list[int] = []
    values = top.items("windows")
    if len(values) > MAX_WINDOWS:
        top.fail("windows", Text(f"至多 {MAX_WINDOWS} 个", f"must be at most {MAX_WINDOWS}"))
        values = []
    for number, value in enumerate(values):
        section = Section(top.source, value, (*top.at("windows"), number))
        name, opens, closes = section.text("name"), _instant(section, "opens"), _instant(section, "closes")
        section.end()
        if opens is not None and closes is not None and opens >= closes:
            section.fail("closes", Text("应晚于 opens", "must be later than opens"))
        elif name is not None and opens is not None and closes is not None:
            windows.append(Window(name, opens, closes))
            places.append(number)
    overlap = first_overlap(windows)
    if overlap is not None:
        earlier, later = (places[position] for position in overlap)
        expected = Text(f"不得与 windows[{earlier}] 重叠", f"must not overlap windows[{earlier}]")
        top.source.fail((*top.at("windows"), later), expected)
    return tuple(sorted(windows, key=lambda window: window.opens))


def _instant(section: Section, key: str) -> datetime | None:
    value = section.get(key, required=True)
    if value is None:
        return None
    if not isinstance(value, datetime) or value.utcoffset() != _EIGHT_HOURS:
        section.fail(key, Text("应为北京时间，如 2027-06-01T08:00:00+08:00", "must be like 2027-06-01T08:00:00+08:00"))
        return None
    if value.year not in _PLAUSIBLE_YEARS:
        section.fail(key, Text("年份应在 2000 至 2099 之间", "must be in the years 2000 to 2099"))
        return None
    return value


def _fields(top: Section) -> tuple[str, ...]:
    section = Section(top.source, top.get("registry_fields"), top.at("registry_fields"))
    fields = section.choices("collect", tuple(REGISTRY_FIELDS))
    section.end()
    return fields


def _guide(top: Section) -> dict[str, Text]:
    section = Section(top.source, top.get("guide"), top.at("guide"))
    texts = {key: section.text(key, required=False) for key in GUIDE_FIELDS}
    section.end()
    return {key: text for key, text in texts.items() if text is not None}
