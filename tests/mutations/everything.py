"""Every message of the campaign, and what one of its processes runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.mutations import consent_messages, dispute_messages, journal_exports, journal_messages, protocol_messages
from tests.mutations.campaign import Tally, run
from tests.mutations.message import Message


def all_messages(folder: Path) -> tuple[Message, ...]:
    """Every signed or authenticated thing; `folder` is for the files that some of them need."""
    return (
        *protocol_messages.messages(),
        *consent_messages.messages(folder),
        *dispute_messages.messages(),
        *journal_messages.messages(folder),
        *journal_exports.messages(folder),
    )


_messages: dict[str, Message] = {}


def begin(folder: str) -> None:
    """Make the samples of one process, in files of its own."""
    own = Path(tempfile.mkdtemp(dir=folder))
    _messages.update({message.name: message for message in all_messages(own)})


def run_named(name: str, seed: str, count: int) -> Tally:
    return run(_messages[name], seed, count)
