"""Checking a receipt: offline, from the receipt and the operator's key alone.

`verify_receipt` holds these in order, each resting on the one before:

1. the registry is the operator's, and as new as the last leaf says; it names every other key;
2. every leaf is in a log that the registry lists for the gateway: canonical, its inclusion proof leads to the one
   checkpoint that is shown of that log, which the gateway's log key signed; later leaves stand behind earlier ones, in
   the same log or one after it; each was recorded by the query's gateway for its requester, by its application's rules;
3. the query is signed by its requester, by a key that counted when the log recorded it;
4. the parts are the query's, all of them;
5. every statement is its department's and answers what was asked; every check of every part has exactly one
   answer, refusal or unavailability, so that no department was skipped;
6. the leaves record just these answers: the newest row of each check names its statement, says unavailable, or
   says deferred, and then the query allows that;
7. its offline tickets, which `receipt_tickets` tells more of;
8. every dispute that it brings is of one of its answers, and logged (`receipt_disputes`).

So a changed outcome fails at 5, a skipped department at 4 or 5, a hidden or rewritten record at 2 or 6.
The keys are judged at the logged time: a receipt stays good when keys rotate or the registry expires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.protocol.application import Application, open_application
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.digests import Kind
from gateway.protocol.errors import BadDataError, ForgedError, HeyanError, MalformedError
from gateway.protocol.keys import PublicKey
from gateway.protocol.leaf import LEAF_KEY_BYTES, CheckStatus, Tags, log_time
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.policy import Cosigned, Policy
from gateway.protocol.presentation import read_signed_query
from gateway.protocol.query import OpenedPart, Query, SignedQuery, read_query
from gateway.protocol.query_rules import match_parts
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_disputes import VerifiedDispute, disputes_of
from gateway.protocol.receipt_leaves import LoggedLeaf, ReceiptLog
from gateway.protocol.receipt_rows import Answer, Row, recorded_in, rows_of
from gateway.protocol.receipt_tickets import Ticket, TicketContext, verify_tickets
from gateway.protocol.registry import Registry, open_registry
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import log_pb2, receipt_pb2

VERSION = 1
MAX_RECEIPT = 8 << 20
"""Bytes of a receipt with its registry."""
LATEST_RECORD = 60.0
"""Seconds after answer_until_time at which an answer may still be recorded: a call's deadline, and room.

That nothing came may be recorded later: by a gateway that was down when a deferral ended."""
MAX_LEAVES = 256
"""Leaves of one receipt: retries of one query that brought something new."""


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt that holds: its query, the answers in the order of the parts, its newest checkpoint, its tickets.

    `checkpoints` are all that its leaves were proven under, one for each log, in the order in which the logs grew, the
    newest last; `notes` are the same as they came, with their signatures.
    """

    query: Query
    query_digest: bytes
    answers: tuple[Answer, ...]
    checkpoint: Checkpoint
    log_times: tuple[float, ...]
    registry_version: int
    application: Application | None = None
    """What the query serves; the verdict follows from it, the answers, and rules of its digest."""
    witnessed: bool = False
    """Whether a quorum of a policy cosigned the checkpoint; only where a policy was given."""
    cosigned: tuple[Cosigned, ...] = ()
    """By which witnesses of that policy, in the trees of all logs, and when the newest; a quorum or not."""
    tickets: tuple[Ticket, ...] = ()
    disputes: tuple[VerifiedDispute, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    notes: tuple[str, ...] = ()


def verify_receipt(
    receipt: receipt_pb2.Receipt, operator: PublicKey, opened: Registry | None = None, policy: Policy | None = None
) -> VerifiedReceipt:
    """Check a whole receipt; any failure is a BadDataError that says which step failed.

    `operator` is the pinned key of the federation operator. Nothing else is trusted. `opened` is a registry that the
    caller has verified by that key; if it is the receipt's very own, that need not be done again. `policy` says which
    witnesses suffice: see `judge_witnesses`.
    """
    try:
        verified = _verify(receipt, operator, opened)
        return judge_witnesses(verified, policy) if policy is not None else verified
    except BadDataError:
        raise
    except (HeyanError, ValueError) as error:
        raise ForgedError(Reason.RECEIPT_INVALID, str(error)) from error


def judge_witnesses(verified: VerifiedReceipt, policy: Policy) -> VerifiedReceipt:
    """What a policy says of the checkpoints of a verified receipt: it is witnessed if the tree of each log is.

    Raises ForgedError (SIGNATURE_INVALID) if a signature of a witness or log of the policy does not verify.
    """
    judgements = [policy.judge(note.encode()) for note in verified.notes]
    everywhere = set.intersection(*({each.witness for each in judgement.cosigned} for judgement in judgements))
    return replace(
        verified,
        witnessed=all(judgement.is_witnessed for judgement in judgements),
        cosigned=tuple(each for each in judgements[-1].cosigned if each.witness in everywhere),
    )


def _verify(receipt: receipt_pb2.Receipt, operator: PublicKey, opened: Registry | None) -> VerifiedReceipt:
    if receipt.version != VERSION or len(receipt.leaf_key) != LEAF_KEY_BYTES:
        raise MalformedError.at("receipt", "must be of a known version, with a leaf key", Reason.RECEIPT_INVALID)
    if not 1 <= len(receipt.leaves) <= MAX_LEAVES:
        raise MalformedError.at("receipt.leaves", f"must be 1 to {MAX_LEAVES}", Reason.RECEIPT_INVALID)
    if opened is not None and opened.token == receipt.registry:
        registry = opened
    else:
        registry = open_registry(receipt.registry, operator)
    signed = read_signed_query(receipt.query)
    query = read_query(signed.query)
    application = open_application(receipt.application, query.application_digest)
    tags = Tags(receipt.leaf_key)
    log = ReceiptLog(query, registry)
    logged = _open_leaves(receipt, registry, query, signed, tags, log)
    leaves = [item.leaf for item in logged]
    rules_digest = application.rules_digest if application is not None else b""
    if any(leaf.verification.rules_digest != rules_digest for leaf in leaves):
        raise ForgedError(Reason.RECEIPT_INVALID, "accepted by other rules than the application names")
    times = tuple(log_time(leaf) for leaf in leaves)
    _require_in_time(query, leaves)
    key = registry.key(query.requester, KeyUse.QUERY, signed.key_id, times[0], Reason.QUERY_SIGNATURE_INVALID)
    key.verify(signed.signature, Kind.QUERY, signed.query, Reason.QUERY_SIGNATURE_INVALID)
    parts = match_parts(query, receipt.parts)
    recorded = recorded_in(leaves)
    rows = rows_of(receipt, registry, signed.digest, query, parts, recorded)
    _hold_against_leaves(rows, leaves, parts, tags)
    answers = {check.check_id: rows[check.check_id].answer for part in parts for check in part.part.checks}
    tickets = verify_tickets(
        receipt,
        TicketContext(registry, query, signed.digest, application, parts, tags, logged, answers, log),
    )
    disputes = disputes_of(receipt, registry, query, tags, recorded, log)
    return VerifiedReceipt(
        query=query,
        query_digest=signed.digest,
        answers=tuple(answers.values()),
        checkpoint=log.checkpoints[-1],
        log_times=times,
        registry_version=registry.version,
        application=application,
        tickets=tickets,
        disputes=disputes,
        checkpoints=log.checkpoints,
        notes=log.notes,
    )


def _require_in_time(query: Query, leaves: Sequence[log_pb2.LogLeaf]) -> None:
    """The leaves follow one another, and lie where the query's own times allow an answer to be recorded."""
    times = [log_time(leaf) for leaf in leaves]
    answers = [times[0], *(log_time(leaf) for leaf in leaves if not _ends_deferral(leaf))]
    if times[0] < query.issue_time - EARLY_TOLERANCE or max(answers) > query.answer_until_time + LATEST_RECORD:
        raise ForgedError(Reason.RECEIPT_INVALID, "recorded before the query was made, or long after its end")
    if times != sorted(times):
        raise ForgedError(Reason.RECEIPT_INVALID, "recorded backwards in time")
    if not query.allows_deferral and any(
        int(row.status) == CheckStatus.DEFERRED for leaf in leaves for row in leaf.verification.checks
    ):
        raise ForgedError(Reason.RECEIPT_INVALID, "deferred, though the query does not allow it")


def _ends_deferral(leaf: log_pb2.LogLeaf) -> bool:
    """Whether a leaf says of its checks only that no answer came."""
    return all(int(row.status) == CheckStatus.UNAVAILABLE for row in leaf.verification.checks)


def _open_leaves(
    receipt: receipt_pb2.Receipt, registry: Registry, query: Query, signed: SignedQuery, tags: Tags, log: ReceiptLog
) -> list[LoggedLeaf]:
    """The leaves, each proven to be in the gateway's logs, in their order, and to be of this query."""
    leaves: list[LoggedLeaf] = []
    for item in receipt.leaves:
        logged = log.open(item)
        if leaves and logged.place <= leaves[-1].place:
            raise ForgedError(Reason.RECEIPT_INVALID, "leaves out of order")
        leaf, event = logged.leaf, logged.leaf.verification
        expected_grants = [tags.grant(value) for value in query.grant_digests]
        if (
            leaf.WhichOneof("event") != "verification"
            or event.requester != query.requester
            or event.purpose != query.purpose
            or event.query_tag != tags.query(signed.digest)
            or list(event.grant_tags) != expected_grants
        ):
            raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of another query")
        leaves.append(logged)
    last = leaves[-1].leaf.registry_version
    if registry.version == last and registry.digest != receipt.registry_digest:
        raise ForgedError(Reason.RECEIPT_INVALID, "not the registry that the log names")
    return leaves


_STATUS_OUTCOMES: Mapping[int, frozenset[Outcome]] = {
    CheckStatus.ANSWERED: frozenset({Outcome.YES, Outcome.NO, Outcome.UNDETERMINED}),
    CheckStatus.REFUSED: frozenset({Outcome.REFUSED}),
    CheckStatus.UNAVAILABLE: frozenset({Outcome.UNAVAILABLE}),
    CheckStatus.CONTRADICTED: frozenset({Outcome.UNDETERMINED}),
    CheckStatus.WITHHELD: frozenset({Outcome.UNAVAILABLE}),
    CheckStatus.DEFERRED: frozenset({Outcome.UNAVAILABLE}),
}


def _hold_against_leaves(
    rows: Mapping[str, Row], leaves: Sequence[log_pb2.LogLeaf], parts: Sequence[OpenedPart], tags: Tags
) -> None:
    """The newest logged row of each check says what the receipt says; no row is of an unknown check."""
    check_of_tag = {
        tags.check(part.digest, check.check_id): check.check_id for part in parts for check in part.part.checks
    }
    logged: dict[str, log_pb2.LoggedCheck] = {}
    for leaf in leaves:
        tags_of_leaf = [entry.check_tag for entry in leaf.verification.checks]
        if len(set(tags_of_leaf)) != len(tags_of_leaf):
            raise ForgedError(Reason.RECEIPT_INVALID, "a leaf settles a check twice")
        for entry in leaf.verification.checks:
            if entry.check_tag not in check_of_tag:
                raise ForgedError(Reason.RECEIPT_INVALID, "the log records a check that was not asked")
            earlier = logged.get(check_of_tag[entry.check_tag])
            if earlier is not None and CheckStatus(int(earlier.status)).is_final:
                raise ForgedError(Reason.RECEIPT_INVALID, "the log takes a settled answer back")
            logged[check_of_tag[entry.check_tag]] = entry
    for check_id, row in rows.items():
        answer, found = row.answer, logged.get(check_id)
        if found is None:
            raise ForgedError(Reason.RECEIPT_INVALID, "the log records no answer")
        status = CheckStatus(int(found.status))
        said = (answer.department, answer.check.claim, answer.check.region)
        if (
            answer.outcome not in _STATUS_OUTCOMES[status]
            or (answer.next_step is NextStep.DEFERRED) is not (status is CheckStatus.DEFERRED)
            or (found.department, found.claim, found.region) != said
            or (status is not CheckStatus.WITHHELD and found.statement_digest != row.statement_digest)
            or found.reason != (answer.reason.value if answer.reason else "")
        ):
            raise ForgedError(Reason.RECEIPT_INVALID, "the log records another answer")
