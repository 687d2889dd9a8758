"""County over city over province: what counts, what may not be said, and whose pack is told of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.claims import Role
from gateway.protocol.errors import MalformedError
from gateway.protocol.limits import MAX_CHECKS
from gateway.protocol.matrix import Group, School
from gateway.protocol.registry_terms import Assurance
from gateway.rules.layering import rules_of
from gateway.rules.pack import regions_above
from gateway.rules.region_rules import plan_checks
from gateway.rules.shelf import open_shelf
from tests.rules.packs import laid, pack, places, shipped

PRIMARY, JUNIOR = School.PUBLIC_PRIMARY, School.PUBLIC_JUNIOR
FAMILY = frozenset({Role.CHILD, Role.GUARDIAN})
INSURANCE = '[social_insurance]\nrequired = true\nmonths = "{}"\ngroups = ["neither"]\n'
LEASE = '[materials.lease]\nname = { zh = "合同", en = "contract" }\n'


def keys(rules, school, group):
    return [material.key for material in rules.materials_of(school, Group(group))]


def asked(rules, school, group, roles=frozenset(Role)):
    return {
        (check.claim, tuple(check.parameters.items())) for check in plan_checks(rules, school, [Group(group)], roles)
    }


def test_cities_differ_in_what_they_ask():
    changsha, xiangtan = shipped("4301"), shipped("4303")
    months = ("insurance.paid_months@1", (("months", "12"),))
    own_hukou = ("hukou.guardian_registered@1", ())
    extra = asked(changsha, PRIMARY, "neither") - asked(shipped("43"), PRIMARY, "neither")
    assert extra == {months, own_hukou}
    extra = asked(xiangtan, PRIMARY, "hukou_with_lease") - asked(shipped("43"), PRIMARY, "hukou_with_lease")
    assert extra == {("property.owns_no_home@1", ()), ("housing.public_housing@1", ())}
    assert months not in asked(xiangtan, PRIMARY, "neither")


def test_county_overrides_its_city_and_nothing_else():
    city, county = shipped("4301"), shipped("430104")
    assert keys(county, JUNIOR, "neither") == [*keys(shipped("43"), JUNIOR, "neither")[:-1], "social_insurance"]
    assert keys(county, PRIMARY, "neither") == keys(city, PRIMARY, "neither")
    assert ("insurance.paid_months@1", (("months", "6"),)) in asked(county, PRIMARY, "neither")
    assert county.materials == city.materials
    assert county.origins["rows.public_junior.neither"] == county.origins["social_insurance"] == "430104"
    assert county.origins["materials.residence_permit"] == "4301"
    assert county.origins["guide.deadline"] == "4301"


def test_county_without_a_pack_has_its_citys_rules_and_no_window():
    city, county = shipped("4301"), shipped("430181")
    assert (county.materials, county.rows, county.insurance) == (city.materials, city.rows, city.insurance)
    assert county.name.zh == "浏阳市"
    assert county.windows == ()


def test_county_may_switch_its_citys_social_insurance_off():
    city = pack(INSURANCE.format(24), "4301")
    assert "social_insurance" in keys(laid(city), PRIMARY, "neither")
    assert "social_insurance" not in keys(
        laid(city, pack("[social_insurance]\nrequired = false\n")), PRIMARY, "neither"
    )


def test_windows_of_a_county_replace_those_of_its_city():
    window = '[[windows]]\nname = {{ zh = "一", en = "one" }}\n'
    window += "opens = 2027-0{0}-01T08:00:00+08:00\ncloses = 2027-0{0}-02T08:00:00+08:00\n"
    city = pack(window.format(5) + window.format(6), "4301")
    assert len(laid(city).windows) == 2
    assert [each.opens.month for each in laid(city, pack(window.format(7))).windows] == [7]


def test_material_is_replaced_whole_in_every_row():
    county = pack(LEASE + 'exemption = "e_certificate"\nreplaced_by = "housing.public_housing@1"\n')
    for group in ("hukou_with_lease", "neither"):
        assert ("housing.public_housing@1", ()) in asked(laid(county), PRIMARY, group)
        assert ("housing.lease_on_file@1", ()) not in asked(laid(county), PRIMARY, group)


def test_digest_tells_rules_apart_and_stands_while_windows_move():
    assert shipped("430304").digest() == laid(open_shelf()["4303"], open_shelf()["430304"], region="430304").digest()
    county = pack(INSURANCE.format(6))
    moved = pack(INSURANCE.format(6) + '[guide]\nconsult = { zh = "一", en = "one" }\n')
    assert laid(county).digest() == laid(moved).digest()
    assert laid(county).digest() != laid(pack(INSURANCE.format(12))).digest()


def test_plan_of_a_family_that_leaves_its_group_open_asks_each_question_once():
    for region in open_shelf():
        rules = shipped(region)
        for school in School:
            plan = plan_checks(rules, school, rules.groups_of(school), frozenset(Role))
            assert len({check.claim for check in plan}) == len(plan) <= MAX_CHECKS


def test_nobody_is_asked_about_a_person_who_is_not_there():
    rules = shipped("430302")
    plan = plan_checks(rules, PRIMARY, rules.groups_of(PRIMARY), FAMILY)
    assert not {check.claim for check in plan} & {"property.co_resident_owns_home@1", "kinship.same_household@1"}


def test_highest_assurance_of_the_materials_counts():
    rules = shipped("430102")
    assert rules.assurance_of(PRIMARY, [Group.NEITHER]) is Assurance.SUBSTANTIAL
    assert rules.assurance_of(PRIMARY, [Group.HOME_AND_HUKOU]) is Assurance.LOW
    assert laid(pack('assurance = "high"\n')).assurance_of(PRIMARY, [Group.NEITHER]) is Assurance.HIGH


ROW = '[[rows]]\nschools = ["public_primary"]\ngroup = "neither"\nmaterials = {}\n'
MONTHS = '[materials.{}]\nname = {{ zh = "甲", en = "m" }}\nexemption = "e_certificate"\n'
MONTHS += 'replaced_by = {{ claim = "insurance.paid_months@1", months = "{}" }}\n'


@pytest.mark.parametrize(
    ("city", "county", "place"),
    [
        ('assurance = "high"\n', 'assurance = "substantial"\n', "x.toml:7: assurance"),
        (
            LEASE + 'exemption = "e_certificate"\nassurance = "high"\nreplaced_by = "housing.lease_on_file@1"\n',
            LEASE + 'exemption = "e_certificate"\nreplaced_by = "housing.lease_on_file@1"\n',
            "x.toml:7: materials.lease.assurance",
        ),
        ("", LEASE + "offline_only = true\n", "x.toml:9: materials.lease.offline_only"),
        ("", ROW.format('["castle"]'), "x.toml:10: rows[0].materials[0]"),
        (
            "",
            ROW.format('["one", "two"]') + MONTHS.format("one", 6) + MONTHS.format("two", 12),
            "x.toml:18: materials.two.replaced_by",
        ),
        (INSURANCE.format(12), ROW.format('["one"]') + MONTHS.format("one", 6), "x.toml:14: materials.one.replaced_by"),
    ],
)
def test_what_a_pack_may_not_say_is_told_of_that_pack(city, county, place):
    with pytest.raises(MalformedError) as error:
        laid(pack(city, "4301", name="city.toml"), pack(county))
    assert places(error) == {place}


LEVELS = (None, *Assurance)
SHELF = open_shelf()


@pytest.mark.parametrize("city", LEVELS)
@pytest.mark.parametrize("county", LEVELS)
def test_no_layer_lowers_what_a_consent_needs(city, county):
    """Either the pack is refused, or the county asks at least what each layer asks."""
    layers = [
        pack(f'assurance = "{level.value}"\n' if level else "", region)
        for region, level in (("4301", city), ("430102", county))
    ]
    asked = [level.rank for level in (city, county) if level is not None]
    try:
        rules = rules_of("430102", {"43": SHELF["43"], **{each.region: each for each in layers}})
    except MalformedError:
        assert asked == sorted(asked, reverse=True)
        assert len(set(asked)) == 2
    else:
        assert rules.assurance.rank == max(asked, default=Assurance.LOW.rank)


@settings(max_examples=20, deadline=None)
@given(st.permutations(sorted(SHELF)), st.sampled_from(sorted(SHELF)))
def test_order_of_files_and_packs_of_other_places_do_not_matter(order, region):
    found = rules_of(region, {code: SHELF[code] for code in order})
    alone = rules_of(region, {code: SHELF[code] for code in regions_above(region) if code in SHELF})
    assert found == alone
    assert found.digest() == alone.digest()


def test_another_school_year_is_refused():
    with pytest.raises(MalformedError) as error:
        laid(pack(year="2026"))
    assert places(error) == {"x.toml:4: school_year"}


def test_school_without_a_group_is_refused():
    with pytest.raises(MalformedError) as error:
        rules_of("43", {"43": pack(region="43")})
    assert places(error) == {"x.toml:1: rows"}
    assert len(error.value.violations) == len(School)


def test_insurance_of_a_group_without_a_row_is_refused():
    with pytest.raises(MalformedError) as error:
        rules_of("430102", {"43": pack(region="43"), "430102": pack(INSURANCE.format(6))})
    assert "x.toml:10: social_insurance.groups[0]" in places(error)
    assert "x.toml:7: social_insurance" in places(error)


@pytest.mark.parametrize("region", ["44", "4399", "430199", "4301021", ""])
def test_region_that_is_none_of_hunan_is_refused(region):
    with pytest.raises(MalformedError):
        rules_of(region, open_shelf())


def test_nothing_holds_without_the_provinces_pack():
    with pytest.raises(MalformedError):
        rules_of("430102", {"430102": pack()})
