"""A gateway's front door without a network: the real guard, which logs every refusal before it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import grpc
from google.rpc import error_details_pb2, status_pb2

from gateway.leaves import LeafStamp
from gateway.party.service import Guard, Method, unary_handlers
from gateway.party.statuses import DETAILS_KEY
from gateway.protocol.identities import Identity, PartyRole, parse_identity
from gateway.protocol.presentation import Submission, write_submission
from gateway.refusals import Refusals
from heyan.v1 import gateway_service_pb2, receipt_pb2
from tests import federation as fed
from tests.gateway.conftest import Gateway

SERVICE, METHOD = "heyan.v1.GatewayService", "/heyan.v1.GatewayService/Verify"


class RefusedError(Exception):
    """What the peer was told: the reason of the status."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class Caller:
    """The context of one call by a peer of this certificate."""

    peer: str

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"transport_security_type": [b"ssl"], "peer_uri": [self.peer.encode()]}

    async def abort(self, _code: object, _text: str, trailing: tuple[tuple[str, bytes], ...]) -> None:
        status = status_pb2.Status.FromString(dict(trailing)[DETAILS_KEY])
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in status.details)
        raise RefusedError(info.reason)


class FrontDoor:
    """The `Verify` of a gateway, as a peer meets it."""

    def __init__(self, gateway: Gateway) -> None:
        def registry() -> object:
            return gateway.federation.registry

        stamp = LeafStamp(parse_identity(fed.GATEWAY), registry, gateway.clock)  # type: ignore[arg-type]
        self.refusals = Refusals(gateway.log, stamp, gateway.clock)

        async def verify(message: bytes, peer: Identity, _context: object) -> bytes:
            return (await gateway.pipeline.verify(message, peer, None)).SerializeToString()

        method = Method("Verify", frozenset({PartyRole.REQUESTER}), verify)
        handlers = unary_handlers(SERVICE, [method], Guard(registry, self.refusals.record))  # type: ignore[arg-type]
        handler = handlers.service(SimpleNamespace(method=METHOD))  # type: ignore[arg-type]
        assert isinstance(handler, grpc.RpcMethodHandler)
        self._call = handler.unary_unary

    async def verify(self, submission: Submission, peer: str = fed.REQUESTER) -> receipt_pb2.Receipt:
        """The receipt; RefusedError with the reason that the peer is told."""
        request: gateway_service_pb2.VerifyRequest = write_submission(submission)
        return receipt_pb2.Receipt.FromString(await self._call(request.SerializeToString(), Caller(peer)))
