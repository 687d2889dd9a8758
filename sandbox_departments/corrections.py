"""Corrections of a simulated register: what staff state of one case stands in the place of what its tables say.

A real department corrects its own register and has none of this. The sandbox's has no staff who could: its clerk
states the right answer of the disputed case, which goes by a pseudonym, and the register answers so from then on,
whoever asks about that case, in any request. One case is one question: a correction of "insured for 12 months" says
nothing of 6.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path

from gateway.protocol.claims import claim_named
from gateway.protocol.errors import UnreachableError
from gateway.protocol.reasons import Reason
from sandbox_departments.cases import case_of
from sandbox_departments.config import NodeConfig
from sandbox_departments.node_keys import load_secret
from sandbox_departments.register import Finding, Question, Standing
from sandbox_departments.registers import CORRECTIONS, SqliteRegister, faults_as_unreachable


class CorrectedRegister:
    """A register with its corrections; implements `sandbox_departments.register.Register`.

    Does the same work for every question, corrected or not. Called from one thread at a time.
    """

    def __init__(self, path: Path, secret: bytes) -> None:
        """Open the register at `path`; `secret` is the node's, under which cases have their names."""
        self._register = SqliteRegister(path)
        self._secret = secret
        self._corrections: Mapping[bytes, bool] = {}
        self._version = -1
        try:
            with faults_as_unreachable():
                self._connection = sqlite3.connect(
                    f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
                )
            self._require_table()
        except BaseException:
            self._register.close()
            raise

    @property
    def snapshot_date(self) -> date:
        """The date as of which the register is current."""
        return self._register.snapshot_date

    def find(self, questions: Sequence[Question]) -> tuple[Finding, ...]:
        """One finding per question, in order; raises what the register raises."""
        findings = self._register.find(questions)
        corrections = self._current()
        return tuple(
            _corrected(finding, question, corrections.get(case_of(question, self._secret)))
            for finding, question in zip(findings, questions, strict=True)
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        self._register.close()

    def _require_table(self) -> None:
        with faults_as_unreachable():
            (tables,) = self._connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = ?", (CORRECTIONS,)
            ).fetchone()
        if not tables:
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "register: made by an earlier version; make it anew")

    def _current(self) -> Mapping[bytes, bool]:
        """The corrections, read again whenever somebody has written to the file."""
        with faults_as_unreachable():
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                rows = self._connection.execute(f"SELECT case_name, answer FROM {CORRECTIONS}").fetchall()  # noqa: S608
                self._corrections = {case: bool(answer) for case, answer in rows}
                self._version = version
        return self._corrections


def open_register(config: NodeConfig) -> CorrectedRegister:
    """The simulated register of a node's settings."""
    return CorrectedRegister(config.register_file, load_secret(config.secret, journal=config.journal))


def correct(path: Path, case: bytes, *, answer: bool) -> None:
    """Have the register at `path` answer a case so, from now on; durable when this returns."""
    if not path.exists():
        raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "register: there is none")
    with faults_as_unreachable(), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"INSERT OR REPLACE INTO {CORRECTIONS} VALUES (?, ?)", (case, int(answer)))  # noqa: S608


def _corrected(finding: Finding, question: Question, answer: bool | None) -> Finding:
    if answer is None:
        return finding
    return Finding(Standing.KNOWN, answer != claim_named(question.claim).negative)
