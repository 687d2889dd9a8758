"""A file system that is really full or really read-only, under the stores of gateway, node and issuer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consent.issuer.store import IssuerStore
from gateway.protocol.errors import LogUnavailableError
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from sandbox_departments.journal import Journal
from sandbox_departments.journal_entries import BatchSigned
from tests.fakes import sign

SIZE = 2 << 20

Write = Callable[[bytes], None]
"""Writes something of that content; returns once it is durable."""


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0  # noqa: S607


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)):
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607


def gateway_store(place: Path) -> tuple[Write, Callable[[], None]]:
    store = SqliteStore(place / "store.db")
    return lambda data: store.commit([Entry(data)], sign) and None, store.close


def journal(place: Path) -> tuple[Write, Callable[[], None]]:
    kept = Journal(place / "journal.db")

    def write(data: bytes) -> None:
        with kept.transaction() as ledger:
            ledger.append([BatchSigned(1.0, "spiffe://heyan/gateway/main", data, ())])

    return write, kept.close


def issuer_store(place: Path) -> tuple[Write, Callable[[], None]]:
    store = IssuerStore(place / "store.db")

    def write(data: bytes) -> None:
        store.put_draft(os.urandom(16).hex(), 2e9, data, approvable=True)

    return write, store.close


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def write_often(write: Write) -> None:
    for _ in range(100):  # the write-ahead log may have room for a few
        write(bytes(8192))


each_store = pytest.mark.parametrize("opened", [gateway_store, journal, issuer_store])


@each_store
def test_store_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    disk: Path, opened: Callable[[Path], tuple[Write, Callable[[], None]]]
) -> None:
    write, close = opened(disk)
    write(b"first")
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        fill(ballast)
    with pytest.raises(LogUnavailableError) as full:
        write_often(write)
    assert full.value.retry_after
    ballast.unlink()
    write(b"last")
    close()


@each_store
def test_store_on_a_disk_that_turned_read_only_says_so_and_goes_on_when_it_is_writable_again(
    disk: Path, opened: Callable[[Path], tuple[Write, Callable[[], None]]]
) -> None:
    write, close = opened(disk)
    write(b"first")
    close()
    assert mount("-o", "remount,ro", str(disk))
    with pytest.raises(LogUnavailableError):
        opened(disk)[0](b"second")
    assert mount("-o", "remount,rw", str(disk))
    write, close = opened(disk)
    write(b"last")
    close()
