"""A department's register in memory, for tests of the node."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sandbox_departments.register import Finding, Question, Standing


class FakeRegister:
    """Finds every person with the fact there, until told otherwise; remembers what it was asked.

    `findings` maps an ID number to what is found about its holder; `fault` is raised instead of an answer, and
    `chokes_on` is an ID number at which it breaks with an error of its own.
    """

    def __init__(self, snapshot_date: date = date(2027, 1, 1)) -> None:
        self.snapshot_date = snapshot_date
        self.findings: dict[str, Finding] = {}
        self.fault: Exception | None = None
        self.chokes_on: str | None = None
        self.asked: list[tuple[Question, ...]] = []

    def find(self, questions: Sequence[Question]) -> Sequence[Finding]:
        if self.fault is not None:
            raise self.fault
        numbers = [[subject.id_number for subject in question.subjects.values()] for question in questions]
        if any(self.chokes_on in named for named in numbers):
            raise RuntimeError(self.chokes_on)
        if questions:
            self.asked.append(tuple(questions))
        return [
            next((self.findings[number] for number in named if number in self.findings), Finding(Standing.KNOWN, True))
            for named in numbers
        ]
