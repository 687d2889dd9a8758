"""The methods beside Verify: plans, and the log as auditors read it."""

from __future__ import annotations

import msgspec
import pytest

from gateway.applications import Applications
from gateway.log import Log
from gateway.plans import make_plan
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.errors import MalformedError, NotFoundError, NotGrantedError
from gateway.protocol.matrix import Group, School
from gateway.protocol.reasons import Reason
from gateway.rulebook import Rulebook
from gateway.services import REQUESTERS, GatewayMethods, LogMethods
from gateway.stores.records import Entry
from gateway.witnessing.witnesses import Witnesses
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import log_service_pb2
from tests import federation as fed
from tests.backlog import Backlogs
from tests.gateway.conftest import PEER, Gateway
from tests.gateway.offline_desk import OfflineDesk

RULEBOOK = Rulebook(None)


@pytest.fixture
def methods(gateway: Gateway) -> LogMethods:
    return LogMethods(gateway.log, gateway.store)


async def fill(log: Log, leaves: list[bytes]) -> None:
    for leaf in leaves:
        await log.append(Entry(leaf))


async def pages(methods: LogMethods, page_size: int) -> list[list[bytes]]:
    found: list[list[bytes]] = []
    while True:
        start = sum(len(page) for page in found)
        request = log_service_pb2.ListLeavesRequest(start_index=start, page_size=page_size)
        data = await methods.list_leaves(request.SerializeToString(), PEER, None)  # type: ignore[arg-type]
        page = list(log_service_pb2.ListLeavesResponse.FromString(data).leaves)
        if not page:
            return found
        found.append(page)


async def test_leaves_come_in_pages_and_none_is_left_out(gateway: Gateway, methods: LogMethods) -> None:
    leaves = [b"leaf %d" % number for number in range(25)]
    await fill(gateway.log, leaves)
    found = await pages(methods, 10)
    assert [len(page) for page in found] == [10, 10, 5]
    assert [leaf for page in found for leaf in page] == leaves


async def test_page_of_large_leaves_is_cut_and_goes_on(
    gateway: Gateway, methods: LogMethods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.services.MAX_PAGE", 100)
    leaves = [bytes([number]) * 60 for number in range(5)]
    await fill(gateway.log, leaves)
    assert [leaf for page in await pages(methods, 0) for leaf in page] == leaves


async def test_index_that_no_store_can_hold_is_refused(methods: LogMethods, gateway: Gateway) -> None:
    await fill(gateway.log, [b"leaf"])
    request = log_service_pb2.ListLeavesRequest(start_index=1 << 63).SerializeToString()
    with pytest.raises(MalformedError):
        await methods.list_leaves(request, PEER, None)  # type: ignore[arg-type]
    request = log_service_pb2.GetInclusionProofRequest(leaf_index=0, tree_size=2).SerializeToString()
    with pytest.raises(NotFoundError):
        await methods.get_inclusion_proof(request, PEER, None)  # type: ignore[arg-type]


def test_who_may_call_what(gateway: Gateway, methods: LogMethods) -> None:
    """The whole table, by hand: a role added by mistake fails here."""
    gateway_methods = GatewayMethods(
        pipeline=gateway.pipeline,
        events=gateway.events,
        registry=lambda: gateway.federation.registry,
        rulebook=RULEBOOK,
        applications=Applications(RULEBOOK),
        admission=gateway.admission,
        clock=gateway.clock,
        watch=gateway.watchers.watch,
        on_withdrawal=gateway.deferral.withdrawn,
        disputes=gateway.disputes,
        bring_under=Witnesses(log=gateway.log, store=gateway.store, watchers=gateway.watchers).bring_under,
    )
    table = {
        method.name: {role.value for role in method.roles}
        for method in (
            *gateway_methods.methods(),
            Backlogs(gateway).streams.method(REQUESTERS),
            *methods.methods(),
            *OfflineDesk(gateway).methods.methods(),
        )
    }
    assert table == {
        "GetPlan": {"requester"},
        "Verify": {"requester"},
        "VerifyStream": {"requester"},
        "GetVerification": {"requester"},
        "ReportRevocation": {"issuer"},
        "DisputeAnswer": {"requester", "issuer"},
        "GetCheckpoint": {"auditor", "requester", "department"},
        "ListLeaves": {"auditor"},
        "ListStatistics": {"auditor"},
        "GetInclusionProof": {"auditor", "requester", "department"},
        "GetConsistencyProof": {"auditor", "requester", "department"},
        "OpenOfflineTicket": {"requester"},
        "ResolveOfflineTicket": {"requester"},
        "ListOfflineTickets": {"requester"},
    }


# -- plans --------------------------------------------------------------------------------------------------


def test_plan_names_the_node_and_its_keys_of_every_check(gateway: Gateway) -> None:
    for school in School:
        for group in Group:
            if school.is_public == (group is Group.PRIVATE_URBAN):
                continue
            request = pb.GetPlanRequest(region=fed.REGION, school=school.value, group=group.value)
            plan = make_plan(request, RULEBOOK, gateway.federation.registry, gateway.clock.now)
            assert plan.checks
            assert all(check.department and list(check.sealing_key_ids) == ["seal-1"] for check in plan.checks)
            replaced = {claim for item in plan.materials for way in item.alternatives for claim in way.claims}
            assert {check.claim for check in plan.checks} == replaced


def test_digest_of_the_rules_outlives_a_change_of_keys(gateway: Gateway) -> None:
    request = pb.GetPlanRequest(region=fed.REGION, school="public_primary", group="neither")
    other = fed.Federation.create(gateway.clock.now, seed="other keys")
    digests = {
        make_plan(request, RULEBOOK, federation.registry, gateway.clock.now).rules_digest
        for federation in (gateway.federation, other)
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("region", "999999"), ("region", ""), ("school", "night"), ("group", "both"), ("group", "private_urban")],
)
def test_plan_of_what_annex_2_does_not_have_is_refused_with_its_field(gateway: Gateway, field: str, value: str) -> None:
    right = {"region": fed.REGION, "school": "public_primary", "group": "neither"}
    with pytest.raises(MalformedError) as caught:
        make_plan(
            pb.GetPlanRequest(**{**right, field: value}), RULEBOOK, gateway.federation.registry, gateway.clock.now
        )
    assert caught.value.violations[0].field == field


def test_region_without_a_node_is_refused(gateway: Gateway) -> None:
    node = gateway.federation.registry.party(fed.DEPARTMENTS[DepartmentKind.POLICE])
    assert node.department is not None
    elsewhere = (msgspec.structs.replace(node.department.coverage[0], regions=("4303",)),)
    terms = msgspec.structs.replace(node.department, coverage=elsewhere)
    bare = gateway.federation.changed(lambda document: fed.edit_party(document, node.id, department=terms))
    request = pb.GetPlanRequest(region=fed.REGION, school="public_primary", group="neither")
    with pytest.raises(NotGrantedError) as caught:
        make_plan(request, RULEBOOK, bare.registry, gateway.clock.now)
    assert caught.value.reason is Reason.REGION_NOT_SERVED
