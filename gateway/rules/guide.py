"""A county's rules as its two documents: 服务指南 (annex 1) and 资料申请表单 (annex 2), as HTML in Chinese.

Each is one file that needs nothing else: no script, no font, no picture, no address that is loaded. The pages follow
the rules for elder-friendly pages (MIIT 2021): text of 20 px and more that scales, generous lines, contrast above 7:1,
nothing told by colour alone, tables with headings that a screen reader can follow; they print in black and white.

Every text of a pack is escaped. Facts of the notice that no place changes (its legal bases, no fee, no appointment,
nobody need come in person, no material may be missing, papers as copies) stand in the template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.protocol.claims import DEPARTMENT_NAMES, claim_named
from gateway.protocol.matrix import GROUP_NAMES, Group, School
from gateway.rules.pack import EXEMPTION_TEXTS, GUIDE_FIELDS, SCHOOL_NAMES, Material
from gateway.rules.region_rules import RegionRules
from gateway.rules.requirements import questions_of

GUIDE_FILE, FORM_FILE = "guide.html", "form.html"

_MEANINGS: Mapping[Group, str] = {
    Group.HOME_AND_HUKOU: "孩子户籍在本地，监护人在本地有房",
    Group.HUKOU_SHARED_HOME: "孩子户籍在本地，住共同居住亲属的房，或单位自管房、直管公房、保障性住房",
    Group.HOME_WITHOUT_HUKOU: "监护人在本地有房，孩子户籍不在本地",
    Group.HUKOU_WITH_LEASE: "孩子户籍在本地，租房居住",
    Group.NEITHER: "孩子户籍不在本地，监护人在本地没有房",
    Group.PRIVATE_URBAN: "孩子户籍在城区（县城），或监护人在城区（县城）有房",
}
"""The groups of annex 2 as a family finds its own."""

_ENVIRONMENT = Environment(
    loader=PackageLoader("gateway.rules", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class _Paper:
    """A material as the tables of both documents show it."""

    name: str
    note: str
    departments: str
    treatment: str


def render_guide(rules: RegionRules) -> dict[str, str]:
    """Both documents by file name, as HTML."""
    used = {material.key: material for school, group in rules.rows for material in rules.materials_of(school, group)}
    values: Mapping[str, object] = {
        "place": rules.name.zh,
        "year": rules.school_year,
        "windows": [window.text.zh for window in rules.windows],
        "facts": [(label.zh, rules.guide[key].zh) for key, label in GUIDE_FIELDS.items() if key in rules.guide],
        "conditions": [material.name.zh for material in used.values() if material.condition],
        "papers": [_paper(material) for material in used.values() if not material.condition],
        "departments": _departments(used.values()),
        "schools": [(SCHOOL_NAMES[school].zh, _rows(rules, school)) for school in School],
        "versions": "、".join(f"{region}（{version}）" for region, version in rules.versions.items()),
        "digest": rules.digest().hex(),
    }
    return {name: _ENVIRONMENT.get_template(f"{name}.j2").render(values) for name in (GUIDE_FILE, FORM_FILE)}


def _rows(rules: RegionRules, school: School) -> list[tuple[str, list[str], list[_Paper]]]:
    """Of each group: its name, what tells whether a family is of it, and its papers."""
    rows: list[tuple[str, list[str], list[_Paper]]] = []
    for group in rules.groups_of(school):
        note = rules.rows[school, group].note
        papers = [_paper(material) for material in rules.materials_of(school, group) if not material.condition]
        rows.append((GROUP_NAMES[group].zh, [_MEANINGS[group], *([note.zh] if note else [])], papers))
    return rows


def _paper(material: Material) -> _Paper:
    notes = [material.note.zh] if material.note else []
    if material.requirement is None or material.exemption is None:
        return _Paper(
            material.name.zh, "；".join(notes), "工作人员（尚不能线上核验）", "请交复印件，由工作人员线下核验"
        )
    months = (dict(question.parameters).get("months") for question in questions_of(material.requirement))
    notes += [f"缴费满 {each} 个月" for each in dict.fromkeys(months) if each]
    return _Paper(
        material.name.zh,
        "；".join(notes),
        _departments([material]),
        f"线上核验通过即免交（{EXEMPTION_TEXTS[material.exemption].zh}）",
    )


def _departments(materials: Iterable[Material]) -> str:
    """The departments that answer for `materials`, each once."""
    kinds = dict.fromkeys(
        claim_named(question.claim).department
        for material in materials
        if material.requirement is not None
        for question in questions_of(material.requirement)
    )
    return "、".join(DEPARTMENT_NAMES[kind].zh for kind in kinds)
