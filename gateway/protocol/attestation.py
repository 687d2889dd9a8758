"""What a department signs: attestations and refusals, in batches under one Merkle root.

A statement is verifiable alone and offline: its path leads to the root in the signed batch. An attestation
repeats everything that it answers, so that it can stand for nothing else; `require_answer_to` holds it
against what was asked. Source of tree and path: RFC 9162 §2.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from gateway.protocol import merkle
from gateway.protocol.codec import encode, from_timestamp, parse_canonical, remembered, to_timestamp
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import EARLY_TOLERANCE, MAX_MESSAGE, NONCE_SIZE
from gateway.protocol.outcomes import ATTESTABLE, NextStep, Outcome, next_step_of
from gateway.protocol.query import Check, read_check, write_check
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import attestation_pb2, signing_pb2

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INVALID = Reason.ATTESTATION_INVALID
_ATTESTABLE_NUMBERS = frozenset(int(outcome) for outcome in ATTESTABLE)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one check was asked as; an attestation must repeat all of it."""

    query_digest: bytes
    part_digest: bytes
    sealed_digest: bytes
    check: Check
    requester: str
    department: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Attestation:
    """A department's answer to `asked`. Times are seconds since the epoch, the snapshot date is YYYY-MM-DD."""

    asked: Asked
    outcome: Outcome
    snapshot_date: str
    issue_time: float
    expire_time: float
    nonce: bytes

    @property
    def next_step(self) -> NextStep:
        """Follows from the outcome alone."""
        return next_step_of(self.outcome)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A department's refusal of a whole part, by the digests of the bytes that it received."""

    query_digest: bytes
    part_digest: bytes
    sealed_digest: bytes
    requester: str
    department: str
    reason: Reason
    issue_time: float
    nonce: bytes


Statement = Attestation | Refusal


@dataclass(frozen=True)
class SignedBatch:
    """A StatementBatch's exact bytes with its department's signature."""

    batch: bytes
    key_id: str
    signature: bytes

    @cached_property
    def digest(self) -> bytes:
        """By which an acknowledgement names the batch."""
        return digest(Kind.STATEMENT_BATCH, self.batch)


@dataclass(frozen=True)
class StatementProof:
    """A statement's exact bytes with its place in a batch."""

    statement: bytes
    index: int
    path: tuple[bytes, ...]

    @cached_property
    def digest(self) -> bytes:
        """By which the log names the statement."""
        return digest(Kind.STATEMENT, self.statement)


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """A verified batch: the root that its department signed, and when."""

    department: str
    size: int
    root: bytes
    sign_time: float


def sealed_digest(ciphertext: bytes) -> bytes:
    """How statements name the sealed bytes that a department received."""
    return sha256(ciphertext).digest()


def sign_batch(
    statements: Sequence[bytes], department: str, key: SigningKey, now: float
) -> tuple[SignedBatch, tuple[StatementProof, ...]]:
    """Sign the Merkle root over `statements` (at least one); their proofs come in the same order."""
    root, paths = merkle.paths_of([merkle.leaf_hash(statement) for statement in statements])
    message = attestation_pb2.StatementBatch(
        department=department, size=len(statements), root=root, sign_time=to_timestamp(now)
    )
    data = encode(message)
    signed = SignedBatch(data, key.key_id, key.sign(Kind.STATEMENT_BATCH, data))
    proofs = (
        StatementProof(statement, index, tuple(path))
        for index, (statement, path) in enumerate(zip(statements, paths, strict=True))
    )
    return signed, tuple(proofs)


def open_batch(signed: SignedBatch, registry: Registry, now: float) -> OpenedBatch:
    """Verify a batch by its department's answer key at the time it was signed, which may not lie after `now`.

    `now` is when the batch is received, or when the log recorded it: a key that was compromised by then does not
    count, whatever time the batch itself states.

    Raises ForgedError or MalformedError (ATTESTATION_INVALID).
    """
    message = parse_canonical(attestation_pb2.StatementBatch, signed.batch, MAX_MESSAGE)
    sign_time = from_timestamp(message, "sign_time")
    if sign_time > now + EARLY_TOLERANCE:
        raise ForgedError(_INVALID, "signed in the future")
    if message.size < 1 or len(message.root) != DIGEST_BYTES:
        raise MalformedError.at("batch", "must have a size and a root", _INVALID)
    key = registry.key(message.department, KeyUse.ANSWER, signed.key_id, sign_time, _INVALID, recorded=now)
    key.verify(signed.signature, Kind.STATEMENT_BATCH, signed.batch, _INVALID)
    return OpenedBatch(message.department, message.size, message.root, sign_time)


def require_in_batch(proof: StatementProof, batch: OpenedBatch) -> None:
    """Hold a statement against the root that its department signed; ForgedError (PROOF_INVALID)."""
    merkle.verify_inclusion(merkle.leaf_hash(proof.statement), proof.index, batch.size, proof.path, batch.root)


def require_whole_batch(proofs: Sequence[StatementProof], batch: OpenedBatch) -> None:
    """Hold all statements of a batch, in any order, against its root, each with its path; ForgedError (PROOF_INVALID).

    The same as `require_in_batch` for each, at one hash for each statement instead of one for each step of each path.
    """
    ordered = sorted(proofs, key=lambda proof: proof.index)
    root, paths = merkle.paths_of([merkle.leaf_hash(proof.statement) for proof in ordered])
    if len(ordered) != batch.size or root != batch.root:
        raise ForgedError(Reason.PROOF_INVALID, "not the statements that the batch's root stands for")
    if any(proof.index != index or proof.path != paths[index] for index, proof in enumerate(ordered)):
        raise ForgedError(Reason.PROOF_INVALID, "a statement's path is not its own")


def open_statement(proof: StatementProof, batch: OpenedBatch) -> Statement:
    """The statement of a proof, if its path leads to the batch's root and its department signed the batch.

    Raises ForgedError or MalformedError (ATTESTATION_INVALID, PROOF_INVALID).
    """
    require_in_batch(proof, batch)
    return statement_in(proof, batch)


def statement_in(proof: StatementProof, batch: OpenedBatch) -> Statement:
    """The statement of a proof that `require_in_batch` or `require_whole_batch` has held against the batch.

    Raises ForgedError or MalformedError (ATTESTATION_INVALID).
    """
    statement = read_statement(proof.statement)
    department = statement.department if isinstance(statement, Refusal) else statement.asked.department
    if department != batch.department:
        raise ForgedError(_INVALID, "states for another department than signed")
    return statement


def require_answer_to(statement: Statement, asked: Asked) -> None:
    """Hold a statement against what was asked; ForgedError (ATTESTATION_INVALID) if it answers something else."""
    if isinstance(statement, Attestation):
        if statement.asked != asked:
            raise ForgedError(_INVALID, "answers another question")
        return
    received = (statement.query_digest, statement.part_digest, statement.sealed_digest, statement.department)
    if received != (asked.query_digest, asked.part_digest, asked.sealed_digest, asked.department):
        raise ForgedError(_INVALID, "refuses another part")
    if statement.requester not in ("", asked.requester):
        raise ForgedError(_INVALID, "refuses another requester")


# -- reading and writing ------------------------------------------------------------------------------------


def write_statement(statement: Statement) -> bytes:
    """The canonical bytes of a statement."""
    if isinstance(statement, Refusal):
        refusal = attestation_pb2.Refusal(
            query_digest=statement.query_digest,
            part_digest=statement.part_digest,
            sealed_digest=statement.sealed_digest,
            requester=statement.requester,
            department=statement.department,
            reason=statement.reason.value,
            issue_time=to_timestamp(statement.issue_time),
            nonce=statement.nonce,
        )
        return encode(attestation_pb2.Statement(refusal=refusal))
    asked = statement.asked
    attestation = attestation_pb2.Attestation(
        query_digest=asked.query_digest,
        part_digest=asked.part_digest,
        grant_digests=[use.grant_digest for use in asked.check.authorizations],
        sealed_digest=asked.sealed_digest,
        check=write_check(asked.check),
        requester=asked.requester,
        department=asked.department,
        purpose=asked.purpose,
        outcome=statement.outcome.value,  # type: ignore[arg-type]
        next_step=statement.next_step.value,  # type: ignore[arg-type]
        snapshot_date=statement.snapshot_date,
        issue_time=to_timestamp(statement.issue_time),
        expire_time=to_timestamp(statement.expire_time),
        nonce=statement.nonce,
    )
    return encode(attestation_pb2.Statement(attestation=attestation))


@remembered
def read_statement(data: bytes) -> Statement:
    """The statement of canonical bytes; MalformedError (ATTESTATION_INVALID or MESSAGE_MALFORMED).

    A resolution is none: it answers no query, and is read by `gateway.protocol.resolutions`.
    """
    message = parse_canonical(attestation_pb2.Statement, data, MAX_MESSAGE)
    kind = message.WhichOneof("kind")
    if kind == "attestation":
        return _read_attestation(message.attestation)
    if kind == "refusal":
        return _read_refusal(message.refusal)
    raise MalformedError.at("statement.kind", "must be an attestation or a refusal", _INVALID)


def _read_attestation(message: attestation_pb2.Attestation) -> Attestation:
    check = read_check(message.check)
    if list(message.grant_digests) != [use.grant_digest for use in check.authorizations]:
        raise MalformedError.at("attestation.grant_digests", "must be those of the check", _INVALID)
    outcome, step = int(message.outcome), int(message.next_step)
    if outcome not in _ATTESTABLE_NUMBERS or step != next_step_of(Outcome(outcome)):
        raise MalformedError.at("attestation.outcome", "must be yes, no or undetermined, with its next step", _INVALID)
    if not _DATE.fullmatch(message.snapshot_date) or len(message.nonce) != NONCE_SIZE:
        raise MalformedError.at("attestation", "must have a snapshot date and a nonce", _INVALID)
    asked = Asked(
        message.query_digest,
        message.part_digest,
        message.sealed_digest,
        check,
        message.requester,
        message.department,
        message.purpose,
    )
    return Attestation(
        asked=asked,
        outcome=Outcome(outcome),
        snapshot_date=message.snapshot_date,
        issue_time=from_timestamp(message, "issue_time"),
        expire_time=from_timestamp(message, "expire_time"),
        nonce=message.nonce,
    )


def _read_refusal(message: attestation_pb2.Refusal) -> Refusal:
    try:
        reason = Reason(message.reason)
    except ValueError:
        raise MalformedError.at("refusal.reason", "must be a reason of the contract", _INVALID) from None
    if len(message.nonce) != NONCE_SIZE:
        raise MalformedError.at("refusal.nonce", f"must be {NONCE_SIZE} bytes", _INVALID)
    return Refusal(
        message.query_digest,
        message.part_digest,
        message.sealed_digest,
        message.requester,
        message.department,
        reason,
        from_timestamp(message, "issue_time"),
        message.nonce,
    )


def read_signed_batch(message: attestation_pb2.SignedStatementBatch) -> SignedBatch:
    """The value of a signed batch as received; nothing is verified yet."""
    return SignedBatch(message.batch, message.signature.key_id, message.signature.value)


def write_signed_batch(signed: SignedBatch) -> attestation_pb2.SignedStatementBatch:
    """The message of a signed batch."""
    signature = signing_pb2.Signature(key_id=signed.key_id, value=signed.signature)
    return attestation_pb2.SignedStatementBatch(batch=signed.batch, signature=signature)


def read_proof(message: attestation_pb2.StatementProof) -> StatementProof:
    """The value of a statement proof as received; nothing is verified yet."""
    return StatementProof(message.statement, message.index, tuple(message.path))


def write_proof(proof: StatementProof) -> attestation_pb2.StatementProof:
    """The message of a statement proof."""
    return attestation_pb2.StatementProof(statement=proof.statement, index=proof.index, path=proof.path)
