"""Serving gRPC as raw bytes: every call of an authenticated peer reaches a handler, malformed ones too.

A `Method` is one unary call: who may call it, and a handler of bytes; a `StreamMethod` is a bidirectional stream,
whose handler reads and writes bytes through gRPC's context. `Guard` is what stands before every handler, in this
order: the peer has a certificate of this federation; the registry knows it in an allowed role; the message is within
its size (a stream's handler bounds its own). A domain error becomes a rich status; any other exception becomes
INTERNAL with nothing of it in the text. `on_refusal` is told of every refusal of an authenticated peer and
awaited before the refusal is sent, so that none goes unrecorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
import structlog

from gateway.party.process import place_of
from gateway.party.refusal_lines import RefusalLines
from gateway.party.statuses import DETAILS_KEY, is_refusal, said_of
from gateway.party.tls import peer_identity
from gateway.protocol.errors import HeyanError, MalformedError, UnknownPeerError, UnreachableError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.limits import MAX_MESSAGE, TRANSPORT_MAX_MESSAGE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry

_log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Identity, Context], Awaitable[bytes]]
StreamHandler = Callable[[Identity, Context], Awaitable[None]]
OnRefusal = Callable[[Identity, str, HeyanError, bytes], Awaitable[None]]

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", TRANSPORT_MAX_MESSAGE),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 1_024),  # of one connection; its client queues the rest
    # Beyond a thousand calls that the loop has not taken up, the core would end some at random, as cancelled: without a
    # reason, and without RetryInfo. They wait instead, and are let in or refused by name.
    ("grpc.server.max_pending_requests", 16_384),
    ("grpc.server.max_pending_requests_hard_limit", 32_768),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", TRANSPORT_MAX_MESSAGE),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A peer that was restarted is found again within seconds; by default a channel may wait two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
)


def server_options(*, shares_port: bool) -> tuple[tuple[str, int], ...]:
    """`SERVER_OPTIONS`; with `shares_port` other processes of the same user may listen on the same port."""
    shared = ("grpc.so_reuseport", int(shares_port))
    return tuple(shared if option[0] == shared[0] else option for option in SERVER_OPTIONS)


@dataclass(frozen=True, slots=True)
class Method:
    """One unary method: its name in the service, the roles that may call it, and its handler."""

    name: str
    roles: frozenset[PartyRole]
    handler: Handler


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """One bidirectional stream: its name in the service, the roles that may open it, and its handler.

    The handler returns when the stream may end well, and raises the HeyanError with which it ends otherwise.
    """

    name: str
    roles: frozenset[PartyRole]
    handler: StreamHandler


async def _record_nothing(peer: Identity, method: str, error: HeyanError, message: bytes) -> None:
    """For services without a log of their own refusals."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What stands before every handler."""

    registry: Callable[[], Registry]
    on_refusal: OnRefusal = _record_nothing
    lines: RefusalLines = field(default_factory=RefusalLines)

    def admit(self, context: Context, roles: frozenset[PartyRole]) -> Identity:
        """The peer, if the registry knows it in one of `roles`; UnknownPeerError."""
        peer = peer_identity(context)
        self.registry().party_in_role(peer.uri, peer.role)
        if peer.role not in roles:
            raise UnknownPeerError(Reason.PEER_ROLE_NOT_ALLOWED, f"{peer.role.value} may not call this")
        return peer

    async def record(self, peer: Identity | None, method: str, error: HeyanError, message: bytes) -> HeyanError:
        """Record the refusal of an authenticated peer; what it is to be told: `error`, or why it is not recorded."""
        outgoing = error
        try:
            if peer is not None and is_refusal(error):
                await self.on_refusal(peer, method, error, message)
        except HeyanError as failure:
            outgoing = failure
        self.lines.tell(method, outgoing)
        return outgoing

    async def refuse(self, context: Context, method: str, error: HeyanError, message: bytes) -> NoReturn:
        """Record the refusal of an authenticated peer, then end the call with its status."""
        unknown = error.reason is Reason.PEER_UNAUTHENTICATED or not is_refusal(error)
        peer = None if unknown else peer_identity(context)
        await abort(context, await self.record(peer, method, error, message))
        raise AssertionError("abort raises")


async def abort(context: Context, error: HeyanError) -> None:
    """End a call with the rich status of `error`."""
    code, text, details = said_of(error)
    await context.abort(code, text, ((DETAILS_KEY, details),))


def internal_error(method: str, error: Exception) -> HeyanError:
    """What a peer is told of an unexpected exception; the exception's type and place go to the log, not its text."""
    _log.error("internal_error", method=method, kind=type(error).__name__, place=place_of(error))
    return UnreachableError(Reason.INTERNAL)


def unary_handlers(service: str, methods: Sequence[Method], guard: Guard) -> grpc.GenericRpcHandler:  # type: ignore[type-arg]
    """A generic handler for the unary methods of one service, e.g. "heyan.v1.GatewayService"."""
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(_guarded(f"/{service}/{method.name}", method, guard))
        for method in methods
    }
    return grpc.method_handlers_generic_handler(service, handlers)


def stream_handlers(service: str, methods: Sequence[StreamMethod], guard: Guard) -> grpc.GenericRpcHandler:  # type: ignore[type-arg]
    """A generic handler for the bidirectional streams of one service."""
    handlers = {
        method.name: grpc.stream_stream_rpc_method_handler(_guarded_stream(f"/{service}/{method.name}", method, guard))
        for method in methods
    }
    return grpc.method_handlers_generic_handler(service, handlers)


def _guarded_stream(path: str, method: StreamMethod, guard: Guard) -> Callable[[object, Context], Awaitable[None]]:
    async def call(_requests: object, context: Context) -> None:
        try:
            await method.handler(guard.admit(context, method.roles), context)
        except HeyanError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the last line before the peer: nothing internal may leave
            if context.done():
                return  # the peer has gone
            failure = internal_error(path, error)
        else:
            return
        await guard.refuse(context, path, failure, b"")

    return call


def _guarded(path: str, method: Method, guard: Guard) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def call(message: bytes, context: Context) -> bytes:
        try:
            peer = guard.admit(context, method.roles)
            if len(message) > MAX_MESSAGE:
                raise MalformedError(Reason.MESSAGE_TOO_LARGE, f"{len(message)} bytes")
            return await method.handler(message, peer, context)
        except HeyanError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the last line before the peer: nothing internal may leave
            failure = internal_error(path, error)
        return await guard.refuse(context, path, failure, message)

    return call
