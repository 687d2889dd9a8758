"""Erasure on the record: nothing can be read any more, nothing is usable afresh, log and receipts still hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.ending import Endings
from gateway.evidence.erasing import Eraser, Ground
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.log import Log
from gateway.protocol.errors import LogUnavailableError, NotFoundError
from gateway.protocol.identities import parse_identity
from gateway.protocol.leaf import CheckStatus, Tags
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import verify_receipt
from gateway.requests import Requests
from gateway.stores.records import RequestKey
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_keeping import SqliteKeeping
from gateway.stores.sqlite_key_slots import to_slot
from heyan.v1 import gateway_service_pb2, log_pb2, receipt_pb2
from tests import federation as fed
from tests.evidence.erasures import eraser_of, erasures_in, is_erased, key_of, raw_bytes, request_id_of
from tests.gateway.conftest import PEER, QUESTIONS, Gateway, department_of
from tests.gateway.deferrals import DOWN, LAND, deferrable
from tests.gateway.disputing import answered
from tests.gateway.offline_desk import OfflineDesk

LAWFUL = Ground.LAWFUL_REQUEST


async def test_erased_request_is_told_as_erased_and_its_receipt_still_verifies(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    receipt = await gateway.send(submission)
    beside = gateway.submission()
    await gateway.verify(beside)
    erased = await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    assert (erased.grants, erased.leaf_indexes) == (1, (2,))
    (event,) = erasures_in(gateway)
    assert event.ground == log_pb2.ERASURE_GROUND_LAWFUL_REQUEST
    assert list(event.grant_tags) == [Tags(receipt.leaf_key).grant(consent.grants[0].digest)]
    assert list(event.grant_tags) == list(gateway.leaves()[0].verification.grant_tags)
    for ask in (lambda: gateway.send(submission), lambda: get(gateway, request_id_of(submission))):
        with pytest.raises(NotFoundError) as told:
            await ask()
        assert is_erased(told.value)
    assert gateway.check(receipt).answers  # the requester's copy
    assert gateway.check(gateway.pipeline.get(request_id_of(beside), PEER)).answers


async def get(gateway: Gateway, request_id: bytes) -> receipt_pb2.Receipt:
    return gateway.pipeline.get(request_id, PEER)


async def test_erased_grant_that_is_still_valid_is_not_usable_afresh(gateway: Gateway) -> None:
    consent = gateway.federation.issue(max_uses=3)
    await gateway.verify(gateway.submission(consent))
    spent = gateway.used(consent)
    await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    asked = sum(len(department.asks) for department in gateway.departments.values())
    with pytest.raises(NotFoundError) as told:
        await gateway.send(gateway.submission(consent))
    assert is_erased(told.value)
    assert sum(len(department.asks) for department in gateway.departments.values()) == asked  # nobody was asked
    assert gateway.used(consent) == spent


async def test_grant_erased_while_departments_answer_releases_nothing_and_what_they_signed_is_logged(
    gateway: Gateway,
) -> None:
    consent = gateway.federation.issue()
    await gateway.verify(gateway.submission(consent))
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    sending = asyncio.create_task(gateway.send(gateway.submission(consent)))
    while not land.asks[1:]:  # noqa: ASYNC110 - a fake that tells nobody
        await asyncio.sleep(0)
    await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    land.gate.set()
    with pytest.raises(NotFoundError) as told:
        await sending
    assert is_erased(told.value)
    await gateway.events.settle_owed()
    logged = {digest for leaf in gateway.leaves() for digest in leaf.recovery.statement_digests}
    assert len(logged) == len(QUESTIONS)


async def test_what_waited_ends_on_the_record_before_it_is_erased(gateway: Gateway) -> None:
    department_of(gateway, LAND).failure = DOWN
    consent = gateway.federation.issue()
    submission = deferrable(gateway, consent=consent)
    await gateway.send(submission)
    assert len(gateway.room) == 1
    await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    assert gateway.kept() == []
    assert gateway.gone == [Reason.EVIDENCE_ERASED]
    first, ended, erased = gateway.leaves()
    assert [row.status for row in first.verification.checks if row.status == CheckStatus.DEFERRED]
    (row,) = ended.verification.checks
    assert (row.status, row.reason) == (CheckStatus.UNAVAILABLE, Reason.EVIDENCE_ERASED)
    assert erased.HasField("erasure")


async def test_request_that_begins_to_wait_while_its_consent_is_erased_ends_on_the_record_too(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent = gateway.federation.issue(max_uses=3)
    await gateway.verify(gateway.submission(consent))
    department_of(gateway, LAND).failure = DOWN
    eraser = eraser_of(gateway)
    end_what_waits, sent = eraser._end_what_waits, []

    async def end_and_wait_anew(digest: bytes) -> frozenset[RequestKey]:
        unended = await end_what_waits(digest)
        if not sent:
            sent.append(await gateway.send(deferrable(gateway, consent=consent)))
        return unended

    monkeypatch.setattr(eraser, "_end_what_waits", end_and_wait_anew)
    assert (await eraser.erase([consent.grants[0].digest], LAWFUL)).grants == 1
    *_, ended, erased = gateway.leaves()
    assert {row.reason for row in ended.verification.checks} == {Reason.EVIDENCE_ERASED}
    assert erased.HasField("erasure")
    assert gateway.kept() == []
    assert len(gateway.room) == 0


async def test_waiting_request_whose_row_was_changed_does_not_keep_a_consent_from_being_erased(
    gateway: Gateway,
) -> None:
    department_of(gateway, LAND).failure = DOWN
    consent = gateway.federation.issue()
    await gateway.send(deferrable(gateway, consent=consent))
    gateway.store._writer.execute("UPDATE deferrals SET message = zeroblob(length(message))")
    assert (await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)).grants == 1
    assert gateway.kept() == []
    await gateway.tick()
    assert len(gateway.room) == 0


async def test_gateway_whose_waiting_request_was_erased_by_another_process_lets_go_of_it(gateway: Gateway) -> None:
    department_of(gateway, LAND).failure = DOWN
    consent = gateway.federation.issue()
    await gateway.send(deferrable(gateway, consent=consent))
    async with other_process(gateway) as eraser:
        await eraser.erase([consent.grants[0].digest], LAWFUL)
    department_of(gateway, LAND).failure = None
    await gateway.tick()
    assert len(gateway.room) == 0


@asynccontextmanager
async def other_process(gateway: Gateway) -> AsyncIterator[Eraser]:
    """An eraser of another process on the same store: its own connections, log and keys."""
    (_, _, path) = gateway.store._writer.execute("PRAGMA database_list").fetchone()
    store = SqliteStore(Path(path))
    log = Log(store, fed.LOG_ORIGIN, *gateway.log._current_signers(fed.LOG_ORIGIN))
    vault = Vault(Keks([FileKek(bytes(32))]))
    requests = Requests(store, log, vault, lambda: gateway.federation.registry)
    log.start()
    yield Eraser(
        store=store,
        keeping=SqliteKeeping(store),
        log=log,
        requests=requests,
        stamp=gateway.stamp,
        endings=Endings(parse_identity(fed.GATEWAY), gateway.clock, requests),
        forget=vault.forget,
    )
    await log.stop()
    store.close()


async def test_gateway_notices_what_another_process_erased_though_it_had_the_key(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    await gateway.verify(submission)
    assert gateway.vault._cached
    async with other_process(gateway) as eraser:
        assert (await eraser.erase([consent.grants[0].digest], LAWFUL)).grants == 1
    with pytest.raises(NotFoundError) as told:
        gateway.pipeline.get(request_id_of(submission), PEER)
    assert is_erased(told.value)
    assert not gateway.vault._cached
    await gateway.verify(gateway.submission())  # the log goes on where the other process left it
    assert gateway.log.head().size == 3


async def test_two_processes_that_erase_the_same_at_once_erase_it_once(gateway: Gateway) -> None:
    consents = [gateway.federation.issue() for _ in range(4)]
    for consent in consents:
        await gateway.verify(gateway.submission(consent))
    digests = [consent.grants[0].digest for consent in consents]
    async with other_process(gateway) as other:
        both = await asyncio.gather(eraser_of(gateway).erase(digests, LAWFUL), other.erase(digests[:3], LAWFUL))
    assert sum(item.grants for item in both) == 4
    tags = [tag for event in erasures_in(gateway) for tag in event.grant_tags]
    assert len(tags) == len(set(tags)) == 4


async def test_offline_ticket_goes_with_its_consent_and_the_desk_stays_usable(gateway: Gateway) -> None:
    desk = OfflineDesk(gateway)
    consent = gateway.federation.issue()
    request_id, _ = await desk.asked(Outcome.UNDETERMINED, consent=consent)
    ticket = await desk.opened(request_id)
    other, _ = await desk.asked(Outcome.UNDETERMINED)
    await desk.open(other)
    await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    for attempt in (lambda: desk.open(request_id), lambda: desk.resolve(desk.result(ticket))):
        with pytest.raises(NotFoundError) as told:
            await attempt()
        assert told.value.reason in (Reason.EVIDENCE_ERASED, Reason.OFFLINE_TICKET_NOT_FOUND)
    assert len(desk.tickets.listed(PEER, -1, 10)) == 1


async def test_dispute_that_no_department_has_yet_is_not_brought_any_more(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.open()
    await eraser_of(gateway).erase([asked.consent.grants[0].digest], LAWFUL)
    await gateway.relay.run_once()
    assert gateway.brought.messages == []
    assert gateway.relay.waiting == 0
    await gateway.disputes.take_orphans(asked.resolution(dispute_id))  # a department that had it all the same
    assert [leaf for leaf in gateway.leaves() if leaf.HasField("resolution")]
    with pytest.raises(NotFoundError) as told:
        await asked.open()
    assert is_erased(told.value)


async def test_withdrawal_of_an_erased_consent_is_still_taken(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    await gateway.verify(gateway.submission(consent))
    await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    assert gateway.requests.kept.leaf_tags(fed.ISSUER, consent.grants[0].digest) is None


@pytest.mark.parametrize("durable", [False, True])
async def test_erasure_whose_commit_fails_is_done_once_and_on_the_record(gateway: Gateway, *, durable: bool) -> None:
    consent = gateway.federation.issue()
    await gateway.verify(gateway.submission(consent))
    setattr(gateway.store, "fail_after" if durable else "fail_before", True)
    with pytest.raises(LogUnavailableError):
        await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    gateway.store.fail_after = gateway.store.fail_before = False
    held = gateway.store.evidence(consent.grants[0].digest)
    assert held is not None
    assert held.is_erased == durable
    assert (await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)).grants == int(not durable)
    assert len(erasures_in(gateway)) == 1


async def test_key_that_cannot_be_unwrapped_is_not_erased_under_a_wrong_name(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    await gateway.verify(gateway.submission(consent))
    gateway.vault.forget(consent.grants[0].digest)
    gateway.store._writer.execute("UPDATE grant_keys SET wrapped = ?", (to_slot(bytes(69)),))
    with pytest.raises(LogUnavailableError):
        await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    assert erasures_in(gateway) == []


async def test_nothing_of_the_wrapped_key_is_left_in_the_files(gateway: Gateway, tmp_path: Path) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    await gateway.verify(submission)
    held = gateway.store.evidence(consent.grants[0].digest)
    stored = gateway.store.request(key_of(submission))
    assert held is not None
    assert stored is not None
    await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    assert await gateway.log.run(SqliteKeeping(gateway.store).sweep)
    kept = raw_bytes(tmp_path / "store.db")
    for destroyed in (held.wrapped_key, held.ciphertext, stored.state):
        assert destroyed not in kept


async def test_nothing_to_erase_leaves_no_leaf(gateway: Gateway) -> None:
    await gateway.verify(gateway.submission())
    assert (await eraser_of(gateway).erase([bytes(32)], LAWFUL)).grants == 0
    assert erasures_in(gateway) == []


async def test_more_grants_than_a_leaf_holds_are_several_leaves(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.evidence.erasing.MAX_ERASED", 2)
    consents = [gateway.federation.issue() for _ in range(5)]
    for consent in consents:
        await gateway.verify(gateway.submission(consent))
    erased = await eraser_of(gateway).erase([consent.grants[0].digest for consent in consents], LAWFUL)
    assert (erased.grants, len(erased.leaf_indexes)) == (5, 3)
    assert [len(event.grant_tags) for event in erasures_in(gateway)] == [2, 2, 1]


async def test_receipt_of_before_the_erasure_verifies_against_the_log_of_after(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    held = await gateway.send(gateway.submission(consent))
    await eraser_of(gateway).erase([consent.grants[0].digest], LAWFUL)
    head = gateway.log.head()
    for item in held.leaves:
        item.proof = gateway.log.prove(0, head)
    held.registry = gateway.federation.registry.token
    assert verify_receipt(held, gateway.federation.operator.public_key()).checkpoint.size == head.size
    assert gateway_service_pb2.VerifyResponse(receipt=held).ByteSize()
