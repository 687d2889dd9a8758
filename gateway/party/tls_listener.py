"""A TLS listener that bounds how many connections there are, those included that have not shaken hands yet.

asyncio's own server takes every connection and tells nobody before the handshake is over: whoever connects and says
nothing holds a file descriptor of the process for as long as a handshake may take, and any number of them. Where the
process answers others too, that takes its databases and its other listeners with it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

BACKLOG = 128
"""Connections that the system keeps until they are taken."""
PAUSE = 1.0
"""Seconds until connections are taken again, where the system gave none."""


class TlsListener:
    """Listens until `close`. `protocol` makes one for each connection that has shaken hands within `seconds`.

    `established` counts those that stand, `limit` is how many there may be at once; one more is closed as it comes.
    With `shares_port` other processes of the same user may listen on the same port.
    """

    def __init__(
        self,
        protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        *,
        established: Callable[[], int],
        limit: Callable[[], int],
        seconds: float,
        shares_port: bool = False,
    ) -> None:
        self._protocol = protocol
        self._context = context
        self._established = established
        self._limit = limit
        self._seconds = seconds
        self._shares_port = shares_port
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._beginning: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen on every address of a host; the bound port. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            listening = socket.create_server(address[:2], family=family, backlog=BACKLOG, reuse_port=self._shares_port)
            listening.setblocking(False)
            self._listening.append(listening)
            self._accepting.append(asyncio.create_task(self._accept(listening)))
        bound: int = self._listening[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Take no more connections, and end those that have not shaken hands; the others are their protocols'."""
        tasks = [*self._accepting, *self._beginning]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._listening:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            except OSError:  # none to be had now: no descriptors, or the peer has gone
                await asyncio.sleep(PAUSE)
                continue
            if len(self._beginning) + self._established() >= self._limit():
                connection.close()
                continue
            task = asyncio.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=self._context, ssl_handshake_timeout=self._seconds
            )
        except (OSError, TimeoutError):
            connection.close()  # it did not shake hands; asyncio has closed it, but for a task that never ran
        except asyncio.CancelledError:
            connection.close()
            raise
