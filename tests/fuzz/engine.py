"""Running the targets of one group: which target an input is for, genuine inputs to begin with, and what was run.

An input is one byte that chooses the target, and what the target is given: so one process fuzzes a whole group, and
an input that crashed is replayed by its bytes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from tests.fuzz.target import Target
from tests.mutations.octets import BYTE_MUTATIONS

MAX_INPUT = 65_536
"""Bytes: twice the largest genuine message."""


def input_of(targets: Sequence[Target], number: int, data: bytes) -> bytes:
    """The input that gives `data` to the target of that number."""
    assert number < len(targets) <= 256
    return bytes([number]) + data


def run_input(targets: Sequence[Target], data: bytes) -> Target | None:
    """Give an input to its target, which is returned; None for an empty one. What a target raises is a crash."""
    if not data:
        return None
    target = targets[data[0] % len(targets)]
    target(data[1:])
    return target


def genuine_inputs(targets: Sequence[Target]) -> Iterator[bytes]:
    """Every seed of every target."""
    for number, target in enumerate(targets):
        for seed in target.seeds:
            yield input_of(targets, number, seed)


def simple_inputs(target: Target, seed: str, count: int) -> Iterator[bytes]:
    """What a target is given without a fuzzer: its seeds, arbitrary bytes, seeds after a few mutations."""
    random = Random(f"{seed}/{target.name}")
    yield from target.seeds
    yield b""
    for _ in range(count):
        if random.random() < 0.15:
            yield random.randbytes(random.choice((1, 2, 8, 40, 300)))
            continue
        data = random.choice(target.seeds)
        for _ in range(random.choice((1, 1, 2, 4))):
            data = random.choice(BYTE_MUTATIONS)(random, data, random.choice(target.seeds))
        yield data
