"""`kill -9` of a process that commits, many times: what it said was durable is there, and the tree has one past."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from gateway.protocol.merkle import consistency_proof, leaf_hash, root_of, verify_consistency
from gateway.stores.records import RequestKey
from gateway.stores.sqlite import SqliteStore
from tests.gateway.committing_child import REQUESTER, USES, grant_of, request_id_of, sign, statement_of

KILLS = int(os.environ.get("HEYAN_KILLS", "25"))
PROJECT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 3 * KILLS)]


@dataclass(frozen=True)
class Told:
    """What the process said of one entry before it died."""

    number: int
    leaf_index: int
    withheld: bool
    size: int
    root: bytes


def commit_until_killed(path: Path, first: int, seconds: float) -> Iterator[Told]:
    """Start a committing process, kill it so long after its first word, and read what it had said."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.committing_child", str(path), str(first)],
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'protos' / 'gen'}"},
    )
    assert child.stdout is not None
    try:
        said = child.stdout.readline()
        time.sleep(seconds)
    finally:
        child.kill()
        rest, _ = child.communicate()
    for line in (said + rest).decode().splitlines(keepends=True):
        if line.endswith("\n"):  # a last word may be cut off
            number, index, withheld, size, root = line.split()
            yield Told(int(number), int(index), withheld != "-", int(size), bytes.fromhex(root))


def test_everything_that_a_killed_process_had_confirmed_is_there(tmp_path: Path) -> None:
    random, path, told, first = Random(5), tmp_path / "store.db", list[Told](), 0
    for _ in range(KILLS):
        new = list(commit_until_killed(path, first, random.uniform(0.0, 0.1)))
        assert new, "the process confirmed nothing"
        told += new
        first = new[-1].number + 1  # what was durable but not confirmed comes again, as from a client
    store = SqliteStore(path)
    head = store.head()
    assert head is not None
    leaves = store.leaves(0, head.size + 1)
    assert head.root == root_of([leaf_hash(leaf) for leaf in leaves])
    assert head.checkpoint == sign(head.size, head.root)
    for item in told:
        assert leaves[item.leaf_index] == (b"kept back %d" if item.withheld else b"leaf %d") % item.number
        held = store.request(RequestKey(REQUESTER, request_id_of(item.number)))
        assert (held is None) == item.withheld
        assert set(store.leaf_indexes([statement_of(item.number)])) == {statement_of(item.number)}
    assert any(item.withheld for item in told)  # grants came to their end
    for size, root in {(item.size, item.root) for item in told}:
        verify_consistency(size, root, head.size, head.root, consistency_proof(size, head.size, store.node))
    for grant in {grant_of(item.number) for item in told}:
        spenders = requests_of(store, grant)
        assert store.uses(grant, 0) == len(spenders) <= USES
    store.close()


def requests_of(store: SqliteStore, grant: bytes) -> list[bytes]:
    rows = store._reader.execute("SELECT request_id FROM request_uses WHERE grant_digest = ?", (grant,))
    return [row[0] for row in rows]
