"""A gateway whose log ends while it runs, and goes on as another: nothing is lost, spent twice or believed twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from consent.revocation import Revocation
from gateway.departments.port import Orphans
from gateway.freezing import require_known_log
from gateway.protocol.attestation import sign_batch
from gateway.protocol.checkpoint import open_checkpoint, origin_of
from gateway.protocol.errors import (
    ConflictError,
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotFoundError,
    NotGrantedError,
)
from gateway.protocol.leaf import read_leaf
from gateway.protocol.merkle import leaf_hash, verify_consistency, verify_inclusion
from gateway.protocol.note import SignerKey
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.services import LogMethods
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from heyan.v1 import log_service_pb2 as pb
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import PEER, Gateway, department_of, open_gateway
from tests.gateway.deferrals import DEFERRED, LAND, deferrable, fetched, steps
from tests.gateway.disputing import HUKOU, Answered
from tests.gateway.offline_desk import OfflineDesk
from tests.gateway.shards import NEXT, announce, freeze, goes_on, listing, signers_of, terms_of

THIRD = "heyan.test/log/3"


def verifiers(gateway: Gateway, origin: str) -> list[object]:
    key = gateway.federation.signing_keys[fed.GATEWAY].private
    return [SignerKey.from_seed(origin, key.private_bytes_raw()).verifier]  # type: ignore[union-attr]


async def test_last_leaf_names_the_next_log_and_its_first_leaf_the_final_tree(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.send(gateway.submission())
    frozen = goes_on(gateway, tmp_path)
    *_, end, start = gateway.leaves()
    assert end.shard_end.next_origin == NEXT
    assert (start.shard_start.previous_origin, start.shard_start.previous_size) == (fed.LOG_ORIGIN, 2)
    assert start.shard_start.previous_root == frozen.ended.root
    for head, origin in ((frozen.ended, fed.LOG_ORIGIN), (frozen.begun, NEXT)):
        opened = open_checkpoint(head.checkpoint.encode(), verifiers(gateway, origin), origin)  # type: ignore[arg-type]
        assert (opened.size, opened.root) == (head.size, head.root)


async def test_running_gateway_goes_on_without_a_restart(gateway: Gateway, tmp_path: Path) -> None:
    before = await gateway.verify(gateway.submission())
    announce(gateway)
    between = await gateway.verify(gateway.submission())
    assert between.checkpoint.origin == fed.LOG_ORIGIN, "the registry comes first, and the log ends later"
    freeze(gateway, tmp_path)
    after = await gateway.verify(gateway.submission())
    assert (after.checkpoint.origin, after.checkpoint.size) == (NEXT, 2)
    for verified in (before, between):
        again = fetched(gateway, verified)
        assert (again.checkpoint.origin, again.checkpoint.size) == (fed.LOG_ORIGIN, 3)
        assert again.answers == verified.answers


async def test_stopped_gateway_goes_on_when_it_starts(
    tmp_path: Path, federation: fed.Federation, gateway: Gateway
) -> None:
    folder = tmp_path / "stopped"
    folder.mkdir()
    async with open_gateway(folder, federation) as stopped:
        before = await stopped.verify(stopped.submission())
        announce(stopped)
        held = stopped.federation
    freeze(stopped, folder)
    async with open_gateway(folder, held) as again:
        announce(again, fed.LOG_ORIGIN, NEXT)
        require_known_log(again.store, terms_of(again))
        assert (await again.verify(again.submission())).checkpoint.origin == NEXT
        assert fetched(again, before).checkpoint.origin == fed.LOG_ORIGIN


async def test_deferred_query_is_answered_in_the_next_log_and_its_receipt_holds(
    gateway: Gateway, land: FakeDepartment, tmp_path: Path
) -> None:
    verified = await gateway.verify(deferrable(gateway))
    assert steps(verified)[2] == DEFERRED
    goes_on(gateway, tmp_path)
    land.failure = None
    await gateway.tick()
    answered = fetched(gateway, verified)
    assert answered.answers[2].outcome is Outcome.YES
    assert [checkpoint.origin for checkpoint in answered.checkpoints] == [fed.LOG_ORIGIN, NEXT]
    assert not gateway.kept()


async def test_use_that_was_spent_before_the_end_is_spent_after_it(gateway: Gateway, tmp_path: Path) -> None:
    consent = gateway.federation.issue(max_uses=1)
    submission = gateway.submission(consent)
    first = await gateway.verify(submission)
    goes_on(gateway, tmp_path)
    assert (await gateway.verify(submission)).answers == first.answers, "a retry spends nothing, and is answered"
    with pytest.raises(NotGrantedError) as refused:
        await gateway.send(gateway.submission(consent))
    assert refused.value.reason is Reason.GRANT_USED_UP


async def test_withdrawal_before_the_end_counts_after_it(gateway: Gateway, tmp_path: Path) -> None:
    consent = gateway.federation.issue()
    grant = consent.grants[0]
    revocation = Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
    recorded = await gateway.events.withdraw(revocation)
    goes_on(gateway, tmp_path)
    with pytest.raises(NotGrantedError) as refused:
        await gateway.send(gateway.submission(consent))
    assert refused.value.reason is Reason.GRANT_REVOKED
    assert await gateway.events.withdraw(revocation) == recorded, "it is not recorded twice"


async def test_dispute_is_resolved_in_the_next_log_and_asked_after_once(gateway: Gateway, tmp_path: Path) -> None:
    department_of(gateway, HUKOU).outcomes = {HUKOU: Outcome.NO}
    consent = gateway.federation.issue()
    asked = Answered(gateway, consent, await gateway.send(gateway.submission(consent)))
    dispute_id = await asked.open()
    goes_on(gateway, tmp_path)
    await gateway.disputes.take_orphans(asked.resolution(dispute_id))
    receipt = gateway.pipeline.get(asked.request_id, PEER)
    gateway.disputes.attach(receipt)
    verified = gateway.check(receipt)
    assert verified.disputes[0].resolution is not None
    assert [checkpoint.origin for checkpoint in verified.checkpoints] == [fed.LOG_ORIGIN, NEXT]


async def test_ticket_that_was_opened_before_the_end_is_resolved_after_it(gateway: Gateway, tmp_path: Path) -> None:
    desk = OfflineDesk(gateway)
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    ticket = await desk.opened(request_id)
    goes_on(gateway, tmp_path)
    resolved = await desk.resolve(desk.result(ticket))
    assert resolved.tickets[0].resolution is not None
    assert [checkpoint.origin for checkpoint in resolved.checkpoints] == [fed.LOG_ORIGIN, NEXT]


# -- departments ---------------------------------------------------------------------------------------------


async def test_batch_of_the_ended_log_that_is_sent_again_is_recorded_once_in_the_next(
    gateway: Gateway, tmp_path: Path
) -> None:
    land = department_of(gateway, LAND)
    signed, proofs = sign_batch([b"first", b"second"], land.department, land.key, gateway.clock.now)
    await gateway.events.take_orphans(Orphans(land.department, proofs, signed))
    goes_on(gateway, tmp_path)
    for _ in range(2):
        land.on_batch(land.department, signed, proofs)
        await gateway.events.take_orphans(Orphans(land.department, proofs, signed))
    assert [leaf.WhichOneof("event") for leaf in gateway.leaves()].count("recovery") == 2
    assert [item.leaf_indexes for item in land.acknowledged] == [(1, 1), (1, 1)]
    assert {origin_of(item.checkpoint) for item in land.acknowledged} == {NEXT}


async def test_batch_that_is_logged_in_both_logs_is_acknowledged_only_once_the_next_has_all_of_it(
    gateway: Gateway, tmp_path: Path
) -> None:
    land = department_of(gateway, LAND)
    signed, proofs = sign_batch([b"first", b"second"], land.department, land.key, gateway.clock.now)
    land.on_batch(land.department, signed, proofs)
    first, second = (proof.digest for proof in proofs)
    await gateway.events.recover(land.department, (first,))
    goes_on(gateway, tmp_path)
    await gateway.events.recover(land.department, (second,))
    assert land.acknowledged == [], "no checkpoint covers both"
    land.on_batch(land.department, signed, proofs)
    await gateway.events.take_orphans(Orphans(land.department, proofs, signed))
    (told,) = land.acknowledged
    leaves = [read_leaf(gateway.store.leaf(2 + index)) for index in told.leaf_indexes]
    assert origin_of(told.checkpoint) == NEXT
    assert [list(leaf.recovery.statement_digests) for leaf in leaves] == [[first], [second]]


# -- what must not be ----------------------------------------------------------------------------------------


async def test_gateway_that_does_not_know_of_the_next_log_records_nothing_until_it_does(
    gateway: Gateway, tmp_path: Path
) -> None:
    knows = gateway.federation
    gateway.log.use_signers(signers_of(gateway))
    await gateway.send(gateway.submission())
    gateway.federation = knows.changed(listing(NEXT, fed.LOG_ORIGIN))
    frozen = freeze(gateway, tmp_path)
    gateway.federation = knows
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            await gateway.send(gateway.submission())
    assert gateway.log.complaint is not None
    assert Reason.LOG_ENDED in gateway.log.complaint
    assert list(gateway.store.shards()) == [frozen.ended, frozen.begun]
    announce(gateway)
    assert (await gateway.verify(gateway.submission())).checkpoint.origin == NEXT


async def test_requester_whose_registry_does_not_name_the_next_log_refuses_it(gateway: Gateway, tmp_path: Path) -> None:
    old = gateway.federation
    await gateway.send(gateway.submission())
    goes_on(gateway, tmp_path)
    receipt = await gateway.send(gateway.submission())
    gateway.check(receipt)
    gateway.federation = old
    with pytest.raises(HeyanError):
        gateway.check(receipt)


async def test_log_is_not_frozen_before_the_registry_says_so(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.send(gateway.submission())
    with pytest.raises(MalformedError):
        freeze(gateway, tmp_path)
    announce(gateway)
    with pytest.raises(MalformedError):
        freeze(gateway, tmp_path, THIRD)
    assert [head.ended for head in gateway.store.shards()] == [False]


async def test_freeze_that_is_repeated_changes_nothing_and_says_so(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.send(gateway.submission())
    first = goes_on(gateway, tmp_path)
    await gateway.send(gateway.submission())
    before = gateway.store.shards()
    again = freeze(gateway, tmp_path)
    assert (first.was_before, again.was_before, again.ended) == (False, True, first.ended)
    assert gateway.store.shards() == before


async def test_two_freezes_at_once_end_one_log_once(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.send(gateway.submission())
    announce(gateway)
    two = (asyncio.to_thread(freeze, gateway, tmp_path) for _ in range(2))
    both = await asyncio.gather(*two, return_exceptions=True)
    assert sum(isinstance(done, ConflictError) or done.was_before for done in both) == 1  # type: ignore[union-attr]
    assert [head.ended for head in gateway.store.shards()] == [True, False]


async def test_log_that_grows_while_it_is_frozen_ends_with_everything_that_was_confirmed(
    gateway: Gateway, tmp_path: Path
) -> None:
    announce(gateway)
    await gateway.log.append(Entry(b"0"))

    async def append(number: int) -> tuple[bytes, int]:
        data = b"%d" % number
        return data, (await gateway.log.append(Entry(data))).leaf_index

    appending = [asyncio.create_task(append(number)) for number in range(1, 400)]
    await asyncio.sleep(0.01)
    frozen = await asyncio.to_thread(freeze, gateway, tmp_path)
    appending += [asyncio.create_task(append(number)) for number in range(400, 500)]
    done = await asyncio.gather(*appending)
    assert all(gateway.store.leaf(position) == data for data, position in done)
    heads = gateway.store.shards()
    assert heads[0] == frozen.ended
    assert heads[1].end == 500 + 2


async def test_log_may_end_again(gateway: Gateway, tmp_path: Path) -> None:
    first = await gateway.verify(gateway.submission())
    goes_on(gateway, tmp_path)
    second = await gateway.verify(gateway.submission())
    announce(gateway, fed.LOG_ORIGIN, NEXT, THIRD)
    freeze(gateway, tmp_path, THIRD)
    third = await gateway.verify(gateway.submission())
    origins = [fetched(gateway, verified).checkpoint.origin for verified in (first, second, third)]
    assert origins == [fed.LOG_ORIGIN, NEXT, THIRD]


@pytest.mark.parametrize(
    "origins", [(NEXT,), (NEXT, fed.LOG_ORIGIN), (fed.LOG_ORIGIN, NEXT, THIRD, "heyan.test/log/4")]
)
async def test_gateway_does_not_start_with_another_store_than_the_registry_tells_of(
    gateway: Gateway, tmp_path: Path, origins: tuple[str, ...]
) -> None:
    await gateway.send(gateway.submission())
    goes_on(gateway, tmp_path)
    require_known_log(gateway.store, terms_of(gateway))
    announce(gateway, *origins)
    with pytest.raises(ConflictError):
        require_known_log(gateway.store, terms_of(gateway))


async def test_gateway_that_lost_its_store_does_not_begin_the_next_log_without_the_one_before(
    gateway: Gateway, tmp_path: Path
) -> None:
    announce(gateway)
    lost = SqliteStore(tmp_path / "empty.db")
    with pytest.raises(MalformedError):
        require_known_log(lost, terms_of(gateway))
    lost.close()


# -- what auditors and everybody are served -----------------------------------------------------------------


async def served(gateway: Gateway, method: str, request: object) -> bytes:
    methods = {item.name: item.handler for item in LogMethods(gateway.log, gateway.store).methods()}
    return await methods[method](request.SerializeToString(), PEER, None)  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize("origin", [fed.LOG_ORIGIN, NEXT, ""])
async def test_every_log_is_served_whole_under_its_own_checkpoint(
    gateway: Gateway, tmp_path: Path, origin: str
) -> None:
    for _ in range(3):
        await gateway.log.append(Entry(b"old"))
    goes_on(gateway, tmp_path)
    for _ in range(4):
        await gateway.log.append(Entry(b"new"))
    name = origin or NEXT
    note = pb.GetCheckpointResponse.FromString(
        await served(gateway, "GetCheckpoint", pb.GetCheckpointRequest(origin=origin))
    ).checkpoint
    checkpoint = open_checkpoint(note.encode(), verifiers(gateway, name), name)  # type: ignore[arg-type]
    assert checkpoint.size == (4 if name == fed.LOG_ORIGIN else 5)
    leaves = pb.ListLeavesResponse.FromString(
        await served(gateway, "ListLeaves", pb.ListLeavesRequest(origin=origin))
    ).leaves
    assert len(leaves) == checkpoint.size, "and nothing of the next log behind it"
    request = pb.GetInclusionProofRequest(leaf_index=1, origin=origin)
    proof = pb.GetInclusionProofResponse.FromString(await served(gateway, "GetInclusionProof", request))
    verify_inclusion(leaf_hash(leaves[1]), 1, proof.tree_size, proof.path, checkpoint.root)
    small = gateway.log.inclusion(0, 1, origin)
    consistency = pb.GetConsistencyProofResponse.FromString(
        await served(gateway, "GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=1, origin=origin))
    )
    assert small == ()
    verify_consistency(1, leaf_hash(leaves[0]), consistency.new_size, checkpoint.root, consistency.path)


@pytest.mark.parametrize("start", [4, 5, (1 << 63) - 1])
async def test_page_past_the_end_of_an_ended_log_is_empty(gateway: Gateway, tmp_path: Path, start: int) -> None:
    for _ in range(3):
        await gateway.log.append(Entry(b"old"))
    goes_on(gateway, tmp_path)
    request = pb.ListLeavesRequest(origin=fed.LOG_ORIGIN, start_index=start)
    assert not pb.ListLeavesResponse.FromString(await served(gateway, "ListLeaves", request)).leaves


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("GetCheckpoint", pb.GetCheckpointRequest),
        ("ListLeaves", pb.ListLeavesRequest),
        ("GetInclusionProof", pb.GetInclusionProofRequest),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest),
        ("ListStatistics", lambda origin: pb.ListStatisticsRequest(day="2027-06-01", origin=origin)),
    ],
)
async def test_log_that_never_was_is_not_found(gateway: Gateway, method: str, request_of: type) -> None:
    await gateway.log.append(Entry(b"leaf"))
    with pytest.raises(NotFoundError):
        await served(gateway, method, request_of(origin="heyan.test/another"))


async def test_one_log_alone_stands_as_it_ended_for_whoever_follows_it(gateway: Gateway, tmp_path: Path) -> None:
    """A witness of the ended log is never shown the next one's tree as its own."""
    for _ in range(3):
        await gateway.log.append(Entry(b"old"))
    alone = gateway.log.of(fed.LOG_ORIGIN)
    before = alone.head()
    frozen = goes_on(gateway, tmp_path)
    await gateway.log.append(Entry(b"new"))
    assert alone.head() == frozen.ended
    assert alone.root(3) == before.root
    path = alone.consistency(3, 4)
    verify_consistency(3, before.root, 4, frozen.ended.root, path)
    assert gateway.log.of(NEXT).head() == gateway.log.head()
    with pytest.raises(NotFoundError):
        gateway.log.of(NEXT).consistency(1, 5)
