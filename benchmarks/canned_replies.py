"""What canned departments answer: genuine, signed, bound to what was asked, and made with as little work as possible.

A canned department is asked like any other, and its answers verify like any other's; what it leaves out is what a
department does for its own sake. It opens no subject, verifies no query and no grant, counts and keeps nothing. The
outcome is known beforehand from what it can see (claim, region and parameters), for families that agree about it.

Statements are pieced together from encoded fields, because the encoding of a message is that of its fields one after
the other (protobuf, "Encoding: last one wins"): the check is copied from the part as it came, and what stays the same
for a second is encoded once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import floor

from gateway.protocol.attestation import sealed_digest, sign_batch, write_signed_batch
from gateway.protocol.codec import encode, to_timestamp
from gateway.protocol.digests import Kind, digest
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import ATTESTATION_LIFETIME, NONCE_SIZE
from gateway.protocol.outcomes import Outcome, next_step_of
from gateway.protocol.reasons import Reason
from heyan.v1 import attestation_pb2, check_pb2, query_pb2
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.truth import Asking, Truth, asking

_STATEMENT_ATTESTATION = b"\x0a"
_QUERY_DIGEST, _PART_DIGEST, _GRANT_DIGEST, _SEALED_DIGEST = b"\x0a\x20", b"\x12\x20", b"\x1a\x20", b"\x22\x20"
_CHECK, _NONCE = b"\x2a", b"\x72\x10"
_PART_CHECKS = 0x1A
"""Tags of fields (number and wire type, then the length where it is fixed) of Statement, Attestation and Part."""


def agreeing(truths: Iterable[Truth]) -> tuple[list[Truth], dict[Asking, Outcome]]:
    """The families, in order, whose right answers contradict no earlier one's, and the outcome of each question.

    So what is asked about any of them can be answered right without knowing about whom it is asked.
    """
    found: list[Truth] = []
    outcomes: dict[Asking, Outcome] = {}
    for truth in truths:
        own = {asking(each.claim, each.region, each.parameters): each.outcome for each in truth.plan}
        if all(outcomes.get(question, outcome) is outcome for question, outcome in own.items()):
            outcomes.update(own)
            found.append(truth)
    return found, outcomes


class CannedDepartment:
    """Answers asks with the department's real key."""

    def __init__(self, department: str, key: SigningKey, outcomes: Mapping[Asking, Outcome]) -> None:
        self._department = department
        self._key = key
        self._outcomes = outcomes

    def answer(self, message: bytes, now: float) -> bytes | None:
        """The AnswerResponse to an AnswerRequest: one signed batch for all its asks; None if it only acknowledges.

        A question that is not known beforehand is answered with a fault, never with an outcome.
        """
        request = pb.AnswerRequest.FromString(message)
        if not request.asks:
            return None
        stated = [(ask.ask_id, self._statements(ask, floor(now))) for ask in request.asks]
        statements = [statement for _, own in stated for statement in own]
        if not statements:
            return encode(pb.AnswerResponse(replies=[_fault(ask_id) for ask_id, _ in stated]))
        signed, proofs = sign_batch(statements, self._department, self._key, now)
        response = pb.AnswerResponse(batch=write_signed_batch(signed))
        replies = response.replies
        remaining = iter(proofs)
        for ask_id, own in stated:
            if not own:
                replies.append(_fault(ask_id))
                continue
            add = replies.add(ask_id=ask_id).statements.add
            for statement in own:
                proof = next(remaining)
                add(statement=statement, index=proof.index, path=proof.path)
        return response.SerializeToString()

    def _statements(self, ask: pb.Ask, second: int) -> list[bytes]:
        """The attestations of one ask, in the order of its checks; none if any outcome is not known."""
        query = query_pb2.Query.FromString(ask.query.query)
        data = ask.part.part
        part = check_pb2.Part.FromString(data)
        outcomes = [self._outcomes.get(_asked(check)) for check in part.checks]
        head = b"".join(
            (
                _QUERY_DIGEST,
                digest(Kind.QUERY, ask.query.query),
                _PART_DIGEST,
                digest(Kind.PART, data),
            )
        )
        sealed = _SEALED_DIGEST + sealed_digest(ask.part.sealed.ciphertext)
        who = _parties(query.requester, self._department, query.purpose)
        nonces = os.urandom(NONCE_SIZE * len(outcomes))
        statements = []
        for place, (check, encoded, outcome) in enumerate(zip(part.checks, _checks(data), outcomes, strict=True)):
            if outcome is None:
                return []
            body = b"".join(
                (
                    head,
                    *(_GRANT_DIGEST + use.grant_digest for use in check.authorizations),
                    sealed,
                    _CHECK,
                    encoded,
                    who,
                    _ending(outcome, second),
                    _NONCE,
                    nonces[NONCE_SIZE * place : NONCE_SIZE * (place + 1)],
                )
            )
            statements.append(_STATEMENT_ATTESTATION + _varint(len(body)) + body)
        return statements


def _asked(check: check_pb2.Check) -> Asking:
    return check.claim, check.region, tuple((parameter.name, parameter.value) for parameter in check.parameters)


def _checks(part: bytes) -> Iterator[bytes]:
    """The checks of an encoded Part, each with its length before it, as they came. All its fields have a length."""
    place = 0
    while place < len(part):
        tag, begin = part[place], place + 1
        length, shift, place = 0, 0, begin
        while True:
            octet = part[place]
            length |= (octet & 0x7F) << shift
            shift, place = shift + 7, place + 1
            if octet < 0x80:
                break
        place += length
        if tag == _PART_CHECKS:
            yield part[begin:place]


@lru_cache(maxsize=64)
def _parties(requester: str, department: str, purpose: str) -> bytes:
    return encode(attestation_pb2.Attestation(requester=requester, department=department, purpose=purpose))


@lru_cache(maxsize=16)
def _ending(outcome: Outcome, second: int) -> bytes:
    """What says the outcome, and since and until when."""
    return encode(
        attestation_pb2.Attestation(
            outcome=outcome.value,  # type: ignore[arg-type]
            next_step=next_step_of(outcome).value,  # type: ignore[arg-type]
            snapshot_date=datetime.fromtimestamp(second, UTC).date().isoformat(),
            issue_time=to_timestamp(second),
            expire_time=to_timestamp(second + ATTESTATION_LIFETIME),
        )
    )


def _fault(ask_id: int) -> pb.Reply:
    return pb.Reply(ask_id=ask_id, fault=Reason.INTERNAL.value)


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
