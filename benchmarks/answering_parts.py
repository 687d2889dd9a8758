"""Asks to a node that nobody has seen, with the outcomes that its register holds, and the judging of the replies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count as counting

from consent.selection import presentations_for
from gateway.asking import Envelope, make_submission
from gateway.asking import Question as Asked
from gateway.protocol.attestation import open_batch, open_statement, read_proof, read_signed_batch, read_statement
from gateway.protocol.claims import claim_named
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import write_presentation, write_presented_part, write_signed_query
from gateway.protocol.query import open_part, read_query
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.answering import outcome_of
from sandbox_departments.people import Family
from sandbox_departments.register import Question, Register
from tests import federation as fed

TWO_CHECKS_EVERY = 4
VERIFY_EVERY = 100
CLAIMS = ("identity.valid@1", "hukou.child_registered@1")
"""The second is asked in every fourth part."""

Expected = dict[int, list[Outcome]]


@dataclass
class Parts:
    """Makes asks that nobody has seen, with the outcomes that the register holds; judges the replies."""

    federation: fed.Federation
    register: Register
    people: Sequence[Family]
    expected: Expected = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=lambda: counting(1))

    def fresh(self, amount: int) -> list[pb.Ask]:
        """So many asks, each of a grant and a query of its own."""
        return [self._ask(next(self._numbers)) for _ in range(amount)]

    def judge(self, response: pb.AnswerResponse) -> None:
        """Verify the batch, and hold every statement against what was asked for; AssertionError."""
        batch = open_batch(read_signed_batch(response.batch), self.federation.registry, time.time())
        for reply in response.replies:
            assert not reply.fault, reply.fault
            proofs = [read_proof(proof) for proof in reply.statements]
            expected = self.expected.pop(reply.ask_id)
            if reply.ask_id % VERIFY_EVERY == 0:
                statements = [open_statement(proof, batch) for proof in proofs]
                self.seen["verified"] += 1
            else:
                statements = [read_statement(proof.statement) for proof in proofs]
            assert [getattr(statement, "outcome", None) for statement in statements] == expected
            self.seen["OK"] += 1

    def _ask(self, number: int) -> pb.Ask:
        application = self.people[number % len(self.people)].application
        claims = CLAIMS if number % TWO_CHECKS_EVERY == 0 else CLAIMS[:1]
        consent = self.federation.issue(application.subjects, regions=(application.region,), max_uses=1)
        submission = make_submission(
            [Asked(f"c{place}", claim, application.region, {}) for place, claim in enumerate(claims)],
            consent,
            Envelope(fed.REQUESTER, fed.GATEWAY, PURPOSE_ENROLMENT, time.time()),
            self.federation.registry,
            self.federation.signing_keys[fed.REQUESTER],
            self.federation.random.randbytes,
        )
        (part,) = submission.parts
        shown = presentations_for(open_part(part.part).part, read_query(submission.signed.query), submission.grants)
        subjects = application.subjects
        questions = [
            Question(claim, application.region, {}, {role: subjects[role] for role in claim_named(claim).roles})
            for claim in claims
        ]
        found = zip(claims, self.register.find(questions), strict=True)
        self.expected[number] = [outcome_of(claim_named(claim), finding) for claim, finding in found]
        return pb.Ask(
            ask_id=number,
            query=write_signed_query(submission.signed),
            part=write_presented_part(part),
            grants=[write_presentation(grant) for grant in shown],
        )
