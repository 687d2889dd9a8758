"""A node's journal as a file for auditors: nothing of persons in it, and no change of it goes unnoticed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.audit.journal_file import Export, Loss, join, lost, read_export
from gateway.audit.journals import Answered, BatchSigned
from gateway.protocol.codec import encode, parse
from gateway.protocol.digests import Kind
from gateway.protocol.errors import BadDataError, ForgedError, LogUnavailableError, MalformedError
from gateway.protocol.journal import (
    GENESIS,
    MAX_LINE,
    JournalHead,
    SignedHead,
    link,
    open_head,
    read_header,
    read_signed_head,
    sign_head,
    write_line,
)
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import journal_pb2
from sandbox_departments import journal_entries as entries_of_nodes
from sandbox_departments.answering import Budget, pseudonym
from sandbox_departments.journal import SCHEMA_VERSION
from sandbox_departments.journal_entries import give_back, hold_back, read_entry, write_entry
from sandbox_departments.journal_export import OpenEntriesError, Seal, export_lines, signed_head
from sandbox_departments.register import Finding, Standing
from tests.sandbox.asking import CHILD, DAY, GATEWAY, NOW, POLICE, SECRET, Desk, World, signing_key


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(World(), tmp_path / "journal.db", budget=Budget(100, float(DAY)))
    yield made
    made.close()


def seal(desk: Desk, now: float = NOW + 60, key: SigningKey | None = None) -> Seal:
    return Seal(POLICE.uri, key or desk.world.answer_key, 7, int(now))


def export(desk: Desk, **more: int) -> list[bytes]:
    return list(export_lines(desk.path, seal(desk), **more))  # type: ignore[arg-type]


def read(desk: Desk, lines: list[bytes], *wanted: int, name: str = "file") -> Export:
    return read_export(name, lambda: lines, lambda signed: open_head(signed, desk.world.registry, NOW + 90), wanted)


async def ask(desk: Desk, times: int = 1) -> None:
    for _ in range(times):
        await desk.answer(desk.world.ask())


async def test_export_reads_as_the_node_wrote_it(desk: Desk) -> None:
    await ask(desk, 3)
    found = read(desk, export(desk), 2)
    kept = desk.journal.verify_chain()
    assert (found.head.sequence, found.head.hash, found.head.time) == (kept.sequence, kept.hash, NOW + 60)
    assert [entry.batch for entry in found.entries()] == [entry.batch for entry in desk.journal.entries()]  # type: ignore[union-attr]
    assert set(found.hashes) == {0, 2, 3}
    chain = join([found])
    assert chain is not None
    assert chain.view.read_time == NOW + 60


@pytest.mark.parametrize("standing", Standing)
async def test_export_tells_nothing_of_persons_and_not_how_they_stand(desk: Desk, standing: Standing) -> None:
    desk.register.findings[CHILD.id_number] = Finding(standing, False)
    await ask(desk)
    text = b"\n".join(export(desk))
    assert b'"subjects"' not in text
    assert b'"standings"' not in text
    assert standing.value.encode() not in text
    assert msgspec.json.encode(pseudonym(CHILD, SECRET))[1:-1] not in text
    (entry,) = desk.journal.entries()
    assert entry.parts[0].standings[0] is standing  # type: ignore[union-attr] - the department itself still knows


async def test_records_held_back_have_one_size_however_persons_stand(desk: Desk) -> None:
    for standing in Standing:
        desk.register.findings[CHILD.id_number] = Finding(standing, False)
        await ask(desk)
    rows = desk.journal._connection.execute("SELECT length(records) FROM withheld").fetchall()
    assert len(rows) == len(Standing)
    assert len(set(rows)) == 1


async def test_equal_records_have_unequal_digests(desk: Desk) -> None:
    """A salt each: whoever guesses who was asked about, and how that person stands, cannot see whether it is so."""
    await ask(desk, 2)
    one, two = (read_entry(data) for data in desk.journal.chain())
    assert one.parts[0].withheld != two.parts[0].withheld  # type: ignore[union-attr]


async def test_records_that_were_destroyed_leave_the_chain_verifiable(desk: Desk) -> None:
    await ask(desk, 2)
    head = desk.journal.verify_chain()
    desk.journal._connection.execute("DELETE FROM withheld WHERE sequence = 1")
    assert desk.journal.verify_chain() == head
    first, second = desk.journal.entries()
    assert first.parts[0].standings == ()  # type: ignore[union-attr]
    assert second.parts[0].standings  # type: ignore[union-attr]
    assert read(desk, export(desk)).head.hash == head.hash


async def test_export_is_made_beside_a_node_that_is_writing(desk: Desk) -> None:
    await ask(desk, 2)
    with desk.journal.transaction() as ledger:
        ledger.append([empty_batch()])
        assert read(desk, export(desk)).head.sequence == 2  # what is not committed is not there, and nothing waits
    assert read(desk, export(desk)).head.sequence == 3


def empty_batch() -> entries_of_nodes.BatchSigned:
    return entries_of_nodes.BatchSigned(NOW, GATEWAY.uri, b"b" * 32, ())


async def test_export_of_a_node_that_has_stopped(desk: Desk) -> None:
    await ask(desk)
    desk.journal.close()
    assert read(desk, export(desk)).head.sequence == 1


def test_export_of_an_empty_journal_has_a_signed_head(desk: Desk) -> None:
    found = read(desk, export(desk))
    assert (found.head.sequence, found.head.hash, tuple(found.entries())) == (0, GENESIS, ())


async def test_broken_chain_is_not_signed(desk: Desk) -> None:
    await ask(desk, 3)
    desk.journal._connection.execute("DELETE FROM entries WHERE sequence = 2")
    lines = export_lines(desk.path, seal(desk))
    with pytest.raises(ForgedError, match="broken at entry 2"):
        list(lines)


def test_export_of_what_is_no_journal_fails(tmp_path: Path, desk: Desk) -> None:
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(LogUnavailableError):
        list(export_lines(tmp_path / "text.db", seal(desk)))
    connection = sqlite3.connect(tmp_path / "newer.db")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(MalformedError, match="newer"):
        list(export_lines(tmp_path / "newer.db", seal(desk)))


async def test_entries_that_hold_nothing_back_are_given_out_only_on_demand(desk: Desk) -> None:
    """Those of earlier versions: the chain has pseudonyms and finer reasons inside."""
    await ask(desk)
    (entry,) = desk.journal.entries()
    old = write_entry(msgspec.structs.replace(entry, parts=(msgspec.structs.replace(entry.parts[0], withheld=b""),)))  # type: ignore[union-attr]
    connection = desk.journal._connection
    connection.execute("INSERT INTO entries VALUES (2, ?, ?)", (link(desk.journal.verify_chain().hash, old), old))
    with pytest.raises(OpenEntriesError, match="entry 2"):
        export(desk)
    found = read(desk, export(desk, whole=True))
    *_, second = found.entries()
    assert isinstance(second, BatchSigned)
    assert isinstance(second.parts[0], Answered)
    assert read(desk, export(desk, after=2)).head.sequence == 2


# -- exports that go on from each other ---------------------------------------------------------------------


async def test_exports_that_follow_each_other_are_one_journal(desk: Desk) -> None:
    await ask(desk, 2)
    first = read(desk, export(desk), name="first")
    await ask(desk, 2)
    second = read(desk, export(desk, after=2), name="second")
    whole = read(desk, export(desk), 2, name="whole")
    chain = join([second, first])
    assert chain is not None
    assert [each.name for each in chain.exports] == ["first", "second"]
    assert chain.head == whole.head
    assert len(tuple(chain.view.entries)) == 4
    longest = join([first, whole])
    assert longest is not None
    assert [each.name for each in longest.exports] == ["whole"]
    assert lost(longest, first.head) is None
    assert join([second]) is None


async def test_export_that_adds_nothing_tells_that_nothing_was_added(desk: Desk) -> None:
    await ask(desk)
    first = read(desk, export(desk))
    lines = list(export_lines(desk.path, seal(desk, NOW + 80), after=1))
    chain = join([first, read(desk, lines)])
    assert chain is not None
    assert (chain.head.sequence, chain.head.time) == (1, NOW + 80)


async def test_export_after_an_entry_that_there_is_not_is_refused(desk: Desk) -> None:
    await ask(desk)
    with pytest.raises(MalformedError, match="--after"):
        export(desk, after=2)


async def test_journal_cut_off_after_its_head_was_noted_is_found(desk: Desk) -> None:
    await ask(desk, 3)
    noted = open_head(signed_head(desk.path, seal(desk)), desk.world.registry, NOW + 60)
    desk.journal._connection.execute("DELETE FROM entries WHERE sequence = 3")
    desk.journal._connection.execute("DELETE FROM withheld WHERE sequence = 3")
    chain = join([read(desk, export(desk), noted.sequence)])
    assert chain is not None
    assert lost(chain, noted) is Loss.SHORTENED
    await ask(desk)
    chain = join([read(desk, export(desk), noted.sequence)])
    assert chain is not None
    assert lost(chain, noted) is Loss.REWRITTEN


async def test_journal_written_anew_before_its_noted_head_is_found(desk: Desk) -> None:
    await ask(desk, 3)
    noted = open_head(signed_head(desk.path, seal(desk)), desk.world.registry, NOW + 60)
    rewrite(desk, drop=2)
    await ask(desk, 4)
    chain = join([read(desk, export(desk), noted.sequence)])
    assert chain is not None
    assert lost(chain, noted) is Loss.REWRITTEN


def rewrite(desk: Desk, drop: int) -> None:
    """Leave an entry out and chain the others anew, as a department could."""
    connection = desk.journal._connection
    kept = [data for number, data in enumerate(desk.journal.chain(), 1) if number != drop]
    connection.execute("DELETE FROM entries")
    connection.execute("DELETE FROM withheld")
    last = GENESIS
    for number, data in enumerate(kept, 1):
        last = link(last, data)
        connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (number, last, data))


# -- files that were bent on their way ----------------------------------------------------------------------


async def test_every_change_of_a_file_is_refused(desk: Desk) -> None:
    await ask(desk, 4)
    lines = export(desk)
    read(desk, lines)
    for place in range(len(lines)):
        dropped = [*lines[:place], *lines[place + 1 :]]
        swapped = [*lines[:place], *reversed(lines[place : place + 2]), *lines[place + 2 :]]
        repeated = [*lines[: place + 1], lines[place], *lines[place + 1 :]]
        changed = [*lines[:place], lines[place].replace(b"1", b"2", 1), *lines[place + 1 :]]
        for bent in (dropped, repeated, changed, swapped if place + 1 < len(lines) else dropped, lines[:place]):
            if bent != lines:
                with pytest.raises(BadDataError):
                    read(desk, bent)


async def test_file_that_changes_between_two_readings_is_refused(desk: Desk) -> None:
    await ask(desk, 3)
    lines = export(desk)
    found = read(desk, lines)
    chain = join([found])
    assert chain is not None
    assert len(list(chain.view.entries)) == len(list(chain.view.entries)) == 3
    lines[2] = lines[2].replace(b"enrol", b"other")
    with pytest.raises(ForgedError, match="changed while"):
        list(chain.view.entries)


async def test_header_that_promises_fewer_entries_is_refused(desk: Desk) -> None:
    await ask(desk, 2)
    first, *rest = export(desk)
    header = json.loads(first)
    for bent in ({"last": 1}, {"first": 2}, {"time": NOW}, {"department": "spiffe://heyan/department/land-4301"}):
        with pytest.raises(BadDataError):
            read(desk, [json.dumps(header | bent).encode(), *rest])
    for wrong in ({"format": 2}, {"first": 0}, {"last": -1}, {"previous": ""}, {"first": 5, "last": 3}, {"more": 1}):
        with pytest.raises(MalformedError):
            read_header(json.dumps(header | wrong).encode())


async def test_head_of_another_export_of_the_journal_is_refused(desk: Desk) -> None:
    await ask(desk, 2)
    lines = export(desk)
    await ask(desk)
    with pytest.raises(ForgedError):
        read(desk, [*lines[:-1], export(desk)[-1]])
    with pytest.raises(ForgedError, match="two exports"):
        read(desk, [*lines[:-1], list(export_lines(desk.path, seal(desk, NOW + 61)))[-1]])


def test_line_longer_than_any_is_refused(desk: Desk) -> None:
    with pytest.raises(MalformedError):
        read(desk, [b" " * (MAX_LINE + 1)])
    with pytest.raises(MalformedError):
        read_signed_head(b" " * (MAX_LINE + 1))


# -- heads --------------------------------------------------------------------------------------------------


def head(**bent: object) -> JournalHead:
    right = {"department": POLICE.uri, "sequence": 3, "hash": b"h" * 32, "time": NOW, "registry_version": 7}
    return JournalHead(**(right | bent))  # type: ignore[arg-type]


def test_head_is_read_as_it_was_signed(desk: Desk) -> None:
    signed = sign_head(head(), desk.world.answer_key)
    assert open_head(read_signed_head(write_line(signed)), desk.world.registry, NOW) == head()


@pytest.mark.parametrize("key", [signing_key("answer-1"), signing_key("stranger")], ids=["stolen name", "unknown name"])
def test_head_by_another_key_is_refused(desk: Desk, key: SigningKey) -> None:
    with pytest.raises(ForgedError):
        open_head(sign_head(head(), key), desk.world.registry, NOW)


def test_head_by_another_department_is_refused(desk: Desk) -> None:
    with pytest.raises(ForgedError):
        open_head(sign_head(head(), desk.world.land_key), desk.world.registry, NOW)


def test_batch_signature_is_no_signature_of_a_head(desk: Desk) -> None:
    signed = sign_head(head(), desk.world.answer_key)
    other = desk.world.answer_key.sign(Kind.STATEMENT_BATCH, signed.head)
    with pytest.raises(ForgedError):
        open_head(SignedHead(signed.head, signed.key_id, other), desk.world.registry, NOW)


def test_head_of_the_future_is_refused(desk: Desk) -> None:
    with pytest.raises(ForgedError, match="future"):
        open_head(sign_head(head(time=NOW + 11), desk.world.answer_key), desk.world.registry, NOW)


def test_head_that_came_after_its_key_was_compromised_is_refused(desk: Desk) -> None:
    signed = sign_head(head(time=NOW - 50), desk.world.answer_key)
    registry = compromised(desk.world.registry, int(NOW) - 10)
    assert open_head(signed, registry, NOW - 20).time == NOW - 50
    with pytest.raises(ForgedError):
        open_head(signed, registry, NOW)  # the thief can write any time


def compromised(registry: Registry, at: int) -> Registry:
    police = registry.party(POLICE.uri)
    key = msgspec.structs.replace(police.keys[0], compromised=at)
    parties = tuple(
        msgspec.structs.replace(party, keys=(key,)) if party is police else party for party in registry.document.parties
    )
    return Registry(msgspec.structs.replace(registry.document, parties=parties), "compromised")


@pytest.mark.parametrize("bent", [{"sequence": 0}, {"hash": GENESIS}, {"hash": b"short"}])
def test_head_that_cannot_be_is_malformed(desk: Desk, bent: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        open_head(sign_head(head(**bent), desk.world.answer_key), desk.world.registry, NOW)


def test_head_in_another_encoding_is_malformed(desk: Desk) -> None:
    signed = sign_head(head(), desk.world.answer_key)
    message = parse(journal_pb2.JournalHead, signed.head, 1_000)
    assert encode(message) == signed.head
    with pytest.raises(MalformedError) as refusal:
        open_head(SignedHead(signed.head + b"\x30\x01", signed.key_id, signed.signature), desk.world.registry, NOW)
    assert refusal.value.reason is Reason.MESSAGE_MALFORMED


async def test_record_of_another_entry_is_not_given_back(desk: Desk) -> None:
    await ask(desk, 2)
    one, two = desk.journal.entries()
    first, _ = hold_back(one, bytes)
    _, records = hold_back(two, lambda size: bytes([1]) * size)
    with pytest.raises(ForgedError):
        give_back(first, records)
