"""A deferral's commits fail at any step: kept with its leaf or not at all, answered once, ended once.

After each, the next process goes on: nothing that a requester was told is lost, and no use is spent twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.presentation import Submission
from gateway.waiting_room import AFTER_THE_END
from tests import federation as fed
from tests.fakes_sqlite import How, TrippedConnection, When
from tests.gateway.conftest import PEER, Gateway, department_of, open_gateway
from tests.gateway.deferrals import ANSWERED, DEFERRED, DOWN, HOUR, LAND, RETRY, deferrable, fetched, steps

either_side = pytest.mark.parametrize("when", When)

Act = Callable[[Gateway, Submission], Awaitable[object]]


async def defer(gateway: Gateway, submission: Submission) -> None:
    department_of(gateway, LAND).failure = DOWN
    with suppress(LogUnavailableError):
        await gateway.send(submission)


async def answer(gateway: Gateway, _submission: Submission) -> None:
    department_of(gateway, LAND).failure = None
    await gateway.tick()


async def end(gateway: Gateway, _submission: Submission) -> None:
    department_of(gateway, LAND).failure = DOWN
    gateway.clock.now += HOUR + AFTER_THE_END
    await gateway.tick()


def trip(gateway: Gateway) -> TrippedConnection:
    writer = TrippedConnection(gateway.store._writer)
    gateway.store._writer = writer  # type: ignore[assignment]
    return writer


async def steps_of(folder: Path, federation: fed.Federation, *acts: Act) -> list[str]:
    """The statements of the last act's commit."""
    async with open_gateway(folder, federation) as gateway:
        submission = deferrable(gateway)
        writer = trip(gateway)
        for act in acts:
            writer.arm(None)
            await act(gateway, submission)
        return list(writer.steps)


@either_side
async def test_deferral_whose_commit_fails_at_any_step_is_kept_with_its_leaf_or_not_at_all(
    tmp_path: Path, federation: fed.Federation, when: When
) -> None:
    names = await steps_of(tmp_path, federation, defer)
    assert "INSERT INTO deferrals" in names
    for step in range(len(names)):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        consent = federation.issue(max_uses=1)
        async with open_gateway(folder, federation) as gateway:
            submission = deferrable(gateway, consent=consent)
            trip(gateway).arm(step, when, How.FAILS)
            await defer(gateway, submission)
            is_durable = step == len(names) - 1 and when is When.AFTER
            assert len(gateway.kept()) == len(gateway.leaves()) == int(is_durable)
            assert len(gateway.room) == 0  # and no room is held for what is not known to be kept
        async with open_gateway(folder, federation) as gateway:
            department_of(gateway, LAND).failure = DOWN
            verified = await gateway.verify(submission)  # as its requester does, who has no answer yet
            assert steps(verified)[2] == DEFERRED
            await answer(gateway, submission)
            assert steps(fetched(gateway, verified)) == [ANSWERED] * 3
            assert (max(gateway.used(consent)), gateway.kept()) == (1, [])


@pytest.mark.parametrize(
    ("act", "last"), [(answer, [ANSWERED] * 3), (end, [ANSWERED, ANSWERED, RETRY])], ids=["answered", "ended"]
)
@either_side
async def test_what_becomes_of_a_deferral_is_recorded_once_whatever_step_of_its_commit_fails(
    tmp_path: Path, federation: fed.Federation, when: When, act: Act, last: list[object]
) -> None:
    names = await steps_of(tmp_path, federation, defer, act)
    assert "DELETE FROM deferrals" in names
    for step in range(len(names)):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        consent = federation.issue(max_uses=1)
        async with open_gateway(folder, federation) as gateway:
            submission = deferrable(gateway, consent=consent)
            await defer(gateway, submission)
            (waiting,) = gateway.kept()
            verified = gateway.check(gateway.pipeline.get(waiting.key.request_id, PEER))
            trip(gateway).arm(step, when, How.FAILS)
            await act(gateway, submission)  # fails, rests, and the next try succeeds
            is_durable = step == len(names) - 1 and when is When.AFTER
            assert len(gateway.kept()) == int(not is_durable)
            await gateway.tick()
            assert steps(fetched(gateway, verified)) == last
            assert (gateway.kept(), len(gateway.room), len(gateway.leaves())) == ([], 0, 2)
            assert max(gateway.used(consent)) == 1
