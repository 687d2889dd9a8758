"""What is logged beside the way of a query: statements nobody waited for, withdrawals, adopted registries."""

from __future__ import annotations

import os

from consent.revocation import Revocation
from gateway.acknowledgements import Acknowledgements
from gateway.departments import Orphans
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.registry import Registry
from gateway.requests import Requests
from gateway.stores.port import Committed, Entry, Withdrawal
from heyan.v1 import log_pb2

RECOVERY_LIMIT = 1_000
"""Statement digests in one leaf (34 bytes each), well below what a leaf may hold."""


class Events:
    """Logs them, and acknowledges statements that are logged."""

    def __init__(self, log: Log, requests: Requests, acknowledgements: Acknowledgements, stamp: LeafStamp) -> None:
        self._log = log
        self._requests = requests
        self._acknowledgements = acknowledgements
        self._stamp = stamp

    def acknowledge(self, statement_digests: tuple[bytes, ...], committed: Committed) -> None:
        """Statements are durable in one leaf: tell their department once its whole batch is."""
        indexes = dict.fromkeys(statement_digests, committed.leaf_index)
        self._acknowledgements.logged(indexes, committed.head.checkpoint)

    async def take_orphans(self, orphans: Orphans) -> None:
        """Log statements that nobody waits for, unless they are logged already, and acknowledge them."""
        digests = tuple(proof.digest for proof in orphans.proofs)
        known = self._requests.logged_statements(digests)
        if known:
            self._acknowledgements.logged(known, self._log.head().checkpoint)
        missing = tuple(digest for digest in digests if digest not in known)
        if missing:
            await self.recover(orphans.department, missing)

    async def recover(self, department: str, digests: tuple[bytes, ...]) -> None:
        """Log statements of a department outside any query's leaf."""
        for start in range(0, len(digests), RECOVERY_LIMIT):
            some = digests[start : start + RECOVERY_LIMIT]
            event = log_pb2.RecoveryEvent(department=department, statement_digests=some)
            leaf = self._stamp(log_pb2.LogLeaf(recovery=event))
            committed = await self._log.append(Entry(leaf, statement_digests=some))
            self.acknowledge(some, committed)

    async def withdraw(self, revocation: Revocation) -> float:
        """Log a withdrawal that the grant's issuer reports, once; honoured when this returns. When it was recorded."""
        issuer, grant_digest = revocation.issuer, revocation.grant_digest
        leaf = self._requests.withdrawal_leaf(issuer, grant_digest)
        if leaf is None:
            tags = self._requests.leaf_tags(grant_digest)
            tag = tags.grant(grant_digest) if tags else os.urandom(DIGEST_BYTES)
            leaf = self._stamp(log_pb2.LogLeaf(revocation=log_pb2.RevocationEvent(issuer=issuer, grant_tag=tag)))
            await self._log.append(Entry(leaf, withdrawal=Withdrawal(issuer, grant_digest)))
        return log_time(read_leaf(leaf))

    async def adopt(self, registry: Registry) -> None:
        """Log that a registry version is in force here, once for each version."""
        if registry.version > self._requests.registry_version():
            event = log_pb2.RegistryEvent(version=registry.version, digest=registry.digest)
            leaf = self._stamp(log_pb2.LogLeaf(registry=event))
            await self._log.append(Entry(leaf, registry_version=registry.version))
