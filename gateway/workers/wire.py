"""What a supervisor and its workers tell each other: a line of JSON each, over a socket pair that nobody else has.

    supervisor ── Begin ──► worker, before it does anything
    supervisor ◄── Serving ── worker, when it listens
    supervisor ── Ask ──► worker ── Told ──► supervisor
    either ── Halted, Withdrawn ──►   what every worker must hear of; the supervisor passes it on

The end of the line tells each that the other has ended. Nothing here is of a person: a withdrawal is a grant's digest.
"""

from __future__ import annotations

import asyncio
import socket

import msgspec

MAX_LINE = 32 << 20
"""Bytes of one message: the metrics of a gateway with some thousands of departments."""


class Halted(msgspec.Struct, frozen=True, tag=True):
    """The log of a worker records nothing any more: why (`gateway.protocol.reasons.Reason`), and in more words."""

    reason: str
    detail: str


class Begin(msgspec.Struct, frozen=True, tag=True):
    """A worker may begin; if another one's log was halted before, it must not sign either."""

    halted: Halted | None = None


class Serving(msgspec.Struct, frozen=True, tag=True):
    """A worker listens, on the ports that are kept for all."""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """How is it? And its metrics, if they are wanted."""

    number: int
    metrics: bool = False


class Told(msgspec.Struct, frozen=True, tag=True):
    """The answer to the ask of that number. `metrics` is a Prometheus text; empty if it was not asked for."""

    number: int
    complaints: list[str]
    leads: bool
    metrics: str = ""


class Withdrawn(msgspec.Struct, frozen=True, tag=True):
    """A grant, by its digest, was reported as withdrawn."""

    grant_digest: bytes


Message = Begin | Serving | Ask | Told | Halted | Withdrawn

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Message)


class Line:
    """One end of a line, on one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Line:
        """The line over one end of a socket pair, which it closes with itself."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=MAX_LINE))

    def send(self, message: Message) -> None:
        """Say something; to nobody, if the other has gone."""
        if not self._writer.is_closing():
            self._writer.write(_ENCODER.encode(message) + b"\n")

    async def receive(self) -> Message | None:
        """What the other says next; None once it has gone. Raises msgspec.DecodeError for what is no message."""
        try:
            data = await self._reader.readline()
        except OSError:
            return None
        return _DECODER.decode(data) if data.endswith(b"\n") else None

    def close(self) -> None:
        """End the line."""
        self._writer.close()
