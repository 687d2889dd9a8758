"""Checkpoints of a log that were kept somewhere, to be held against it: beside the log, in files, in receipts.

A log's folder may keep every checkpoint that was published as `checkpoints/<size>`: of those only the sizes are held in
memory, 8 bytes each, and each note is read when its size is reached.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from pathlib import Path

from gateway.party.keyfiles import read_public
from gateway.protocol.checkpoint import origin_of, unverified_checkpoint
from gateway.protocol.errors import BadDataError, MalformedError
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.note import MAX_NOTE_BYTES
from gateway.protocol.proof import parse_proof
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_file import receipt_from_json
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.static_log.folder import KEPT_FOLDER

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Sighted:
    """A note that was kept, and where: a path below the log, a file of the auditor's."""

    place: str
    note: bytes


@dataclass(frozen=True, slots=True)
class ShownLeaf:
    """What a receipt shows to stand at an index of the log."""

    place: str
    index: int
    hash: bytes


class KeptCheckpoints:
    """What is to be held against one log, by size. `folder` is that of the log, if it lies in one."""

    def __init__(
        self, folder: Path | None = None, sighted: Iterable[Sighted] = (), leaves: Iterable[ShownLeaf] = ()
    ) -> None:
        self._folder = folder / KEPT_FOLDER if folder is not None else None
        self._beside = _sizes_in(self._folder)
        self._named: dict[int, list[Sighted]] = {}
        self._leaves = sorted(leaves, key=lambda leaf: leaf.index)
        self.unreadable: list[tuple[Sighted, str]] = []
        """Files that are no checkpoints, and why."""
        for each in sighted:
            try:
                size = unverified_checkpoint(each.note).size
            except MalformedError as error:
                self.unreadable.append((each, error.detail))
            else:
                self._named.setdefault(size, []).append(each)

    def sizes(self) -> Iterator[int]:
        """Every size of which something is kept, ascending."""
        return (size for size, _ in groupby(merge(self._beside, sorted(self._named))))

    def at(self, size: int) -> list[Sighted]:
        """What is kept of a size."""
        found = list(self._named.get(size, ()))
        if self._folder is not None and (file := self._folder / str(size)).is_file():
            found.append(Sighted(f"{KEPT_FOLDER}/{size}", _read_note(file)))
        return found

    def leaves_in(self, start: int, end: int) -> list[ShownLeaf]:
        """Leaves that receipts show, of the indexes `start` to `end`, not among them."""
        return [leaf for leaf in self._leaves if start <= leaf.index < end]


def sighted_in_file(file: Path) -> Sighted:
    """A checkpoint that an auditor kept in a file; MalformedError (CONFIGURATION_INVALID) if it cannot be read."""
    return Sighted(str(file), read_public(file))


def shown_in_receipt(file: Path, origin: str) -> tuple[list[Sighted], list[ShownLeaf]]:
    """The checkpoints and leaves of the log `origin` in a receipt's file; what it shows of other logs is passed over.

    Raises MalformedError (RECEIPT_INVALID) if it is no receipt, or shows nothing of this log.
    """
    try:
        receipt = receipt_from_json(read_public(file).decode())
        notes: dict[str, Sighted] = {}
        leaves: list[ShownLeaf] = []
        for item in leaf_proofs(receipt):
            proof = parse_proof(item.proof.encode())
            if origin_of(proof.checkpoint) == origin:
                notes.setdefault(proof.checkpoint, Sighted(str(file), proof.checkpoint.encode()))
                leaves.append(ShownLeaf(str(file), proof.index, leaf_hash(item.leaf)))
    except (BadDataError, UnicodeDecodeError) as error:
        if isinstance(error, MalformedError) and error.reason is Reason.CONFIGURATION_INVALID:
            raise
        raise MalformedError.at(str(file), "is not a whole receipt", Reason.RECEIPT_INVALID) from None
    if not leaves:
        raise MalformedError.at(str(file), f"shows nothing of the log {origin}", Reason.RECEIPT_INVALID)
    return list(notes.values()), leaves


def _sizes_in(folder: Path | None) -> array[int]:
    sizes = array("q")
    if folder is not None and folder.is_dir():
        names = (file.name for file in folder.iterdir())
        sizes.extend(sorted(int(name) for name in names if _SIZE.fullmatch(name) and int(name) < 1 << 63))
    return sizes


def _read_note(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_NOTE_BYTES + 1)
