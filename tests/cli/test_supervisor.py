from __future__ import annotations

import asyncio

from gateway.cli.supervisor import Supervisor


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
