"""The commit of an erasure fails, or its process dies, before and after each step: erased and logged, or neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.stores.records import Deferral, Entry, Erasure, Evidence, RequestKey, StoredRequest, Waiting
from gateway.stores.sqlite import SqliteStore
from tests.fakes import sign
from tests.fakes_sqlite import Dead, How, TrippedConnection, When

GRANT = bytes([1]) * 32
KEY = RequestKey("spiffe://heyan/requester/edu", bytes(16))
ANSWER = Entry(
    b"answer",
    request=StoredRequest(KEY, b"q" * 32, 2e9, GRANT, b"state"),
    evidence=(Evidence(GRANT, b"wrapped", b"text", 1e9),),
    deferral=Deferral(Waiting(KEY, ("land",), (GRANT,), 2e9, 7), b"message"),
)
ERASED = Entry(b"erased", erasure=Erasure({GRANT: 2e9}, frozenset({KEY})))


def opened(path: Path) -> tuple[SqliteStore, TrippedConnection]:
    store = SqliteStore(path)
    writer = TrippedConnection(store._writer)
    store._writer = writer  # type: ignore[assignment]
    return store, writer


def require_one_of_both(store: SqliteStore, *, erased: bool) -> None:
    held, request = store.evidence(GRANT), store.request(KEY)
    assert held is not None
    assert request is not None
    assert held.is_erased == erased
    assert (request.state == b"") == erased
    assert (store.deferred_message(KEY) is None) == erased
    assert store.leaves(0, 10) == ([b"answer", b"erased"] if erased else [b"answer"])
    head = store.head()
    assert head is not None
    assert head.size == 1 + erased


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("how", How)
def test_erasure_that_is_cut_off_at_any_step_is_whole_or_not_and_goes_on(tmp_path: Path, when: When, how: How) -> None:
    store, writer = opened(tmp_path / "dry.db")
    store.commit([ANSWER], sign)
    writer.arm(None)
    store.commit([ERASED], sign)
    steps = list(writer.steps)
    assert "UPDATE grants SET" in steps
    assert "UPDATE request_rows SET" in steps
    store.close()
    for number in range(len(steps)):
        path = tmp_path / f"{number}.db"
        store, writer = opened(path)
        store.commit([ANSWER], sign)
        writer.arm(number, when, how)
        with pytest.raises(Dead if how is How.DIES else LogUnavailableError):
            store.commit([ERASED], sign)
        if how is How.DIES:
            writer.abandon()
            store._reader.close()
            store, writer = opened(path)
        persisted = number == len(steps) - 1 and when is When.AFTER
        require_one_of_both(store, erased=persisted)
        (again,) = store.commit([ERASED], sign)
        assert again.overtaken == persisted
        require_one_of_both(store, erased=True)
        store.close()
