"""How the commands of `heyan registry` say things: lines for a person, times in UTC, parties with their keys."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from gateway.protocol.registry import Registry


def say_parties(registry: Registry, now: float) -> None:
    """Every party and its keys, whole: a key's id is what `compromise` asks for."""
    for party in registry.document.parties:
        say(f"\n{party.id}  {party.name.zh} / {party.name.en}")
        for key in party.keys:
            state = "counts" if key.counts_at(now) else "does not count now"
            if key.compromised is not None:
                state = f"compromised since {when(key.compromised)}"
            lifetime = f"{when(key.not_before)} to {when(key.not_after)}"
            say(f"  {key.kid}  {key.use.value}, {key.alg.value}, {lifetime}: {state}")
        for seal in party.department.sealing_keys if party.department else ():
            state = "counts" if seal.not_before <= now <= seal.not_after else "does not count now"
            say(f"  {seal.kid}  sealing, {when(seal.not_before)} to {when(seal.not_after)}: {state}")


def say(line: str) -> None:
    """One line to a person, as it is."""
    Console().print(line, markup=False, highlight=False, soft_wrap=True)


def when(seconds: float) -> str:
    """A time in seconds since the epoch, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"
