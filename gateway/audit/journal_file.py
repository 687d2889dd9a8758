"""Exports of journals as an auditor reads them: each file verified line by line, and several of one node joined.

    files of a node ──read_export──▶ Export (entries, hashes at the sequences asked for, signed head)
                    ──join────────▶ Chain: from entry 1 on, export after export; its end is the newest that leads there
                    ──holds───────▶ each head that was noted of the node must be in the chain

A file shows by itself only what its last line's signature covers. What convicts a department are two heads under its
own signature that no chain can have both: `lost` tells which, and how. Nothing here opens a file: lines are given,
without newlines. They are gone through again whenever entries are wanted, and held against the chain again: a journal
may be larger than memory, and its file may change meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, unique

from gateway.audit.journals import Entry, EntryReader, JournalView
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.journal import (
    GENESIS,
    MAX_LINE,
    Header,
    JournalHead,
    SignedHead,
    link,
    read_header,
    read_signed_head,
)
from gateway.protocol.reasons import Reason

OpenHead = Callable[[SignedHead], JournalHead]
"""Verifies a signed head by the auditor's own registry; a domain error."""
OpenLines = Callable[[], Iterable[bytes]]
"""The lines of a file, from the first one on, each time that it is called."""


@dataclass(frozen=True, slots=True)
class Export:
    """A verified file. `hashes` are those after the entries that were asked for, and at its beginning and end."""

    name: str
    header: Header
    head: JournalHead
    signed: SignedHead
    hashes: dict[int, bytes]
    lines: OpenLines

    def entries(self) -> Iterator[Entry]:
        """The entries, read anew; ForgedError (PROOF_INVALID) if they are no longer those that were verified."""
        reached = self.header.previous
        for _, last, entry in _entries(self.header, _after_first(self.lines())):
            reached = last
            yield entry
        if reached != self.head.hash:
            raise ForgedError(Reason.PROOF_INVALID, f"{self.name} was changed while it was read")


@dataclass(frozen=True, slots=True)
class Chain:
    """A journal from its first entry on, of one export or several that follow each other."""

    department: str
    exports: tuple[Export, ...]

    @property
    def head(self) -> JournalHead:
        """Its end."""
        return self.exports[-1].head

    @property
    def view(self) -> JournalView:
        """What is held against the log."""
        return JournalView(self.department, _Entries(self.exports), self.head.time, self.head.hash)

    def hash_at(self, sequence: int) -> bytes | None:
        """The hash after an entry, if it was asked for when the files were read."""
        return next((each.hashes[sequence] for each in self.exports if sequence in each.hashes), None)


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of exports, one after the other, as often as they are wanted."""

    exports: tuple[Export, ...]

    def __iter__(self) -> Iterator[Entry]:
        for export in self.exports:
            yield from export.entries()


@unique
class Loss(Enum):
    """How a journal contradicts an end that was noted of it."""

    SHORTENED = "it ends before"
    REWRITTEN = "it has another entry there"


def read_export(name: str, lines: OpenLines, open_head: OpenHead, wanted: Collection[int] = ()) -> Export:
    """Read and verify one file, called `name` in what is told of it.

    Raises MalformedError if it is none or not whole, ForgedError (PROOF_INVALID) if entries, first and last line do not
    belong together, and what `open_head` raises.
    """
    remaining = iter(lines())
    header = read_header(next(remaining, b""))
    wanted = frozenset(wanted)
    number, last = header.first - 1, header.previous
    hashes = {number: last}
    for at, reached, _ in _entries(header, remaining):
        number, last = at, reached
        if number in wanted:
            hashes[number] = last
    signed = read_signed_head(next(remaining, b""))
    if next(remaining, None) is not None:
        raise MalformedError.at("head", "must be the last line")
    head = open_head(signed)
    if (head.department, head.time) != (header.department, header.time):
        raise ForgedError(Reason.PROOF_INVALID, "first and last line are of two exports")
    if (head.sequence, head.hash) != (number, last):
        raise ForgedError(Reason.PROOF_INVALID, "the entries do not lead to the end that was signed")
    hashes[number] = last
    return Export(name, header, head, signed, hashes, lines)


def _after_first(lines: Iterable[bytes]) -> Iterator[bytes]:
    remaining = iter(lines)
    next(remaining, None)
    return remaining


def _entries(header: Header, lines: Iterator[bytes]) -> Iterator[tuple[int, bytes, Entry]]:
    """Number, hash and content of the entries that a header promises; MalformedError."""
    number, last, reader = header.first - 1, header.previous, EntryReader()
    for data in _taken(lines, header.last - header.first + 1):
        number, last = number + 1, link(last, data)
        yield number, last, reader.read(data, f"entries.{number}")


def _taken(lines: Iterator[bytes], count: int) -> Iterator[bytes]:
    for _ in range(count):
        data = next(lines, None)
        if data is None:
            raise MalformedError.at("entries", "end before the file says")
        if len(data) > MAX_LINE:
            raise MalformedError.at("entries", f"must not exceed {MAX_LINE} bytes", Reason.MESSAGE_TOO_LARGE)
        yield data


def join(exports: Sequence[Export]) -> Chain | None:
    """The longest chain that exports of one department make from entry 1 on; None if none begins there.

    Exports that are not in it are heads that were noted: hold them against it with `lost`.
    """
    chain: list[Export] = []
    number, last = 0, GENESIS
    while True:
        following = [
            each
            for each in exports
            if each not in chain and each.header.first == number + 1 and each.header.previous == last
        ]
        if not following:
            break
        longest = max(following, key=lambda each: (each.head.sequence, each.head.time))
        chain.append(longest)
        if longest.head.sequence == number:
            break  # nothing was added since: its time is what counts
        number, last = longest.head.sequence, longest.head.hash
    return Chain(chain[0].header.department, tuple(chain)) if chain else None


def lost(chain: Chain, noted: JournalHead) -> Loss | None:
    """How the chain contradicts a head that was noted; None if the head is in it.

    The head's sequence must have been `wanted` when the files were read, if it is within them.
    """
    if noted.sequence > chain.head.sequence:
        return Loss.SHORTENED
    found = GENESIS if noted.sequence == 0 else chain.hash_at(noted.sequence)
    if found is None:
        raise MalformedError.at("noted", "was not looked for when the files were read")
    return None if found == noted.hash else Loss.REWRITTEN
