"""The one tree of domain errors.

    HeyanError
    ├── BadDataError            what was presented is wrong: nobody need retry it
    │   ├── MalformedError      cannot be read, or breaks a bound
    │   ├── ForgedError         a signature, digest, proof or commitment does not hold
    │   ├── NotGrantedError     true, but consent or policy does not allow it
    │   ├── NotCurrentError     true and allowed, at another time
    │   ├── ConflictError       contradicts what was accepted before
    │   ├── NotFoundError       names something that is not there (or not yours)
    │   └── UnknownPeerError    the peer is not who the registry knows
    └── UnreachableError        nothing is wrong with what was presented: try again
        ├── OverloadedError     a named bound is reached
        └── LogUnavailableError the log cannot record, so nothing is answered
            └── OvertakenError  another process recorded something of the same request first

"Lying" and "unreachable" are different roots, because the first is never retried and the second never
means "no". An error carries a `Reason` (stable, machine-readable, the `ErrorInfo.reason` of AIP-193); the
texts of both languages are in `reasons`. `region` is the county that the refused message was about, where that is
known: the log's leaf holds it, so that refusals can be counted by county. `detail` is for the operator's own log,
never sent to a peer, and never holds an identifier or a name of a subject. `text` stands in for the reason's text
where that must say more, as when the next window opens; it is public.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.protocol.reasons import Reason, Text


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks a bound: `field` is its path, `description` says what is expected, not what came."""

    field: str
    description: str


class HeyanError(Exception):
    """Root of every error that Heyan raises on purpose."""

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        violations: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
        text: Text | None = None,
        region: str = "",
    ) -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail
        self.violations = violations
        self.retry_after = retry_after
        self.text = text
        self.region = region


class BadDataError(HeyanError):
    """What was presented is wrong; presenting it again changes nothing."""


@contextmanager
def about(region: str) -> Iterator[None]:
    """What is refused meanwhile is about this county, where nothing closer said which."""
    try:
        yield
    except BadDataError as error:
        error.region = error.region or region
        raise


class MalformedError(BadDataError):
    """Bytes that cannot be read, or a value outside its bound."""

    @classmethod
    def at(cls, field: str, description: str, reason: Reason = Reason.MESSAGE_MALFORMED) -> MalformedError:
        """A malformed message with one located violation."""
        return cls(reason, f"{field}: {description}", violations=(FieldViolation(field, description),))


class ForgedError(BadDataError):
    """A signature, digest, proof or commitment does not hold."""


class NotGrantedError(BadDataError):
    """Genuine, but consent or policy does not allow it."""


class NotCurrentError(BadDataError):
    """Genuine and allowed, but at another time: early, expired, rolled back, or outside a window."""


class ConflictError(BadDataError):
    """Contradicts what was accepted before under the same name."""


class NotFoundError(BadDataError):
    """Names something that does not exist, or that belongs to someone else: both look alike."""


class UnknownPeerError(BadDataError):
    """The transport identity is absent, unknown to the registry, or of another party than expected."""


class UnreachableError(HeyanError):
    """A fault of a machine or a network, never a statement about a person: try again."""


class OverloadedError(UnreachableError):
    """A named bound (queue, rate, budget) is reached; `retry_after` says in how many seconds to come back."""


class LogUnavailableError(UnreachableError):
    """The log cannot record: nothing is answered that is not recorded."""


class OvertakenError(LogUnavailableError):
    """Another process recorded something of the same request first: look at what it did, and carry on from there."""
