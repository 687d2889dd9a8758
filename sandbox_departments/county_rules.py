"""The port through which simulated families learn what their county asks, and what true answers come to.

Rules are the gateway's business, and this package does not know them: whoever wires a sandbox gives an
implementation, to `generate_families` and to `write_truth`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.protocol.matrix import Group, PlannedCheck
from gateway.protocol.outcomes import Outcome
from sandbox_departments.people import Case


@dataclass(frozen=True, slots=True)
class Asked:
    """What a family of a case is asked: each question once, as far as the family has the persons for it.

    `own` is the plan of its group, `others` what the other groups of the school are asked besides, `fields` one
    question for each field of the student record that the county collects (差额共享). `offline` are the group's
    materials, by key, that no department can verify.
    """

    own: tuple[PlannedCheck, ...]
    others: tuple[PlannedCheck, ...]
    fields: tuple[PlannedCheck, ...]
    offline: tuple[str, ...]
    school_year: int

    @property
    def plan(self) -> tuple[PlannedCheck, ...]:
        """What a family is asked that leaves its group open: its own group's checks first."""
        return self.own + self.others

    def parameter(self, claim: str, name: str) -> str | None:
        """The value with which the group's plan asks `claim`; None if it does not ask it."""
        return next((check.parameters[name] for check in self.own if check.claim == claim), None)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What true answers come to: the groups of the school that they support, and how the own group's materials stand.

    A material, by key, is "EXEMPT", "OFFLINE" or "OWED": true answers leave none open.
    """

    supported: tuple[Group, ...]
    materials: Mapping[str, str]


class CountyRules(Protocol):
    """The rules of every simulated county. The same arguments always give the same values."""

    def asked(self, case: Case) -> Asked:
        """What a family of `case` is asked."""
        ...

    def judged(self, case: Case, outcomes: Sequence[Outcome]) -> Judgement:
        """What `outcomes` come to, one for each check of `asked(case).plan`, in its order."""
        ...
