"""The port through which a node asks its department's register. A real department implements this, no more.

The register reports facts; turning them into an outcome, signing and journalling are the node's. Nothing of
a finding but the resulting outcome ever reaches a requester.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum, unique
from typing import Protocol

from gateway.protocol.claims import Role
from gateway.protocol.subjects import Subject


@unique
class Standing(StrEnum):
    """How the subjects of a question stand in the register: the finer reason, for the journal only.

    With several subjects it is the first that is not KNOWN, in the order of this enum.
    """

    UNKNOWN = "unknown"
    AMBIGUOUS = "ambiguous"
    MISMATCH = "mismatch"
    PROTECTED = "protected"
    STALE = "stale"
    KNOWN = "known"


@dataclass(frozen=True, slots=True)
class Question:
    """One question: a claim of the vocabulary, its region (GB/T 2260 county code), parameters and subjects."""

    claim: str
    region: str
    parameters: Mapping[str, str]
    subjects: Mapping[Role, Subject]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the register holds: how the subjects stand, and whether the claim's fact record exists.

    `fact` is of the record, before any negation by a negative claim; it means nothing unless `standing` is KNOWN.
    """

    standing: Standing
    fact: bool


class Register(Protocol):
    """A department's register, read only.

    Implementations answer known and unknown persons with the same work (the same statements, whatever they
    find), so that time tells nothing. They are called from one worker thread at a time. A fault is raised as
    gateway.protocol.errors.UnreachableError, never reported as a finding.
    """

    @property
    def snapshot_date(self) -> date:
        """The date as of which the register's copy is current; equal for all subjects."""
        ...

    def find(self, questions: Sequence[Question]) -> Sequence[Finding]:
        """One finding per question, in order."""
        ...
