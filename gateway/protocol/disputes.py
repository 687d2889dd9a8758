"""Disputes of answers: who may open one, what it names, and when its question may be asked once more.

A dispute goes by the digest of the disputed statement, so that an answer has one dispute, whoever opens it. It is
opened by the requester that was answered, under its query key (here), or by a guardian through the issuer of the grant
(`consent.dispute`). Department and gateway hold it against the statement itself. No text is free: none can carry
personal data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum, unique

from gateway.protocol.attestation import Attestation, read_statement
from gateway.protocol.codec import encode, from_timestamp, parse_canonical, to_timestamp
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.errors import MalformedError, NotCurrentError, NotGrantedError
from gateway.protocol.identities import PartyRole
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import EARLY_TOLERANCE, MAX_REQUEST_ID, MIN_REQUEST_ID
from gateway.protocol.query import Check, write_check
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import dispute_pb2, signing_pb2

MAX_DISPUTE = 2_048
"""Bytes of a requester's dispute; real ones are about 250."""

_INVALID = Reason.DISPUTE_INVALID


@unique
class DisputeGround(IntEnum):
    """What is said to be wrong. Numbers are those of `heyan.v1.DisputeGround`."""

    RECORD_OUTDATED = 1
    RECORD_WRONG = 2
    OTHER_PERSON = 3
    RECORD_MISSING = 4


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute as its opener signed it. `opener` is the requester, or the issuer that speaks for a guardian.

    `grant_digest` is the grant that entitles a guardian, None for a requester. Ids are SPIFFE IDs; `issue_time` is in
    seconds since the epoch, and the opener's own word.
    """

    opener: str
    requester: str
    request_id: bytes
    gateway: str
    department: str
    statement_digest: bytes
    ground: DisputeGround
    issue_time: float
    grant_digest: bytes | None = None

    def check(self) -> None:
        """Refuse one that is out of bounds; MalformedError."""
        if not MIN_REQUEST_ID <= len(self.request_id) <= MAX_REQUEST_ID:
            raise MalformedError.at("dispute.request_id", f"must be {MIN_REQUEST_ID} to {MAX_REQUEST_ID} bytes")
        if len(self.statement_digest) != DIGEST_BYTES:
            raise MalformedError.at("dispute.statement_digest", f"must be {DIGEST_BYTES} bytes")


def sign_dispute(dispute: Dispute, key: SigningKey) -> dispute_pb2.DisputeProof:
    """A requester's dispute under its query key."""
    data = encode(
        dispute_pb2.Dispute(
            request_id=dispute.request_id,
            requester=dispute.requester,
            gateway=dispute.gateway,
            department=dispute.department,
            statement_digest=dispute.statement_digest,
            ground=dispute.ground.value,  # type: ignore[arg-type]
            issue_time=to_timestamp(dispute.issue_time),
        )
    )
    signature = signing_pb2.Signature(key_id=key.key_id, value=key.sign(Kind.DISPUTE, data))
    return dispute_pb2.DisputeProof(signed=dispute_pb2.SignedDispute(dispute=data, signature=signature))


def open_dispute(signed: dispute_pb2.SignedDispute, registry: Registry, now: float) -> Dispute:
    """Verify a requester's dispute by its query key of the time at which it was signed; `now` is when it is received.

    Raises MalformedError, ForgedError (DISPUTE_INVALID), UnknownPeerError or NotCurrentError (a time in the future).
    """
    message = parse_canonical(dispute_pb2.Dispute, signed.dispute, MAX_DISPUTE)
    dispute = Dispute(
        opener=message.requester,
        requester=message.requester,
        request_id=message.request_id,
        gateway=message.gateway,
        department=message.department,
        statement_digest=message.statement_digest,
        ground=ground_of(int(message.ground)),
        issue_time=from_timestamp(message, "issue_time"),
    )
    dispute.check()
    registry.party_in_role(dispute.requester, PartyRole.REQUESTER)
    signature = signed.signature
    key = registry.key(dispute.requester, KeyUse.QUERY, signature.key_id, dispute.issue_time, _INVALID, recorded=now)
    key.verify(signature.value, Kind.DISPUTE, signed.dispute, _INVALID)
    require_not_early(dispute, now)
    return dispute


def require_not_early(dispute: Dispute, now: float) -> None:
    """Refuse a dispute from the future; NotCurrentError (DISPUTE_INVALID)."""
    if dispute.issue_time > now + EARLY_TOLERANCE:
        raise NotCurrentError(_INVALID, "signed in the future")


def ground_of(number: int) -> DisputeGround:
    """The ground of a number of the contract; MalformedError."""
    if number not in _GROUNDS:
        raise MalformedError.at("dispute.ground", "must be one of the contract")
    return DisputeGround(number)


_GROUNDS = frozenset(int(ground) for ground in DisputeGround)


def require_disputable(dispute: Dispute, statement: bytes) -> Attestation:
    """The answer that a verified dispute names, if `statement` is that one and was made to the dispute's requester.

    Only answers are disputed: a refusal says nothing of a person. Raises NotGrantedError (ANSWER_NOT_DISPUTABLE) for
    all that does not fit, alike.
    """
    try:
        answer = read_statement(statement)
    except MalformedError:
        raise not_disputable("no statement") from None
    if digest(Kind.STATEMENT, statement) != dispute.statement_digest or not isinstance(answer, Attestation):
        raise not_disputable("no attestation of that digest")
    if (answer.asked.requester, answer.asked.department) != (dispute.requester, dispute.department):
        raise not_disputable("made by or to somebody else")
    rests_on = {use.grant_digest for use in answer.asked.check.authorizations}
    if dispute.grant_digest is not None and dispute.grant_digest not in rests_on:
        raise not_disputable("does not rest on the grant of whoever disputes it")
    return answer


def not_disputable(detail: str) -> NotGrantedError:
    """The one refusal for whatever is no answer that the opener may dispute."""
    return NotGrantedError(Reason.ANSWER_NOT_DISPUTABLE, detail)


def question_of(check: Check) -> bytes:
    """What a check asks, of whom and on which authorizations, as 32 bytes: alike for a check that asks it again."""
    return digest(Kind.QUESTION, encode(write_check(replace(check, check_id="", dispute_id=b""))))


@dataclass(frozen=True, slots=True)
class Disputed:
    """A dispute as gateway and department keep it, as far as asking once more depends on it.

    `corrected` is None while it is open; `reverified` is the request_id that was answered on the strength of it.
    """

    department: str
    requester: str
    question: bytes
    corrected: bool | None
    reverified: bytes | None


def require_reverifiable(
    check: Check, disputed: Disputed | None, *, department: str, requester: str, request_id: bytes
) -> None:
    """Hold a check that names a dispute against that dispute: asked once more, by the same requester, and only that.

    Raises NotGrantedError: DISPUTE_UNKNOWN, alike for none and for another's; DISPUTE_OTHER_QUESTION for any other
    claim, region, parameter, subject or grant; DISPUTE_NOT_CORRECTED, alike while it is
    open and where the answer was upheld, because refusals are logged; DISPUTE_SPENT.
    """
    if disputed is None or (disputed.department, disputed.requester) != (department, requester):
        raise NotGrantedError(Reason.DISPUTE_UNKNOWN)
    if question_of(check) != disputed.question:
        raise NotGrantedError(Reason.DISPUTE_OTHER_QUESTION)
    if not disputed.corrected:
        raise NotGrantedError(Reason.DISPUTE_NOT_CORRECTED)
    if disputed.reverified not in (None, request_id):
        raise NotGrantedError(Reason.DISPUTE_SPENT)


def spending(checks: Iterable[Check]) -> list[Check]:
    """The checks that spend uses: all that are not asked once more after a correction."""
    return [check for check in checks if not check.dispute_id]
