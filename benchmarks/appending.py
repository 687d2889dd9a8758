"""Whether appending to the log stays as fast when it grows, and whether it starts as fast.

    python -m benchmarks.appending

Leaves are committed to the store that the gateway uses, on disk, in groups of as many as one of its commits takes, each
group a durable transaction with its signed checkpoint. At every power of ten of the log's size the next leaves are
timed, and with them what an inclusion proof of a random leaf and a consistency proof from half the size cost. Then the
file is opened anew, as a gateway does that starts: the time to its first commit must not grow with the log.

Leaves are those of applications with five checks: everything but tags and digests repeats, as it does in a season. The
target: 50,000 leaves/s, flat from 10^3 to 10^7. Needs about 1 KB of disk for each leaf.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.bounds import count
from benchmarks.setting import RESULTS, table, write_results
from gateway.log import GROUP_LIMIT
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.claims import CLAIMS
from gateway.protocol.codec import to_timestamp
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.leaf import write_leaf
from gateway.protocol.merkle import consistency_proof, inclusion_proof
from gateway.protocol.note import SignerKey
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from heyan.v1 import log_pb2

ORIGIN = "benchmark.heyan/log"
PROOFS = 200
"""Proofs of each kind that are timed at a size."""
TIMED_SHARE = 0.1
"""Of what is appended to reach the next power of ten, how much is timed: enough groups at every size."""
LEAST_GROUPS = 4


class Leaves:
    """Leaves of applications, in which tags and digests are random."""

    def __init__(self, checks: int) -> None:
        self._random = Random(1)
        marks = [bytes([number + 1]) * DIGEST_BYTES for number in range(2 * checks + 2)]
        event = log_pb2.VerificationEvent(
            requester="spiffe://heyan/requester/edu-4301",
            query_tag=marks[0],
            grant_tags=marks[1:2],
            purpose="enrolment",
        )
        for number, claim in zip(range(checks), cycle(CLAIMS), strict=False):
            event.checks.add(
                department=f"spiffe://heyan/department/{CLAIMS[claim].department.value}-4301",
                claim=claim,
                region="430102",
                status=log_pb2.CHECK_STATUS_ANSWERED,
                statement_digest=marks[2 + number],
                check_tag=marks[2 + checks + number],
            )
        leaf = write_leaf(
            log_pb2.LogLeaf(
                log_time=to_timestamp(1_811_779_200.0),
                gateway="spiffe://heyan/gateway/main",
                registry_version=1,
                verification=event,
            )
        )
        self.size = len(leaf)
        self._between = re.split(b"|".join(marks), leaf)

    def next(self) -> bytes:
        """Another leaf."""
        digests = self._random.randbytes(DIGEST_BYTES * (len(self._between) - 1))
        parts = [self._between[0]]
        for number, fixed in enumerate(self._between[1:]):
            parts += (digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES], fixed)
        return b"".join(parts)


class Growing:
    """A store that is appended to."""

    def __init__(self, folder: Path, checks: int) -> None:
        self._path = folder / "gateway.db"
        self._random = Random(2)
        self.leaves = Leaves(checks)
        self._signer = SignerKey.from_seed(ORIGIN, bytes(range(32)))
        self.store = SqliteStore(self._path)
        self.size = 0

    def append(self, leaves: int) -> float:
        """Append in full groups; leaves per second, counted over commits only."""
        spent = 0.0
        for group in self._groups(leaves):
            began = time.perf_counter()
            self.store.commit(group, self._sign)
            spent += time.perf_counter() - began
            self.size += len(group)
        return leaves / spent

    def _groups(self, leaves: int) -> Iterator[list[Entry]]:
        for first in range(0, leaves, GROUP_LIMIT):
            yield [Entry(self.leaves.next()) for _ in range(min(GROUP_LIMIT, leaves - first))]

    def _sign(self, size: int, root: bytes, _origin: str | None) -> str:
        return sign_checkpoint(Checkpoint(ORIGIN, size, root), [self._signer])

    def proofs(self) -> tuple[float, float]:
        """Median milliseconds of an inclusion proof of a random leaf, and of a consistency proof from half the size."""
        indexes = [self._random.randrange(self.size) for _ in range(PROOFS)]
        return (
            _median_ms(lambda index: inclusion_proof(index, self.size, self.store.node), indexes),
            _median_ms(
                lambda index: consistency_proof(self.size // 2 + index % 7, self.size, self.store.node), indexes
            ),
        )

    def reopen(self) -> float:
        """Milliseconds from opening the file to the first commit of one leaf."""
        self.store.close()
        began = time.perf_counter()
        self.store = SqliteStore(self._path)
        self.store.commit([Entry(self.leaves.next())], self._sign)
        spent = time.perf_counter() - began
        self.size += 1
        return spent * 1e3

    def bytes_per_leaf(self) -> float:
        """Bytes of the file and its write-ahead log for each leaf."""
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists()) / self.size


def _median_ms(work: Callable[[int], object], indexes: list[int]) -> float:
    times = []
    for index in indexes:
        began = time.perf_counter()
        work(index)
        times.append(time.perf_counter() - began)
    return median(times) * 1e3


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Grow to each size in turn."""
    rows = []
    growing = Growing(folder, options.checks)
    with closing(growing.store):
        for exponent in range(3, options.largest + 1):
            size = 10**exponent
            timed = max(LEAST_GROUPS * GROUP_LIMIT, int(size * TIMED_SHARE))
            growing.append(max(0, size - growing.size))
            rates = [growing.append(timed // options.rounds) for _ in range(options.rounds)]
            inclusion, consistency = growing.proofs()
            rows.append(
                {
                    "size": size,
                    "leaves_per_second": median(rates),
                    "least": min(rates),
                    "most": max(rates),
                    "inclusion_proof_ms": inclusion,
                    "consistency_proof_ms": consistency,
                    "start_ms": growing.reopen(),
                    "bytes_per_leaf": growing.bytes_per_leaf(),
                }
            )
            print(f"10^{exponent}: {median(rates):,.0f} leaves/s", flush=True)
        growing.store.close()
    return {"leaf_bytes": growing.leaves.size, "group": GROUP_LIMIT, "rounds": options.rounds, "rows": rows}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=count, default=7, help="power of ten up to which the log grows (7)")
    parser.add_argument("--checks", type=count, default=5, help="checks of a leaf (5)")
    parser.add_argument("--rounds", type=count, default=5, help="rounds at each size (5)")
    parser.add_argument("--folder", type=Path, help="where the log grows; a temporary folder if not given")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heyan-bench-", dir=options.folder) as folder:
        results = measure(Path(folder), options)
    columns = tuple(results["rows"][0])
    print(table(columns, [tuple(row.values()) for row in results["rows"]]))
    flat = results["rows"][-1]["leaves_per_second"] / results["rows"][0]["leaves_per_second"]
    print(f"\nlargest against smallest: {flat:.2f}")
    print(f"written: {write_results('appending', {**results, 'largest_against_smallest': flat}, options.results)}")


if __name__ == "__main__":
    main()
