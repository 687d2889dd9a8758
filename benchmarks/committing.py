"""What it costs to record a settled request and to make its receipt: CPU of the gateway's two threads, and waiting.

    python -m benchmarks.committing --results /tmp/figures

The store, the log, the memory of requests and the recording are the gateway's own, on a real disk; the way of a query
to its answers, and the transport, are left out, but for the look-ups in the store. Each request rests on a fresh grant.
So many callers as said record at once: each waits for the commit of its group, makes its receipt, and goes on. CPU is
that of the process, with what of it went into the store's commits; `--profile` tells where, by what cProfile sees.

Every statement must have been acknowledged to its department, and one receipt of VERIFY_EVERY is verified whole.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import uvloop

from benchmarks.bounds import count
from benchmarks.setting import RESULTS, table, write_results
from benchmarks.settled import NOW, Answering, Settled
from gateway.allowance import Allowance
from gateway.departments.acknowledgements import Acknowledgements
from gateway.departments.port import Acknowledgement, Ask, Reply
from gateway.events import Events
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.protocol.identities import parse_identity
from gateway.protocol.note import SignerKey
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import verify_receipt
from gateway.recording import Recording
from gateway.requests import Requests
from gateway.stores.port import Run, here
from gateway.stores.records import Committed, Entry, SignCheckpoint
from gateway.stores.sqlite import SqliteStore
from gateway.work import Granted
from heyan.v1 import receipt_pb2
from tests import federation as fed

CHECKS = (1, 5)
AT_ONCE = (1, 16, 64)
MOST_ALONE = 200
"""Requests of a round with one caller, at most: it waits for each commit."""
VERIFY_EVERY = 50
SHOWN = 45
"""Functions that a profile shows."""

T = TypeVar("T")


@dataclass
class Nodes:
    """The departments: they are never asked, and count the statements that they are acknowledged."""

    acknowledged: int = 0

    async def ask(self, _ask: Ask, timeout: float) -> tuple[Reply, ...]:  # noqa: ARG002, ASYNC109 - the port's
        """Everything is answered already: whoever asks does not measure what this module says."""
        raise AssertionError("a settled request asks no department")

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Count the statements of a batch."""
        self.acknowledged += len(acknowledgement.leaf_indexes)


class WatchedStore(SqliteStore):
    """A store that tells the CPU of its commits, on whichever threads they are made."""

    groups = 0
    seconds = 0.0
    profile: cProfile.Profile | None = None

    def commit(self, entries: Sequence[Entry], sign: SignCheckpoint, run: Run = here) -> Sequence[Committed]:
        """Commit, and count."""

        def counting(work: Callable[[], T]) -> T:
            return run(work if run is here else lambda: self._timed(work))

        self.groups += 1
        return self._timed(lambda: self._commit(entries, sign, counting))

    def _commit(self, entries: Sequence[Entry], sign: SignCheckpoint, run: Run) -> Sequence[Committed]:
        if self.profile is not None:
            return self.profile.runcall(super().commit, entries, sign, run)
        return super().commit(entries, sign, run)

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.thread_time()
        try:
            return work()
        finally:
            self.seconds += time.thread_time() - began


class Gateway:
    """What of a gateway comes after the answers, over a store in a file."""

    def __init__(self, federation: fed.Federation, path: Path) -> None:
        identity = parse_identity(fed.GATEWAY)
        seed = federation.signing_keys[fed.GATEWAY].private.private_bytes_raw()  # type: ignore[union-attr]
        self.nodes = Nodes()
        self.store = WatchedStore(path)
        self.log = Log(self.store, fed.LOG_ORIGIN, SignerKey.from_seed(fed.LOG_ORIGIN, seed))
        vault = Vault(Keks([FileKek(bytes(32))]))
        self.requests = Requests(self.store, self.log, vault, lambda: federation.registry)
        self.acknowledgements = Acknowledgements(lambda _: self.nodes)
        stamp = LeafStamp(identity, lambda: federation.registry, lambda: NOW)
        unbounded = Allowance(1 << 30, 1.0, Reason.OVERLOADED)
        self.recording = Recording(
            identity=identity,
            clock=lambda: NOW,
            requests=self.requests,
            events=Events(self.log, self.requests, self.acknowledgements, stamp, unbounded),
            unanswered=unbounded,
        )

    async def carry(self, settled: Settled) -> bytes:
        """One request: the look-ups on its way, the record, and the response."""
        granted = settled.granted
        _require(self.requests.find(granted.work.key) is None, "a request_id that is taken")
        self._require_standing(granted)
        self.requests.kept.require_kept(granted.grants)
        for use in granted.uses(granted.checks):
            _require(self.requests.has_use_left(None, use), "a fresh grant that is used up")
        self._require_standing(granted)  # once more, after the answers
        resumed = await self.recording.commit(granted, settled.settlement, None)
        return self.requests.receipt(resumed).SerializeToString()

    def _require_standing(self, granted: Granted) -> None:
        for grant in granted.grants.values():
            _require(not self.requests.is_withdrawn(grant.issuer, grant.digest), "a fresh grant that is withdrawn")


@dataclass
class Figures:
    """One entry a round. Microseconds of CPU for each request, milliseconds that one took, requests a second."""

    cpu: list[float] = field(default_factory=list)
    of_it_commits: list[float] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    group: list[float] = field(default_factory=list)


class Measuring:
    """Measures one gateway again and again; its store grows meanwhile."""

    def __init__(self, folder: Path, checks: int) -> None:
        self._federation = fed.Federation.create(NOW)
        self._answering = Answering(self._federation, checks)
        self.gateway = Gateway(self._federation, folder / "gateway.db")
        self.profile: cProfile.Profile | None = None

    async def measure(self, rounds: int, requests: int, at_once: Sequence[int]) -> dict[int, Figures]:
        """`rounds` with each number of callers, interleaved, after one that is not counted."""
        found: defaultdict[int, Figures] = defaultdict(Figures)
        self.gateway.log.start()
        try:
            for number, callers in product(range(rounds + 1), at_once):
                into = found[callers] if number else Figures()
                await self._round(callers, requests_of(requests, callers), into)
        finally:
            await self.gateway.log.stop()
            self.gateway.store.close()
        return found

    async def _round(self, callers: int, requests: int, into: Figures) -> None:
        gateway, store = self.gateway, self.gateway.store
        settled, batches = self._answering.make(requests)
        for batch in batches:
            gateway.acknowledgements.expect(batch.department, batch.signed, batch.proofs)
        acknowledged = gateway.nodes.acknowledged
        left, times, receipts = iter(settled), list[float](), list[bytes]()

        async def call() -> None:
            for one in left:
                began = time.perf_counter()
                receipts.append(await gateway.carry(one))
                times.append(time.perf_counter() - began)

        gc.collect()
        gc.freeze()  # what was made before is no part of a gateway, so its collector should not walk it
        groups, seconds = store.groups, store.seconds
        began, cpu = time.perf_counter(), time.process_time()
        if self.profile is not None:
            self.profile.enable()
        await asyncio.gather(*(call() for _ in range(callers)))
        if self.profile is not None:
            self.profile.disable()
        into.cpu.append((time.process_time() - cpu) / requests * 1e6)
        into.of_it_commits.append((store.seconds - seconds) / requests * 1e6)
        into.per_second.append(requests / (time.perf_counter() - began))
        into.took_ms.append(median(times) * 1e3)
        into.group.append(requests / (store.groups - groups))
        gc.unfreeze()
        signed = sum(len(batch.proofs) for batch in batches)
        _require(gateway.nodes.acknowledged - acknowledged == signed, "a statement that is not acknowledged")
        _require(len(set(receipts)) == requests, "a request without a receipt of its own")
        for data in receipts[::VERIFY_EVERY]:
            receipt = receipt_pb2.Receipt.FromString(data)
            receipt.registry = self._federation.registry.token
            verify_receipt(receipt, self._federation.operator.public_key())


def requests_of(most: int, callers: int) -> int:
    """How many requests a round with so many callers has."""
    return min(most, MOST_ALONE) if callers == 1 else most


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def profile(checks: int, at_once: int, requests: int) -> None:
    """Print what each of the two threads does, by its own time."""
    with tempfile.TemporaryDirectory(prefix="heyan-bench-") as folder:
        measuring = Measuring(Path(folder), checks)
        measuring.profile, measuring.gateway.store.profile = loop, writer = cProfile.Profile(), cProfile.Profile()
        uvloop.run(measuring.measure(1, requests, [at_once]))
    asked = 2 * requests_of(requests, at_once)  # one round is not counted, but seen
    for name, seen in (("loop", loop), ("writer", writer)):
        print(f"--- {name}, {asked} requests")
        pstats.Stats(seen).sort_stats("tottime").print_stats(SHOWN)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=count, default=1024, help="requests of a round (1024)")
    parser.add_argument("--rounds", type=count, default=5, help="rounds of each kind (5)")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds")
    parser.add_argument("--profile", type=count, nargs=2, metavar=("CHECKS", "CALLERS"), help="print a profile instead")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    options = parser.parse_args()
    rounds, requests = (2, 256) if options.quick else (options.rounds, options.requests)
    if options.profile:
        profile(*options.profile, requests)
        return
    results: dict[str, dict[str, Any]] = {}
    rows = []
    for checks in CHECKS:
        with tempfile.TemporaryDirectory(prefix="heyan-bench-") as folder:
            found = uvloop.run(Measuring(Path(folder), checks).measure(rounds, requests, AT_ONCE))
        for callers, figures in found.items():
            results[f"{checks} checks, {callers} at once"] = vars(figures)
            rows.append((checks, callers, *map(median, vars(figures).values())))
    print(table(("checks", "at once", "CPU µs", "of it commits", "took ms", "requests/s", "group"), rows))
    print(f"\nwritten: {write_results('committing', {'rounds': rounds, 'figures': results}, options.results)}")


if __name__ == "__main__":
    main()
