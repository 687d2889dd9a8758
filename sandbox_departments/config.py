"""Settings of a department node: one TOML file, parsed and checked at start."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pydantic import Field

from gateway.party.config import PartyConfig
from sandbox_departments.working_days import Calendar


class NodeConfig(PartyConfig):
    """Settings of a department node. Folders of keys are read again when they change."""

    register_file: Path = Field(description="the department's register (a simulated one: SQLite)")
    journal: Path = Field(description="what the node stated, and what it counts; made if there is none")
    answer_keys: Path = Field(description="folder of ES256 answer keys, <kid>.pem")
    sealing_keys: Path = Field(description="folder of HPKE seeds, <kid>.key; destroyed after their end in the registry")
    secret: Path = Field(description="32 random bytes behind the pseudonyms of subjects; made with a new journal")
    budget_requests: int = Field(10, ge=1, description="requests about one subject by one requester, within the window")
    budget_window: float = Field(86_400.0, gt=0, description="seconds")
    max_owed: int = Field(10_000, ge=1, description="statements that a gateway may leave unacknowledged")
    max_owed_age: float = Field(86_400.0, gt=0, description="seconds for which it may leave one unacknowledged")
    status_wait: float = Field(1.0, gt=0, le=30, description="seconds to wait for an issuer's status list")
    holidays: tuple[date, ...] = Field(
        (), description="public holidays (YYYY-MM-DD): days on which disputes do not come nearer to being overdue"
    )
    makeup_days: tuple[date, ...] = Field((), description="Saturdays and Sundays that are worked instead")
    stop_grace: float = Field(5.0, gt=0, description="seconds for what is under way when the node stops")

    @property
    def calendar(self) -> Calendar:
        """The days in which the department works."""
        return Calendar(frozenset(self.holidays), frozenset(self.makeup_days))
