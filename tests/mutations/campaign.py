"""A campaign: so many mutations of each message, drawn from a seed, each judged and counted.

Every mutation draws from a generator of its own (seed, message, number), so that one that was accepted can be made
again by its number. ES256 signatures and sealed subjects of the samples are fresh in each run: their bytes differ,
the choices do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.mutations.message import Message

_ATTEMPTS = 40
"""Draws for one mutation: some change nothing, or happen to give the other sample."""


@dataclass
class Tally:
    """What became of one message's mutations; `found` are the numbers and bytes of those that were accepted."""

    name: str
    alike: str
    counts: Counter[str] = field(default_factory=Counter)
    found: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def mutated(self) -> int:
        return sum(self.counts.values())

    @property
    def accepted(self) -> int:
        return self.counts["accepted"]


def mutate(message: Message, seed: str, number: int) -> tuple[int, bytes, str]:
    """The mutation of that number: the place it stands in, its bytes, and its verdict."""
    random = Random(f"{seed}/{message.name}/{number}")
    for _ in range(_ATTEMPTS):
        place = random.randrange(len(message.samples))
        data, other = message.samples[place], random.choice(message.samples)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            data = message.mutate(random, data, other)
        verdict = message.verdict(place, data)
        if verdict is not None:
            return place, data, verdict
    raise AssertionError(f"{message.name}: no mutation in {_ATTEMPTS} draws")


def run(message: Message, seed: str, count: int) -> Tally:
    """`count` mutations of one message."""
    tally = Tally(message.name, message.alike)
    for number in range(count):
        _, data, verdict = mutate(message, seed, number)
        tally.counts[verdict] += 1
        if verdict == "accepted":
            tally.found.append((number, data))
    return tally


def shares(messages: Sequence[Message], total: int) -> list[int]:
    """How many mutations each message gets of at least `total`, by its share."""
    whole = sum(message.share for message in messages)
    return [-(-total * message.share // whole) for message in messages]


def table(tallies: Iterable[Tally]) -> str:
    """Counts as a table, and why what is alike is harmless."""
    tallies = list(tallies)
    head = f"{'message':<28} {'mutated':>8} {'refused':>8} {'alike':>6} {'accepted':>8}"
    lines = [head, "-" * len(head)]
    lines += [
        f"{tally.name:<28} {tally.mutated:>8} {tally.counts['refused']:>8} {tally.counts['alike']:>6}"
        f" {tally.accepted:>8}"
        for tally in tallies
    ]
    total = sum((tally.counts for tally in tallies), Counter[str]())
    lines.append(f"{'all':<28} {total.total():>8} {total['refused']:>8} {total['alike']:>6} {total['accepted']:>8}")
    lines += ["", "alike: other bytes, of which none was signed; why that is harmless:"]
    lines += [f"  {tally.name}: {tally.alike}" for tally in tallies if tally.counts["alike"]]
    return "\n".join(lines)
