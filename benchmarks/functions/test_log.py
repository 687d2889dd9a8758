"""The log: leaves, the tree that grows by them, proofs from it, and groups committed to the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.appending import ORIGIN, Leaves
from gateway.log import GROUP_LIMIT
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.leaf import read_leaf, write_leaf
from gateway.protocol.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from gateway.protocol.note import SignerKey
from gateway.stores.records import Entry, Evidence, RequestKey, StoredRequest, Use
from gateway.stores.sqlite import SqliteStore

CHECKS = 5
TREE = 1 << 12
LEAVES = Leaves(CHECKS)
SIGNER = SignerKey.from_seed(ORIGIN, bytes(32))
GROUPS = (1, 64, GROUP_LIMIT)
STATE_BYTES, GRANT_BYTES, WRAPPED_BYTES = 2_048, 1_024, 92
"""About what a request of five checks keeps, encrypted: `python -m benchmarks.disk` tells exactly."""


def test_leaf_write(benchmark: BenchmarkFixture) -> None:
    data = LEAVES.next()
    assert benchmark(write_leaf, read_leaf(data)) == data


def test_leaf_read(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(read_leaf, LEAVES.next()).verification.checks) == CHECKS


@pytest.fixture(scope="module")
def tree() -> tuple[Frontier, dict[tuple[int, int], bytes]]:
    frontier, nodes = Frontier().append(hashes(TREE - 1))
    return frontier, {(level, index): node for level, index, node in nodes}


def hashes(amount: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(8, "big")) for number in range(amount)]


@pytest.mark.parametrize("size", GROUPS)
def test_tree_append(benchmark: BenchmarkFixture, tree: tuple[Frontier, object], size: int) -> None:
    benchmark.extra_info["items"] = size
    grown, _ = benchmark(tree[0].append, hashes(size))
    assert grown.size == TREE - 1 + size


def test_inclusion_proof(benchmark: BenchmarkFixture, tree: tuple[Frontier, dict[tuple[int, int], bytes]]) -> None:
    frontier, nodes = tree
    path = benchmark(inclusion_proof, 1_000, frontier.size, lambda level, index: nodes[level, index])
    verify_inclusion(nodes[0, 1_000], 1_000, frontier.size, path, frontier.root())


def test_inclusion_verify(benchmark: BenchmarkFixture, tree: tuple[Frontier, dict[tuple[int, int], bytes]]) -> None:
    frontier, nodes = tree
    path = inclusion_proof(1_000, frontier.size, lambda level, index: nodes[level, index])
    benchmark(verify_inclusion, nodes[0, 1_000], 1_000, frontier.size, path, frontier.root())


def test_consistency_proof(benchmark: BenchmarkFixture, tree: tuple[Frontier, dict[tuple[int, int], bytes]]) -> None:
    frontier, nodes = tree
    path = benchmark(consistency_proof, 1_000, frontier.size, lambda level, index: nodes[level, index])
    old, _ = Frontier().append(hashes(1_000))
    verify_consistency(1_000, old.root(), frontier.size, frontier.root(), path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "store.db")
    yield opened
    opened.close()


@pytest.mark.benchmark(timer=time.perf_counter)
@pytest.mark.parametrize("size", GROUPS)
def test_store_commit(benchmark: BenchmarkFixture, store: SqliteStore, size: int) -> None:
    """Durably, with the checkpoint's signature, and everything that an application keeps."""
    benchmark.extra_info["items"] = size
    numbers = iter(range(1 << 40))

    def commit(group: list[Entry]) -> int:
        return len(store.commit(group, sign))

    def group() -> tuple[tuple[list[Entry]], dict[str, object]]:
        return ([entry(next(numbers)) for _ in range(size)],), {}

    rounds = max(12, 64 // size)
    assert benchmark.pedantic(commit, setup=group, rounds=rounds, warmup_rounds=2) == size
    head = store.head()
    assert head is not None
    assert head.size == size * (rounds + 2)


def sign(size: int, root: bytes, _origin: str | None) -> str:
    return sign_checkpoint(Checkpoint(ORIGIN, size, root), [SIGNER])


def entry(number: int) -> Entry:
    """What is committed of one application."""

    def mark(kind: str) -> bytes:
        return sha256(f"{kind}{number}".encode()).digest()

    grant, until = mark("grant"), 1_900_000_000.0
    state = mark("state") * (STATE_BYTES // 32)
    return Entry(
        leaf=LEAVES.next(),
        statement_digests=tuple(mark(f"statement{check}-") for check in range(CHECKS)),
        request=StoredRequest(RequestKey("spiffe://heyan/requester/edu", mark("id")[:16]), grant, until, grant, state),
        earlier_leaves=0,
        uses=(Use(grant, 0, 1, until),),
        evidence=(Evidence(grant, mark("key").ljust(WRAPPED_BYTES), mark("kept") * (GRANT_BYTES // 32), until),),
    )
