"""What several processes share: a port, the lead, and bounds that are of them all."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest

from gateway.protocol.errors import MalformedError, OverloadedError
from gateway.protocol.reasons import Reason
from gateway.workers.gathering import OF_THE_WHOLE
from gateway.workers.lead import LeadLock
from gateway.workers.membership import ALONE, Membership
from gateway.workers.shared_port import SharedPort

PROJECT = Path(__file__).parents[2]


async def test_one_leads_until_it_ends_and_then_another(tmp_path: Path) -> None:
    one, other = LeadLock(tmp_path / "store.db"), LeadLock(tmp_path / "store.db")
    await one.lead()
    await one.lead()  # asked again, it still does
    waiting = asyncio.create_task(other.lead())
    done, _ = await asyncio.wait({waiting}, timeout=0.6)
    assert not done
    one.close()
    await asyncio.wait_for(waiting, 5)
    other.close()


async def test_who_is_alone_leads_at_once_and_has_every_bound_whole() -> None:
    await ALONE.lead()
    assert ALONE.is_alone
    assert ALONE.share(512) == 512


def test_bounds_are_divided_and_never_nothing() -> None:
    member = Membership(3)
    assert [member.share(whole) for whole in (512, 3, 1)] == [171, 1, 1]
    allowance = member.allowance(6, 3.0, Reason.OVERLOADED)
    for _ in range(2):
        allowance.require("peer", 0.0)
        allowance.spend("peer", 0.0)
    with pytest.raises(OverloadedError) as over:
        allowance.require("peer", 0.0)
    assert over.value.retry_after == pytest.approx(1.0)


def listening(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    listener = socket.create_server((host, int(port)), reuse_port=True)
    listener.settimeout(5)
    return listener


def test_kept_port_is_for_those_who_share_it_and_takes_no_connection_itself() -> None:
    kept = SharedPort("127.0.0.1:0", "listen")
    host, port = kept.address.rsplit(":", 1)
    with pytest.raises(OSError, match="in use"), socket.socket() as stranger:
        stranger.bind((host, int(port)))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    with listening(kept.address) as one, listening(kept.address) as other:
        for _ in range(8):
            with socket.create_connection((host, int(port))):
                pass
        for listener in (one, other):
            listener.setblocking(False)
        taken = 0
        for listener in (one, other):
            try:
                while True:
                    listener.accept()[0].close()
                    taken += 1
            except BlockingIOError:
                continue
        assert taken == 8
    kept.close()


def test_port_that_somebody_else_has_is_told_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(MalformedError) as refused:
        SharedPort(f"127.0.0.1:{other.getsockname()[1]}", "listen")
    assert "listen 127.0.0.1" in refused.value.violations[0].field


def test_gauges_of_the_whole_are_gauges_that_there_are() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "gateway").rglob("*.py"))
    assert set(re.findall(r'Gauge\(\s*"(heyan_\w+)"', text)) >= OF_THE_WHOLE
