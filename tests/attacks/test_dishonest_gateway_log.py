"""A gateway that keeps two logs under one key, or rolls one back: whom it shows what, and who can prove it.

Checkpoints are signed, so two of them that cannot be of one tree convict the gateway, whoever holds them. A node
keeps every checkpoint that it is shown, also those that it refuses; a requester keeps one in each receipt.
"""

from __future__ import annotations

from msgspec.structs import replace

from gateway.audit.findings import Disagreement, Reconciliation
from gateway.audit.log_view import Sighting, forks
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Document
from heyan.v1 import log_pb2
from sandbox_departments.acknowledgements import OVERTAKING_TIME
from sandbox_departments.journal_entries import AcknowledgementRefused, BatchAcknowledged
from tests import federation as fed
from tests.attacks.nodes import RealNode
from tests.dishonest_gateway import LAND, POLICE, DishonestGateway, Forgery, sighting_of


def other_log(liar: DishonestGateway) -> Forgery:
    """The real log with another registry adopted in its first leaf: of the same size, and of another root."""
    leaves = liar.leaves()
    first = log_pb2.LogLeaf.FromString(leaves[0])
    first.registry_version += 1
    return liar.forgery(of=[first.SerializeToString(), *leaves[1:]])


def shown_to(node: RealNode) -> list[Sighting]:
    """The checkpoints in a node's journal, taken or not."""
    entries = node.entries()
    return [
        Sighting(node.uri, entry.checkpoint)
        for entry in entries
        if isinstance(entry, (BatchAcknowledged, AcknowledgementRefused))
    ]


def refused_acknowledgements(node: RealNode) -> list[Reason]:
    return [entry.reason for entry in node.entries() if isinstance(entry, AcknowledgementRefused)]


async def test_fork_between_client_and_department_is_proven_by_their_two_checkpoints(liar: DishonestGateway) -> None:
    """Each believes what it was shown; together they need neither the log nor anybody's word."""
    result = await liar.verify()
    await liar.acknowledge_by(other_log(liar))
    held = [sighting_of(result), *shown_to(liar.police.node)]
    assert refused_acknowledgements(liar.police.node) == []
    assert forks(held, liar.log_view()) == [(held[0], held[1])]


async def test_fork_between_two_departments_is_told_by_the_auditor(liar: DishonestGateway) -> None:
    await liar.verify()
    forged = other_log(liar)
    await liar.acknowledge_by(forged, POLICE)
    await liar.settle()
    assert refused_acknowledgements(liar.land.node) == []
    findings = liar.audit().findings
    assert [(finding.kind, finding.holder) for finding in findings] == [(Disagreement.FORKED, POLICE)]
    assert set(findings[0].checkpoints) == {forged.note(), liar.gateway.log.head().checkpoint}


async def test_fork_within_one_department_is_refused_journalled_and_told(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue()
    await liar.verify(consent)
    first = liar.forgery(of=liar.leaves())
    forged = other_log(liar)
    await liar.settle()
    await liar.verify(consent)
    assert first.note() == shown_to(liar.police.node)[0].checkpoint
    await liar.acknowledge_by(forged, POLICE)
    assert refused_acknowledgements(liar.police.node) == [Reason.PROOF_INVALID]
    assert liar.police.node.journal.debt(fed.GATEWAY).statements == 2
    await liar.acknowledge_by(liar.forgery(of=liar.leaves()))
    assert liar.found() == [("FORKED", POLICE)]


async def test_rolled_back_log_is_refused_journalled_and_told(liar: DishonestGateway) -> None:
    """The gateway restores an old copy and goes on from there."""
    consent = liar.gateway.federation.issue()
    await liar.verify(consent)
    old = liar.leaves()
    await liar.verify(consent)
    await liar.settle()
    restored = liar.forgery(of=old)
    liar.gateway.clock.now += OVERTAKING_TIME + 1
    await liar.verify(consent)
    await liar.acknowledge_by(restored, POLICE)
    assert refused_acknowledgements(liar.police.node) == [Reason.PROOF_INVALID]
    assert {("CUT_OFF", POLICE), ("CUT_OFF", LAND), ("UNLOGGED", POLICE)} <= set(liar.found(restored))


async def test_log_that_goes_on_after_a_rollback_is_a_fork_to_the_auditor(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue()
    first = await liar.verify(consent)
    old = liar.leaves()
    second = await liar.verify(consent)
    await liar.settle()
    restored = liar.forgery(of=old)
    third = await liar.verify(consent)
    restored.record(third.receipt)
    found = liar.audit(restored, sightings=[sighting_of(first), sighting_of(second)])
    holders = {finding.holder for finding in found.findings if finding.kind is Disagreement.FORKED}
    assert holders == {fed.REQUESTER, POLICE, LAND}


async def test_requesters_alone_can_prove_a_fork(liar: DishonestGateway) -> None:
    """Departments are shown the true log, and two requesters two others."""
    consent = liar.gateway.federation.issue()
    forged = liar.forgery()
    liar.bend_receipt = forged.record
    one = await liar.verify(consent)
    another = liar.forgery()
    liar.bend_receipt = another.record
    two = await liar.verify(consent)
    await liar.settle()
    assert forks([sighting_of(one), sighting_of(two)], liar.log_view()) == [(sighting_of(one), sighting_of(two))]
    assert {finding.holder for finding in liar.audit(sightings=[sighting_of(one), sighting_of(two)]).findings} == {
        fed.REQUESTER
    }


async def test_gateway_that_serves_by_an_old_registry_is_refused_by_departments(liar: DishonestGateway) -> None:
    """The newer one took a claim from the requester: nodes hold it, and the leaf says by which version was served."""

    def take_away(document: Document) -> Document:
        terms = next(party for party in document.parties if party.id == fed.REQUESTER).requester
        assert terms is not None
        left = tuple(claim for claim in terms.claims if claim != "hukou.child_registered@1")
        return fed.edit_party(document, fed.REQUESTER, requester=replace(terms, claims=left))

    newer = liar.gateway.federation.changed(take_away)
    for node in liar.nodes.values():
        node.registry = lambda: newer.registry
    result = await liar.verify()
    refused = {answer.reason for answer in result.verified.answers if answer.department == POLICE}
    assert refused == {Reason.CLAIM_NOT_ALLOWED}
    assert liar.police.node.refused() == [(fed.REQUESTER, Reason.CLAIM_NOT_ALLOWED)]
    assert liar.gateway.leaves()[-1].registry_version == newer.registry.version - 1
    await liar.settle()
    assert liar.audit() == Reconciliation((), owed=0, recovered=0)
