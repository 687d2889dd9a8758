"""The fault switch of one node: a file in its folder, absent while nothing is wrong. Set outside, noticed inside."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from gateway.party.keyfiles import Watched, sync_folder, write_atomic
from gateway.protocol.codec import decode_json
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from sandbox_departments.faults.kinds import Fault, Kind, make_fault

FILE = "fault.json"
"""The switch's file in a node's folder."""

LOOK_INTERVAL = 0.1
"""Seconds between looks of what waits for a fault to be lifted; the system tells nobody of a changed file."""

_decoder: msgspec.json.Decoder[Fault] = msgspec.json.Decoder(Fault)


def set_fault(path: Path, fault: Fault) -> None:
    """Set a fault, durably; it takes effect within a second."""
    write_atomic(path, msgspec.json.encode(fault) + b"\n")


def lift_fault(path: Path) -> bool:
    """Lift whatever fault is set; whether one was."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_folder(path.parent)
    return True


def read_fault(path: Path) -> Fault | None:
    """The fault that is set, if one is; MalformedError (CONFIGURATION_INVALID) if the file says none of the known."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MalformedError.at(str(path), f"cannot be read: {error}", Reason.CONFIGURATION_INVALID) from error
    fault = decode_json(_decoder, data, str(path), Reason.CONFIGURATION_INVALID, quoting=True)
    return make_fault(fault.kind, seconds=fault.seconds or None, days=fault.days or None, after=fault.after or None)


class Switch:
    """The switch as its node looks at it; safe from any thread. MalformedError if the file is bad at the start."""

    def __init__(self, path: Path) -> None:
        self._watched: Watched[Fault | None] = Watched([path], lambda: read_fault(path))

    def fault(self) -> Fault | None:
        """The fault that is set now: one look at the file, a few microseconds."""
        self._watched.refresh()
        return self._watched.value

    def is_down(self) -> bool:
        """Whether the node shall not serve."""
        fault = self.fault()
        return fault is not None and fault.kind is Kind.DOWN

    async def until_down(self, *, down: bool) -> None:
        """Return when the node shall not serve, or (`down` false) when it shall."""
        while self.is_down() is not down:  # noqa: ASYNC110 - see LOOK_INTERVAL
            await asyncio.sleep(LOOK_INTERVAL)

    async def outlast(self, fault: Fault, seconds: float | None = None) -> None:
        """Wait as long as `fault` stays set, but no longer than `seconds`."""
        end = None if seconds is None else asyncio.get_running_loop().time() + seconds
        while self.fault() == fault:
            left = LOOK_INTERVAL if end is None else end - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, LOOK_INTERVAL))
