"""A gateway's store that grows under the test federation's log key, and everything that a backup of it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.backups.making import Maker
from gateway.backups.manifest import Manifest
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.codec import to_timestamp
from gateway.protocol.leaf import write_leaf
from gateway.protocol.note import SignerKey
from gateway.stores.records import Entry, Head
from gateway.stores.sqlite import SqliteStore
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.fakes import Clock

NOW = 1_800_000_000.0


def quiet(_step: str, _done: int, _total: int) -> None:
    """No progress."""


def leaf(number: int, **event: Any) -> bytes:
    """A leaf that can be told from others by its number; a recovered statement if nothing else is said."""
    recovery = log_pb2.RecoveryEvent(department="spiffe://heyan/department/a", statement_digests=[digest(number)])
    whole = log_pb2.LogLeaf(gateway=fed.GATEWAY, registry_version=1, **(event or {"recovery": recovery}))
    whole.log_time.CopyFrom(to_timestamp(NOW + number / 1000))
    return write_leaf(whole)


def digest(number: int) -> bytes:
    return b"s" * 24 + number.to_bytes(8, "big")


@dataclass
class Keeper:
    """Keeps one store."""

    federation: fed.Federation
    folder: Path
    clock: Clock = field(default_factory=lambda: Clock(NOW))

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.store = SqliteStore(self.path)

    @property
    def path(self) -> Path:
        return self.folder / "store.db"

    @property
    def seed(self) -> bytes:
        return self.federation.signing_keys[fed.GATEWAY].private.private_bytes_raw()  # type: ignore[union-attr]

    def sign(self, size: int, root: bytes, origin: str | None = None) -> str:
        signer = SignerKey.from_seed(origin or fed.LOG_ORIGIN, self.seed)
        return sign_checkpoint(Checkpoint(signer.verifier.name, size, root), [signer])

    def grow(self, count: int) -> Head:
        """Append so many recovered statements, in groups."""
        size = self.size
        for start in range(size, size + count, 100):
            numbers = range(start, min(start + 100, size + count))
            self.store.commit(
                [Entry(leaf(number), statement_digests=(digest(number),)) for number in numbers], self.sign
            )
        return self.head

    @property
    def head(self) -> Head:
        head = self.store.head()
        assert head is not None
        return head

    @property
    def size(self) -> int:
        head = self.store.head()
        return head.end if head is not None else 0

    @property
    def maker(self) -> Maker:
        return Maker(self.path, fed.GATEWAY, self.federation.registry, self.seed, self.clock, "0.1")

    def backup(self, out: Path, *, every_leaf: bool = True) -> Manifest:
        return self.maker.make(out, quiet, every_leaf=every_leaf)
