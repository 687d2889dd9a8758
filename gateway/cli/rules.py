"""`heyan rules`: rule packs checked, shown, compared, and rendered as a county's guide. No network, no key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption
from gateway.party.keyfiles import write_atomic
from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.matrix import GROUP_NAMES
from gateway.protocol.reasons import Reason
from gateway.rules.differences import differences
from gateway.rules.layering import rules_of
from gateway.rules.pack import SCHOOL_NAMES, Material, Pack, is_region
from gateway.rules.region_rules import RegionRules
from gateway.rules.requirements import alternatives_of
from gateway.rules.shelf import all_rules, open_pack, open_shelf

app = App(
    name="rules",
    help="Check, show and compare rule packs: what a county asks of a family, and when.",
)

PacksOption = Annotated[
    Path | None, Parameter(name="--packs", help="Folder of packs (REGION.toml) instead of those that come with Heyan.")
]


@app.command
def check(files: list[Path], /, *, packs: PacksOption = None, as_json: JsonOption = False) -> int:
    """Check rule packs: each for itself, and with all others that count beside it.

    The files stand in for those of the same regions in the folder of packs. Every problem is told with file, line and
    path. Exit code 0 if all is well, 1 if anything is wrong.

    Examples: `heyan rules check 430102.toml`, `heyan rules check packs/*.toml --packs packs --json`

    Parameters
    ----------
    files
        Rule packs, as TOML.
    """
    checked: dict[str, Pack] = {}
    problems: list[FieldViolation] = []
    for file in files:
        try:
            pack = open_pack(file)
        except MalformedError as error:
            problems += _problems_of(error)
            continue
        if pack.region in checked:
            repeated = f"must not be the region of {checked[pack.region].source.name} too"
            problems.append(FieldViolation(f"{file}: region", repeated))
        checked[pack.region] = pack
    if not problems:
        try:
            all_rules({**open_shelf(packs), **checked})
        except MalformedError as error:
            problems += _problems_of(error)
    _say_checked(checked, problems, as_json=as_json)
    return EXIT_REFUSED if problems else 0


@app.command
def show(region: str, *, packs: PacksOption = None, as_json: JsonOption = False) -> None:
    """Show the rules that hold in a region, and which region's pack each comes from.

    Examples: `heyan rules show 430104`, `heyan rules show 4303 --json`

    Parameters
    ----------
    region
        43, four digits of a prefecture, or six of a county.
    """
    rules = _rules(region, open_shelf(packs))
    if as_json:
        print_json({**rules.document(), "digest": rules.digest().hex()})
        return
    _say(f"{rules.region} {rules.name.zh} / {rules.name.en}, school year {rules.school_year}")
    _say("Packs: " + ", ".join(f"{code} ({version})" for code, version in rules.versions.items()))
    _say(f"Digest: {rules.digest().hex()}")
    _say(f"Identity assurance: {rules.assurance.value}")
    _say_rows(rules)
    _say_materials(rules)
    _say("\nCollected unless on file: " + (", ".join(rules.fields) or "nothing"))
    _say("\nWindows:")
    for window in rules.windows:
        _say(f"  {window.text.zh}\n  {window.text.en}")
    if not rules.windows:
        _say("  none stated: closed")


@app.command
def diff(before: str, after: str, *, packs: PacksOption = None, as_json: JsonOption = False) -> None:
    """Show what AFTER rules otherwise than BEFORE: two regions, or two files of packs, or one of each.

    A file counts in place of its region's pack, over the packs above it. Exit code 0, whether anything differs or not.

    Examples: `heyan rules diff 4301 4303`, `heyan rules diff 430102 430102.toml`

    Parameters
    ----------
    before
        A region's code, or a file.
    after
        The same.
    """
    shelf = open_shelf(packs)
    earlier, later = _side(before, shelf), _side(after, shelf)
    found = differences(earlier, later)
    if as_json:
        rows = [{"item": each.item, "before": each.before, "after": each.after} for each in found]
        print_json({"before": earlier.region, "after": later.region, "differences": rows})
        return
    for each in found:
        for line in each.lines():
            _say(line)
    _say(f"{len(found)} difference(s) between {before} and {after}.")


@app.command
def guide(county: str, *, out: Path, packs: PacksOption = None) -> None:
    """Render a county's 服务指南 and 资料申请表单: two HTML files in Chinese that need nothing else.

    Files of an earlier run are replaced.

    Example: `heyan rules guide 430102 --out guide`

    Parameters
    ----------
    county
        Six digits of a county; for a city or the province, what holds where no county says otherwise.
    out
        Folder to write into; made if there is none.
    """
    from gateway.rules.guide import render_guide  # noqa: PLC0415 - brings in jinja2, which no other command needs

    rendered = render_guide(_rules(county, open_shelf(packs)))
    out.mkdir(parents=True, exist_ok=True)
    for name, text in rendered.items():
        write_atomic(out / name, text.encode())
        _say(f"Wrote {out / name}")


def _side(named: str, shelf: dict[str, Pack]) -> RegionRules:
    if is_region(named):
        return _rules(named, shelf)
    pack = open_pack(Path(named))
    return rules_of(pack.region, {**shelf, pack.region: pack})


def _rules(region: str, shelf: dict[str, Pack]) -> RegionRules:
    if not is_region(region):
        expected = "must be 43, or the code of a prefecture (4 digits) or county (6) of Hunan"
        raise MalformedError.at("REGION", expected, Reason.CONFIGURATION_INVALID)
    return rules_of(region, shelf)


def _problems_of(error: MalformedError) -> tuple[FieldViolation, ...]:
    """The problems of wrong packs; what could not be read at all is raised again."""
    if error.reason is not Reason.RULES_INVALID:
        raise error
    return error.violations


def _say_checked(checked: dict[str, Pack], problems: list[FieldViolation], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "valid": not problems,
                "packs": [{"region": code, "version": pack.version} for code, pack in checked.items()],
                "problems": [{"where": each.field, "expected": each.description} for each in problems],
            }
        )
        return
    for each in problems:
        sys.stderr.write(f"{each.field}: {each.description}\n")
    if problems:
        sys.stderr.write(f"{len(problems)} problem(s)\n")
        return
    for code, pack in checked.items():
        _say(f"{code} {pack.name.zh} / {pack.name.en}, version {pack.version}: holds")


def _say_rows(rules: RegionRules) -> None:
    for (school, group), row in rules.rows.items():
        origin = rules.origins[f"rows.{school.value}.{group.value}"]
        keys = [material.key for material in rules.materials_of(school, group)]
        names, groups = SCHOOL_NAMES[school], GROUP_NAMES[group]
        _say(f"\n{names.zh} {groups.zh} / {names.en}, {groups.en}  [{origin}]")
        _say(f"  {', '.join(keys)}")
        if row.note:
            _say(f"  {row.note.zh} / {row.note.en}")


def _say_materials(rules: RegionRules) -> None:
    _say("\nMaterials:")
    for key, material in rules.materials.items():
        _say(f"  {key}: {material.name.zh} / {material.name.en}  [{rules.origins[f'materials.{key}']}]")
        for line in _replacements(material):
            _say(f"    {line}")
    toggle = rules.insurance
    stated = f"{toggle.months} months, {', '.join(toggle.groups)}" if toggle.required else "not asked"
    origin = rules.origins.get("social_insurance")
    _say(f"  social insurance: {stated}" + (f"  [{origin}]" if origin else ""))


def _replacements(material: Material) -> list[str]:
    if material.requirement is None or material.exemption is None:
        return ["checked offline only"]
    written = [" and ".join(map(str, each)) for each in alternatives_of(material.requirement)]
    return [f"{'or ' if number else ''}{each}" for number, each in enumerate(written)] + [
        f"then exempt: {material.exemption.value}; assurance {material.assurance.value}"
    ]


def _say(line: str) -> None:
    Console().print(line, markup=False, highlight=False, soft_wrap=True)
