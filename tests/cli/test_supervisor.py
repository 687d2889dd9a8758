from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.cli.sandbox import Process
from gateway.cli.supervisor import Supervisor
from gateway.protocol.errors import UnreachableError


class Child:
    """A process that takes its time to end."""

    def __init__(self, name: str, ended: list[str]) -> None:
        self.name, self.returncode = name, None
        self._ended = ended
        self._told = asyncio.Event()

    def send_signal(self, _number: int) -> None:
        self._ended.append(f"{self.name} told")
        self._told.set()

    async def wait(self) -> int:
        await self._told.wait()
        await asyncio.sleep(0.01)
        if self.returncode is None:
            self.returncode = 0
            self._ended.append(f"{self.name} ended")
        return 0


async def test_last_started_has_ended_before_any_other_is_told_to() -> None:
    supervisor, ended = Supervisor((), lambda line: None), []
    supervisor._running = {name: Child(name, ended) for name in ("consent", "police", "gateway")}
    await supervisor.stop()
    assert ended[:2] == ["gateway told", "gateway ended"]
    assert sorted(ended[2:4]) == ["consent told", "police told"]
    assert sorted(ended[4:]) == ["consent ended", "police ended"]


async def test_supervisor_that_started_nothing_stops() -> None:
    await Supervisor((), lambda line: None).stop()


def party(name: str, folder: Path) -> Process:
    return Process(name, ("no", "such", "command"), folder, 1, 2)


async def test_party_that_is_kept_down_is_said_and_waited_for_by_nobody(tmp_path: Path) -> None:
    said, ready = [], []
    police = party("police", tmp_path)
    supervisor = Supervisor([police], said.append, lambda process: process == police)
    supervisor._running = {"police": Child("police", [])}
    await asyncio.wait_for(supervisor._until_ready(police, ready.append), 10)
    assert ready == ["police"]
    assert len(said) == 1
    assert said[0].startswith("police is not there")


async def test_party_that_ends_before_it_is_ready_is_an_error(tmp_path: Path) -> None:
    police, land = party("police", tmp_path), party("land", tmp_path)
    supervisor = Supervisor([police, land], lambda _line: None, lambda process: process == police)
    supervisor._running = {"land": Child("land", [])}
    supervisor._running["land"].returncode = 2
    with pytest.raises(UnreachableError, match="land ended with 2"):
        await supervisor._until_ready(land, lambda _name: None)
