"""What the books say: which statements a node's journal has, which its gateway owes, and which the log has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.protocol.attestation import read_proof
from gateway.protocol.leaf import read_leaf
from heyan.v1 import department_service_pb2, log_service_pb2
from sandbox_departments.journal_entries import Answered, BatchSigned, Repeated, read_entry
from tests.e2e.channels import LIST_LEAVES, channel_as, tls_of
from tests.e2e.conftest import Running


@contextmanager
def _journal(folder: Path) -> Iterator[sqlite3.Connection]:
    """A node's journal, read while the node writes it."""
    with closing(sqlite3.connect(f"{(folder / 'journal.db').as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def journalled(folder: Path) -> set[bytes]:
    """Digests of all that a node has stated, by its journal."""
    with _journal(folder) as connection:
        entries = [read_entry(row[0]) for row in connection.execute("SELECT entry FROM entries ORDER BY sequence")]
    parts = [part for entry in entries if isinstance(entry, BatchSigned) for part in entry.parts]
    return {
        digest
        for part in parts
        for digest in (part.statements if isinstance(part, Answered | Repeated) else (part.statement,))
    }


def owed(folder: Path) -> set[bytes]:
    """Digests of the statements that a node will send again."""
    with _journal(folder) as connection:
        rows = connection.execute("SELECT message FROM batches WHERE message IS NOT NULL").fetchall()
    messages = [department_service_pb2.AnswerResponse.FromString(row[0]) for row in rows]
    return {read_proof(proof).digest for message in messages for reply in message.replies for proof in reply.statements}


async def logged(running: Running) -> set[bytes]:
    """Digests of every statement in the gateway's log, as its auditor reads it."""
    channel = channel_as(running, tls_of(running, "auditors", "auditor"))
    found: set[bytes] = set()
    start = 0
    try:
        while True:
            request = log_service_pb2.ListLeavesRequest(start_index=start)
            data = await channel.unary_unary(LIST_LEAVES)(request.SerializeToString(), timeout=10)
            leaves = log_service_pb2.ListLeavesResponse.FromString(data).leaves
            if not leaves:
                return found
            start += len(leaves)
            for leaf in map(read_leaf, leaves):
                found.update(check.statement_digest for check in leaf.verification.checks)
                found.update(leaf.recovery.statement_digests)
                if leaf.HasField("resolution"):
                    found.add(leaf.resolution.statement_digest)
    finally:
        await channel.close(None)
