"""A sandbox's node as a process that can be given faults: the honest `serve`, wired to what the switch bends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import structlog

from gateway.party.keyfiles import load_signing_keys
from gateway.protocol.keys import SigningKey
from sandbox_departments.config import NodeConfig
from sandbox_departments.corrections import open_register
from sandbox_departments.faults.register import SwitchedRegister
from sandbox_departments.faults.switch import Switch
from sandbox_departments.faults.wire import UNBOUNDED_SENDING, FaultyNode
from sandbox_departments.serve import serve

_log = structlog.get_logger(__name__)


async def serve_with_faults(config: NodeConfig, stop: asyncio.Event, switch_file: Path) -> None:
    """Run the node of `config` with the fault that `switch_file` sets, until `stop` is set.

    While it is `down`, nothing listens; as soon as that is lifted the node serves, without a restart of the process.
    Raises a domain error if the node cannot start.
    """
    switch = Switch(switch_file)
    while not stop.is_set():
        if switch.is_down():
            _log.warning("node_is_down", department=config.spiffe_id, lift="heyan department fault NODE off")
            await _first(stop.wait(), switch.until_down(down=False))
        else:
            await _serve_until_down(config, stop, switch)


async def _serve_until_down(config: NodeConfig, stop: asyncio.Event, switch: Switch) -> None:
    def key_named(kid: str) -> SigningKey:
        return next(key for key in load_signing_keys(config.answer_keys) if key.key_id == kid)

    ended = asyncio.Event()

    async def end() -> None:
        await _first(stop.wait(), switch.until_down(down=True))
        ended.set()

    watching = asyncio.create_task(end())
    try:
        with closing(open_register(config)) as register:
            await serve(
                config,
                ended,
                open_register=lambda _: SwitchedRegister(register, switch),
                open_wire=FaultyNode(switch, key_named=key_named, die=_die).open,
                server_options=UNBOUNDED_SENDING,
            )
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _first(*awaited: Awaitable[object]) -> None:
    """Return when one has come true; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _die() -> NoReturn:
    """What a power cut is to a process: nothing runs after it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed")
