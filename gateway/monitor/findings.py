"""What one look finds: alarms still to be stored, and what goes on being wrong (conditions), which is told once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.audit.bad_places import BadPlace, Wrong
from gateway.monitor.alarms import Alarm, Kind
from gateway.protocol.errors import BadDataError, NotFoundError, UnknownPeerError


@dataclass(slots=True)
class Findings:
    """Of a look at `origin` at `now`, after one that left the conditions `before` (name → id of the alarm)."""

    origin: str
    now: float
    before: Mapping[str, str]
    alarms: list[Alarm] = field(default_factory=list)
    conditions: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def take_alarms(self) -> list[Alarm]:
        """Those that are not stored yet."""
        taken, self.alarms = self.alarms, []
        return taken

    def condition(
        self,
        kind: Kind,
        key: str,
        facts: Mapping[str, Any],
        evidence: Mapping[str, str] | None = None,
        *,
        about: str = "",
    ) -> None:
        """Something that goes on being wrong: an alarm, if the look before had not found it too."""
        name = f"{kind.value} {about}".strip()
        if name in self.conditions:
            return
        told = self.before.get(name)
        if told is None:
            alarm = Alarm(self.origin, kind, key, self.now, facts, evidence or {})
            self.alarms.append(alarm)
            told = alarm.id
        self.conditions[name] = told

    def wrong(self, bad: BadPlace, evidence: Mapping[str, str]) -> None:
        """A checkpoint that does not count."""
        facts = {"place": bad.place, "detail": bad.detail}
        kind = Kind.TILES_INVALID if bad.wrong is Wrong.UNREADABLE else Kind[bad.wrong.name]
        self.condition(kind, f"{bad.place} {bad.detail} {evidence.get('shown', '')}", facts, evidence)

    def unreadable(self, size: int, error: BadDataError) -> None:
        """Something of the tree of `size` that the log does not show, keeps back, or that does not fit its root."""
        kind = Kind.TILES_INVALID
        if isinstance(error, NotFoundError):
            kind = Kind.MISSING
        elif isinstance(error, UnknownPeerError):
            kind = Kind.KEPT_BACK
        self.condition(kind, f"{size} {error.detail}", {"size": size, "detail": error.detail})

    def stalled(self, how: str, key: str, facts: Mapping[str, Any], place: str = "") -> None:
        """Something stands still."""
        self.condition(Kind.STALLED, f"{how} {place} {key}", {"how": how, **facts}, about=f"{how} {place}".strip())

    def keep_conditions(self) -> None:
        """What this look did not get to goes on as it was."""
        self.conditions = {**self.before, **self.conditions}
