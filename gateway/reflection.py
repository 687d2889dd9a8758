"""gRPC server reflection, which an extra brings."""

from __future__ import annotations

import grpc

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

_SERVICES = ("heyan.v1.GatewayService", "heyan.v1.LogService", "heyan.v1.OfflineService")


def add_reflection(server: grpc.aio.Server) -> None:
    """Serve reflection of the gateway's services; MalformedError (CONFIGURATION_INVALID) without the extra."""
    try:
        from grpc_reflection.v1alpha import reflection  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise MalformedError.at(
            "reflection", "needs the extra: pip install heyan[reflection]", Reason.CONFIGURATION_INVALID
        ) from error
    reflection.enable_server_reflection((*_SERVICES, reflection.SERVICE_NAME), server)
