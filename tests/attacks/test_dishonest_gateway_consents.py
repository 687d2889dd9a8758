"""A gateway that spends a consent again, elsewhere, later, or after it was withdrawn: each department counts alone.

The asks here go past the gateway's own store, rules and log, as if it had none.
"""

from __future__ import annotations

from consent.consent_file import ConsentFile
from gateway.protocol.leaf import read_leaf, write_leaf
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2 as pb
from heyan.v1 import log_pb2
from sandbox_departments.journal_entries import Answered, Repeated
from tests import federation as fed
from tests.attacks.submissions import resigned
from tests.dishonest_gateway import LAND, POLICE, DishonestGateway


async def ask_past_the_store(
    liar: DishonestGateway, consent: ConsentFile, gateway: str = fed.GATEWAY, **envelope: object
) -> dict[str, list[str]]:
    """One more application on a consent, which the gateway's store never hears of."""
    submission = liar.gateway.submission(consent, **{"gateway": gateway, **envelope})
    return {uri: await liar.told(uri, ask, gateway) for uri, ask in liar.asks_for(submission).items()}


async def test_forgotten_store_buys_no_use_at_any_department(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue(max_uses=1)
    await liar.verify(consent)
    again = await ask_past_the_store(liar, consent)
    assert again == {POLICE: ["GRANT_USED_UP"], LAND: ["GRANT_USED_UP"]}
    for node in liar.nodes.values():
        assert node.refused() == [(fed.REQUESTER, Reason.GRANT_USED_UP)]
        assert len(node.register.asked) == 1
    await liar.settle()
    assert set(liar.found()) == {("UNLOGGED", POLICE), ("UNLOGGED", LAND)}


async def test_second_gateway_buys_no_use_whatever_its_store_says(liar: DishonestGateway) -> None:
    """The grant says which gateway spends it: the requester's own query to another one does not help."""
    consent = liar.gateway.federation.issue(max_uses=1)
    submission = liar.gateway.submission(consent)
    other = resigned(liar.gateway.federation, submission, gateway=fed.OTHER_GATEWAY)
    told = {uri: await liar.told(uri, ask, fed.OTHER_GATEWAY) for uri, ask in liar.asks_for(other).items()}
    assert told == {POLICE: ["GRANT_OTHER_GATEWAY"], LAND: ["GRANT_OTHER_GATEWAY"]}
    assert [node.refused() for node in liar.nodes.values()] == [[(fed.REQUESTER, Reason.GRANT_OTHER_GATEWAY)]] * 2


# -- replays ------------------------------------------------------------------------------------------------


async def answered_ask(liar: DishonestGateway, consent: ConsentFile | None = None) -> pb.Ask:
    """An ask that the police answered, as the gateway kept it."""
    await liar.verify(consent)
    return liar.police.asks[-1]


async def test_replay_is_answered_alike_and_journalled_as_a_repetition(liar: DishonestGateway) -> None:
    ask = await answered_ask(liar)
    liar.gateway.clock.now += 30
    assert await liar.told(POLICE, ask) == ["YES", "YES"]
    first, second = liar.police.node.parts()
    assert isinstance(first, Answered)
    assert isinstance(second, Repeated)
    assert first.statements == second.statements
    assert len(liar.police.node.register.asked) == 1


async def test_replay_after_its_end_is_refused(liar: DishonestGateway) -> None:
    ask = await answered_ask(liar)
    liar.gateway.clock.now += 66
    assert await liar.told(POLICE, ask) == ["QUERY_EXPIRED"]
    assert liar.police.node.refused() == [(fed.REQUESTER, Reason.QUERY_EXPIRED)]


async def test_replay_to_another_department_is_refused(liar: DishonestGateway) -> None:
    assert await liar.told(LAND, await answered_ask(liar)) == ["PART_OTHER_DEPARTMENT"]
    assert liar.land.node.refused() == [(fed.REQUESTER, Reason.PART_OTHER_DEPARTMENT)]


async def test_replay_by_another_gateway_is_refused(liar: DishonestGateway) -> None:
    ask = await answered_ask(liar)
    assert await liar.told(POLICE, ask, fed.OTHER_GATEWAY) == ["QUERY_OTHER_GATEWAY"]
    assert liar.police.node.refused() == [(fed.REQUESTER, Reason.QUERY_OTHER_GATEWAY)]


async def test_replay_after_a_withdrawal_is_refused_although_it_was_answered(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue()
    ask = await answered_ask(liar, consent)
    liar.police.node.standings.revoked.add(consent.grants[0].digest)
    assert await liar.told(POLICE, ask) == ["GRANT_REVOKED"]
    assert liar.police.node.refused() == [(fed.REQUESTER, Reason.GRANT_REVOKED)]


# -- withdrawals --------------------------------------------------------------------------------------------


async def test_gateway_that_ignores_a_withdrawal_gets_refusals_in_the_requesters_sight(liar: DishonestGateway) -> None:
    """A node follows the issuer's lists itself: there is no list that a gateway could hand it."""
    consent = liar.gateway.federation.issue()
    for node in liar.nodes.values():
        node.standings.revoked.add(consent.grants[0].digest)
    result = await liar.verify(consent)
    assert {(answer.outcome, answer.reason) for answer in result.verified.answers} == {
        (Outcome.REFUSED, Reason.GRANT_REVOKED)
    }
    assert [node.refused() for node in liar.nodes.values()] == [[(fed.REQUESTER, Reason.GRANT_REVOKED)]] * 2
    assert [len(node.register.asked) for node in liar.nodes.values()] == [0, 0]


async def test_answer_after_a_withdrawal_that_was_reported_shows_in_the_log_alone(liar: DishonestGateway) -> None:
    """Within the seconds in which a node's list may be old, only the gateway knows: and the log knows that it did."""
    consent = liar.gateway.federation.issue()
    first, second = await liar.verify(consent), await liar.verify(consent)
    tag = read_leaf(first.receipt.leaves[0].leaf).verification.grant_tags[0]
    forged = liar.forgery()
    forged.record(first.receipt)
    withdrawal = read_leaf(first.receipt.leaves[0].leaf)
    withdrawal.revocation.CopyFrom(log_pb2.RevocationEvent(issuer=fed.ISSUER, grant_tag=tag))
    forged.append(write_leaf(withdrawal))
    forged.record(second.receipt)
    await liar.acknowledge_by(forged)
    assert [(finding.kind.value, finding.index) for finding in liar.audit(forged).findings] == [("WITHDRAWN", 2)]
