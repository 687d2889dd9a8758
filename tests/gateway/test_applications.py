"""A query is held against the rules of its county before anything is asked, and judged by them from the receipt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.applications import Applications
from gateway.asking import Question
from gateway.client import Plan
from gateway.plans import make_plan
from gateway.protocol.application import Application, application_digest, open_application, write_application
from gateway.protocol.beijing import BEIJING
from gateway.protocol.claims import Role
from gateway.protocol.codec import encode
from gateway.protocol.errors import (
    ForgedError,
    HeyanError,
    MalformedError,
    NotCurrentError,
    NotGrantedError,
    UnreachableError,
)
from gateway.protocol.identities import parse_identity
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission, write_submission
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Assurance
from gateway.rulebook import Rulebook
from gateway.rules.bundle import read_bundle
from gateway.rules.shelf import SHIPPED
from gateway.rules.verdict import Standing
from gateway.verdicts import application_of, verdict_of, write_verdict
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import query_pb2, receipt_pb2
from tests import federation as fed
from tests.gateway.conftest import NOW, Gateway, department_of

SCHOOL = School.PUBLIC_PRIMARY
TODAY = datetime.fromtimestamp(NOW, BEIJING)
COUNTY = """
format = 1
region = "430102"
version = "{version}"
school_year = "2027"
name = {{ zh = "芙蓉区", en = "Furong" }}
basis = {{ zh = "测试", en = "test" }}
{rest}
[[windows]]
name = {{ zh = "公办学校报名", en = "public schools" }}
opens = {opens}
closes = {closes}
"""


@dataclass
class County:
    """One county's folder of packs, and its gateway."""

    folder: Path
    gateway: Gateway
    rulebook: Rulebook

    def write(self, opens: datetime, closes: datetime, *, version: str = "2027.1", rest: str = "") -> None:
        text = COUNTY.format(version=version, opens=opens.isoformat(), closes=closes.isoformat(), rest=rest)
        (self.folder / "430102.toml").write_text(text, encoding="utf-8")
        self.rulebook.refresh()

    def plan(self, group: Group | None = Group.HOME_AND_HUKOU, roles: tuple[Role, ...] = ()) -> Plan:
        request = pb.GetPlanRequest(
            region=fed.REGION, school=SCHOOL, group=group or "", roles=[role.value for role in roles]
        )
        message = make_plan(request, self.rulebook, self.gateway.federation.registry, self.gateway.clock.now)
        return Plan(fed.REGION, SCHOOL, group, message)

    def submission(self, plan: Plan, questions: tuple[Question, ...] | None = None, **issued: object) -> Submission:
        return self.gateway.submission(
            self.gateway.federation.issue(**issued),
            plan.questions(fed.FAMILY, fields=True) if questions is None else questions,
            application=plan.application(bytes(32)),
        )

    async def refused(self, submission: Submission) -> HeyanError:
        with pytest.raises(HeyanError) as caught:
            await self.gateway.verify(submission)
        assert not any(department.asks for department in self.gateway.departments.values())
        return caught.value


@pytest.fixture
def county(gateway: Gateway, tmp_path: Path) -> County:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "43.toml").write_bytes((SHIPPED / "43.toml").read_bytes())
    made = County(folder, gateway, Rulebook(folder))
    made.write(TODAY - timedelta(days=1), TODAY + timedelta(days=1))
    gateway.pipeline._applications = Applications(made.rulebook)
    return made


# -- what is refused ----------------------------------------------------------------------------------------


async def test_enrolment_that_names_no_application_is_refused(county: County) -> None:
    error = await county.refused(county.gateway.submission())
    assert isinstance(error, MalformedError)
    assert error.violations[0].field == "application"


@pytest.mark.parametrize("shown", [b"", b"another"])
async def test_application_that_the_query_does_not_name_is_refused(county: County, shown: bytes) -> None:
    submission = county.submission(county.plan())
    error = await county.refused(replace(submission, application=shown))
    assert error.reason is Reason.QUERY_PARTS_MISMATCH


async def test_application_cannot_be_slipped_under_a_query_that_names_none(county: County) -> None:
    submission = county.gateway.submission()
    error = await county.refused(replace(submission, application=county.plan().application(bytes(32))))
    assert error.reason is Reason.QUERY_PARTS_MISMATCH


async def test_plan_by_rules_that_were_replaced_meanwhile_is_refused(county: County) -> None:
    submission = county.submission(county.plan())
    county.write(TODAY - timedelta(days=1), TODAY + timedelta(days=1), version="2027.2")
    error = await county.refused(submission)
    assert isinstance(error, NotCurrentError)
    assert error.reason is Reason.RULES_CHANGED


async def test_window_that_moves_does_not_void_a_plan(county: County) -> None:
    submission = county.submission(county.plan())
    county.write(TODAY - timedelta(days=2), TODAY + timedelta(days=2))
    assert (await county.gateway.verify(submission)).answers


@pytest.mark.parametrize(
    "question",
    [
        Question("x", "insurance.paid_months@1", fed.REGION, {"months": "12"}),
        Question("x", "property.owns_home@1", "430104", {}),
        Question("x", "enrolment.of_school_age@1", fed.REGION, {"level": "junior", "year": "2027"}),
        Question("x", "housing.lease_on_file@1", fed.REGION, {}),
    ],
    ids=["claim that no material needs", "another county", "another level", "material of another group"],
)
async def test_check_that_the_plan_does_not_list_is_refused(county: County, question: Question) -> None:
    regions = (fed.REGION, "430104")
    error = await county.refused(county.submission(county.plan(), (question,), regions=regions))
    assert isinstance(error, NotGrantedError)
    assert error.reason is Reason.NOT_PLANNED


async def test_group_left_open_may_ask_for_every_group(county: County) -> None:
    plan = county.plan(None)
    asked = {question.claim for question in plan.questions(fed.FAMILY)}
    assert {"property.owns_home@1", "housing.lease_on_file@1", "residence.permit_valid@1"} <= asked
    assert (await county.gateway.verify(county.submission(plan))).answers


async def test_consent_of_less_assurance_than_the_county_asks_is_refused(county: County) -> None:
    county.write(TODAY - timedelta(days=1), TODAY + timedelta(days=1), rest='assurance = "high"')
    plan = county.plan()
    assert plan.message.assurance == "high"
    error = await county.refused(county.submission(plan, acr=Assurance.SUBSTANTIAL))
    assert error.reason is Reason.ASSURANCE_TOO_LOW
    assert (await county.gateway.verify(county.submission(plan, acr=Assurance.HIGH))).answers


@pytest.mark.parametrize(
    ("field", "value"),
    [("region", "110101"), ("school", "night"), ("group", "rich"), ("salt", b"short"), ("rules_digest", b"short")],
)
def test_malformed_application_is_refused_with_its_field(county: County, field: str, value: object) -> None:
    message = {"salt": bytes(32), "region": fed.REGION, "school": "public_primary", "rules_digest": bytes(32)}
    data = encode(query_pb2.Application(**{**message, field: value}))
    with pytest.raises(MalformedError) as caught:
        open_application(data, application_digest(data))
    assert caught.value.violations[0].field == f"application.{field}"


# -- windows ------------------------------------------------------------------------------------------------


async def test_closed_county_names_its_next_window_in_both_languages(county: County) -> None:
    opens = TODAY.replace(microsecond=0) + timedelta(days=20)
    county.write(opens, opens + timedelta(days=5))
    error = await county.refused(county.submission(county.plan()))
    assert isinstance(error, NotCurrentError)
    assert error.reason is Reason.WINDOW_CLOSED
    assert error.text is not None
    assert f"{opens.month}月{opens.day}日" in error.text.zh
    assert f"{opens:%Y-%m-%d}" in error.text.en


async def test_refusal_is_told_of_its_county(county: County) -> None:
    county.write(TODAY + timedelta(days=1), TODAY + timedelta(days=2))
    assert (await county.refused(county.submission(county.plan()))).region == fed.REGION


async def test_county_without_any_window_is_closed(county: County) -> None:
    (county.folder / "430102.toml").unlink()
    county.rulebook.refresh()
    assert (await county.refused(county.submission(county.plan()))).reason is Reason.WINDOW_CLOSED


@pytest.mark.parametrize(("opens", "closes", "is_open"), [(0, 10, True), (-10, 0, False), (1, 10, False)])
async def test_window_opens_with_its_first_second_and_closes_before_its_last(
    county: County, opens: int, closes: int, is_open: bool
) -> None:
    county.write(TODAY + timedelta(seconds=opens), TODAY + timedelta(seconds=closes))
    submission = county.submission(county.plan())
    if is_open:
        assert (await county.gateway.verify(submission)).answers
    else:
        assert (await county.refused(submission)).reason is Reason.WINDOW_CLOSED


async def test_query_accepted_in_time_is_carried_on_after_the_window_closed(county: County) -> None:
    county.write(TODAY - timedelta(days=1), TODAY + timedelta(seconds=5))
    submission = county.submission(county.plan())
    lame = department_of(county.gateway, "property.owns_home@1")
    lame.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    first = await county.gateway.verify(submission)
    assert Outcome.UNAVAILABLE in {answer.outcome for answer in first.answers}
    lame.failure = None
    county.gateway.clock.now += 10
    again = await county.gateway.verify(submission)
    assert Outcome.UNAVAILABLE not in {answer.outcome for answer in again.answers}


# -- who learns what ----------------------------------------------------------------------------------------


async def test_no_department_is_shown_what_the_query_serves(county: County) -> None:
    submission = county.submission(county.plan())
    await county.gateway.verify(submission)
    shown = [ask for department in county.gateway.departments.values() for ask in department.asks]
    assert shown
    for ask in shown:
        assert submission.application not in ask.signed.query
        assert b"home_and_hukou" not in ask.signed.query + ask.part.part


def test_digest_of_an_application_tells_nothing_without_its_salt() -> None:
    one, other = (Application(salt, fed.REGION, SCHOOL, None, bytes(32)) for salt in (bytes(32), b"\1" * 32))
    assert application_digest(write_application(one)) != application_digest(write_application(other))


# -- the verdict --------------------------------------------------------------------------------------------


async def test_verdict_is_computed_from_the_receipt_as_the_gateway_computed_it(county: County) -> None:
    plan = county.plan(None)
    department_of(county.gateway, "property.owns_home@1").outcomes = {"property.owns_home@1": Outcome.NO}
    receipt = await county.gateway.send(county.submission(plan))
    verdict = verdict_of(county.gateway.check(receipt), plan.message.rules)
    assert verdict is not None
    assert write_verdict(verdict) == county.gateway.pipeline._applications.verdict(receipt)
    standings = {group.group: group.standing for group in verdict.groups}
    assert standings[Group.HOME_AND_HUKOU] is Standing.OWED
    assert Group.HUKOU_WITH_LEASE in verdict.supported


async def test_fault_leaves_a_material_open_and_undetermined_leaves_it_to_staff(county: County) -> None:
    department_of(county.gateway, "property.owns_home@1").failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    police = department_of(county.gateway, "hukou.child_registered@1")
    police.outcomes = {"hukou.child_registered@1": Outcome.UNDETERMINED}
    plan = county.plan()
    receipt = await county.gateway.send(county.submission(plan))
    verdict = verdict_of(county.gateway.check(receipt), plan.message.rules)
    assert verdict is not None
    (group,) = verdict.groups
    assert {material.material.key: material.standing for material in group.materials} == {
        "school_age": Standing.EXEMPT,
        "property_certificate": Standing.OPEN,
        "hukou_book": Standing.OFFLINE,
        "guardian_identity": Standing.EXEMPT,
    }
    assert not verdict.supported


async def test_fields_on_file_need_not_be_collected(county: County) -> None:
    plan = county.plan()
    education = department_of(county.gateway, "enrolment.field_on_file@1")
    education.outcomes = {"enrolment.field_on_file@1": Outcome.NO}
    receipt = await county.gateway.send(county.submission(plan))
    verdict = verdict_of(county.gateway.check(receipt), plan.message.rules)
    assert verdict is not None
    assert verdict.to_collect == tuple(field.field for field in plan.message.fields)
    education.outcomes = {"enrolment.field_on_file@1": Outcome.YES}
    receipt = await county.gateway.send(county.submission(plan))
    verdict = verdict_of(county.gateway.check(receipt), plan.message.rules)
    assert verdict is not None
    assert verdict.to_collect == ()


def swap_rules(receipt: receipt_pb2.Receipt, folder: Path) -> bytes:
    """The same county by other rules: no property certificate is owed."""
    pack = folder / "43.toml"
    text = pack.read_text(encoding="utf-8")
    pack.write_text(text.replace('"property_certificate", "hukou_book",', '"hukou_book",'), encoding="utf-8")
    return Rulebook(folder).bundle_of(fed.REGION)


def cut_rules(receipt: receipt_pb2.Receipt, _folder: Path) -> bytes:
    return receipt.rules[: len(receipt.rules) // 2]


def no_rules(_receipt: receipt_pb2.Receipt, _folder: Path) -> bytes:
    return b""


@pytest.mark.parametrize("forge", [swap_rules, cut_rules, no_rules])
async def test_rules_that_the_requester_did_not_sign_give_no_verdict(
    county: County, forge: Callable[[receipt_pb2.Receipt, Path], bytes]
) -> None:
    plan = county.plan()
    receipt = await county.gateway.send(county.submission(plan))
    receipt.rules = plan.message.rules
    verified = county.gateway.check(receipt)
    assert verdict_of(verified, receipt.rules) is not None
    with pytest.raises((ForgedError, MalformedError)):
        verdict_of(verified, forge(receipt, county.folder))


async def test_receipt_without_its_application_does_not_hold(county: County) -> None:
    receipt = await county.gateway.send(county.submission(county.plan()))
    receipt.application = b""
    with pytest.raises(ForgedError):
        county.gateway.check(receipt)


async def test_verdict_by_rules_that_are_no_longer_in_force_is_left_to_whoever_kept_them(county: County) -> None:
    plan = county.plan()
    receipt = await county.gateway.send(county.submission(plan))
    county.write(TODAY - timedelta(days=1), TODAY + timedelta(days=1), version="2027.2")
    assert county.gateway.pipeline._applications.verdict(receipt) is None
    assert verdict_of(county.gateway.check(receipt), plan.message.rules) is not None


# -- the rulebook -------------------------------------------------------------------------------------------


async def test_broken_pack_leaves_the_rules_in_force(county: County) -> None:
    before = county.rulebook.rules_of(fed.REGION).digest()
    (county.folder / "430102.toml").write_text("format = 2", encoding="utf-8")
    assert not county.rulebook.refresh()
    assert county.rulebook.rules_of(fed.REGION).digest() == before
    county.write(TODAY - timedelta(days=1), TODAY + timedelta(days=1), version="2027.3")
    assert county.rulebook.rules_of(fed.REGION).versions["430102"] == "2027.3"


def test_gateway_does_not_start_with_a_broken_pack(tmp_path: Path) -> None:
    (tmp_path / "43.toml").write_text("format = 2", encoding="utf-8")
    with pytest.raises(MalformedError) as caught:
        Rulebook(tmp_path)
    assert caught.value.reason is Reason.RULES_INVALID


def test_bundle_makes_the_same_rules_again(county: County) -> None:
    rules = county.rulebook.rules_of(fed.REGION)
    assert read_bundle(county.rulebook.bundle_of(fed.REGION), rules.digest()).document() == rules.document()


async def test_leaf_names_the_rules_by_which_a_query_was_accepted(county: County) -> None:
    receipt = await county.gateway.send(county.submission(county.plan()))
    application = application_of(receipt)
    assert application is not None
    assert county.gateway.leaves()[-1].verification.rules_digest == application.rules_digest


async def test_plan_leaves_out_what_a_family_without_co_resident_cannot_be_asked(county: County) -> None:
    roles = (Role.CHILD, Role.GUARDIAN)
    plan = county.plan(Group.HUKOU_SHARED_HOME, roles)
    assert {check.claim for check in plan.message.checks}.isdisjoint({"kinship.same_household@1"})
    (material,) = [item for item in plan.message.materials if item.key == "shared_home_proof"]
    assert [list(way.check_ids) for way in material.alternatives].count([]) == 1


async def test_call_carries_the_verdict(county: County) -> None:
    message = write_submission(county.submission(county.plan())).SerializeToString()
    receipt = await county.gateway.pipeline.verify(message, parse_identity(fed.REQUESTER), None)
    verdict = county.gateway.pipeline._applications.verdict(receipt)
    assert verdict is not None
    assert list(verdict.supported_groups) == [Group.HOME_AND_HUKOU]
