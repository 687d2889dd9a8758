"""A gateway's witnessing over real witnesses without a network, any of which may be away, slow, or lie."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.protocol.note import VerifierKey
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import ADD_CHECKPOINT, SIZE_TYPE
from gateway.witness.cosigning import OtherSizeError
from gateway.witness.server import _status_of
from gateway.witnessing.heads import Witnessing
from gateway.witnessing.link import LogIdentity, Reply
from gateway.witnessing.policy_file import watch_policy
from gateway.witnessing.rounds import Times
from gateway.witnessing.traffic import WitnessTraffic
from tests.fakes import Clock
from tests.witness.conftest import NOW, Witness, open_witness
from tests.witness.signed_log import NEXT, ORIGIN, SIGNER, SignedLog

KEPT_FILE = "witnessed.checkpoint"

Change = Callable[[Reply], Reply]


def key_of(number: int) -> CosignerKey:
    return CosignerKey.from_seed(f"witness.test/w{number}", bytes([number]) * 32)


def size_reply(size: int) -> Reply:
    return Reply(409, {"Content-Type": SIZE_TYPE}, b"%d\n" % size)


class FakeWitness:
    """An honest witness, unless something is set."""

    def __init__(self, file: Path, clock: Clock, number: int) -> None:
        self.key = key_of(number)
        self.clock = clock
        self.honest: Witness = open_witness(file, clock, keys=(self.key,))
        self.is_down = False
        self.gate: asyncio.Event | None = None
        """It does not answer before this is set."""
        self.change: Change | None = None
        """What it answers instead."""
        self.shown: Reply | None = None
        """What it shows to monitors instead."""
        self.asked: list[tuple[str, bytes | None]] = []

    async def answer(self, path: str, body: bytes | None) -> Reply:
        self.asked.append((path, body))
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise UnreachableError(Reason.WITNESS_UNREACHABLE, "down")
        if body is None and self.shown is not None:
            return self.shown
        reply = self._honestly(path, body)
        return self.change(reply) if self.change is not None and body is not None else reply

    def _honestly(self, path: str, body: bytes | None) -> Reply:
        cosigning = self.honest.cosigning
        try:
            if body is None:
                return Reply(200, {}, cosigning.checkpoint(path.split("/")[1]).encode())
            assert path == ADD_CHECKPOINT
            return Reply(200, {}, cosigning.add_checkpoint(body).encode())
        except OtherSizeError as error:
            return size_reply(error.size)
        except HeyanError as error:
            return Reply(int(_status_of(error)), {}, b"refused\n")


class FakeTransport:
    """Brings requests to witnesses by the host of their URL."""

    def __init__(self, witnesses: Mapping[str, FakeWitness]) -> None:
        self._witnesses = witnesses

    async def exchange(self, url: str, body: bytes | None) -> Reply:
        parts = urlsplit(url)
        return await self._witnesses[str(parts.hostname)].answer(parts.path, body)


class Asked:
    """One gateway's witnessing of `log`, over `count` witnesses."""

    def __init__(
        self,
        folder: Path,
        count: int,
        log: Any = None,
        quorum: str | None = None,
        keys: Sequence[VerifierKey] = (SIGNER.verifier, NEXT.verifier),
    ) -> None:
        self.folder = folder
        self.log = log if log is not None else SignedLog.of(3)
        self.keys = tuple(keys)
        self.clock, self.steady = Clock(NOW), Clock(0.0)
        self.witnesses = {
            f"w{number}": FakeWitness(folder / f"w{number}.db", self.clock, number) for number in range(1, count + 1)
        }
        for witness in self.witnesses.values():
            witness.honest.logs[ORIGIN] = [self.keys[0]]
        self.policy_file = folder / "policy"
        self.write_policy(quorum or f"group q all {' '.join(self.witnesses)}")
        self.contradictions: list[HeyanError] = []
        self.witnessing = self.opened()

    def write_policy(self, quorum: str, names: Sequence[str] | None = None) -> None:
        """Replace the policy; `quorum` is a group q, or none."""
        lines = [f"log {key.format()}" for key in self.keys]
        vkeys = {name: self.witnesses[name].key.verifier.format() for name in names or self.witnesses}
        lines += [f"witness {name} {vkey} http://{name}/" for name, vkey in vkeys.items()]
        lines += [quorum, "quorum q"] if quorum != "none" else ["quorum none"]
        temporary = self.policy_file.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, self.policy_file)  # noqa: PTH105

    def opened(self, log: SignedLog | None = None) -> Witnessing:
        """Witnessing as after a start, of this log or of another that the store has now."""
        self.metrics = CollectorRegistry()
        return Witnessing(
            tree=log if log is not None else self.log,
            log=LogIdentity(ORIGIN, lambda: self.keys),
            policy=watch_policy(self.policy_file),
            transport=FakeTransport(self.witnesses),
            file=self.folder / KEPT_FILE,
            times=Times(clock=self.clock, steady=self.steady, interval=1.0, patience=30.0, alarm=300.0),
            traffic=WitnessTraffic(self.metrics),
            on_contradiction=self.contradictions.append,
        )

    async def tick(self, seconds: float = 1.0) -> None:
        """Let so much time pass, and have done what is due then."""
        self.clock.now += seconds
        self.steady.now += seconds
        await self.witnessing.run_once()
        await self.witnessing.settle()

    async def until_asked(self, name: str, count: int) -> None:
        """Until a witness was asked so often."""
        async with asyncio.timeout(5):
            while len(self.witnesses[name].asked) < count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)

    def failures(self, name: str, reason: Reason) -> float:
        labels = {"witness": name, "reason": reason.value}
        return self.metrics.get_sample_value("heyan_witness_failures_total", labels) or 0.0

    def close(self) -> None:
        for witness in self.witnesses.values():
            witness.honest.store.close()
