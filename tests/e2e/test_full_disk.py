"""A party whose every write fails (RLIMIT_FSIZE) under load: nothing is answered unrecorded, and it heals by itself."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.protocol.errors import UnreachableError
from gateway.protocol.reasons import Reason
from tests.e2e.evidence import Findings, inspect, limits_of, same_again, settled
from tests.e2e.kills import Arena, arena
from tests.e2e.load import Call, Ending, Load

AT_ONCE = 4
FULL_SECONDS = 4.0
USES = 500
BUSY_NODE = "police-4301"
"""Asked by every application."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]


@contextmanager
def no_room(pid: int) -> Iterator[None]:
    """No file of the process may grow: SQLite meets what a full disk gives it, and so does the process's log."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def is_ready(where: Arena, name: str, *, wanted: bool, seconds: float) -> bool:
    """Whether a party says within so many seconds that it wants work, or that it does not."""
    try:
        async with asyncio.timeout(seconds):
            await where.until_ready(name, wanted=wanted)
    except TimeoutError:
        return False
    return True


async def test_parties_that_cannot_write_answer_nothing_and_go_on_when_they_can(tmp_path: Path) -> None:
    findings, random, over = Findings(), Random(2), asyncio.Event()
    async with (
        arena(tmp_path / "run", 60) as where,
        open_client(where.folder, where.requester) as client,
        Guardians(where.folder) as guardians,
    ):
        load = Load(client, guardians, where.requester)
        prepared = [(truth, await load.consent(truth, USES)) for truth in random.sample(where.families, 6)]
        consents = [consent for _, consent in prepared]

        async def apply() -> None:
            while not over.is_set():
                await load.apply(*random.choice(prepared))

        loads = [asyncio.create_task(apply()) for _ in range(AT_ONCE)]
        await asyncio.sleep(1)
        said: dict[str, bool] = {}
        for name in ("gateway", BUSY_NODE):
            with no_room(where.supervisor.pid(name)):
                said[name] = await is_ready(where, name, wanted=False, seconds=FULL_SECONDS)
            assert await is_ready(where, name, wanted=True, seconds=10), f"{name} does not come back"
        with no_room(where.supervisor.pid("consent")):
            with pytest.raises(UnreachableError) as refused:
                await load.consent(where.families[0], 1, patience=2.0)
            assert refused.value.reason in {Reason.LOG_UNAVAILABLE, Reason.INTERNAL}
        consents.append(await load.consent(where.families[0], 1))
        over.set()
        await asyncio.gather(*loads)
        await settled(where)
        await same_again(client, load.calls, findings)
        assert where.restarts == 0
    await asyncio.to_thread(inspect, where, load.calls, limits_of(consents), findings)
    assert findings.violations == []
    assert load.endings().keys() == {Ending.ANSWERED.value}
    assert [call.wrong for call in load.calls if call.wrong] == []
    assert met(load.calls) >= {Reason.LOG_UNAVAILABLE}
    assert said == dict.fromkeys(said, True)


def met(calls: list[Call]) -> set[Reason]:
    """Why attempts had to be repeated."""
    return {reason for call in calls for reason in call.faults}
