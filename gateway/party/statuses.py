"""The one table between domain errors and gRPC, in both directions (AIP-193).

Outwards: status, `ErrorInfo` (domain "heyan", the reason), `BadRequest` for located violations, `RetryInfo`
where coming back helps, and `LocalizedMessage` in zh-CN and en. Nothing of `detail` leaves the process.
Inwards: a peer's status becomes the same domain error again. What its transport refuses carries no details: more calls
than it takes at once is OVERLOADED, a message over its limit MESSAGE_TOO_LARGE, anything else PEER_UNREACHABLE. Where
coming back helps, the error says when, whether the peer did or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from gateway.protocol.errors import (
    BadDataError,
    ConflictError,
    FieldViolation,
    ForgedError,
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotCurrentError,
    NotFoundError,
    NotGrantedError,
    OverloadedError,
    UnknownPeerError,
    UnreachableError,
)
from gateway.protocol.reason_texts import text_of
from gateway.protocol.reasons import Reason, Text

DOMAIN = "heyan"
DETAILS_KEY = "grpc-status-details-bin"
RETRY_AFTER = 1.0
"""Seconds after which to come back to a peer that does not say."""
MAX_SAID = 500
"""Characters of a peer's own text that are shown."""

_STATUS_OF_CLASS: tuple[tuple[type[HeyanError], grpc.StatusCode], ...] = (
    (MalformedError, grpc.StatusCode.INVALID_ARGUMENT),
    (ForgedError, grpc.StatusCode.PERMISSION_DENIED),
    (NotGrantedError, grpc.StatusCode.PERMISSION_DENIED),
    (NotCurrentError, grpc.StatusCode.FAILED_PRECONDITION),
    (ConflictError, grpc.StatusCode.ALREADY_EXISTS),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (UnknownPeerError, grpc.StatusCode.PERMISSION_DENIED),
    (LogUnavailableError, grpc.StatusCode.UNAVAILABLE),
    (OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnreachableError, grpc.StatusCode.UNAVAILABLE),
)
_STATUS_OF_REASON = {
    Reason.PEER_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.GRANT_EXPIRED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.GRANT_NOT_YET_VALID: grpc.StatusCode.PERMISSION_DENIED,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}
_CLASS_OF_STATUS: dict[grpc.StatusCode, type[HeyanError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: MalformedError,
    grpc.StatusCode.PERMISSION_DENIED: NotGrantedError,
    grpc.StatusCode.FAILED_PRECONDITION: NotCurrentError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAUTHENTICATED: UnknownPeerError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_TOO_LARGE = "message larger than max"
"""How gRPC's core tells that limit from others of the same status."""


def code_of(error: HeyanError) -> grpc.StatusCode:
    """The gRPC status of a domain error: its reason's, else its class's."""
    if error.reason in _STATUS_OF_REASON:
        return _STATUS_OF_REASON[error.reason]
    return next((code for kind, code in _STATUS_OF_CLASS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def to_status(error: HeyanError) -> status_pb2.Status:
    """The rich status of a domain error."""
    text = error.text or text_of(error.reason)
    details = [
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN),
        error_details_pb2.LocalizedMessage(locale="zh-CN", message=text.zh),
        error_details_pb2.LocalizedMessage(locale="en", message=text.en),
    ]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(max(1, round(error.retry_after * 1000)))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        holder = Any()
        holder.Pack(detail)
        packed.append(holder)
    number = code_pb2.Code.Value(code_of(error).name)
    return status_pb2.Status(code=number, message=text.en, details=packed)


def said_of(error: HeyanError) -> tuple[grpc.StatusCode, str, bytes]:
    """A domain error as gRPC sends it: its status, its text, and the serialized rich status.

    That of an overload is kept: thousands are refused alike, and making it anew costs as much as the rest of a refusal.
    """
    if isinstance(error, OverloadedError) and not error.violations and error.text is None:
        return _overload(error.reason, error.retry_after)
    return _said(error)


@lru_cache(maxsize=512)
def _overload(reason: Reason, retry_after: float | None) -> tuple[grpc.StatusCode, str, bytes]:
    return _said(OverloadedError(reason, retry_after=retry_after))


def _said(error: HeyanError) -> tuple[grpc.StatusCode, str, bytes]:
    status = to_status(error)
    return code_of(error), status.message, status.SerializeToString()


def from_rpc_error(error: grpc.aio.AioRpcError) -> HeyanError:
    """The domain error that a peer's status stands for; what is not ours is UnreachableError (PEER_UNREACHABLE)."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    return from_status(status if status is not None else status_pb2.Status(), error.code(), error.details() or "")


def from_status(status: status_pb2.Status, code: grpc.StatusCode | None = None, details: str = "") -> HeyanError:
    """The domain error that a rich status stands for; `code` and `details` are the call's, where it is one's own."""
    code = code or _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    reason: Reason | None = None
    retry_after: float | None = None
    violations: tuple[FieldViolation, ...] = ()
    texts: dict[str, str] = {}
    for holder in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        said = error_details_pb2.LocalizedMessage()
        if holder.Unpack(info) and info.domain == DOMAIN and info.reason in Reason.__members__:
            reason = Reason[info.reason]
        elif holder.Unpack(bad):
            violations = tuple(FieldViolation(item.field, item.description) for item in bad.field_violations)
        elif holder.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
        elif holder.Unpack(said):
            texts[said.locale] = said.message
    if reason is None:
        return _transport_error(code, details)
    kind = LogUnavailableError if reason is Reason.LOG_UNAVAILABLE else _CLASS_OF_STATUS.get(code, UnreachableError)
    if retry_after is None and issubclass(kind, UnreachableError):
        retry_after = RETRY_AFTER
    return kind(reason, violations=violations, retry_after=retry_after, text=_said_otherwise(reason, texts))


def _transport_error(code: grpc.StatusCode, details: str) -> HeyanError:
    """What gRPC itself says, at either end: a status without details of ours."""
    if code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return UnreachableError(Reason.PEER_UNREACHABLE, f"gRPC {code.name}", retry_after=RETRY_AFTER)
    if _TOO_LARGE in details:
        return MalformedError(Reason.MESSAGE_TOO_LARGE, "the transport's limit")  # as large when it is sent again
    return OverloadedError(Reason.OVERLOADED, "the peer's transport", retry_after=RETRY_AFTER)


def _said_otherwise(reason: Reason, texts: Mapping[str, str]) -> Text | None:
    """What the peer says of a reason, where that is more than we know: printable lines of a bounded length."""
    zh, en = (_printable(texts.get(locale, "")) for locale in ("zh-CN", "en"))
    return Text(zh, en) if zh and en and Text(zh, en) != text_of(reason) else None


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:MAX_SAID]


def is_refusal(error: HeyanError) -> bool:
    """Whether the peer did something wrong, as against a fault of ours or of the network."""
    return isinstance(error, BadDataError)
