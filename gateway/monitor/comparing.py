"""Holding what other places saw of a log against what it shows here: witnesses and mirrors, to find a split view.

The newest checkpoint of each place is kept until the log shows as much, so that a fork is found also if the log catches
up later. A place that cannot be asked, or shows what is not the log's word, is warned of: it proves nothing against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.monitor.alarms import Kind
from gateway.monitor.findings import Findings
from gateway.monitor.state import MonitorState, Sighting
from gateway.monitor.stillness import Limits
from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.codec import encode_base64
from gateway.protocol.errors import BadDataError, ForgedError, HeyanError
from gateway.protocol.reasons import Reason
from gateway.static_log.checked_log import LogToCheck, open_sighted
from gateway.static_log.kept_checkpoints import Sighted
from gateway.static_log.tile_proofs import prove_consistency


class SightingSource(Protocol):
    """Another place that shows checkpoints of the log. Raises UnreachableError, and NotFoundError if it has none."""

    async def checkpoint(self) -> bytes:
        """The newest checkpoint there, a signed note, unverified."""
        ...


async def compare(
    log: LogToCheck,
    sources: Mapping[str, SightingSource],
    state: MonitorState,
    limits: Limits,
    passed: float,
    found: Findings,
) -> dict[str, Sighting]:
    """Ask each place and judge what it shows; what to remember. `passed` seconds went by since the last time."""
    newest = unverified_checkpoint(state.seen)
    remembered: dict[str, Sighting] = {}
    for place, source in sources.items():
        sighting = await _ask(log, place, source, state.sightings.get(place), found)
        if sighting is not None:
            seen = unverified_checkpoint(sighting.note)
            if seen.size > newest.size:
                sighting = Sighting(sighting.note, sighting.behind + passed if place in state.sightings else 0.0)
                _judge_lag(place, seen, newest, sighting.behind, limits, found)
            else:
                await _judge(log, place, sighting.note, state.seen, found)
                sighting = Sighting(sighting.note)
            remembered[place] = sighting
    return remembered


async def _ask(
    log: LogToCheck, place: str, source: SightingSource, known: Sighting | None, found: Findings
) -> Sighting | None:
    try:
        note = await source.checkpoint()
    except HeyanError as error:
        found.warnings.append(f"{place}: {error.detail or error.reason.value}")
        return known
    seen = open_sighted(Sighted(place, note), log, 0.0)
    if not isinstance(seen, Checkpoint):
        found.warnings.append(f"{place}: {seen.detail} [{seen.wrong.value}]")
        return known
    return Sighting(note.decode(), known.behind if known is not None else 0.0)


def _judge_lag(
    place: str, seen: Checkpoint, newest: Checkpoint, behind: float, limits: Limits, found: Findings
) -> None:
    if limits.max_lag is not None and behind > limits.max_lag:
        facts = {"place": place, "seen_there": seen.size, "size": newest.size, "seconds": int(behind)}
        found.stalled("behind", str(newest.size), facts, place)


async def _judge(log: LogToCheck, place: str, note: str, shown: str, found: Findings) -> None:
    seen, newest = unverified_checkpoint(note), unverified_checkpoint(shown)
    try:
        await prove_consistency(log.source, seen, newest)
    except ForgedError as error:
        if error.reason is Reason.TILE_INVALID:
            found.unreadable(newest.size, error)
            return
        facts = {"place": place, **sizes(seen, newest)}
        key = f"{place} {pair(seen, newest)}"
        found.condition(Kind.SPLIT_VIEW, key, facts, {"other": note, "log": shown}, about=place)
    except BadDataError as error:
        found.unreadable(newest.size, error)


def pair(earlier: Checkpoint, newest: Checkpoint) -> str:
    """Two checkpoints, as part of an alarm's key."""
    return f"{earlier.size} {encode_base64(earlier.root)} {newest.size} {encode_base64(newest.root)}"


def sizes(earlier: Checkpoint, newest: Checkpoint) -> dict[str, Any]:
    """Two checkpoints, as facts of an alarm."""
    return {"seen_size": earlier.size, "size": newest.size}
