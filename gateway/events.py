"""What is logged beside the way of a query: statements nobody waited for, withdrawals, adopted registries.

Whatever a department answered must be logged. What the log could not take when it came is owed here, and logged as
soon as the log can record again; what is lost with the process is sent again by its node.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import structlog

from consent.revocation import Revocation
from gateway.allowance import Allowance
from gateway.departments.acknowledgements import Acknowledgements
from gateway.departments.port import Orphans
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.registry import Registry
from gateway.requests import Requests
from gateway.stores.records import Committed, Entry, Withdrawal
from heyan.v1 import log_pb2

RECOVERY_LIMIT = 1_000
"""Statement digests in one leaf (34 bytes each), well below what a leaf may hold."""

MAX_OWED = 10_000
"""Statements that wait for a log that cannot record (32 bytes each); those beyond it are left to their nodes."""

_log = structlog.get_logger(__name__)


class Events:
    """Logs them, and acknowledges statements that are logged."""

    def __init__(
        self,
        log: Log,
        requests: Requests,
        acknowledgements: Acknowledgements,
        stamp: LeafStamp,
        withdrawals: Allowance,
    ) -> None:
        self._log = log
        self._requests = requests
        self._acknowledgements = acknowledgements
        self._stamp = stamp
        self._withdrawals = withdrawals
        self._owed: dict[bytes, str] = {}
        self._withdrawing: dict[Withdrawal, asyncio.Task[float]] = {}

    def acknowledge(self, statement_digests: tuple[bytes, ...], committed: Committed) -> None:
        """Statements are durable in one leaf: tell their department once its whole batch is."""
        indexes = dict.fromkeys(statement_digests, committed.leaf_index)
        self._acknowledgements.logged(indexes, committed.head)

    async def take_orphans(self, orphans: Orphans) -> None:
        """Log statements that nobody waits for, unless they are logged already, and acknowledge them."""
        await self.recover(orphans.department, tuple(proof.digest for proof in orphans.proofs))

    async def recover(self, department: str, digests: tuple[bytes, ...]) -> None:
        """Log statements of a department outside any query's leaf, but for those that are logged already.

        Raises UnreachableError if the log cannot take them now: then they are owed.
        """
        try:
            known = self._known(digests)
            missing = tuple(digest for digest in digests if digest not in known)
            for start in range(0, len(missing), RECOVERY_LIMIT):
                some = missing[start : start + RECOVERY_LIMIT]
                event = log_pb2.RecoveryEvent(department=department, statement_digests=some)
                leaf = self._stamp(log_pb2.LogLeaf(recovery=event))
                committed = await self._log.append(Entry(leaf, statement_digests=some))
                self.acknowledge(some, committed)
        except UnreachableError:
            self.owe({department: digests})
            raise

    def _known(self, digests: tuple[bytes, ...]) -> Mapping[bytes, int]:
        """Statements that the log that grows has, at their positions; they are acknowledged again.

        Those of a log that has ended are not: its checkpoints may be signed by keys that count no more, so they are
        recorded once more.
        """
        logged = self._requests.logged_statements(digests)
        if not logged:
            return logged
        head = self._log.head()  # after what it must cover was read
        known = {digest: position for digest, position in logged.items() if head.holds(position)}
        self._acknowledgements.logged(known, head)
        return known

    async def recover_strays(self, strays: Mapping[str, tuple[bytes, ...]]) -> None:
        """Log what departments signed (digests, by department) though it answers nothing that was asked."""
        for department, digests in strays.items():
            try:
                await self.recover(department, digests)
            except HeyanError as error:
                # Not acknowledged, so the node sends them again; never a fault of whoever asked.
                _log.error("strays_not_logged", department=department, detail=error.detail)

    def owe(self, statements: Mapping[str, tuple[bytes, ...]]) -> None:
        """The log could not take these statements (digests, by department): they are logged when it can."""
        for department, digests in statements.items():
            for digest in digests:
                if len(self._owed) < MAX_OWED:
                    self._owed[digest] = department

    async def settle_owed(self) -> None:
        """Log what is owed; raises what `recover` raises, and then it stays owed."""
        owed, self._owed = self._owed, {}
        by_department: dict[str, list[bytes]] = {}
        for digest, department in owed.items():
            by_department.setdefault(department, []).append(digest)
        while by_department:
            department, digests = by_department.popitem()
            try:
                await self.recover(department, tuple(digests))
            except UnreachableError:
                self.owe({name: tuple(rest) for name, rest in by_department.items()})
                raise
            _log.info("owed_statements_logged", department=department, statements=len(digests))

    async def withdraw(self, revocation: Revocation) -> float:
        """Log a withdrawal that the grant's issuer reports, once; honoured when this returns. When it was recorded.

        OverloadedError if the issuer has withdrawn more than its allowance: each is a leaf.
        """
        withdrawal = Withdrawal(revocation.issuer, revocation.grant_digest)
        running = self._withdrawing.get(withdrawal)
        if running is None:
            running = self._withdrawing[withdrawal] = asyncio.create_task(self._withdraw(withdrawal))
            running.add_done_callback(lambda _: self._withdrawing.pop(withdrawal))
        return await asyncio.shield(running)

    async def _withdraw(self, withdrawal: Withdrawal) -> float:
        issuer, grant_digest = withdrawal.issuer, withdrawal.grant_digest
        leaf = self._requests.withdrawal_leaf(issuer, grant_digest)
        if leaf is None:
            now = self._stamp.clock()
            self._withdrawals.require(issuer, now)
            self._withdrawals.spend(issuer, now)  # before anything is awaited: many may come at once
            tags = self._requests.kept.leaf_tags(issuer, grant_digest)
            tag = tags.grant(grant_digest) if tags else os.urandom(DIGEST_BYTES)
            leaf = self._stamp(log_pb2.LogLeaf(revocation=log_pb2.RevocationEvent(issuer=issuer, grant_tag=tag)))
            committed = await self._log.append(Entry(leaf, withdrawal=withdrawal))
            if committed.overtaken:  # reported to another process at the same time
                return await self._withdraw(withdrawal)
        return log_time(read_leaf(leaf))

    async def adopt(self, registry: Registry) -> None:
        """Log that a registry version is in force here, once for each version, whichever process comes first."""
        if registry.version > self._requests.registry_version():
            event = log_pb2.RegistryEvent(version=registry.version, digest=registry.digest)
            leaf = self._stamp(log_pb2.LogLeaf(registry=event))
            await self._log.append(Entry(leaf, registry_version=registry.version))
