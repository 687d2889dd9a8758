"""A process that behaves as a worker does, or as one that is in trouble: `python -m tests.workers.stand_in HOW FD`.

What it was told stands in its complaints, and what the supervisor's tests have it say it says when it is sent SIGUSR1.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

from gateway.workers.wire import Ask, Begin, Halted, Line, Serving, Told, Withdrawn

METRICS = """# HELP heyan_calls_total Calls
# TYPE heyan_calls_total counter
heyan_calls_total{method="Verify"} 3.0
# HELP heyan_log_published_size Leaves
# TYPE heyan_log_published_size gauge
heyan_log_published_size 7.0
"""
HALT = Halted("LOG_FORKED", "another tree")
WITHDRAWAL = Withdrawn(b"digest")
READY_WHEN_TOLD = "told"


async def main(how: str, end: socket.socket) -> None:
    line, stop = await Line.over(end), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set if how != "stubborn" else lambda: None)
    loop.add_signal_handler(signal.SIGUSR1, lambda: line.send(HALT if how == "halting" else WITHDRAWAL))
    begin = await line.receive()
    assert isinstance(begin, Begin)
    told = [] if begin.halted is None else [f"began {begin.halted.reason}"]
    if how == "misconfigured":
        sys.exit(2)
    if how == "babbling":
        end.sendall(b"no message\n")
    line.send(Serving())
    hearing = asyncio.create_task(hear(line, told, leads=how == "leading"))
    await stop.wait()
    hearing.cancel()


async def hear(line: Line, told: list[str], *, leads: bool) -> None:
    while (message := await line.receive()) is not None:
        if isinstance(message, Ask):
            line.send(Told(message.number, told, leads, METRICS if message.metrics else ""))
        elif isinstance(message, Halted):
            told.append(message.reason)
        elif isinstance(message, Withdrawn):
            told.append(message.grant_digest.decode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], socket.socket(fileno=int(sys.argv[2]))))
