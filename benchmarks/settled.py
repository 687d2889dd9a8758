"""Requests as they are when departments have answered: what is left is to record them and to respond.

Each rests on a grant of its own, as those of different families do. Departments sign their answers to several requests
together, so that paths are as long as under load. All keys are of the tests' federation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from consent.disclosures import group_details
from consent.verification import open_grant
from consent.verified import GenuineGrants
from gateway.asking import Envelope, Question, make_submission
from gateway.departments.port import Reply
from gateway.protocol.application import Application, open_application, write_application
from gateway.protocol.attestation import (
    Asked,
    Attestation,
    SignedBatch,
    StatementProof,
    open_batch,
    sealed_digest,
    sign_batch,
    write_statement,
)
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import write_submission
from gateway.protocol.query import OpenedPart, read_query
from gateway.protocol.query_rules import match_parts
from gateway.rules.layering import rules_of
from gateway.rules.shelf import open_shelf
from gateway.settlement import PartResult, Settlement, settle
from gateway.stores.records import RequestKey
from gateway.work import Granted, Work
from tests import federation as fed

NOW = 1_811_779_200.0
TOGETHER = 16
"""Requests whose answers a department signs in one batch."""
QUESTIONS = (
    Question("c1", "hukou.child_registered@1", fed.REGION, {}),
    Question("c2", "guardianship.guardian_of@1", fed.REGION, {}),
    Question("c3", "property.owns_home@1", fed.REGION, {}),
    Question("c4", "insurance.paid_months@1", fed.REGION, {"months": "12"}),
    Question("c5", "enrolment.of_school_age@1", fed.REGION, {"level": "primary", "year": "2028"}),
)


@dataclass(frozen=True, slots=True)
class Settled:
    """One request before it is recorded."""

    granted: Granted
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class Batch:
    """What one department signed together."""

    department: str
    signed: SignedBatch
    proofs: tuple[StatementProof, ...]


class Answering:
    """Makes requests of `checks` checks (1 to 5), and the departments' answers to them."""

    def __init__(self, federation: fed.Federation, checks: int) -> None:
        self._federation = federation
        self._questions = QUESTIONS[:checks]
        self._random = Random(checks)
        self._nonces = count()
        self._rules = rules_of(fed.REGION, open_shelf()).digest()

    def make(self, requests: int) -> tuple[list[Settled], list[Batch]]:
        """So many requests, and all that was signed for them."""
        settled: list[Settled] = []
        batches: list[Batch] = []
        for first in range(0, requests, TOGETHER):
            works = [self._ask() for _ in range(min(TOGETHER, requests - first))]
            replies = self._answer(works)
            settled += [self._settle(work, parts, replies) for work, parts in works]
            batches += [Batch(name, reply.signed, reply.proofs) for name, reply in replies.items()]
        return settled, batches

    def _ask(self) -> tuple[Work, tuple[OpenedPart, ...]]:
        federation, salt = self._federation, self._random.randbytes(32)
        case = Application(salt, fed.REGION, School.PUBLIC_PRIMARY, Group.HOME_AND_HUKOU, self._rules)
        submission = make_submission(
            self._questions,
            federation.issue(details=group_details([item.claim for item in self._questions], (fed.REGION,), 1)),
            Envelope(fed.REQUESTER, fed.GATEWAY, "enrolment", NOW, application=write_application(case)),
            federation.registry,
            federation.signing_keys[fed.REQUESTER],
            self._random.randbytes,
        )
        query = read_query(submission.signed.query)
        application = open_application(submission.application, query.application_digest)
        message = write_submission(submission).SerializeToString()
        work = Work(message, submission, query, RequestKey(query.requester, query.request_id), application)
        return work, match_parts(query, [part.part for part in submission.parts])

    def _answer(self, works: Sequence[tuple[Work, tuple[OpenedPart, ...]]]) -> dict[str, Reply]:
        """What each department signed for all of these requests."""
        statements: defaultdict[str, list[bytes]] = defaultdict(list)
        for work, parts in works:
            for part, presented in zip(parts, work.submission.parts, strict=True):
                sealed, department = sealed_digest(presented.sealed.ciphertext), part.part.department
                for check in part.part.checks:
                    asked = Asked(
                        work.submission.signed.digest,
                        part.digest,
                        sealed,
                        check,
                        work.query.requester,
                        department,
                        work.query.purpose,
                    )
                    nonce = next(self._nonces).to_bytes(16, "big")
                    answer = Attestation(asked, Outcome.YES, "2027-05-30", NOW, NOW + fed.DAY, nonce)
                    statements[department].append(write_statement(answer))
        replies = {}
        for department, signed_for in statements.items():
            signed, proofs = sign_batch(signed_for, department, self._federation.signing_keys[department], NOW)
            replies[department] = Reply(signed, open_batch(signed, self._federation.registry, NOW), proofs)
        return replies

    def _settle(self, work: Work, parts: tuple[OpenedPart, ...], replies: dict[str, Reply]) -> Settled:
        submission, query = work.submission, work.query
        results = []
        for part, presented in zip(parts, submission.parts, strict=True):
            reply = replies[part.part.department]
            own = tuple(proof for proof in reply.proofs if part.digest in proof.statement)
            sealed = sealed_digest(presented.sealed.ciphertext)
            results.append(PartResult(part, sealed, NOW, NOW + 0.02, (Reply(reply.signed, reply.batch, own),)))
        settlement = settle(results, submission.signed, query, frozenset())
        if settlement.answered != settlement.rows or settlement.strays:
            raise AssertionError("an answer does not hold")
        grants = {
            grant.digest: open_grant(
                grant,
                requester=query.requester,
                gateway=fed.GATEWAY,
                registry=self._federation.registry,
                now=NOW,
                opened=GenuineGrants(),
            )
            for grant in submission.grants
        }
        return Settled(Granted(work, parts, grants), settlement)
