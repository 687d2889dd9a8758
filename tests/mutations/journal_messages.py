"""Authenticated things of a department node: a gateway's acknowledgement, and the chain of the node's journal."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec

from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.codec import encode, parse
from gateway.protocol.errors import MalformedError, NotFoundError
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.note import open_note
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.acknowledgements import accept, read_acknowledgement
from sandbox_departments.journal import Journal
from sandbox_departments.journal_entries import BatchSigned, Refused
from sandbox_departments.ledger import Ledger, OwedBatch, link
from tests.federation import GATEWAY, LOG_ORIGIN, REQUESTER
from tests.mutations.message import Message, any_bytes, protobuf
from tests.mutations.octets import BYTE_MUTATIONS
from tests.protocol.casework import FEDERATION, NOW, log_signer

_CHAIN = 6
"""Entries of the journal that is tampered with."""


class _UndoneError(Exception):
    """Leaves a transaction, so that nothing of a judgement stays."""


@contextmanager
def _undone(journal: Journal) -> Iterator[Ledger]:
    with suppress(_UndoneError), journal.transaction() as ledger:
        yield ledger
        raise _UndoneError


def acknowledgement(folder: Path) -> Message:
    """An acknowledgement of a batch that the gateway owes: which batch, and the log's signed word that it grew."""
    journal = Journal(folder / "acknowledged.db")
    batches = {sha256(bytes([number])).digest(): size for number, size in enumerate((1, 2, 2))}
    with journal.transaction() as ledger:
        for digest, size in batches.items():
            ledger.keep_batch(OwedBatch(digest, GATEWAY, NOW, size, b"reply"))
    signer = log_signer()
    samples = tuple(
        encode(
            pb.Acknowledgement(
                batch_digest=digest,
                leaf_indexes=range(size),
                checkpoint=sign_checkpoint(Checkpoint(LOG_ORIGIN, 9 + size, digest), [signer]),
            )
        )
        for digest, size in batches.items()
    )

    def judge(_number: int, data: bytes) -> Hashable:
        item = read_acknowledgement(parse(pb.Acknowledgement, data, MAX_MESSAGE))
        with _undone(journal) as ledger:
            if not accept(item, GATEWAY, FEDERATION.registry, ledger, NOW):
                raise NotFoundError(Reason.NOT_FOUND, "settled before")
        note = open_note(item.checkpoint.encode(), (signer.verifier,))
        return note.text, note.verified

    why = (
        "which batch and at which leaves is the gateway's word on its own connection, journalled as such; what it signs"
        " is the checkpoint, and lines of strangers in a note count for nothing"
    )
    return Message("acknowledgement", samples, judge, protobuf, share=8, alike=why)


def journal_chain(folder: Path) -> Message:
    """The rows of a journal, whose end was noted: changed, swapped, dropped, slipped in, or rehashed."""
    journal = Journal(folder / "chain.db")
    with journal.transaction() as ledger:
        ledger.append(journal_entries())
    noted = journal.verify_chain()
    table = "SELECT sequence, hash, entry FROM entries ORDER BY sequence"
    rows = journal._connection.execute(table).fetchall()

    def judge(_number: int, data: bytes) -> Hashable:
        try:
            found = msgspec.msgpack.decode(data, type=list[tuple[int, bytes, bytes]])
        except msgspec.DecodeError:
            raise MalformedError.at("journal", "not rows") from None
        with _undone(journal):
            journal._connection.execute("DELETE FROM entries")
            try:
                journal._connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", found)
            except (journal._connection.IntegrityError, OverflowError):
                raise MalformedError.at("journal", "rows that no table can hold") from None
            journal.verify_chain(noted)
        return tuple(sorted(found)[: noted.sequence])

    why = "a journal goes on after the end that was noted; every entry up to there is the same"
    rows_as_bytes = (msgspec.msgpack.encode(rows),)
    return Message("journal chain", rows_as_bytes, judge, _tamper, share=8, bound=True, alike=why)


def journal_entries() -> tuple[BatchSigned, ...]:
    """Entries of a journal, one for each of a few batches."""
    digests = [sha256(bytes([number])).digest() for number in range(_CHAIN)]
    refused = [Refused(digest, digest, REQUESTER, digest, Reason.BUDGET_EXHAUSTED) for digest in digests]
    return tuple(BatchSigned(NOW + number, GATEWAY, part.query, (part,)) for number, part in enumerate(refused))


_Rows = list[list[object]]


def _tamper(random: Random, data: bytes, other: bytes) -> bytes:
    """One change of the rows; a forger who knows the hash rehashes what follows."""
    try:
        rows: _Rows = msgspec.msgpack.decode(data, type=list[list[object]])
    except msgspec.DecodeError:
        return any_bytes(random, data, other)
    if not rows or any(len(row) != 3 for row in rows):
        return any_bytes(random, data, other)
    place = random.randrange(len(rows))
    random.choice(_TAMPERINGS)(random, rows, place)
    if random.random() < 0.4:
        _rehash(rows, place)
    return msgspec.msgpack.encode(rows)


def _change(random: Random, rows: _Rows, place: int) -> None:
    column = random.choice((1, 2, 2))
    value = rows[place][column]
    if isinstance(value, bytes):
        rows[place][column] = random.choice(BYTE_MUTATIONS)(random, value, value)


def _swap(random: Random, rows: _Rows, place: int) -> None:
    other = random.randrange(len(rows))
    rows[place][2], rows[other][2] = rows[other][2], rows[place][2]


def _drop(_random: Random, rows: _Rows, place: int) -> None:
    del rows[place]


def _renumber(_random: Random, rows: _Rows, place: int) -> None:
    for number, row in enumerate(rows[place:], place + 2):
        row[0] = number


def _slip_in(random: Random, rows: _Rows, place: int) -> None:
    extra = random.choice(rows)
    for row in rows[place:]:
        row[0] = row[0] + 1 if isinstance(row[0], int) else 0
    rows.insert(place, [place + 1, extra[1], extra[2]])


def _cut(_random: Random, rows: _Rows, place: int) -> None:
    del rows[place:]


_TAMPERINGS: tuple[Callable[[Random, _Rows, int], None], ...] = (
    _change,
    _change,
    _swap,
    _drop,
    _renumber,
    _slip_in,
    _cut,
)


def _rehash(rows: _Rows, place: int) -> None:
    """Hashes that follow again, from `place` on, as somebody without the noted end could write them."""
    previous = rows[place - 1][1] if 0 < place <= len(rows) else bytes(32)
    for row in rows[place:]:
        if isinstance(previous, bytes) and isinstance(row[2], bytes):
            row[1] = previous = link(previous, row[2])


def messages(folder: Path) -> tuple[Message, ...]:
    """`folder` is for the journals."""
    return acknowledgement(folder), journal_chain(folder)
