"""The faults that a node of the sandbox can be given, and what each takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from types import MappingProxyType

import msgspec

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

LONGEST_SECONDS = 3_600.0
MOST_DAYS = 36_500
MOST_AFTER = 1_000_000


@unique
class Kind(StrEnum):
    """Each fault by its name on the command line."""

    DOWN = "down"
    DIES_ASKED = "dies-asked"
    DIES_REPLYING = "dies-replying"
    SLOW = "slow"
    HANGS = "hangs"
    LATE = "late"
    TWICE = "twice"
    OUT_OF_ORDER = "out-of-order"
    GARBAGE = "garbage"
    WRONG_SIGNATURE = "wrong-signature"
    STALE_SNAPSHOT = "stale-snapshot"
    OTHER_ANSWER = "other-answer"
    CHANGED_OUTCOME = "changed-outcome"
    ALTERED_OUTCOME = "altered-outcome"
    OVER_LONG = "over-long"
    OVER_FULL = "over-full"
    OVER_CLAIMING = "over-claiming"


@dataclass(frozen=True, slots=True)
class KindTerms:
    """What a fault is, in one line, and what may be set of it: None where nothing may."""

    text: str
    seconds: float | None = None
    days: int | None = None
    takes_after: bool = True
    """Whether it may wait until some messages have passed (`after`)."""


KINDS: Mapping[Kind, KindTerms] = MappingProxyType(
    {
        Kind.DOWN: KindTerms("does not serve: neither from its start nor any more", takes_after=False),
        Kind.DIES_ASKED: KindTerms("is killed when it has read asks, before it answers"),
        Kind.DIES_REPLYING: KindTerms("is killed when half of a reply batch is written"),
        Kind.SLOW: KindTerms("needs SECONDS (2) for each reply batch", seconds=2.0),
        Kind.HANGS: KindTerms("reads asks and writes nothing, until the fault is lifted"),
        Kind.LATE: KindTerms("answers SECONDS (11) after it was asked, when no caller waits", seconds=11.0),
        Kind.TWICE: KindTerms("sends each reply batch twice"),
        Kind.OUT_OF_ORDER: KindTerms(
            "holds each reply batch back, for SECONDS (0.5) at most, until a later one went; inside, the last first",
            seconds=0.5,
        ),
        Kind.GARBAGE: KindTerms("sends bytes that are no message"),
        Kind.WRONG_SIGNATURE: KindTerms("sends reply batches whose signature does not hold"),
        Kind.STALE_SNAPSHOT: KindTerms(
            "its register is DAYS (30) old, and vouches for nobody in it", days=30, takes_after=False
        ),
        Kind.OTHER_ANSWER: KindTerms("answers with what it signed for another query"),
        Kind.CHANGED_OUTCOME: KindTerms("signs other outcomes than it journalled: a department that lies"),
        Kind.ALTERED_OUTCOME: KindTerms("sends other outcomes than it signed"),
        Kind.OVER_LONG: KindTerms("sends replies longer than a gateway reads"),
        Kind.OVER_FULL: KindTerms("signs hundreds of statements more than it was asked for"),
        Kind.OVER_CLAIMING: KindTerms("signs that a batch holds hundreds of statements more than it does"),
    }
)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fault that is set. `after` is how many messages still pass; what its kind does not take is 0."""

    kind: Kind
    seconds: float = 0.0
    days: int = 0
    after: int = 0


def make_fault(kind: str, *, seconds: float | None = None, days: int | None = None, after: int | None = None) -> Fault:
    """The fault of that name, with its kind's own values where none are given; MalformedError naming the option."""
    if kind not in Kind.__members__.values():
        raise _refused("FAULT", f"must be off or one of {', '.join(Kind)}")
    terms = KINDS[Kind(kind)]
    for option, given, taken in (
        ("--seconds", seconds is not None, terms.seconds is not None),
        ("--days", days is not None, terms.days is not None),
        ("--after", after is not None, terms.takes_after),
    ):
        if given and not taken:
            raise _refused(option, f"is nothing that {kind} takes")
    if seconds is not None and not 0 < seconds <= LONGEST_SECONDS:
        raise _refused("--seconds", f"must be more than 0, and {LONGEST_SECONDS:.0f} at most")
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise _refused("--days", f"must be 1 to {MOST_DAYS}")
    if after is not None and not 0 <= after <= MOST_AFTER:
        raise _refused("--after", f"must be 0 to {MOST_AFTER}")
    return Fault(
        Kind(kind),
        seconds=(terms.seconds or 0.0) if seconds is None else seconds,
        days=(terms.days or 0) if days is None else days,
        after=after or 0,
    )


def _refused(option: str, description: str) -> MalformedError:
    return MalformedError.at(option, description, Reason.CONFIGURATION_INVALID)
