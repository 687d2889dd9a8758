"""A port that several processes listen on: kept for them by one that does not listen itself.

The system spreads new connections over all sockets that listen on the port (SO_REUSEPORT), of processes of one user.
A socket that is bound and does not listen gets none; as long as it is there the port is nobody else's, also while the
last listener has died and the next one starts.
"""

from __future__ import annotations

import socket

from gateway.party.addresses import split_address
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason


class SharedPort:
    """An address that is kept until `close`. Raises MalformedError (CONFIGURATION_INVALID) naming `setting`."""

    def __init__(self, address: str, setting: str) -> None:
        self._host, port = split_address(address, setting)
        self._sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, place in dict.fromkeys((family, place) for family, _, _, _, place in found):
                port = self._bind(family, (place[0], port, *place[2:]))
        except OSError as error:
            self.close()
            words = error.strerror or str(error)
            raise MalformedError.at(
                f"{setting} {address}", f"cannot be listened on ({words})", Reason.CONFIGURATION_INVALID
            ) from error
        self._port = port

    @property
    def address(self) -> str:
        """host:port, with the port that was found where any was wanted."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def close(self) -> None:
        """Give it up."""
        for kept in self._sockets:
            kept.close()

    def _bind(self, family: socket.AddressFamily, place: tuple[object, ...]) -> int:
        kept = socket.socket(family, socket.SOCK_STREAM)
        self._sockets.append(kept)
        if family == socket.AF_INET6:
            kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(place)
        bound: int = kept.getsockname()[1]
        return bound
