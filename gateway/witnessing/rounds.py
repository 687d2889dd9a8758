"""A head of the log while it is being cosigned, and once a quorum has done so; the clocks by which that is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gateway.protocol.note import Signature, parse_note
from gateway.stores.records import Head


@dataclass(frozen=True, slots=True)
class Times:
    """Two clocks, `clock` in seconds since the epoch and `steady` in seconds that never jump; and seconds of ours.

    `interval` lies between the beginnings of rounds; for `patience` a witnessed head is published before an unwitnessed
    one is; `alarm` is the age that is told as one.
    """

    clock: Callable[[], float]
    steady: Callable[[], float]
    interval: float
    patience: float
    alarm: float


@dataclass(frozen=True, slots=True)
class WitnessedHead:
    """A head that a quorum cosigned, its checkpoint with all cosignatures; `time` is when it became so."""

    head: Head
    time: float


def dressed_as(head: Head, cosigned: Head, origin: str) -> Head:
    """A head of the log `origin` with the cosignatures of `cosigned`, another note of the same tree."""
    signatures = parse_note(cosigned.checkpoint.encode()).unverified
    lines = (each.format() + "\n" for each in signatures if each.name != origin)
    return replace(head, checkpoint=head.checkpoint + "".join(lines))


@dataclass(slots=True, eq=False)
class Round:
    """A head that is being cosigned since `began` (steady seconds)."""

    head: Head
    began: float
    signatures: dict[str, Signature] = field(default_factory=dict)
    """By the policy's name of the witness."""
    beyond: set[str] = field(default_factory=set)
    """Who holds a later tree already, and so cannot cosign this one."""
    is_witnessed: bool = False

    def wants(self, name: str) -> bool:
        """Whether a witness is still to be asked."""
        return name not in self.signatures and name not in self.beyond

    def dressed(self) -> Head:
        """The head with the cosignatures so far."""
        known = list(self.signatures.values())  # at once: any thread may look
        lines = "".join(signature.format() + "\n" for signature in known)
        return replace(self.head, checkpoint=self.head.checkpoint + lines)
