"""Does a grant still stand? Attacks on the answer: old lists, foreign lists, silence."""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib

import msgspec
import pytest

from consent.grant import StatusReference
from consent.status_follower import StatusFollower
from consent.status_list import MAX_TOKEN
from gateway.operator.authority import Authority
from gateway.protocol.codec import b64url
from gateway.protocol.errors import UnreachableError
from gateway.protocol.reasons import Reason
from tests.consent.parties import StatusServer, client_context, make_folder
from tests.federation import GATEWAY, ISSUER, OTHER_ISSUER, Federation, edit_party

NOW = 1_800_000_000.0
GRACE = 30


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def authority():
    return Authority.create("heyan.test", time.time())


@pytest.fixture
async def server(tmp_path, authority, free_port, clock):
    port = free_port()
    keys = Federation.create(NOW).signing_keys
    server = StatusServer(make_folder(tmp_path / "issuer", authority, ISSUER), keys[ISSUER], port=port)
    server.base_uri = f"https://localhost:{port}"
    await server.start(clock)
    yield server
    await server.stop()


@pytest.fixture
def party(desk, server):
    """The federation whose issuer lives on that server; `desk` follows."""
    desk.federation = Federation.create(NOW, base_uri=server.base_uri)
    return desk.federation


@pytest.fixture
async def follower(party, tmp_path, authority, clock):
    context = client_context(make_folder(tmp_path / "gateway", authority, GATEWAY))
    follower = StatusFollower(
        registry=lambda: party.registry, ssl_context=lambda: context, clock=clock, poll_seconds=3_600, fetch_timeout=0.5
    )
    yield follower
    await follower.close()


@pytest.fixture
def grant(desk, party, server):
    def make(index=7, uri=None, **overrides):
        status = StatusReference(index, uri or f"{server.base_uri}/status-lists/0")
        return desk.open(party.issue(status=status, **overrides).grants[0])

    return make


async def test_standing_grant_passes_and_one_fetch_serves_many(follower, grant, server):
    await asyncio.gather(*(follower.require_standing(grant(index)) for index in range(20)))
    await follower.require_standing(grant(21))
    assert server.requests == 1


async def test_withdrawn_grant_is_refused(follower, grant, server, refused):
    server.revoked.add(7)
    with refused(Reason.GRANT_REVOKED):
        await follower.require_standing(grant())
    await follower.require_standing(grant(8))


async def test_only_a_good_list_at_hand_says_at_once_that_a_grant_stands(follower, grant, server, clock):
    one, withdrawn = grant(), grant(8)
    server.revoked.add(8)
    assert not follower.stands(one)  # nothing is held
    await follower.require_standing(one)
    assert await asyncio.to_thread(follower.stands, one)
    assert not follower.stands(withdrawn)
    assert not follower.stands(grant(index=1 << 23))
    assert not follower.stands(grant(uri=f"{server.base_uri}/status-lists/1"))
    clock.now += 5
    assert follower.stands(one)
    clock.now += 0.1
    assert not follower.stands(one)
    assert server.requests == 1  # none of this fetched


async def test_grant_does_not_stand_at_once_by_a_list_that_its_issuer_left(follower, grant, party):
    opened = grant()
    await follower.require_standing(opened)
    assert follower.stands(opened)
    moved = msgspec.structs.replace(party.registry.party(opened.issuer).issuer, base_uri="https://elsewhere.test")
    follower._registry = lambda: (
        party.changed(lambda document: edit_party(document, opened.issuer, issuer=moved)).registry
    )
    assert not follower.stands(opened)


async def test_list_older_than_five_seconds_is_fetched_again(follower, grant, server, clock, refused):
    await follower.require_standing(grant())
    server.revoked.add(7)
    clock.now += 5
    await follower.require_standing(grant())
    clock.now += 0.1
    with refused(Reason.GRANT_REVOKED):
        await follower.require_standing(grant())


async def test_old_list_replayed_is_refused(follower, grant, server, clock, refused):
    await follower.require_standing(grant())
    server.issued = clock.now - 1
    clock.now += 6
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())


async def test_old_list_replayed_within_its_second_forgets_no_withdrawal(follower, grant, server, clock, refused):
    server.revoked.add(7)
    with refused(Reason.GRANT_REVOKED):
        await follower.require_standing(grant())
    server.revoked.clear()
    server.issued = clock.now
    clock.now += 6
    with refused(Reason.GRANT_REVOKED):
        await follower.require_standing(grant())


async def test_list_signed_long_ago_is_refused_at_first_sight(follower, grant, server, clock, refused):
    server.issued = clock.now - 11
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())


async def test_list_of_ten_seconds_from_a_cache_proves_no_standing(follower, grant, server, clock, refused):
    server.issued = int(clock.now) - 10
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())
    assert follower.clock_complaint is not None


async def test_list_that_was_old_when_fetched_serves_no_five_seconds_more(follower, grant, server, clock, refused):
    server.issued = int(clock.now) - 7
    await follower.require_standing(grant())
    server.revoked.add(7)
    server.issued = None
    clock.now += 3
    await follower.require_standing(grant())
    clock.now += 0.1
    with refused(Reason.GRANT_REVOKED):
        await follower.require_standing(grant())


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.test/status-lists/0",
        "{base}.evil.test/status-lists/0",
        "{base}@evil.test/status-lists/0",
        "{base}",
        "http://localhost/status-lists/0",
    ],
)
async def test_list_outside_the_issuers_place_is_not_even_fetched(follower, grant, server, uri, refused):
    with refused(Reason.GRANT_INVALID):
        await follower.require_standing(grant(uri=uri.format(base=server.base_uri)))
    assert server.requests == 0


async def test_list_of_another_place_is_refused(follower, grant, server, refused):
    server.token = server.sign("1")
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())


async def test_list_signed_by_another_issuer_is_refused(follower, grant, party, server, refused):
    server.key = party.signing_keys[OTHER_ISSUER]
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())


async def test_index_outside_the_list_is_refused(follower, grant, refused):
    with refused(Reason.GRANT_INVALID):
        await follower.require_standing(grant(index=1 << 23))


async def test_bomb_and_flood_are_refused(follower, grant, server, clock, refused):
    good = server.sign()
    for token in (
        good[:50] + b64url(zlib.compress(bytes(1 << 28))),
        "a" * (MAX_TOKEN + 10),
        "",
        "\x00\xff",
    ):
        server.token = token
        clock.now += 10_000  # past the memory of the failure before
        with refused(Reason.STATUS_UNAVAILABLE):
            await follower.require_standing(grant())


async def test_redirect_is_not_followed(follower, grant, server, refused):
    server.status = 302
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())
    assert server.requests == 1


async def test_answer_of_another_content_type_is_refused(follower, grant, server, refused):
    server.content_type = "text/html"
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())


# -- silence ------------------------------------------------------------------------------------------------


async def test_unreachable_issuer_has_its_grace_and_no_more(follower, grant, server, clock, refused):
    server.revoked.add(9)
    await follower.require_standing(grant())
    await server.stop()
    clock.now += GRACE
    await follower.require_standing(grant())
    with refused(Reason.GRANT_REVOKED):
        await follower.require_standing(grant(9))
    clock.now += 0.1
    with pytest.raises(UnreachableError) as caught:
        await follower.require_standing(grant())
    assert caught.value.reason is Reason.STATUS_UNAVAILABLE
    assert caught.value.retry_after


@pytest.mark.parametrize("fault", ["500", "slow"])
async def test_failing_or_hanging_issuer_counts_as_unreachable(follower, grant, server, clock, fault):
    await follower.require_standing(grant())
    server.status, server.delay = (503, 0.0) if fault == "500" else (200, 5.0)
    clock.now += GRACE
    await follower.require_standing(grant())


async def test_issuer_that_lies_has_no_grace(follower, grant, server, clock, refused):
    await follower.require_standing(grant())
    server.status = 404
    clock.now += 6
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())


async def test_server_under_another_partys_certificate_has_no_grace(
    follower, grant, server, clock, tmp_path, authority, refused
):
    await follower.require_standing(grant())
    await server.stop()
    server.folder = make_folder(tmp_path / "thief", authority, OTHER_ISSUER)
    await server.start(clock)
    clock.now += 6
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())
    assert server.requests == 1


async def test_server_of_another_ca_is_refused(follower, grant, server, clock, tmp_path, refused):
    await server.stop()
    server.folder = make_folder(tmp_path / "thief", Authority.create("evil", time.time()), ISSUER)
    await server.start(clock)
    with refused(Reason.STATUS_UNAVAILABLE):
        await follower.require_standing(grant())
    assert server.requests == 0


async def test_first_sight_of_an_unreachable_issuer_fails_fast_the_second_time(follower, grant, server, refused):
    server.delay = 5.0
    for most in (2.0, 0.2):
        began = time.monotonic()
        with refused(Reason.STATUS_UNAVAILABLE):
            await follower.require_standing(grant())
        assert time.monotonic() - began < most
    assert server.requests == 1


async def test_issuer_that_left_the_registry_is_refused(follower, grant, party, refused):
    opened = grant()
    left = Federation.create(
        NOW, edit=lambda document: type(document)(**{**_fields(document), "parties": document.parties[1:]})
    )
    follower._registry = lambda: left.registry
    with refused(Reason.GRANT_INVALID):
        await follower.require_standing(opened)


async def test_waiting_request_that_is_cancelled_ends_no_fetch_of_others(follower, grant, server):
    server.delay = 0.2
    gone = asyncio.create_task(follower.require_standing(grant()))
    stays = asyncio.create_task(follower.require_standing(grant(8)))
    await asyncio.sleep(0.05)
    gone.cancel()
    await stays
    assert gone.cancelled()
    assert server.requests == 1


async def test_lists_in_use_are_polled_and_a_withdrawal_is_seen_within_five_seconds(
    party, tmp_path, authority, server, grant, refused
):
    server.clock = time.time
    context = client_context(make_folder(tmp_path / "gateway", authority, GATEWAY))
    live = Federation.create(time.time(), base_uri=server.base_uri)
    follower = StatusFollower(registry=lambda: live.registry, ssl_context=lambda: context, clock=time.time)
    opened = grant()
    try:
        await follower.require_standing(opened)
        server.revoked.add(7)
        with refused(Reason.GRANT_REVOKED):
            await ask_for(follower, opened, seconds=5)
        assert server.requests == 2
    finally:
        await follower.close()


async def test_lists_that_nobody_asks_for_are_forgotten(party, tmp_path, authority, clock, grant, server):
    context = client_context(make_folder(tmp_path / "gateway", authority, GATEWAY))
    follower = StatusFollower(
        registry=lambda: party.registry, ssl_context=lambda: context, clock=clock, poll_seconds=0.05
    )
    try:
        await follower.require_standing(grant())
        clock.now += 601
        await asyncio.sleep(0.3)
        seen = server.requests
        await asyncio.sleep(0.2)
        assert server.requests == seen
    finally:
        await follower.close()


async def test_number_of_lists_is_bounded(follower, grant, server, monkeypatch):
    monkeypatch.setattr("consent.status_follower.MAX_LISTS", 2)
    for number in range(4):
        await follower.require_standing(grant(uri=f"{server.base_uri}/status-lists/{number}"))
    assert len(follower._followed) == 2


async def ask_for(follower, grant, seconds):
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await follower.require_standing(grant)
        await asyncio.sleep(0.1)


def _fields(document):
    return {name: getattr(document, name) for name in document.__struct_fields__}


@pytest.mark.parametrize(("ahead", "off"), [(0, False), (4, False), (6.9, False), (9, True), (-4, False), (-8, True)])
async def test_clock_that_is_off_by_more_than_five_seconds_is_reported(follower, grant, clock, ahead, off):
    issued = NOW
    follower._clock = lambda: issued + ahead
    with contextlib.suppress(UnreachableError):  # a list that looks too old proves nothing, but shows the clock
        await follower.require_standing(grant())
    assert (follower.clock_complaint is not None) == off
