"""A witness over a real store, a standing clock and one log that it knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.allowance import Allowance
from gateway.protocol.checkpoint import checkpoint_of
from gateway.protocol.cosignature import CosignerKey, cosigned_at
from gateway.protocol.note import VerifierKey, open_note
from gateway.protocol.reasons import Reason
from gateway.witness.cosigning import Cosigning
from gateway.witness.store import WitnessStore
from tests.fakes import Clock
from tests.witness.signed_log import ORIGIN, SIGNER, SignedLog

NOW = 1_800_000_000.0
KEY = CosignerKey.from_seed("witness.test/w1", bytes([7]) * 32)


@dataclass
class Witness:
    """A witness under test."""

    store: WitnessStore
    clock: Clock
    logs: dict[str, list[VerifierKey]]
    cosigning: Cosigning
    verifier: VerifierKey

    def add(self, log: SignedLog, old: int, size: int | None = None, proof=None) -> int:
        """Have a checkpoint cosigned; the time of the cosignature, which is checked."""
        lines = self.cosigning.add_checkpoint(log.request(old, size, proof))
        note = open_note(f"{log.note(size)}{lines}".encode(), [self.verifier, *(k.verifier for k in log.signers)])
        assert checkpoint_of(note, ORIGIN) == log.checkpoint(size)
        (signature,) = [each for each in note.verified if each.name == self.verifier.name]
        return cosigned_at(signature)

    @property
    def size(self) -> int:
        return self.cosigning.sizes().get(ORIGIN, 0)


def open_witness(file: Path, clock: Clock, allowance: Allowance | None = None, keys=(KEY,)) -> Witness:
    store = WitnessStore(file)
    logs = {ORIGIN: [SIGNER.verifier]}
    cosigning = Cosigning(
        keys=keys,
        logs=lambda: logs,
        store=store,
        clock=clock,
        allowance=allowance or Allowance(1000, 1000.0, Reason.OVERLOADED),
    )
    return Witness(store, clock, logs, cosigning, keys[0].verifier)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    opened = open_witness(tmp_path / "witness.db", Clock(NOW))
    yield opened
    opened.store.close()
