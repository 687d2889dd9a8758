"""A county's rules as its two documents: 服务指南 (annex 1) and 资料申请表单 (annex 2), as HTML in Chinese.

Each is one file that needs nothing else: no script, no font, no picture, no address that is loaded. The pages follow
the rules for elder-friendly pages (MIIT 2021): text of 20 px and more that scales, generous lines, contrast above 7:1,
nothing told by colour alone, tables with headings that a screen reader can follow; they print in black and white.

Every text of a pack is escaped. Facts of the notice that no place changes (no fee, no appointment, nobody need come in
person, no material may be missing) stand in the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.protocol.claims import DEPARTMENT_NAMES, claim_named
from gateway.protocol.matrix import GROUP_NAMES, School
from gateway.rules.pack import EXEMPTION_TEXTS, GUIDE_FIELDS, SCHOOL_NAMES, SOCIAL_INSURANCE, Material
from gateway.rules.region_rules import RegionRules
from gateway.rules.requirements import questions_of

GUIDE_FILE, FORM_FILE = "guide.html", "form.html"

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
        "papers": [_paper(rules, material) for material in used.values() if not material.condition],
        "schools": [(SCHOOL_NAMES[school].zh, _rows(rules, school)) for school in School],
        "versions": "、".join(f"{region}（{version}）" for region, version in rules.versions.items()),
        "digest": rules.digest().hex(),
    }
    return {name: _ENVIRONMENT.get_template(f"{name}.j2").render(values) for name in (GUIDE_FILE, FORM_FILE)}


def _rows(rules: RegionRules, school: School) -> list[tuple[str, str, list[_Paper]]]:
    rows: list[tuple[str, str, list[_Paper]]] = []
    for group in rules.groups_of(school):
        note = rules.rows[school, group].note
        papers = [_paper(rules, material) for material in rules.materials_of(school, group) if not material.condition]
        rows.append((GROUP_NAMES[group].zh, note.zh if note else "", papers))
    return rows


def _paper(rules: RegionRules, material: Material) -> _Paper:
    notes = [material.note.zh] if material.note else []
    if material.key == SOCIAL_INSURANCE:
        notes.append(f"缴费满 {rules.insurance.months} 个月")
    note = "；".join(notes)
    if material.requirement is None or material.exemption is None:
        return _Paper(material.name.zh, note, "无（尚不能线上核验）", "线下核验，请带原件和复印件")
    kinds = dict.fromkeys(claim_named(question.claim).department for question in questions_of(material.requirement))
    departments = "、".join(DEPARTMENT_NAMES[kind].zh for kind in kinds)
    return _Paper(
        material.name.zh, note, departments, f"线上核验通过即免交（{EXEMPTION_TEXTS[material.exemption].zh}）"
    )
