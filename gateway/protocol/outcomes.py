"""What a department can say, what a requester is told, and the step that follows."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Outcome(IntEnum):
    """Outcome of a check. Numbers are those of `heyan.v1.Outcome`; none is 0, so that all encode alike.

    Only the first three are a department's (signed). UNAVAILABLE is the gateway's own statement about a
    technical fault, REFUSED stands for a department's signed refusal; neither says anything about a person.
    """

    YES = 1
    NO = 2
    UNDETERMINED = 3
    UNAVAILABLE = 4
    REFUSED = 5


@unique
class NextStep(IntEnum):
    """What the requester does next. Numbers are those of `heyan.v1.NextStep`."""

    NONE = 1
    OFFLINE = 2
    RETRY = 3
    DEFERRED = 4


ATTESTABLE = frozenset({Outcome.YES, Outcome.NO, Outcome.UNDETERMINED})


def next_step_of(outcome: Outcome) -> NextStep:
    """The step that follows an attested outcome: paper only where online could not tell (应核尽核)."""
    return NextStep.OFFLINE if outcome is Outcome.UNDETERMINED else NextStep.NONE
