"""Tickets for materials: only those that the rules of the application's county have verified on paper."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.applications import Applications
from gateway.client import Plan
from gateway.plans import make_plan
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.matrix import Group, School
from gateway.protocol.offline import OfflineGround, OfflineOutcome, OfflineReason, Subject
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.rulebook import Rulebook
from gateway.rules.shelf import SHIPPED
from gateway.verdicts import verdict_of
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import receipt_pb2
from tests import federation as fed
from tests.gateway.conftest import PEER, Gateway, department_of
from tests.gateway.offline_desk import OfflineDesk, OfflineDoor, last_refusal, told

STATEMENT = Subject(material="co_residence_statement")
ONLINE = Subject(material="hukou_book")
NOT_OWED = Subject(material="birth_certificate")
COUNTY = SHIPPED / "430302.toml"
"""A sample in which families sign a statement that no department can verify."""


@dataclass
class Bureau:
    """A county whose rules have one material for paper, and a request of a family that owes it."""

    folder: Path
    rulebook: Rulebook
    desk: OfflineDesk

    @classmethod
    def open(cls, gateway: Gateway, folder: Path) -> Bureau:
        folder.mkdir()
        (folder / "43.toml").write_bytes((SHIPPED / "43.toml").read_bytes())
        rules = COUNTY.read_text(encoding="utf-8").replace("430302", fed.REGION)
        rules = re.sub(r"^opens = .*$", "opens = 2027-01-01T08:00:00+08:00", rules, flags=re.MULTILINE)
        rules = re.sub(r"^closes = .*$", "closes = 2027-12-01T08:00:00+08:00", rules, flags=re.MULTILINE)
        (folder / f"{fed.REGION}.toml").write_text(rules, encoding="utf-8")
        rulebook = Rulebook(folder)
        applications = Applications(rulebook)
        gateway.pipeline._applications = applications
        return cls(folder, rulebook, OfflineDesk(gateway, applications=applications))

    def change(self) -> None:
        """A newer version of the county's rules."""
        file = self.folder / f"{fed.REGION}.toml"
        file.write_text(file.read_text(encoding="utf-8").replace('"2027.1"', '"2027.2"'), encoding="utf-8")
        self.rulebook.refresh()

    async def asked(self, group: Group = Group.HUKOU_SHARED_HOME) -> bytes:
        request = pb.GetPlanRequest(region=fed.REGION, school=School.PUBLIC_PRIMARY, group=group)
        gateway = self.desk.gateway
        message = make_plan(request, self.rulebook, gateway.federation.registry, gateway.clock.now)
        plan = Plan(fed.REGION, School.PUBLIC_PRIMARY, group, message)
        consent = gateway.federation.issue(fed.BIG_FAMILY)
        questions = plan.questions(fed.BIG_FAMILY)
        submission = gateway.submission(consent, questions, application=plan.application(bytes(32)))
        await gateway.send(submission)
        return read_query(submission.signed.query).request_id


@pytest.fixture
def bureau(gateway: Gateway, tmp_path: Path) -> Bureau:
    return Bureau.open(gateway, tmp_path / "rules")


async def test_material_that_no_department_can_verify_gets_a_ticket(bureau: Bureau) -> None:
    ticket = await bureau.desk.opened(await bureau.asked(), STATEMENT)
    assert (ticket.ground, ticket.region, ticket.claim, ticket.department) == (
        OfflineGround.OFFLINE_ONLY,
        fed.REGION,
        "",
        "",
    )
    assert bureau.desk.events("offline_ticket")[0].material == STATEMENT.material
    (listed,) = bureau.desk.tickets.listed(PEER, -1, 10)
    assert listed.outcome is None


async def test_its_result_is_recorded(bureau: Bureau) -> None:
    ticket = await bureau.desk.opened(await bureau.asked(), STATEMENT)
    (resolved,) = (await bureau.desk.resolve(bureau.desk.result(ticket))).tickets
    assert resolved.resolution is not None


async def test_what_staff_accepted_on_paper_counts_beside_the_verdict_and_not_in_it(bureau: Bureau) -> None:
    bundle = bureau.rulebook.bundle_of(fed.REGION)
    ticket = await bureau.desk.opened(await bureau.asked(), STATEMENT)
    verdict = verdict_of(await bureau.desk.resolve(bureau.desk.result(ticket)), bundle)
    assert verdict is not None
    assert (verdict.supported, verdict.with_paper) == ((), (Group.HUKOU_SHARED_HOME,))


async def test_what_staff_rejected_on_paper_supports_nothing(bureau: Bureau) -> None:
    bundle = bureau.rulebook.bundle_of(fed.REGION)
    ticket = await bureau.desk.opened(await bureau.asked(), STATEMENT)
    rejected = bureau.desk.result(ticket, outcome=OfflineOutcome.REJECTED, reason=OfflineReason.NOT_PRESENTED)
    verdict = verdict_of(await bureau.desk.resolve(rejected), bundle)
    assert verdict is not None
    assert verdict.with_paper == ()


@pytest.mark.parametrize("outcome", [Outcome.UNDETERMINED, Outcome.NO])
async def test_paper_stands_for_what_a_department_cannot_tell_and_never_against_what_it_told(
    bureau: Bureau, outcome: Outcome
) -> None:
    """The hukou is undetermined and accepted on paper; then perhaps the department answers after all."""
    police = department_of(bureau.desk.gateway, "hukou.child_registered@1")
    police.outcomes = {"hukou.child_registered@1": Outcome.UNDETERMINED}
    request_id = await bureau.asked(Group.HOME_AND_HUKOU)
    receipt = bureau.desk.gateway.pipeline.get(request_id, PEER)
    (doubtful,) = [each for each in bureau.desk.gateway.check(receipt).answers if each.outcome is Outcome.UNDETERMINED]
    ticket = await bureau.desk.opened(request_id, Subject(check_id=doubtful.check.check_id))
    verified = await bureau.desk.resolve(bureau.desk.result(ticket))
    told_since = tuple(replace(each, outcome=outcome) if each == doubtful else each for each in verified.answers)
    verdict = verdict_of(replace(verified, answers=told_since), bureau.rulebook.bundle_of(fed.REGION))
    assert verdict is not None
    assert verdict.with_paper == ((Group.HOME_AND_HUKOU,) if outcome is Outcome.UNDETERMINED else ())


@pytest.mark.parametrize("subject", [ONLINE, NOT_OWED, Subject(material="nothing")], ids=lambda subject: subject.name)
async def test_material_that_can_be_verified_online_or_is_not_owed_gets_none(bureau: Bureau, subject: Subject) -> None:
    request_id = await bureau.asked()
    assert await told(OfflineDoor(bureau.desk).open(request_id, subject)) == Reason.OFFLINE_MATERIAL_ONLINE
    refusal = last_refusal(bureau.desk)
    assert (refusal.reason, refusal.region) == (Reason.OFFLINE_MATERIAL_ONLINE, fed.REGION)


async def test_material_that_another_group_owes_gets_none(bureau: Bureau) -> None:
    request_id = await bureau.asked(Group.HOME_AND_HUKOU)
    assert await told(bureau.desk.open(request_id, STATEMENT)) == Reason.OFFLINE_MATERIAL_ONLINE


async def test_material_of_a_query_that_was_never_sent_gets_none(bureau: Bureau) -> None:
    assert await told(bureau.desk.open(bytes(16), STATEMENT)) == Reason.OFFLINE_NOT_ATTEMPTED


async def test_material_under_rules_that_have_changed_since_is_refused(bureau: Bureau) -> None:
    request_id = await bureau.asked()
    bureau.change()
    assert await told(bureau.desk.open(request_id, STATEMENT)) == Reason.RULES_CHANGED


async def test_ticket_outlives_a_change_of_the_rules(bureau: Bureau) -> None:
    request_id = await bureau.asked()
    ticket = await bureau.desk.opened(request_id, STATEMENT)
    bureau.change()
    assert await bureau.desk.opened(request_id, STATEMENT) == ticket


async def test_gateway_that_asks_for_paper_against_the_rules_is_caught_by_whoever_has_them(bureau: Bureau) -> None:
    """It logs a ticket for a material that can be verified online; the receipt holds, and the rules tell."""
    request_id = await bureau.asked()
    bundle = bureau.rulebook.bundle_of(fed.REGION)
    honest = await bureau.desk.open(request_id, STATEMENT)
    assert verdict_of(honest, bundle) is not None
    bureau.desk.applications.require_offline_only = lambda *_: None  # type: ignore[method-assign]
    lying = await bureau.desk.open(request_id, ONLINE)
    with pytest.raises(ForgedError) as caught:
        verdict_of(lying, bundle)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_ticket_for_a_material_shown_for_another_is_caught(bureau: Bureau) -> None:
    receipt = await bureau.desk.tickets.open(await bureau.asked(), STATEMENT, PEER)
    assert isinstance(receipt, receipt_pb2.Receipt)
    receipt.tickets[0].subject.material = ONLINE.material
    with pytest.raises(BadDataError):
        bureau.desk.gateway.check(receipt)
