"""A webhook that is down, slow, answers 500 and comes back: no alarm is lost, and none holds up the monitor."""

from __future__ import annotations

import asyncio
import hmac
import json
from hashlib import sha256

import pytest
from aiohttp import web

from gateway.monitor import delivery
from gateway.monitor.alarms import Alarm, Kind
from gateway.monitor.delivery import Delivery, Webhook, deliver_round, read_secret, require_safe
from gateway.monitor.store import MonitorStore
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.reasons import Reason
from tests.monitor.following import ORIGIN

SECRET = b"sixteen bytes or more"


@pytest.fixture
def store(tmp_path):
    made = MonitorStore(tmp_path / "m.db", ORIGIN, posts=True)
    yield made
    made.close()


def raise_alarms(store: MonitorStore, *numbers: int) -> None:
    store.commit(
        store.state, [Alarm(ORIGIN, Kind.RESTORED, str(number), 1.0, {"entry": number}) for number in numbers], {}
    )


async def until(condition) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


class Receiving:
    """A receiver in memory. `failing` says of which alarms (by entry) or of all it fails."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.failing: set[int] = set()
        self.is_down = False

    async def post(self, alarm_id: str, body: bytes) -> None:
        entry = json.loads(body)["facts"]["entry"]
        if self.is_down:
            raise UnreachableError(Reason.PEER_UNREACHABLE, "down") from OSError()
        if entry in self.failing:
            raise UnreachableError(Reason.PEER_UNREACHABLE, "500")
        self.got.append(entry)


async def test_what_is_not_taken_stays_also_over_a_restart_and_is_brought_in_order(store, tmp_path):
    receiver = Receiving()
    receiver.is_down = True
    raise_alarms(store, 1, 2, 3)
    with pytest.raises(UnreachableError):
        await deliver_round(store, receiver)
    store.close()
    again = MonitorStore(tmp_path / "m.db", ORIGIN, posts=True)
    receiver.is_down = False
    assert await deliver_round(again, receiver) == 3
    assert await deliver_round(again, receiver) == 0
    assert (receiver.got, again.count_unposted()) == ([1, 2, 3], 0)
    again.close()


async def test_one_that_is_refused_does_not_hold_up_the_others(store):
    receiver = Receiving()
    receiver.failing = {2}
    raise_alarms(store, 1, 2, 3)
    with pytest.raises(UnreachableError):
        await deliver_round(store, receiver)
    assert (receiver.got, store.count_unposted()) == ([1, 3], 1)
    receiver.failing = set()
    await deliver_round(store, receiver)
    assert receiver.got == [1, 3, 2]


async def test_kill_between_taking_and_noting_it_brings_the_same_id_again(store):
    class Killing(MonitorStore):
        def mark_posted(self, number):
            raise KeyboardInterrupt

    receiver = Receiving()
    raise_alarms(store, 1)
    path = store._path
    store.close()
    killed = Killing(path, ORIGIN, posts=True)
    with pytest.raises(KeyboardInterrupt):
        await deliver_round(killed, receiver)
    killed.close()
    store.__init__(path, ORIGIN, posts=True)
    await deliver_round(store, receiver)
    assert receiver.got == [1, 1]


async def test_alarms_are_brought_while_the_webhook_comes_and_goes(store, monkeypatch):
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.001)
    receiver = Receiving()
    receiver.is_down = True
    raise_alarms(store, 1)
    bringing = Delivery(store, receiver)
    task = asyncio.create_task(bringing.run())
    await until(lambda: bringing.fault is not None)
    raise_alarms(store, 2)
    bringing.wake()
    receiver.is_down = False
    await until(lambda: not store.count_unposted())
    raise_alarms(store, 3)
    bringing.wake()
    await until(lambda: not store.count_unposted())
    task.cancel()
    assert (receiver.got, bringing.fault) == ([1, 2, 3], None)


async def test_alarms_without_a_webhook_are_for_no_later_one(tmp_path):
    store = MonitorStore(tmp_path / "m.db", ORIGIN)
    raise_alarms(store, 1)
    assert store.count_unposted() == 0
    store.close()


# -- over HTTP ----------------------------------------------------------------------------------------------------


class Served:
    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status, self.wait = 200, 0.0

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        await asyncio.sleep(self.wait)
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})


@pytest.fixture
async def served():
    holding = Served()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", holding.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    holding.url = f"http://127.0.0.1:{runner.addresses[0][1]}/heyan"
    yield holding
    await runner.cleanup()


async def test_post_carries_id_body_and_signature(store, served):
    raise_alarms(store, 1)
    ((_, document),) = store.unposted(9)
    async with Webhook(served.url, SECRET) as webhook:
        assert await deliver_round(store, webhook) == 1
    ((headers, body),) = served.requests
    assert json.loads(body) == document
    assert headers["Heyan-Alarm"] == document["id"]
    assert headers["Heyan-Signature"] == "sha256=" + hmac.new(SECRET, body, sha256).hexdigest()
    assert headers["Content-Type"] == "application/json; charset=utf-8"


async def test_post_without_secret_is_not_signed(store, served):
    raise_alarms(store, 1)
    async with Webhook(served.url, None) as webhook:
        await deliver_round(store, webhook)
    assert "Heyan-Signature" not in served.requests[0][0]


@pytest.mark.parametrize("status", [302, 400, 500, 503])
async def test_only_success_is_taken_for_success_and_no_redirect_is_followed(store, served, status):
    raise_alarms(store, 1, 2)
    served.status = status
    async with Webhook(served.url, SECRET) as webhook:
        with pytest.raises(UnreachableError):
            await deliver_round(store, webhook)
        assert (len(served.requests), store.count_unposted()) == (2, 2)
        served.status = 204
        assert await deliver_round(store, webhook) == 2


async def test_slow_or_absent_receiver_is_given_up_on_and_asked_again(store, served, monkeypatch):
    monkeypatch.setattr(delivery, "TIMEOUT", 0.05)
    raise_alarms(store, 1, 2)
    served.wait = 5.0
    for url in (served.url, "http://127.0.0.1:1/"):
        async with Webhook(url, None) as webhook:
            with pytest.raises(UnreachableError):
                await deliver_round(store, webhook)
    assert (len(served.requests), store.count_unposted()) == (1, 2)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.cn/x",
        "ftp://localhost/",
        "https://",
        "localhost:80",
        "http://10.0.0.1/",
        "https://a:0/",
        "http://[::1",
    ],
)
def test_url_that_is_neither_https_nor_of_this_machine_is_refused(url):
    with pytest.raises(MalformedError) as refused:
        require_safe(url, "--webhook")
    assert refused.value.reason is Reason.CONFIGURATION_INVALID


@pytest.mark.parametrize(
    "url", ["https://example.cn/x?y=1", "http://localhost:80/", "http://127.0.0.1:8/", "http://[::1]:8/"]
)
def test_https_and_loopback_are_taken(url):
    assert require_safe(url, "--webhook") == url


def test_secret_is_private_and_long_enough(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o600)
    assert read_secret(file) == SECRET
    file.write_bytes(b"short\n")
    with pytest.raises(MalformedError):
        read_secret(file)
    file.write_bytes(SECRET)
    file.chmod(0o644)
    with pytest.raises(MalformedError):
        read_secret(file)
