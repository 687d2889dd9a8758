"""Addresses as `host:port`."""

from __future__ import annotations

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

_MAX_PORT = 65_535


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`; MalformedError (CONFIGURATION_INVALID)."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise MalformedError.at("address", "must be host:port", Reason.CONFIGURATION_INVALID)
    return host.strip("[]"), int(port)
