"""Addresses as `host:port`, which of them are this machine, and why one cannot be listened on."""

from __future__ import annotations

import errno
import socket
from enum import Enum, unique
from ipaddress import ip_address

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

MAX_PORT = 65_535
EXPECTED = f"must be host:port or [IPv6]:port, port 0 (any free one) to {MAX_PORT}"


def split_address(address: str, field: str = "address") -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`; MalformedError (CONFIGURATION_INVALID) naming `field`."""
    host, separator, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    sound = separator and bare and ("[" not in bare and "]" not in bare) and (":" not in bare or bare != host)
    if not sound or not (port.isascii() and port.isdecimal()) or int(port) > MAX_PORT:
        raise MalformedError.at(field, EXPECTED, Reason.CONFIGURATION_INVALID)
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, as an address or as `localhost`: unencrypted words do not leave it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@unique
class Bind(Enum):
    """Whether this machine can listen on an address now."""

    FREE = "free"
    BUSY = "busy"
    IMPOSSIBLE = "impossible"


def try_bind(host: str, port: int) -> tuple[Bind, str]:
    """Listen for an instant, as servers do; what came of it, and the system's words if it failed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1)
    except OSError as error:
        found = Bind.BUSY if error.errno == errno.EADDRINUSE else Bind.IMPOSSIBLE
        return found, error.strerror or str(error)
    return Bind.FREE, ""


def require_free(address: str, setting: str) -> None:
    """MalformedError naming the setting and what to do, if a server could not listen on `address` now."""
    host, port = split_address(address, setting)
    found, words = try_bind(host, port)
    if found is Bind.BUSY:
        remedy = f"is busy: see who listens (ss -ltnp 'sport = :{port}'), stop it, or choose another port"
    else:
        remedy = f"cannot be listened on ({words}): choose an address of this machine, and a port that is allowed"
    if found is not Bind.FREE:
        raise MalformedError.at(f"{setting} {address}", remedy, Reason.CONFIGURATION_INVALID)
