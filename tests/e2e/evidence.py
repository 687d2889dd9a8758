"""What is left after a campaign, held against what clients were told: receipts, log, counts and journals."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from consent.consent_file import ConsentFile
from gateway.audit.findings import Disclosure
from gateway.audit.journals import read_journal
from gateway.audit.log_view import LogView, Sighting
from gateway.audit.reconciliation import reconcile
from gateway.cli.sandbox import GATEWAY
from gateway.cli.settings_files import PUBLISHED
from gateway.client import Client, Verification
from gateway.party.registry_keeper import operator_key
from gateway.protocol.attestation import read_proof
from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.errors import HeyanError
from gateway.protocol.keys import PublicKey
from gateway.protocol.log_keys import verifiers_of
from gateway.protocol.merkle import consistency_proof, verify_consistency
from gateway.protocol.proof import parse_proof
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from gateway.protocol.registry import open_registry
from gateway.static_log.folder import FIRST_SHARD
from gateway.static_log.tile_proofs import read_leaves
from gateway.static_log.tile_source import FolderSource
from gateway.stores.sqlite import SqliteStore
from sandbox_departments.journal import Journal
from sandbox_departments.journal_entries import BatchSigned
from tests.e2e.kills import Arena
from tests.e2e.load import Call, attested

SETTLE_SECONDS = 60.0
"""Within which every statement that a node signed must be logged and acknowledged, once nothing is asked any more."""

LATER = 3_600.0
"""Seconds by which journals count as read after the log: everything is quiet, so nothing may be owed any more."""

Limits = Mapping[tuple[bytes, int], int]
"""Uses that persons allowed: by grant digest and place of the element."""


@dataclass
class Findings:
    """What does not hold, in words without anybody's name; and how much was looked at."""

    violations: list[str] = field(default_factory=list)
    receipts: int = 0
    statements: int = 0
    leaves: int = 0
    checkpoints: int = 0
    recovered: int = 0
    """Statements that the log has only as recovered: a process died between journal and log."""


def limits_of(consents: Iterable[ConsentFile]) -> Limits:
    """What the persons behind `consents` allowed."""
    return {
        (grant.digest, element.index): element.max_uses
        for consent in consents
        for grant in consent.grants
        for element in grant.authorizations
    }


async def settled(arena: Arena) -> float:
    """Wait until no node is owed anything; the seconds it took, or TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(SETTLE_SECONDS):
        while any(owed(arena, node) for node in arena.nodes):  # noqa: ASYNC110 - it is another process that settles
            await asyncio.sleep(0.5)
    return time.monotonic() - began


def owed(arena: Arena, node: str) -> int:
    """Batches that a node has not seen acknowledged, read beside the running node."""
    journal = f"file:{_journal(arena, node)}?mode=ro"
    with closing(sqlite3.connect(journal, uri=True, timeout=10)) as connection:
        return int(connection.execute("SELECT count(*) FROM batches WHERE message IS NOT NULL").fetchone()[0])


async def same_again(client: Client, calls: Iterable[Call], findings: Findings) -> None:
    """Ask the gateway for every answer that a client holds."""
    places = asyncio.Semaphore(8)

    async def look(call: Call) -> None:
        async with places:
            try:
                result = await client.get(call.request_id)
            except HeyanError as error:
                findings.violations.append(f"an answered query is missing: {error.reason.value}")
                return
        assert call.result is not None
        if attested(result) != attested(call.result):
            findings.violations.append("GetVerification says something else than the receipt")

    await asyncio.gather(*(look(call) for call in calls if call.result is not None))


def inspect(arena: Arena, calls: Iterable[Call], limits: Limits, findings: Findings) -> None:
    """Everything that can be checked offline, after the parties have stopped."""
    store = SqliteStore(arena.folder / "gateway" / "store.db")
    held = [call.result for call in calls if call.result is not None]
    try:
        log = _log_of(arena, store)
        _inspect_receipts(arena, store, held, findings)
        _reconcile(arena, log, held, findings)
        asyncio.run(_inspect_published(arena, log, findings))
        _inspect_counts(arena, limits, findings)
        for node in arena.nodes:
            _inspect_journal(_journal(arena, node), store, limits, findings)
    finally:
        store.close()


def _log_of(arena: Arena, store: SqliteStore) -> LogView:
    """The log as an auditor reads it; its checkpoint is verified by the keys of the registry."""
    registry = open_registry((arena.folder / arena.endpoints.registry).read_text().strip(), _operator(arena))
    party = registry.party(GATEWAY.uri)
    assert party.gateway is not None
    origin = party.gateway.log_origin
    keys = registry.checkpoint_keys(GATEWAY.uri, 0.0)
    verifiers = verifiers_of(keys, origin)
    head = store.head()
    assert head is not None
    leaves = store.leaves(0, head.size)
    return LogView(origin, frozenset({GATEWAY.uri}), verifiers, leaves, head.checkpoint)


async def _inspect_published(arena: Arena, log: LogView, findings: Findings) -> None:
    """The published log is whole, and as large as the store: what came last was published at the end."""
    async with FolderSource(arena.folder / "gateway" / PUBLISHED / FIRST_SHARD) as source:
        checkpoint = open_checkpoint(await source.checkpoint(), log.verifiers, log.origin)
        try:
            published = [leaf async for _, leaf in read_leaves(source, 0, checkpoint.size, checkpoint)]
        except HeyanError as error:
            findings.violations.append(f"the published log does not hold: {error}")
            return
    if published != list(log.leaves):
        findings.violations.append(f"{len(published)} leaves are published of {len(log.leaves)}, or others")


def _reconcile(arena: Arena, log: LogView, held: Iterable[Verification], findings: Findings) -> None:
    """Hold every journal, and every checkpoint and query that clients hold, against the log; nothing may be owed."""
    views = []
    for identity in arena.sandbox.nodes.values():
        journal = Journal(_journal(arena, identity.name))
        try:
            head = journal.verify_chain()
            views.append(read_journal(identity.uri, journal.chain(), time.time() + LATER, head.hash))
        finally:
            journal.close()
    receipts = [result.receipt for result in held]
    proofs = {item.proof for receipt in receipts for item in receipt.leaves}
    sightings = [Sighting("requester", parse_proof(proof.encode()).checkpoint) for proof in proofs]
    disclosures = [Disclosure.of(result.receipt, result.verified) for result in held]
    found = reconcile(log, views, allowed=0.0, sightings=sightings, disclosures=disclosures)
    findings.recovered = found.recovered
    findings.violations += [f"reconciliation: {finding.kind.value} of {finding.holder}" for finding in found.findings]
    if found.owed:
        findings.violations.append(f"{found.owed} statements are owed")


def _inspect_receipts(arena: Arena, store: SqliteStore, held: Iterable[Verification], findings: Findings) -> None:
    operator = _operator(arena)
    head = store.head()
    assert head is not None
    findings.leaves = head.size
    proven: dict[int, bytes] = {head.size: head.root}
    for result in held:
        receipt = receipt_from_json(receipt_to_json(result.receipt))
        try:
            verified = verify_receipt(receipt, operator)
        except HeyanError as error:
            findings.violations.append(f"a receipt no longer verifies: {error}")
            continue
        findings.receipts += 1
        point = verified.checkpoint
        if point.size not in proven:
            path = consistency_proof(point.size, head.size, store.node)
            verify_consistency(point.size, point.root, head.size, head.root, path)
            proven[point.size] = point.root
        if proven[point.size] != point.root:
            findings.violations.append("a receipt's checkpoint is of another tree")
        for item in receipt.leaves:
            if store.leaf(parse_proof(item.proof.encode()).index) != item.leaf:
                findings.violations.append("a receipt's leaf is not in the log")
        digests = [read_proof(item.proof).digest for item in receipt.statements]
        if store.leaf_indexes(digests).keys() != set(digests):
            findings.violations.append("a statement of a receipt is not in the log")
    findings.checkpoints = len(proven)


def _inspect_counts(arena: Arena, limits: Limits, findings: Findings) -> None:
    with closing(sqlite3.connect(arena.folder / "gateway" / "store.db")) as connection:
        spent = connection.execute("SELECT grant_digest, authorization, spent FROM uses").fetchall()
        told = connection.execute(
            "SELECT grant_digest, authorization, count(*) FROM request_uses GROUP BY grant_digest, authorization"
        ).fetchall()
    if sorted(spent) != sorted(told):
        findings.violations.append("uses are not those of the requests")
    _require_within(spent, limits, "gateway", findings)


def _inspect_journal(path: Path, store: SqliteStore, limits: Limits, findings: Findings) -> None:
    journal = Journal(path)
    try:
        journal.verify_chain()
        stated = {
            digest
            for entry in journal.entries()
            if isinstance(entry, BatchSigned)
            for part in entry.parts
            for digest in (getattr(part, "statements", None) or (part.statement,))
        }
    except HeyanError as error:
        findings.violations.append(f"a journal does not verify: {error}")
        return
    finally:
        journal.close()
    findings.statements += len(stated)
    if missing := stated - store.leaf_indexes(sorted(stated)).keys():
        findings.violations.append(f"{len(missing)} statements of a node are not in the log")
    with closing(sqlite3.connect(path)) as connection:
        uses = connection.execute(
            "SELECT grant_digest, authorization, count(*) FROM uses GROUP BY grant_digest, authorization"
        ).fetchall()
        (open_batches,) = connection.execute("SELECT count(*) FROM batches WHERE message IS NOT NULL").fetchone()
    _require_within(uses, limits, "node", findings)
    if open_batches:
        findings.violations.append(f"{open_batches} batches of a node were never acknowledged")


def _require_within(counts: Iterable[tuple[bytes, int, int]], limits: Limits, where: str, findings: Findings) -> None:
    for grant, element, count in counts:
        if count > limits.get((grant, element), 0):
            findings.violations.append(
                f"{where}: a grant is spent {count} times, allowed {limits.get((grant, element))}"
            )


def _operator(arena: Arena) -> PublicKey:
    return operator_key(arena.endpoints.operator_vkey)


def _journal(arena: Arena, node: str) -> Path:
    return arena.folder / "departments" / node / "journal.db"
