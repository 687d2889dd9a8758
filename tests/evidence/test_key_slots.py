"""A destroyed key is on no page of the store, wherever SQLite moved what stood beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.stores.keeping import Rewrapped
from gateway.stores.records import Entry, Erasure, Evidence, RequestKey, StoredRequest
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_keeping import SqliteKeeping
from gateway.stores.sqlite_key_slots import SLOT, from_slot, to_slot
from tests.evidence.erasures import raw_bytes
from tests.fakes import sign


def entry(random: Random, evidence: Evidence) -> Entry:
    key = RequestKey("spiffe://heyan/requester/edu", random.randbytes(16))
    state = random.randbytes(random.randrange(500, 4_000))
    return Entry(
        b"leaf",
        request=StoredRequest(key, bytes(32), 2e9, evidence.grant_digest, state),
        evidence=(evidence,),
    )


@pytest.mark.parametrize("seed", [1, 3])
def test_keys_destroyed_among_rows_that_come_grow_and_go_stand_nowhere_in_the_files(tmp_path: Path, seed: int) -> None:
    random, live, destroyed = Random(seed), dict[bytes, bytes](), list[bytes]()
    store = SqliteStore(tmp_path / "store.db")
    keeping = SqliteKeeping(store)

    def wrapped() -> bytes:
        return random.randbytes(random.choice((60, 69, 70, 110)))

    for turn in range(60):
        for _ in range(20):
            live[random.randbytes(32)] = wrapped()
        fresh = [
            Evidence(digest, key, random.randbytes(random.randrange(300, 1_500)), 86_400.0 * turn)
            for digest, key in list(live.items())[-20:]
        ]
        store.commit([entry(random, item) for item in fresh], sign)
        rewrapped = [Rewrapped(digest, live[digest], wrapped()) for digest in random.sample(sorted(live), 15)]
        assert keeping.rewrap(rewrapped) == len(rewrapped)
        destroyed += [item.before for item in rewrapped]
        live |= {item.grant_digest: item.after for item in rewrapped}
        for digest in random.sample(sorted(live), 4):
            held = store.evidence(digest)
            assert held is not None
            more = replace(held, ciphertext=random.randbytes(random.randrange(300, 2_500)), replaces=held.ciphertext)
            store.commit([entry(random, more)], sign)
        gone = random.sample(sorted(live), 12)
        store.commit([Entry(b"erased", erasure=Erasure(dict.fromkeys(gone, 2e9)))], sign)
        destroyed += [live.pop(digest) for digest in gone]
        if turn % 20 == 19:
            assert keeping.purge(0.0, 3e9, 3e9, 1_000)
    assert keeping.sweep()
    kept = raw_bytes(tmp_path / "store.db")
    assert [key for key in destroyed if key in kept] == []
    for digest, key in live.items():
        found = store.evidence(digest)
        assert found is not None
        assert found.wrapped_key == key
        assert key in kept
    store.close()


def test_key_that_no_slot_takes_is_refused_and_none_reads_as_destroyed() -> None:
    for key in (b"", b"k" * 69, b"k" * (SLOT - 1)):
        assert from_slot(to_slot(key)) == key
        assert len(to_slot(key)) == SLOT
    with pytest.raises(LogUnavailableError):
        to_slot(b"k" * SLOT)
