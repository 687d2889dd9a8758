"""A fuzz target: a parser, genuine bytes to begin with, and what must hold of whatever it accepts.

A target is a function of bytes that returns None. Domain errors (`HeyanError`) are what a parser answers bad bytes
with; anything else that leaves it is a crash, an `AssertionError` of an oracle included. Nothing here needs atheris.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.protocol.errors import HeyanError

Parse = Callable[[bytes], object]
Write = Callable[[object], bytes]


@dataclass(frozen=True)
class Target:
    """One parser under fuzzing."""

    name: str
    parse: Parse = field(repr=False)
    seeds: tuple[bytes, ...] = field(repr=False)
    holds: Callable[[bytes, object], bool] = field(default=lambda _data, _value: True, repr=False)
    """What must be true of bytes that are accepted and of what was read from them."""

    def __call__(self, data: bytes) -> None:
        try:
            value = self.parse(data)
        except HeyanError as error:
            assert error.reason  # noqa: PT017 - an error without a reason could not be told to a peer
            return
        assert self.holds(data, value), "accepted, and not what would be written"


def text(data: bytes) -> str:
    """Bytes as any text that a protobuf string, a file or an argument may hold, lone surrogates included."""
    return data.decode("utf-8", "surrogatepass") if _is_text(data) else data.decode("latin-1")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def written_again(write: Callable[..., bytes]) -> Callable[[bytes, object], bool]:
    """The oracle of a canonical form: what was read is written as the very same bytes."""
    return lambda data, value: write(value) == data


DEEP = (b"[" * 3_000, b'{"a":' * 3_000, b"[" * 400 + b"]" * 400)
"""JSON deeper than an interpreter's stack."""
