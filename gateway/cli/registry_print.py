"""How the commands of `heyan registry` say things: lines for a person, times in UTC, parties with their keys."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from gateway.protocol.codec import unb64url
from gateway.protocol.keys import PublicKey
from gateway.protocol.log_keys import verifiers_of
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse


def say_parties(registry: Registry, now: float) -> None:
    """Every party and its keys, whole: a key's id is what `compromise` asks for, a log key's vkey what readers pin."""
    for party in registry.document.parties:
        say(f"\n{party.id}  {party.name.zh} / {party.name.en}")
        for key in party.keys:
            state = "counts" if key.counts_at(now) else "does not count now"
            if key.compromised is not None:
                state = f"compromised since {when(key.compromised)}"
            lifetime = f"{when(key.not_before)} to {when(key.not_after)}"
            say(f"  {key.kid}  {key.use.value}, {key.alg.value}, {lifetime}: {state}")
            for origin in party.gateway.origins if party.gateway and key.use is KeyUse.LOG else ():
                (verifier,) = verifiers_of([PublicKey(key.kid, key.alg, unb64url(key.public, "public"))], origin)
                say(f"    {verifier.format()}")
        for seal in party.department.sealing_keys if party.department else ():
            state = "counts" if seal.not_before <= now <= seal.not_after else "does not count now"
            say(f"  {seal.kid}  sealing, {when(seal.not_before)} to {when(seal.not_after)}: {state}")


def say(line: str) -> None:
    """One line to a person, as it is."""
    Console().print(line, markup=False, highlight=False, soft_wrap=True)


def when(seconds: float) -> str:
    """A time in seconds since the epoch, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"
