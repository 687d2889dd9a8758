"""Refusals in the log: each, and beyond a rate as summaries that hold every one of them."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.protocol.errors import LogUnavailableError, NotGrantedError, about
from gateway.protocol.identities import parse_identity
from gateway.protocol.leaf import read_leaf
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.note import SignerKey
from gateway.protocol.reasons import Reason
from gateway.refusals import SINGLE_LEAVES, Refusals
from tests import federation as fed
from tests.fakes import Clock, FailingStore

PEER = parse_identity(fed.REQUESTER)
METHOD = "/heyan.v1.GatewayService/Verify"
ERROR = NotGrantedError(Reason.GRANT_REVOKED)


def stamp(federation: fed.Federation, clock: Clock) -> LeafStamp:
    return LeafStamp(parse_identity(fed.GATEWAY), lambda: federation.registry, clock)


@pytest.fixture
def federation() -> fed.Federation:
    return fed.Federation.create(1_800_000_000.0)


async def test_flood_of_refusals_becomes_one_summary_that_proves_each(
    tmp_path: Path, federation: fed.Federation
) -> None:
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, "log.example", SignerKey.from_seed("log.example", bytes(32)))
    clock = Clock(federation.now)
    refusals = Refusals(log, stamp(federation, clock), clock)
    log.start()
    messages = [b"message %d" % number for number in range(SINGLE_LEAVES + 40)]
    for message in messages:
        await refusals.record(PEER, METHOD, ERROR, message)
    assert len(store.leaves(0, 1000)) == SINGLE_LEAVES
    await refusals.flush()
    assert len(store.leaves(0, 1000)) == SINGLE_LEAVES
    clock.now += 61
    await refusals.flush()
    leaves = [read_leaf(data) for data in store.leaves(0, 1000)]
    assert leaves[0].refusal.peer == PEER.uri
    assert (leaves[0].refusal.method, leaves[0].refusal.reason) == (METHOD, "GRANT_REVOKED")
    assert leaves[0].refusal.message_digest == sha256(messages[0]).digest()
    summary = leaves[-1].refusal_summary
    assert [(item.reason, item.count) for item in summary.counts] == [("GRANT_REVOKED", 40)]
    rest = [leaf_hash(sha256(message).digest()) for message in messages[SINGLE_LEAVES:]]
    assert summary.digests_root == root_of(rest)
    await refusals.record(PEER, METHOD, ERROR, b"a new period")
    assert len(store.leaves(0, 1000)) == SINGLE_LEAVES + 2
    await log.stop()
    store.close()


async def test_refusal_that_cannot_be_recorded_fails_closed(tmp_path: Path, federation: fed.Federation) -> None:
    clock = Clock(federation.now)
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, "log.example", SignerKey.from_seed("log.example", bytes(32)))
    refusals = Refusals(log, stamp(federation, clock), clock)
    log.start()
    store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await refusals.record(PEER, METHOD, ERROR, b"message")
    await log.stop()
    store.close()


async def test_summary_is_not_lost_when_the_log_fails_meanwhile(tmp_path: Path, federation: fed.Federation) -> None:
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, "log.example", SignerKey.from_seed("log.example", bytes(32)))
    clock = Clock(federation.now)
    refusals = Refusals(log, stamp(federation, clock), clock)
    log.start()
    for number in range(SINGLE_LEAVES + 5):
        await refusals.record(PEER, METHOD, ERROR, b"%d" % number)
    clock.now += 61
    store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await refusals.flush()
    store.fail_before = False
    await refusals.flush()
    leaf = read_leaf(store.leaves(0, 1000)[-1])
    assert [item.count for item in leaf.refusal_summary.counts] == [5]
    await log.stop()
    store.close()


async def test_refusals_that_meet_at_a_full_summary_are_each_counted_once(
    tmp_path: Path, federation: fed.Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.refusals.MAX_SUMMARISED", 5)
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, "log.example", SignerKey.from_seed("log.example", bytes(32)))
    clock = Clock(federation.now)
    refusals = Refusals(log, stamp(federation, clock), clock)
    log.start()
    total = SINGLE_LEAVES + 60
    await asyncio.gather(*(refusals.record(PEER, METHOD, ERROR, b"%d" % number) for number in range(total)))
    await refusals.flush(everything=True)
    leaves = [read_leaf(data) for data in store.leaves(0, 1000)]
    summarised = sum(item.count for leaf in leaves for item in leaf.refusal_summary.counts)
    singles = sum(leaf.WhichOneof("event") == "refusal" for leaf in leaves)
    assert (singles, summarised) == (SINGLE_LEAVES, 60)
    await log.stop()
    store.close()


async def test_refusals_are_told_apart_by_county_alone_and_in_summaries(
    tmp_path: Path, federation: fed.Federation
) -> None:
    store = FailingStore(tmp_path / "store.db")
    log = Log(store, "log.example", SignerKey.from_seed("log.example", bytes(32)))
    clock = Clock(federation.now)
    refusals = Refusals(log, stamp(federation, clock), clock)
    log.start()
    for number in range(SINGLE_LEAVES + 6):
        region = ("430102", "430104", "")[number % 3]
        error = NotGrantedError(Reason.OFFLINE_ANSWERED, region=region)
        await refusals.record(PEER, METHOD, error, b"%d" % number)
    await refusals.flush(everything=True)
    leaves = [read_leaf(data) for data in store.leaves(0, 1000)]
    assert [leaf.refusal.region for leaf in leaves[:3]] == ["430102", "430104", ""]
    counts = [(item.reason, item.region, item.count) for item in leaves[-1].refusal_summary.counts]
    assert counts == [("OFFLINE_ANSWERED", region, 2) for region in ("", "430102", "430104")]
    await log.stop()
    store.close()


def test_county_of_a_refusal_is_the_closest_that_was_said() -> None:
    for error, region in (
        (NotGrantedError(Reason.NOT_PLANNED, region="430104"), "430104"),
        (NotGrantedError(Reason.NOT_PLANNED), "430102"),
    ):
        with pytest.raises(NotGrantedError) as caught, about("430102"):
            raise error
        assert caught.value.region == region
