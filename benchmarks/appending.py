"""Whether appending to the log stays as fast when it grows, and whether it starts as fast.

    python -m benchmarks.appending                to a million leaves, half a minute
    python -m benchmarks.appending --largest 7    to ten million, four minutes and 6 GB of disk; kept beside the other

Leaves are committed to the store that the gateway uses, on disk, in groups of as many as one of its commits takes, each
group a durable transaction with its signed checkpoint. At every power of ten of the log's size the next leaves are
timed, and with them what an inclusion proof of a random leaf and a consistency proof from half the size cost. Then the
file is opened anew, as a gateway does that starts: the time to its first commit must not grow with the log.

Leaves are those of applications with five checks: everything but tags and digests repeats, as it does in a season. Only
full groups are timed: a part of one pays a whole fsync. Held against the targets: the slowest size's rate; that rate by
the one at 10^3; and the time to the first commit at the largest size by that at 10^3. Each size is timed in several
rounds, which are compared round for round.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.bounds import count
from benchmarks.setting import RESULTS, table, write_results
from benchmarks.targets import spread
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
"""Of what is appended to reach the next power of ten, how much is timed."""
LEAST_GROUPS = 4
"""Of each round, where that does not reach the next size: one group alone may meet another process's fsync."""
STARTS = 5
"""How often the file is opened anew at each size."""
LARGEST, QUICK_LARGEST = 6, 5


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


def groups_of_a_round(size: int, rounds: int) -> int:
    """How many full groups are timed in each of so many rounds, at a size, before the log is ten times as large."""
    room = 9 * size // GROUP_LIMIT // rounds
    return max(1, min(room, max(LEAST_GROUPS, int(size * TIMED_SHARE) // GROUP_LIMIT // rounds)))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Grow to each size in turn."""
    rows = []
    growing = Growing(folder, options.checks)
    with closing(growing.store):
        for exponent in range(3, options.largest + 1):
            size = 10**exponent
            groups = groups_of_a_round(size, options.rounds)
            growing.append(max(0, size - growing.size))
            rates = [growing.append(groups * GROUP_LIMIT) for _ in range(options.rounds)]
            inclusion, consistency = growing.proofs()
            starts = [growing.reopen() for _ in range(STARTS)]
            rows.append(
                {
                    "size": size,
                    "leaves_per_second": median(rates),
                    "least": min(rates),
                    "most": max(rates),
                    "rates": rates,
                    "starts_ms": starts,
                    "inclusion_proof_ms": inclusion,
                    "consistency_proof_ms": consistency,
                    "start_ms": median(starts),
                    "start_least_ms": min(starts),
                    "start_most_ms": max(starts),
                    "bytes_per_leaf": growing.bytes_per_leaf(),
                }
            )
            print(f"10^{exponent}: {median(rates):,.0f} leaves/s", flush=True)
        growing.store.close()
    return {"leaf_bytes": growing.leaves.size, "group": GROUP_LIMIT, "rounds": options.rounds, "rows": rows}


def targets_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What the targets are held against; each round of a size is compared with the same round at the smallest."""
    first, last = rows[0], rows[-1]
    slowest = min(rows, key=lambda row: row["leaves_per_second"])
    flatness = [now / before for now, before in zip(slowest["rates"], first["rates"], strict=True)]
    starting = [now / before for now, before in zip(sorted(last["starts_ms"]), sorted(first["starts_ms"]), strict=True)]
    return {
        "append_rate": spread(slowest["rates"]),
        "append_flatness": spread(flatness),
        "start_flatness": spread(starting),
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"to 10^{QUICK_LARGEST} only")
    parser.add_argument("--largest", type=count, help=f"power of ten up to which the log grows ({LARGEST})")
    parser.add_argument("--checks", type=count, default=5, help="checks of a leaf (5)")
    parser.add_argument("--rounds", type=count, default=5, help="rounds at each size (5)")
    parser.add_argument("--folder", type=Path, help="where the log grows; a temporary folder if not given")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    options = parser.parse_args()
    options.largest = options.largest or (QUICK_LARGEST if options.quick else LARGEST)
    if options.largest < 3:
        parser.error("argument --largest: must be at least 3")
    with tempfile.TemporaryDirectory(prefix="heyan-bench-", dir=options.folder) as folder:
        results = measure(Path(folder), options)
    results["targets"] = targets_of(results["rows"])
    shown = [{name: value for name, value in row.items() if not isinstance(value, list)} for row in results["rows"]]
    print(table(tuple(shown[0]), [tuple(row.values()) for row in shown]))
    print(table(("target", "median", "least", "most"), [(n, *t.values()) for n, t in results["targets"].items()]))
    name = "appending_large" if options.largest > LARGEST else "appending"
    print(f"written: {write_results(name, results, options.results)}")


if __name__ == "__main__":
    main()
