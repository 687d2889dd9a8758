"""A journal as an auditor reads it: the real node's bytes, its chain followed, nothing of persons kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.journals import Answered, BatchAcknowledged, BatchSigned, Refused, read_journal
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.journal import GENESIS
from gateway.protocol.reasons import Reason
from sandbox_departments.acknowledgements import read_acknowledgement
from sandbox_departments.journal_entries import write_entry
from sandbox_departments.replies import Incoming
from tests.audit.parties import NOW, POLICE, Books, named
from tests.sandbox.asking import GATEWAY, REGISTERED, SECRET, Desk, World


@pytest.fixture
def books() -> Books:
    made = Books()
    made.state("a")
    made.state("b", batch="c", refused=Reason.BUDGET_EXHAUSTED)
    made.state("a", batch="d", repeated=True)
    made.acknowledge(0)
    made.refuse_acknowledgement("no checkpoint")
    return made


async def test_journal_of_a_real_node_reads_as_it_was_written(tmp_path: Path) -> None:
    world = World()
    desk = Desk(world, tmp_path / "journal.db")
    try:
        consent = world.consent(max_uses=1)
        ask = world.ask(consent, part=world.part(consent, claims=(REGISTERED,)))
        (answered,) = await desk.answerer.answer([Incoming(1, GATEWAY.uri, ask)])
        await desk.answer(world.ask(consent))  # used up
        assert answered.digest is not None
        acknowledged = read_acknowledgement(world.acknowledgement(answered.digest, 1))
        await desk.answerer.acknowledge(GATEWAY.uri, [acknowledged])
        head = desk.journal.verify_chain()
        view = read_journal(POLICE, desk.journal.chain(), world.now, head.hash)
    finally:
        desk.close()
    first, second, third = view.entries
    assert isinstance(first, BatchSigned)
    assert first.batch == answered.digest
    assert isinstance(first.parts[0], Answered)
    assert isinstance(second, BatchSigned)
    assert isinstance(second.parts[0], Refused)
    assert second.parts[0].reason == "GRANT_USED_UP"
    assert isinstance(third, BatchAcknowledged)
    assert third.leaf_indexes == (0,)
    assert SECRET not in repr(view).encode()


def test_pseudonyms_and_finer_reasons_are_not_read(books: Books) -> None:
    assert "subject" not in repr(books.journal())
    assert repr(named("subject")) not in repr(books.journal())


def test_empty_journal_has_the_genesis_as_its_head() -> None:
    assert read_journal(POLICE, (), NOW, GENESIS).entries == ()


def test_every_change_of_a_chain_misses_the_end_noted_elsewhere(books: Books) -> None:
    entries = [write_entry(entry) for entry in books.entries]
    head = read_journal(POLICE, entries, NOW).head
    assert read_journal(POLICE, entries, NOW, head).head == head
    for number in range(len(entries)):
        dropped = [*entries[:number], *entries[number + 1 :]]
        swapped = [*entries[:number], *reversed(entries[number : number + 2]), *entries[number + 2 :]]
        changed = [*entries[:number], entries[number].replace(b"gateway/one", b"gateway/two"), *entries[number + 1 :]]
        for bent in (dropped, changed, swapped if number + 1 < len(entries) else dropped):
            with pytest.raises(ForgedError):
                read_journal(POLICE, bent, NOW, head)


@pytest.mark.parametrize("entry", [b"", b"{}", b"[]", b'{"type":"unknown"}', b'{"type":"batch_signed","time":"now"}'])
def test_what_is_no_entry_is_malformed(entry: bytes) -> None:
    with pytest.raises(MalformedError):
        read_journal(POLICE, [entry], NOW)
