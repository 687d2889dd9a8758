"""Reading the gateway's metrics from its probes port, where `heyan up` put it."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from gateway.cli.sandbox import Asked, Sandbox, held, settle
from gateway.protocol.errors import MalformedError
from gateway.season.node_counters import NodeCounters, read_counters

_TIMEOUT = 5.0
_MOST_BYTES = 16 << 20


async def read_gateway(folder: Path) -> dict[str, NodeCounters] | None:
    """The counters of every node, as the gateway of the sandbox in `folder` has them; None if they cannot be read.

    They only explain a result, so a run does without them where the folder is no sandbox or the port does not answer.
    """
    if held(folder) is None:
        return None
    gateway = next(item for item in Sandbox(folder, settle(folder, Asked())).processes() if item.name == "gateway")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT)) as session,
            session.get(f"http://127.0.0.1:{gateway.probes}/metrics", allow_redirects=False) as response,
        ):
            text = await response.content.read(_MOST_BYTES)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    try:
        return read_counters(text.decode("utf-8", errors="replace"))
    except MalformedError:
        return None
