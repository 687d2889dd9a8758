"""A policy file on disk: read with its name in front of what is wrong, and watched by whoever serves by it."""

from __future__ import annotations

from pathlib import Path

from gateway.party.keyfiles import Watched, read_public, unusable
from gateway.protocol.errors import MalformedError
from gateway.protocol.policy import Policy, parse_policy


def read_policy(path: Path) -> Policy:
    """The policy of a file; MalformedError (CONFIGURATION_INVALID) naming file and line."""
    try:
        return parse_policy(read_public(path))
    except MalformedError as error:
        if not error.violations or error.violations[0].field == str(path):
            raise
        wrong = error.violations[0]
        raise unusable(path, f"{wrong.field}: {wrong.description}") from None


def watch_policy(path: Path) -> Watched[Policy]:
    """The policy, read again when the file changes; raises what `read_policy` raises. A bad change is not taken."""
    return Watched([path], lambda: read_policy(path))
