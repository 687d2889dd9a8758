"""The commit of a ticket or of its result fails, or its process dies, at each step: leaf and state, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.stores.records import Entry, RequestKey, StoredRequest, StoredTicket, TicketKey, TicketWrite
from gateway.stores.sqlite import SqliteStore
from tests.fakes import sign
from tests.fakes_sqlite import Dead, How, TrippedConnection, When

KEY = TicketKey("spiffe://heyan/requester/edu", bytes(32))
REQUEST = StoredRequest(RequestKey(KEY.requester, bytes(16)), b"q" * 32, 2e9, b"g" * 32, b"state")
OPENED = StoredTicket(KEY, REQUEST.key.request_id, REQUEST.query_digest, REQUEST.grant_digest, b"open")
RESOLVED = StoredTicket(KEY, REQUEST.key.request_id, REQUEST.query_digest, REQUEST.grant_digest, b"resolved")
OPENING = Entry(b"opened", ticket=TicketWrite(OPENED, 0))
RESULT = Entry(b"resolved", ticket=TicketWrite(RESOLVED, None))


class Process:
    """A store file, and the process that has it open."""

    def __init__(self, path: Path, *before: Entry) -> None:
        self._path = path
        self.open()
        self.store.commit([Entry(b"answer", request=REQUEST)], sign)
        for entry in before:
            self.store.commit([entry], sign)

    def open(self) -> None:
        self.store = SqliteStore(self._path)
        self.writer = TrippedConnection(self.store._writer)
        self.store._writer = self.writer  # type: ignore[assignment]

    def close(self) -> None:
        self.writer.abandon()
        self.store._reader.close()

    def recorded(self, entry: Entry) -> bool:
        """Whether the entry's leaf is in the log; the ticket's state must say the same."""
        leaves = self.store.leaves(0, 100)
        assert leaves.count(entry.leaf) <= 1
        there = entry.leaf in leaves
        held = self.store.ticket(KEY)
        if entry is OPENING:
            assert (held is not None) == there
        else:
            assert held is not None
            assert (held.resolved_leaf is not None, held.state == b"resolved") == (there, there)
        return there


@pytest.fixture(params=[OPENING, RESULT], ids=["opening", "result"])
def entry(request: pytest.FixtureRequest) -> Entry:
    found: Entry = request.param
    return found


def tries(tmp_path: Path, entry: Entry) -> Iterator[tuple[int, bool, Process]]:
    """Every statement of the entry's commit, by its number, whether it is the last one, and a process to try it on."""
    before = () if entry is OPENING else (OPENING,)
    dry = Process(tmp_path / "dry.db", *before)
    dry.writer.arm(None)
    dry.store.commit([entry], sign)
    steps = list(dry.writer.steps)
    assert any(step.split()[0] in ("INSERT", "UPDATE") and "tickets" in step for step in steps)
    dry.close()
    for step in range(len(steps)):
        process = Process(tmp_path / f"{step}.db", *before)
        yield step, step == len(steps) - 1, process
        process.close()


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("when", When)
def test_ticket_whose_commit_ends_at_any_step_is_recorded_whole_or_not_and_may_be_repeated(
    tmp_path: Path, entry: Entry, when: When, how: How
) -> None:
    for step, is_last, process in tries(tmp_path, entry):
        process.writer.arm(step, when, how)
        with pytest.raises(Dead if how is How.DIES else LogUnavailableError):
            process.store.commit([entry], sign)
        if how is How.DIES:
            process.close()
            process.open()
        durable = is_last and when is When.AFTER
        assert process.recorded(entry) == durable
        (again,) = process.store.commit([entry], sign)
        assert again.overtaken == durable
        assert process.recorded(entry)
