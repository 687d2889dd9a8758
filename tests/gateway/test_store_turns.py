"""Whose turn it is to write to a store: nobody waits for ever, and nobody is passed over."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.stores import sqlite_turns
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_turns import Turns
from tests.fakes import sign


def until_somebody_waits(path: Path) -> None:
    """Return once the doorway is taken."""
    probe = Turns(path)
    try:
        while True:
            try:
                sqlite_turns._take(probe._next, until=0.0)
            except LogUnavailableError:
                return
            sqlite_turns._leave(probe._next)
    finally:
        probe.close()


def test_whoever_writes_again_comes_after_the_one_who_waits(tmp_path: Path) -> None:
    path, order = tmp_path / "store.db", list[str]()
    busy, patient = Turns(path), Turns(path)

    def wait() -> None:
        with patient.mine():
            order.append("patient")

    waiting = threading.Thread(target=wait)
    with busy.mine():
        waiting.start()
        until_somebody_waits(path)
        order.append("busy")
    with busy.mine():
        order.append("busy again")
    waiting.join()
    assert order == ["busy", "patient", "busy again"]


def test_holder_that_stands_still_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_turns, "PATIENCE", 0.01)
    path = tmp_path / "store.db"
    store, other = SqliteStore(path), Turns(path)
    with other.mine(), pytest.raises(LogUnavailableError) as refused:
        store.commit([Entry(b"x")], sign)
    assert refused.value.retry_after
    assert store.commit([Entry(b"x")], sign)[0].leaf_index == 0


def test_one_that_gave_up_leaves_the_doorway_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_turns, "PATIENCE", 0.0)
    path = tmp_path / "store.db"
    holder, impatient, next_one = Turns(path), Turns(path), Turns(path)
    with holder.mine(), pytest.raises(LogUnavailableError), impatient.mine():
        pass
    with next_one.mine():
        pass


def test_turn_of_a_closed_store_is_free(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    gone, there = Turns(path), Turns(path)
    gone.mine().__enter__()
    gone.close()
    with there.mine():
        pass
