"""A node's journal as it is given to auditors: entries in a chain, and its end under the department's signature."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from random import Random

from gateway.audit.journal_file import Export, read_export
from gateway.audit.journals import read_entry
from gateway.protocol.journal import open_head, read_header, read_signed_head
from sandbox_departments.journal import Journal
from sandbox_departments.journal_export import Seal, export_lines
from tests.federation import DEPARTMENTS
from tests.mutations.journal_messages import journal_entries
from tests.mutations.message import Message, any_bytes
from tests.mutations.text import mutate_json
from tests.protocol.casework import FEDERATION, NOW

DEPARTMENT = next(iter(DEPARTMENTS.values()))


def exported(folder: Path) -> tuple[bytes, ...]:
    """Two exports of one journal, the second when it had grown."""
    path = folder / "exported.db"
    journal = Journal(path)
    seal = Seal(DEPARTMENT, FEDERATION.signing_keys[DEPARTMENT], 1, int(NOW))
    made = []
    for entries in (journal_entries()[:3], journal_entries()[3:]):
        with journal.transaction() as ledger:
            ledger.append(entries)
        made.append(b"\n".join(export_lines(path, seal)))
    journal.close()
    return tuple(made)


def read(data: bytes) -> Export:
    """A file, as an auditor who has the registry verifies it."""
    registry = FEDERATION.registry
    return read_export("export", lambda: data.split(b"\n"), lambda signed: open_head(signed, registry, NOW))


def unverified(data: bytes) -> Hashable:
    """What a file says, whoever says it."""
    first, *lines = data.split(b"\n")
    entries = tuple(read_entry(line, "entry") for line in lines[:-1])
    return read_header(first).department, read_signed_head(lines[-1] if lines else b"").unverified(), entries


def messages(folder: Path) -> tuple[Message, ...]:
    """`folder` is for the journal."""

    def judge(_number: int, data: bytes) -> Hashable:
        export = read(data)
        return export.header.department, export.head, tuple(export.entries())

    why = (
        "first and last line are JSON, which has other spellings of the same; every entry is byte for byte what it was"
    )
    return (Message("journal export", exported(folder), judge, _mutate, share=8, alike=why),)


def _mutate(random: Random, data: bytes, other: bytes) -> bytes:
    """One line as another JSON text, or moved, doubled, dropped, or taken from the other file; or any bytes."""
    lines, theirs = data.split(b"\n"), other.split(b"\n")
    place = random.randrange(len(lines))
    match random.choice(("json", "json", "drop", "double", "swap", "take", "bytes")):
        case "json":
            lines[place] = mutate_json(random, lines[place], random.choice(theirs))
        case "drop":
            del lines[place]
        case "double":
            lines.insert(place, lines[place])
        case "swap":
            another = random.randrange(len(lines))
            lines[place], lines[another] = lines[another], lines[place]
        case "take":
            lines[place] = random.choice(theirs)
        case _:
            return any_bytes(random, data, other)
    return b"\n".join(lines)
