"""The gateway's whole way against what must hold: requests, retries, withdrawals, broken departments, a failing store.

Held after every step: no authorization is spent by more request_ids than it allows; what a department stated is in
the log, or unacknowledged, so that its node sends it again; the log only grows, and every earlier head leads to it.
At the end every receipt that was ever good still is, the ones fetched again say no less, and what nodes were not
acknowledged is logged when they send it again.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consent.consent_file import ConsentFile
from consent.revocation import Revocation
from gateway.departments.port import Orphans
from gateway.protocol.attestation import SignedBatch, StatementProof
from gateway.protocol.digests import Kind
from gateway.protocol.errors import ConflictError, HeyanError, NotGrantedError, OverloadedError, UnreachableError
from gateway.protocol.merkle import verify_consistency
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import SignedQuery, read_query, write_query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.stores.records import Head, RequestKey
from heyan.v1 import receipt_pb2
from tests import federation as fed
from tests.gateway.conftest import NOW, PEER, QUESTIONS, Gateway, department_of, open_gateway
from tests.stateful.profile import profile

MAX_USES = (1, 2, 4)
CLAIMS = tuple(question.claim for question in QUESTIONS)
MOST_REQUESTS = 14


@dataclass
class Asked:
    """A request, and what is known of it from its receipts."""

    submission: Submission
    consent: int
    receipt: VerifiedReceipt | None = None

    @property
    def key(self) -> RequestKey:
        return RequestKey(fed.REQUESTER, read_query(self.submission.signed.query).request_id)

    @property
    def complete(self) -> bool:
        return self.receipt is not None and all(
            answer.outcome is not Outcome.UNAVAILABLE for answer in self.receipt.answers
        )

    @property
    def answered(self) -> bool:
        return self.receipt is not None and any(
            answer.outcome is not Outcome.UNAVAILABLE for answer in self.receipt.answers
        )


@cache
def federation() -> fed.Federation:
    return fed.Federation.create(NOW)


@cache
def consents() -> tuple[ConsentFile, ...]:
    return tuple(federation().issue(max_uses=most) for most in MAX_USES)


class GatewayMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.asked: list[Asked] = []
        self.broken: set[str] = set()
        self.withdrawn: set[int] = set()
        self.stated: dict[bytes, tuple[str, StatementProof]] = {}
        self.batches: dict[bytes, list[bytes]] = {}
        self.receipts: list[receipt_pb2.Receipt] = []
        self.heads: list[Head] = []
        self.opened, self.gateway = self.open()

    def open(self) -> tuple[AbstractAsyncContextManager[Gateway], Gateway]:
        opened = open_gateway(self.folder, federation())
        gateway = self.wait(opened.__aenter__())
        for department in gateway.departments.values():
            expect = department.on_batch

            def noted(name: str, signed: SignedBatch, proofs: Any, expect: Any = expect) -> None:
                self.batches[signed.digest] = [proof.digest for proof in proofs]
                self.stated.update({proof.digest: (name, proof) for proof in proofs})
                expect(name, signed, proofs)

            department.on_batch = noted
        return opened, gateway

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    # -- steps ------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self):
        self.ask(2)

    @rule(consent=st.integers(0, len(MAX_USES) - 1))
    def ask(self, consent: int) -> None:
        if len(self.asked) < MOST_REQUESTS:
            self.asked.append(Asked(self.gateway.submission(consents()[consent]), consent))
            self.send(self.asked[-1])

    @rule(consent=st.integers(0, len(MAX_USES) - 1))
    def ask_deferrable(self, consent):
        if len(self.asked) < MOST_REQUESTS:
            submission = self.gateway.submission(consents()[consent], answer_until=NOW + 3_600)
            self.asked.append(Asked(submission, consent))
            self.send(self.asked[-1])

    @rule()
    def gateway_asks_again(self):
        """What it finds, its requesters fetch; what was refused has ended."""
        self.wait(self.gateway.deferral.load())
        self.wait(self.gateway.tick())
        for asked in self.asked:
            if asked.receipt is not None:
                self.take(asked, self.gateway.pipeline.get(asked.receipt.query.request_id, PEER))
        for waiting in self.gateway.kept():
            assert self.broken
            assert not self.withdrawn & {asked.consent for asked in self.asked if asked.key == waiting.key}

    @rule(number=st.integers(0, MOST_REQUESTS))
    def retry(self, number):
        self.send(self.asked[number % len(self.asked)])

    @rule(number=st.integers(0, MOST_REQUESTS), other=st.integers(0, MOST_REQUESTS))
    def ask_two_at_once(self, number, other):
        """Also the same one twice: then both get one piece of work."""
        both = [self.asked[which % len(self.asked)] for which in (number, other)]
        for asked, result in zip(both, self.wait(self.ends(*both)), strict=True):
            if isinstance(result, receipt_pb2.Receipt):
                self.take(asked, result)
            else:
                assert isinstance(result, HeyanError)

    async def ends(self, *asked: Asked) -> list[receipt_pb2.Receipt | BaseException]:
        """How requests that are sent at once end."""
        sent = (self.gateway.send(item.submission) for item in asked)
        return await asyncio.gather(*sent, return_exceptions=True)

    @rule(number=st.integers(0, MOST_REQUESTS))
    def other_bytes_under_one_request_id(self, number):
        asked = self.asked[number % len(self.asked)]
        if asked.receipt is None:
            return
        fresh = self.gateway.submission(consents()[asked.consent])
        forged = self.resigned(fresh, asked.submission)
        with pytest.raises(ConflictError) as refusal:
            self.wait(self.gateway.send(forged))
        assert refusal.value.reason is Reason.REQUEST_ID_CONFLICT

    @rule(consent=st.integers(0, 1))
    def withdraw(self, consent):
        grant = consents()[consent].grants[0]
        statement = Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(NOW), int(NOW) + fed.DAY)
        self.wait(self.gateway.events.withdraw(statement))
        self.withdrawn.add(consent)

    @rule(claim=st.sampled_from(CLAIMS))
    def break_a_department(self, claim):
        self.broken.add(claim)
        department_of(self.gateway, claim).failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT)

    @precondition(lambda self: self.broken)
    @rule()
    def mend_the_departments(self):
        self.broken.clear()
        for department in self.gateway.departments.values():
            department.failure = None

    @rule(number=st.integers(0, MOST_REQUESTS), durable=st.booleans())
    def retry_while_the_store_fails(self, number, durable):
        self.send_in_vain(self.asked[number % len(self.asked)], durable=durable)

    @rule(consent=st.integers(0, len(MAX_USES) - 1))
    def ask_while_the_store_cannot_write(self, consent):
        """What was stated then is in no log, until its node sends it again."""
        known = set(self.stated)
        self.ask_in_vain(consent, durable=False)
        assert set(self.unlogged()) >= set(self.stated) - known

    @rule(consent=st.integers(0, len(MAX_USES) - 1))
    def ask_while_the_store_fails_after_writing(self, consent):
        self.ask_in_vain(consent, durable=True)

    def ask_in_vain(self, consent: int, *, durable: bool) -> None:
        if len(self.asked) < MOST_REQUESTS:
            self.asked.append(Asked(self.gateway.submission(consents()[consent]), consent))
            self.send_in_vain(self.asked[-1], durable=durable)

    def send_in_vain(self, asked: Asked, *, durable: bool) -> None:
        """Nothing is answered from a failed commit; if it was durable after all, a retry finds it."""
        self.gateway.store.fail_after, self.gateway.store.fail_before = durable, not durable
        size = self.size()
        (result,) = self.wait(self.ends(asked))
        self.gateway.store.fail_after = self.gateway.store.fail_before = False
        if isinstance(result, receipt_pb2.Receipt):
            assert self.size() == size, "answered, though the log could not record"
            self.take(asked, result)
        else:
            assert isinstance(result, HeyanError)

    @rule()
    def restart(self):
        self.wait(self.opened.__aexit__(None, None, None))
        self.opened, self.gateway = self.open()
        for claim in self.broken:
            department_of(self.gateway, claim).failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT)

    @rule()
    def nodes_send_again_what_is_owed(self):
        for digest in self.unlogged():
            department, proof = self.stated[digest]
            self.wait(self.gateway.events.take_orphans(Orphans(department, (proof,), SignedBatch(b"", "", b""))))
        assert not self.unlogged()

    def send(self, asked: Asked) -> None:
        """Send a request, and hold its end against what is known."""
        before = asked.complete
        (result,) = self.wait(self.ends(asked))
        if isinstance(result, NotGrantedError):
            assert not before
            assert result.reason in self.reasons(asked)
            return
        if isinstance(result, OverloadedError):  # too many of this requester's asks went unanswered
            assert self.broken
            return
        assert isinstance(result, receipt_pb2.Receipt), result  # the log can record, and nothing else is wrong
        assert before or asked.consent not in self.withdrawn
        self.take(asked, result)
        assert asked.receipt is not None
        gaps = {item.check.claim for item in asked.receipt.answers if item.outcome is Outcome.UNAVAILABLE}
        assert gaps <= self.sharing(self.broken)

    def reasons(self, asked: Asked) -> set[Reason]:
        if asked.consent in self.withdrawn:
            return {Reason.GRANT_REVOKED}
        spent = max(self.gateway.used(consents()[asked.consent]))
        return {Reason.GRANT_USED_UP} if spent >= MAX_USES[asked.consent] else set()

    def sharing(self, claims: set[str]) -> set[str]:
        """Claims that the same departments answer."""
        nodes = [department_of(self.gateway, claim).department for claim in claims]
        return {claim for claim in CLAIMS if department_of(self.gateway, claim).department in nodes}

    def take(self, asked: Asked, receipt: receipt_pb2.Receipt) -> None:
        verified = self.gateway.check(receipt)
        self.receipts.append(receipt)
        if asked.receipt is not None:
            for old, new in zip(asked.receipt.answers, verified.answers, strict=True):
                assert old.outcome is Outcome.UNAVAILABLE or old == new, "a settled answer was taken back"
        asked.receipt = verified

    @staticmethod
    def resigned(fresh: Submission, old: Submission) -> Submission:
        """Another query under the request_id of an old one."""
        query = replace(read_query(fresh.signed.query), request_id=read_query(old.signed.query).request_id)
        data, key = write_query(query), federation().signing_keys[fed.REQUESTER]
        return replace(fresh, signed=SignedQuery(data, key.key_id, key.sign(Kind.QUERY, data)))

    # -- what always holds ------------------------------------------------------------------------------------

    def size(self) -> int:
        head = self.gateway.store.head()
        return head.size if head is not None else 0

    def unlogged(self) -> list[bytes]:
        logged = self.gateway.store.leaf_indexes(list(self.stated))
        return [digest for digest in self.stated if digest not in logged]

    @invariant()
    def nothing_is_spent_beyond_its_bound(self):
        released = Counter(asked.consent for asked in self.asked if asked.answered)
        for index, (consent, most) in enumerate(zip(consents(), MAX_USES, strict=True)):
            assert released[index] <= max(self.gateway.used(consent)) <= most

    @invariant()
    def what_was_stated_is_logged_or_owed(self):
        """A node is told of a batch only when the log has all of it."""
        unlogged = set(self.unlogged())
        for department in self.gateway.departments.values():
            for acknowledgement in department.acknowledged:
                assert unlogged.isdisjoint(self.batches[acknowledgement.batch_digest])

    @invariant()
    def what_is_kept_is_what_receipts_call_deferred(self):
        kept = {waiting.key: set(waiting.departments) for waiting in self.gateway.kept()}
        for asked in self.asked:
            resumed = self.gateway.requests.find(asked.key)
            gaps = resumed.receipt.unavailable if resumed is not None else ()
            deferred = {gap.department for gap in gaps if gap.next_step == NextStep.DEFERRED}
            assert kept.get(asked.key, set()) == deferred

    @invariant()
    def log_only_grows(self):
        head = self.gateway.store.head()
        for old in self.heads:
            assert head is not None
            path = self.gateway.log.consistency(old.size, head.size)
            verify_consistency(old.size, old.root, head.size, head.root, path)
        if head is not None and (not self.heads or self.heads[-1].size != head.size):
            self.heads.append(head)

    def teardown(self) -> None:
        self.nodes_send_again_what_is_owed()
        for receipt in self.receipts:
            verify_receipt(receipt, federation().operator.public_key())
        for asked in self.asked:
            if asked.receipt is not None:
                self.take(asked, self.gateway.pipeline.get(read_query(asked.submission.signed.query).request_id, PEER))
        self.wait(self.opened.__aexit__(None, None, None))
        self.loop.close()
        shutil.rmtree(self.folder)


TestGateway = GatewayMachine.TestCase
TestGateway.settings = profile(examples=30, steps=15)
