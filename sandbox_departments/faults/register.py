"""A register whose copy is old, while the switch says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

from sandbox_departments.faults.kinds import Fault, Kind
from sandbox_departments.faults.switch import Switch
from sandbox_departments.register import Finding, Question, Register, Standing


class SwitchedRegister:
    """The register of a sandbox's node; implements `sandbox_departments.register.Register`.

    With an old snapshot it states the old date, and vouches for nobody: who was known then is STALE now.
    """

    def __init__(self, register: Register, switch: Switch) -> None:
        self._register = register
        self._switch = switch

    @property
    def snapshot_date(self) -> date:
        """The date of the copy that the register answers from."""
        fault = self._stale()
        current = self._register.snapshot_date
        return current if fault is None else current - timedelta(days=fault.days)

    def find(self, questions: Sequence[Question]) -> Sequence[Finding]:
        """One finding per question, in order, with the same work whether the copy is old or not."""
        findings = self._register.find(questions)
        if self._stale() is None:
            return findings
        return [
            replace(finding, standing=Standing.STALE) if finding.standing is Standing.KNOWN else finding
            for finding in findings
        ]

    def _stale(self) -> Fault | None:
        fault = self._switch.fault()
        return fault if fault is not None and fault.kind is Kind.STALE_SNAPSHOT else None
