"""What is mutated: genuine samples of one signed thing, how it is judged, and what may be read alike.

A judge returns what verification established of a message, in a form that can be compared, or raises a domain error.
A mutated message is

- refused, if the judge raises;
- alike, if the judge establishes just what it did of a genuine sample, and `alike` says why that is harmless: the
  mutated bytes were signed by nobody;
- accepted otherwise, which must never happen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from operator import contains
from random import Random

from gateway.protocol.errors import HeyanError
from tests.mutations.octets import BYTE_MUTATIONS
from tests.mutations.wire import mutate_message

Judge = Callable[[int, bytes], Hashable]
"""The number of the sample in whose place the bytes stand, and the bytes."""

Mutate = Callable[[Random, bytes, bytes], bytes]


@dataclass(frozen=True)
class Message:
    """One kind of signed thing. `bound`: a sample counts only in its own place, so another in it is a forgery."""

    name: str
    samples: tuple[bytes, ...] = field(repr=False)
    judge: Judge = field(repr=False)
    mutate: Mutate = field(repr=False)
    share: int = 1
    bound: bool = False
    alike: str = ""
    agrees: Callable[[tuple[Hashable, ...], Hashable], bool] = field(default=contains, repr=False)
    """Whether what was established of the genuine ones holds what was of a mutated one."""

    @cached_property
    def _established(self) -> tuple[Hashable, ...]:
        return tuple(self.judge(number, sample) for number, sample in enumerate(self.samples))

    def verdict(self, number: int, data: bytes) -> str | None:
        """`refused`, `alike` or `accepted`; None if `data` is a genuine message after all."""
        if data == self.samples[number] or (not self.bound and data in self.samples):
            return None
        genuine = (self._established[number],) if self.bound else self._established
        try:
            value = self.judge(number, data)
        except HeyanError:
            return "refused"
        return "alike" if self.alike and self.agrees(genuine, value) else "accepted"


def any_bytes(random: Random, data: bytes, other: bytes) -> bytes:
    """Bytes without a format of their own."""
    return random.choice(BYTE_MUTATIONS)(random, data, other)


def mixed(mutation: Mutate, often: float = 0.65) -> Mutate:
    """A mutation that knows the format, and now and then one that does not."""

    def mutate(random: Random, data: bytes, other: bytes) -> bytes:
        return (mutation if random.random() < often else any_bytes)(random, data, other)

    return mutate


protobuf = mixed(mutate_message)
