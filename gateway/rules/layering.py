"""Province ← city ← county: which part of which pack holds in a region.

What a lower pack may say, and how it counts:

    whole material          a `[materials.KEY]` replaces the one above of that key, in every row that lists it
    whole row               a row replaces the one above of each of its (school, group) pairs, materials and all
    social insurance        `[social_insurance]` replaces the toggle above: on or off, months and groups together
    windows                 a list of `[[windows]]` replaces the whole list above
    guide                   each text of `[guide]` replaces the one above
    registry fields         `[registry_fields]` replaces the whole list above
    assurance               may be raised, never lowered, for the pack and for each material

Nothing is mixed below these: half a material or half a row never comes from another pack. What a lower pack may not:
lower an assurance; make a material offline-only that the pack above verifies online (应核尽核); state another school
year. Nor may the outcome: name a material that nobody defined; leave a kind of school without a group; ask one claim
of one person with two values for one school (see query_rules.require_single_questions), or more checks than a query
holds. A problem is told of the pack that caused it.

A region without a pack of its own has the rules of those above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from gateway.protocol.claims import FIELD_ON_FILE, Role, claim_named
from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.limits import MAX_CHECKS, MAX_CHECKS_PER_PART
from gateway.protocol.matrix import Group, School
from gateway.protocol.reasons import Reason, Text
from gateway.protocol.registry_terms import Assurance
from gateway.rules.lines import Path
from gateway.rules.pack import PROVINCE, SOCIAL_INSURANCE, Insurance, Material, Pack, Row, is_region, regions_above
from gateway.rules.reading import refusal
from gateway.rules.region_rules import RegionRules, plan_checks
from gateway.rules.windows import Window


def rules_of(region: str, packs: Mapping[str, Pack]) -> RegionRules:
    """The rules of `region` from the packs at hand, by region.

    Raises MalformedError naming `region` if it is none of Hunan, or (RULES_INVALID) with what does not fit, located.
    """
    if not is_region(region):
        raise MalformedError.at("region", "must be a province, prefecture or county of Hunan / 应为湖南省行政区划代码")
    if PROVINCE not in packs:
        raise MalformedError.at("packs", "the province's pack is missing / 缺少省级规则包", Reason.RULES_INVALID)
    merging = _Merging()
    for code in regions_above(region):
        if code in packs:
            merging.add(packs[code])
    return merging.finish(region)


class _Merging:
    """The layers so far, and what did not fit."""

    def __init__(self) -> None:
        self._packs: dict[str, Pack] = {}
        self._assurance = Assurance.LOW
        self._materials: dict[str, Material] = {}
        self._rows: dict[tuple[School, Group], Row] = {}
        self._places: dict[tuple[School, Group], Path] = {}
        self._insurance = Insurance(required=False)
        self._windows: tuple[Window, ...] = ()
        self._guide: dict[str, Text] = {}
        self._fields: tuple[str, ...] = ()
        self._origins: dict[str, str] = {}
        self._problems: list[FieldViolation] = []

    def add(self, pack: Pack) -> None:
        """Lay `pack` over what there is."""
        for above in self._packs.values():
            if pack.school_year != above.school_year:
                self._fail(pack.region, ("school_year",), _other_year(above), pack)
                break
        self._packs[pack.region] = pack
        if pack.assurance is not None:
            if pack.assurance.rank < self._assurance.rank:
                self._fail(pack.region, ("assurance",), _too_low(self._assurance))
            self._assurance = pack.assurance
            self._origins["assurance"] = pack.region
        for key, material in pack.materials.items():
            self._replace_material(pack, key, material)
        for number, row in enumerate(pack.rows):
            for school in row.schools:
                self._rows[school, row.group] = row
                self._places[school, row.group] = ("rows", number)
                self._origins[_row_name(school, row.group)] = pack.region
        if pack.insurance is not None:
            self._insurance = pack.insurance
            self._origins["social_insurance"] = pack.region
        if pack.windows is not None:
            self._windows = pack.windows
            self._origins["windows"] = pack.region
        if pack.fields is not None:
            self._fields = pack.fields
            self._origins["registry_fields"] = pack.region
        for key, text in pack.guide.items():
            self._guide[key] = text
            self._origins[f"guide.{key}"] = pack.region

    def finish(self, region: str) -> RegionRules:
        """The rules of `region`, checked as a whole."""
        self._check_references()
        self._check_schools()
        if self._problems:
            raise refusal(self._problems)
        own = self._packs.get(region)
        rules = RegionRules(
            region=region,
            name=own.name if own else Text(COUNTIES.get(region) or PREFECTURES[region], region),
            school_year=next(iter(self._packs.values())).school_year,
            versions=MappingProxyType({code: pack.version for code, pack in self._packs.items()}),
            assurance=self._assurance,
            materials=MappingProxyType(self._materials),
            rows=MappingProxyType(self._rows),
            insurance=self._insurance,
            windows=self._windows,
            guide=MappingProxyType(self._guide),
            fields=self._fields,
            origins=MappingProxyType(self._origins),
        )
        self._check_questions(rules)
        if self._problems:
            raise refusal(self._problems)
        return rules

    def _replace_material(self, pack: Pack, key: str, material: Material) -> None:
        above = self._materials.get(key)
        if above is not None:
            if material.assurance.rank < above.assurance.rank:
                self._fail(pack.region, ("materials", key, "assurance"), _too_low(above.assurance))
            if material.requirement is None and above.requirement is not None:
                self._fail(pack.region, ("materials", key, "offline_only"), _ONLINE)
        self._materials[key] = material
        self._origins[f"materials.{key}"] = pack.region

    def _check_references(self) -> None:
        for (school, group), row in self._rows.items():
            for number, key in enumerate(row.materials):
                if key not in self._materials:
                    path = (*self._places[school, group], "materials", number)
                    self._fail(self._origins[_row_name(school, group)], path, _UNDEFINED)
        if self._insurance.required:
            origin = self._origins["social_insurance"]
            if SOCIAL_INSURANCE not in self._materials:
                self._fail(
                    origin,
                    ("social_insurance",),
                    Text("缺少材料 social_insurance", f"needs the material {SOCIAL_INSURANCE}"),
                )
            known = {group for _, group in self._rows}
            for number, group in enumerate(self._insurance.groups):
                if group not in known:
                    self._fail(origin, ("social_insurance", "groups", number), Text("没有该群体的行", "has no row"))

    def _check_schools(self) -> None:
        for school in School:
            if all(row_school is not school for row_school, _ in self._rows):
                expected = Text(f"缺少 {school.value} 的行", f"must have a row for {school.value}")
                self._fail(PROVINCE, ("rows",), expected)

    def _check_questions(self, rules: RegionRules) -> None:
        for school in School:
            groups = rules.groups_of(school)
            first: dict[str, tuple[object, str]] = {}
            for check in plan_checks(rules, school, groups, frozenset(Role)):
                values = tuple(check.parameters.items())
                known = first.setdefault(check.claim, (values, check.materials[0]))
                if known[0] != values and not claim_named(check.claim).itemised:
                    self._fail_lower(school, known[1], check.materials[0])
            for path, expected in _beyond_limits(rules, school):
                self._fail(next(reversed(self._packs)), path, expected)

    def _fail_lower(self, school: School, first: str, second: str) -> None:
        """Two materials contradict each other: told of the one that a lower pack states, else of the second."""
        key, other = (first, second) if self._stated_by(first) > self._stated_by(second) else (second, first)
        expected = _asked_with_other_values(school, other)
        self._fail(self._origins[f"materials.{key}"], ("materials", key, "replaced_by"), expected)

    def _stated_by(self, key: str) -> int:
        return len(self._origins[f"materials.{key}"])

    def _fail(self, region: str, path: Path, expected: Text, pack: Pack | None = None) -> None:
        source = (pack or self._packs[region]).source
        self._problems.append(source.violation(path, expected))


def _beyond_limits(rules: RegionRules, school: School) -> Iterator[tuple[Path, Text]]:
    planned = plan_checks(rules, school, rules.groups_of(school), frozenset(Role))
    checks = [check.claim for check in planned] + [FIELD_ON_FILE] * len(rules.fields)
    if len(checks) > MAX_CHECKS:
        yield (
            ("rows",),
            Text(f"{school.value} 至多 {MAX_CHECKS} 项核验", f"{school.value} must ask at most {MAX_CHECKS} checks"),
        )
    departments = [claim_named(claim).department for claim in checks]
    for department in sorted(set(departments)):
        if departments.count(department) > MAX_CHECKS_PER_PART:
            expected = f"{school.value} must ask {department} at most {MAX_CHECKS_PER_PART} checks"
            yield ("rows",), Text(f"{school.value} 至多问 {department} {MAX_CHECKS_PER_PART} 项", expected)


def _row_name(school: School, group: Group) -> str:
    return f"rows.{school.value}.{group.value}"


def _too_low(level: Assurance) -> Text:
    return Text(
        f"不得低于上级规则包的 {level.value}", f"must not be lower than {level.value}, as the pack above has it"
    )


def _other_year(above: Pack) -> Text:
    expected = f"must be {above.school_year}, as in the pack of {above.region}"
    return Text(f"应与 {above.region} 的规则包一致：{above.school_year}", expected)


def _asked_with_other_values(school: School, key: str) -> Text:
    return Text(
        f"同一声明在 {school.value} 只能有一组参数（另见材料 {key}）",
        f"must ask a claim with the same values as the material {key} does, for {school.value}",
    )


_UNDEFINED = Text("没有定义此材料", "must be the key of a material that this pack or one above defines")
_ONLINE = Text("上级规则包可线上核验，不得改为线下（应核尽核）", "must stay verified online, as the pack above has it")
