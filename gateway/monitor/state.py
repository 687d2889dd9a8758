"""What a monitor remembers of a log between two looks, and in which order that may move.

    seen         the newest checkpoint that was verified and found to extend the one before; never moves back
    processed    leaves that were read and whose alarms are stored; follows `seen`, chunk by chunk
    frontier     the tree over those leaves, by which the chunks are found to lead to the signed root

`seen` moves when a checkpoint is believed, so that a fork or a rollback is noticed whatever becomes of the reading;
`processed` only together with the alarms that the leaves give rise to. A kill between the two loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.errors import MalformedError
from gateway.protocol.merkle import Frontier

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sighting:
    """The newest checkpoint that another place showed, and for how many seconds the log has been behind it."""

    note: str
    behind: float = 0.0


@dataclass(frozen=True, slots=True)
class MonitorState:
    """Times are of the monitor's clock, in seconds since the epoch.

    `watcher` is what `Watcher.document` gave. `looked` is when the log was last reached, `idle` for how many seconds it
    has been seen without growing. `conditions` are what goes on being wrong, by name, with the id of the alarm that
    told it; `sightings` are by place.
    """

    origin: str
    seen: str = ""
    frontier: Frontier = field(default_factory=Frontier)
    watcher: Mapping[str, Any] | None = None
    looked: float = 0.0
    idle: float = 0.0
    conditions: Mapping[str, str] = field(default_factory=dict)
    sightings: Mapping[str, Sighting] = field(default_factory=dict)

    @property
    def processed(self) -> int:
        """Leaves that are done with."""
        return self.frontier.size

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What `seen` says; None before the first look."""
        return unverified_checkpoint(self.seen) if self.seen else None

    def but(self, **changes: Any) -> MonitorState:
        """The same with some changes."""
        return replace(self, **changes)

    def encode(self) -> str:
        """The state as text, which `decode` reads."""
        return json.dumps(
            {
                "format": FORMAT,
                "origin": self.origin,
                "seen": self.seen,
                "processed": self.frontier.size,
                "frontier": [node.hex() for node in self.frontier.hashes],
                "watcher": self.watcher,
                "looked": self.looked,
                "idle": self.idle,
                "conditions": dict(self.conditions),
                "sightings": {place: [each.note, each.behind] for place, each in self.sightings.items()},
            },
            ensure_ascii=False,
            sort_keys=True,
        )

    @classmethod
    def decode(cls, text: str) -> MonitorState:
        """Read what `encode` wrote; MalformedError."""
        try:
            value = json.loads(text)
            if value["format"] != FORMAT:
                raise MalformedError.at("format", f"must be {FORMAT}")
            state = cls(
                origin=str(value["origin"]),
                seen=str(value["seen"]),
                frontier=Frontier(int(value["processed"]), tuple(map(bytes.fromhex, value["frontier"]))),
                watcher=value["watcher"],
                looked=float(value["looked"]),
                idle=float(value["idle"]),
                conditions={str(name): str(alarm) for name, alarm in value["conditions"].items()},
                sightings={
                    str(place): Sighting(str(note), float(behind))
                    for place, (note, behind) in value["sightings"].items()
                },
            )
            checkpoint = state.checkpoint
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise MalformedError.at("state", "must be what a monitor wrote") from None
        if checkpoint is not None and (checkpoint.origin != state.origin or checkpoint.size < state.processed):
            raise MalformedError.at("state", "must be of one log, and processed no further than was seen")
        return state


def digest_of(text: str) -> str:
    """By which a state that a disk changed is known."""
    return sha256(text.encode()).hexdigest()
