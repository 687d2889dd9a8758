"""A gateway's log and a department's journal made by hand, entry by entry, so that each can lie where a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.audit.findings import Disagreement, Reconciliation
from gateway.audit.journals import JournalView, read_journal
from gateway.audit.log_view import LogView
from gateway.audit.reconciliation import reconcile
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.codec import to_timestamp
from gateway.protocol.leaf import CheckStatus, Tags, write_leaf
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.note import SignerKey
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2
from sandbox_departments.journal_entries import (
    AcknowledgementRefused,
    Answered,
    BatchAcknowledged,
    BatchSigned,
    Entry,
    PartEntry,
    Refused,
    Repeated,
    write_entry,
)

NOW = 1_800_000_000.0
ORIGIN = "log.test"
GATEWAY, OTHER_GATEWAY = "spiffe://heyan/gateway/one", "spiffe://heyan/gateway/two"
POLICE, LAND = "spiffe://heyan/department/police", "spiffe://heyan/department/land"
REQUESTER, OTHER_REQUESTER = "spiffe://heyan/requester/one", "spiffe://heyan/requester/two"
LEAF_KEY = bytes(range(32))
SIGNER = SignerKey.from_seed(ORIGIN, bytes(32))
FOREIGN_SIGNER = SignerKey.from_seed(ORIGIN, bytes([1] * 32))


def named(name: str) -> bytes:
    """The digest of something that has a name in a test."""
    return sha256(name.encode()).digest()


def note(leaves: Sequence[bytes], size: int | None = None, signer: SignerKey = SIGNER) -> str:
    """The signed checkpoint over the first `size` leaves."""
    some = leaves[: len(leaves) if size is None else size]
    return sign_checkpoint(Checkpoint(ORIGIN, len(some), root_of([leaf_hash(leaf) for leaf in some])), [signer])


@dataclass
class Books:
    """A log and one journal beside it; `log` and `state` return what the other is to be told."""

    leaves: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    # -- the gateway's ----------------------------------------------------------------------------------------

    def log(self, *statements: str, query: str = "q", age: float = 0.0, **row: object) -> int:
        """Log statements as rows of one leaf, the empty name as a gap; the leaf's index."""
        status = row.get("status", CheckStatus.ANSWERED)
        gap = CheckStatus.CONTRADICTED if "reason" in row else CheckStatus.UNAVAILABLE
        tags = Tags(LEAF_KEY)
        checks = [
            log_pb2.LoggedCheck(
                department=str(row.get("department", POLICE)),
                claim="claim@1",
                region="430102",
                status=(status if name else gap).value,  # type: ignore[union-attr]
                statement_digest=named(name) if name else b"",
                reason=str(row.get("reason", "")),
                check_tag=tags.check(named("part"), f"c{number}"),
            )
            for number, name in enumerate(statements)
        ]
        event = log_pb2.VerificationEvent(
            requester=str(row.get("requester", REQUESTER)),
            query_tag=tags.query(named(query)),
            grant_tags=[tags.grant(named(str(row[name]))) for name in ("grant", "also") if name in row]
            or [tags.grant(named("g"))],
            checks=checks,
        )
        return self._append(log_pb2.LogLeaf(verification=event), age)

    def log_recovered(self, *statements: str, department: str = POLICE, age: float = 0.0) -> int:
        event = log_pb2.RecoveryEvent(department=department, statement_digests=map(named, statements))
        return self._append(log_pb2.LogLeaf(recovery=event), age)

    def log_ticket(self, query: str = "q") -> int:
        tags = Tags(LEAF_KEY)
        event = log_pb2.OfflineTicketEvent(
            query_tag=tags.query(named(query)),
            check_tag=tags.check(named("part"), "c0"),
            ground=1,
            ticket_tag=tags.ticket(named(query)),
        )
        return self._append(log_pb2.LogLeaf(offline_ticket=event), 0.0)

    def log_result(self, query: str = "q") -> int:
        tag = Tags(LEAF_KEY).ticket(named(query))
        event = log_pb2.OfflineResultEvent(ticket_tag=tag, result_digest=named("result"))
        return self._append(log_pb2.LogLeaf(offline_result=event), 0.0)

    def log_withdrawal(self, grant: str = "g") -> int:
        event = log_pb2.RevocationEvent(issuer="issuer", grant_tag=Tags(LEAF_KEY).grant(named(grant)))
        return self._append(log_pb2.LogLeaf(revocation=event), 0.0)

    def log_other(self) -> int:
        """A leaf about something else."""
        return self._append(log_pb2.LogLeaf(registry=log_pb2.RegistryEvent(version=1, digest=bytes(32))), 0.0)

    def _append(self, leaf: log_pb2.LogLeaf, age: float) -> int:
        leaf.gateway = GATEWAY
        leaf.log_time.CopyFrom(to_timestamp(NOW - age))
        self.leaves.append(write_leaf(leaf))
        return len(self.leaves) - 1

    # -- the department's -------------------------------------------------------------------------------------

    def state(self, *statements: str, batch: str = "b", query: str = "q", age: float = 0.0, **bent: object) -> None:
        """Journal a batch of one part that states these."""
        digests = tuple(map(named, statements))
        requester = str(bent.get("requester", REQUESTER))
        part: PartEntry
        if bent.get("refused"):
            part = Refused(named(query), named("part"), requester, digests[0], bent["refused"])  # type: ignore[arg-type]
        elif bent.get("repeated"):
            part = Repeated(named(query), named("part"), requester, digests)
        else:
            part = Answered(named(query), named("part"), requester, digests, (named("subject"),))
        gateway = str(bent.get("gateway", GATEWAY))
        self.entries.append(BatchSigned(NOW - age, gateway, named(batch), (part,)))

    def acknowledge(self, *indexes: int, batch: str = "b", shown: str | None = None, age: float = 0.0) -> None:
        """Journal that the gateway acknowledged a batch with these leaves, under the log's newest checkpoint."""
        checkpoint = note(self.leaves) if shown is None else shown
        self.entries.append(BatchAcknowledged(NOW - age, GATEWAY, named(batch), indexes, checkpoint))

    def refuse_acknowledgement(self, shown: str, batch: str = "b") -> None:
        self.entries.append(AcknowledgementRefused(NOW, GATEWAY, named(batch), shown, Reason.PROOF_INVALID))

    # -- the auditor's ----------------------------------------------------------------------------------------

    def view(self, size: int | None = None) -> LogView:
        leaves = self.leaves[: len(self.leaves) if size is None else size]
        return LogView(ORIGIN, frozenset({GATEWAY}), (SIGNER.verifier,), leaves, note(leaves))

    def journal(self, read_time: float = NOW + 60, department: str = POLICE) -> JournalView:
        return read_journal(department, map(write_entry, self.entries), read_time)


def held(books: Books, **arguments: object) -> Reconciliation:
    """What reconciling the two finds."""
    return reconcile(books.view(), [books.journal()], **arguments)  # type: ignore[arg-type]


def kinds(result: Reconciliation) -> list[Disagreement]:
    return [finding.kind for finding in result.findings]
