"""A gateway that is lost and restored: its log published, its store backed up, and what its log key signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.backups.places import LogWitness, Place
from gateway.backups.restoring import Restored, Restorer
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.leaves import LeafStamp
from gateway.log_marks import Mark
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.identities import parse_identity
from gateway.stores.records import Head
from gateway.stores.sqlite import SqliteStore
from tests import federation as fed
from tests.backups.keepers import Keeper, quiet
from tests.static_logs import write_log

VAULT = Vault(Keks([FileKek(bytes(32))]))


class Desk:
    """A gateway whose log is published, and may be restored; `signed` are the sizes that its log key signed for it."""

    def __init__(self, keeper: Keeper, folder: Path) -> None:
        self.keeper = keeper
        self.backup = folder / "backup"
        self.published = folder / "published"
        self.signed: list[int] = []
        self.steps: list[str] = []

    def publish(self) -> None:
        """The static log as it is now, written by the test's own code."""
        for head in self.keeper.store.shards():
            place = self.published / str(head.number)
            place.mkdir(parents=True, exist_ok=True)
            write_log(place, list(self.keeper.store.leaves(head.first, head.size)))
            (place / "checkpoint").write_text(head.checkpoint)

    def lose(self) -> None:
        """The store is gone."""
        self.keeper.store.close()
        for file in self.keeper.folder.glob("store.db*"):
            file.unlink()

    @property
    def witness(self) -> LogWitness:
        return LogWitness(self.keeper.federation.registry, fed.GATEWAY)

    @property
    def restorer(self) -> Restorer:
        def sign(size: int, root: bytes, origin: str | None = None) -> str:
            self.signed.append(size)
            return self.keeper.sign(size, root, origin)

        federation = self.keeper.federation
        return Restorer(
            store=self.keeper.path,
            logs=self.witness,
            stamp=LeafStamp(parse_identity(fed.GATEWAY), lambda: federation.registry, self.keeper.clock),
            sign=sign,
            unwrap=VAULT.unwrap,
            clock=self.keeper.clock,
        )

    async def restore(
        self,
        *,
        places: Sequence[Place] | None = None,
        marks: Sequence[Mark] = (),
        report: Callable[[str, int, int], None] = quiet,
        replace: bool = False,
    ) -> Restored:
        if places is None:
            places = await self.witness.published(self.published)
        return await self.restorer.restore(self.backup, places, marks, report, replace=replace)

    def reopened(self) -> SqliteStore:
        self.keeper.store = SqliteStore(self.keeper.path)
        return self.keeper.store

    def mark(self, head: Head, place: str = "somebody") -> Mark:
        return Mark(Checkpoint(head.origin, head.size, head.root), head.checkpoint, place)
