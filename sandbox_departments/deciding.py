"""A batch of admitted asks decided within one transaction of the journal (rules 6 to 14 of `answering`).

The register is asked once for all asks of a batch. A fault of it takes back every use and budget that was reserved
meanwhile, and leaves all of these asks without a statement; a question that it chokes on costs only its own ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.party.service import internal_error
from gateway.protocol.attestation import write_statement
from gateway.protocol.errors import (
    ConflictError,
    HeyanError,
    LogUnavailableError,
    NotGrantedError,
    UnreachableError,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.sealing import OpeningKey
from sandbox_departments.answering import (
    Admitted,
    Budget,
    Opened,
    Randomness,
    Situation,
    attest,
    open_subjects,
    pseudonyms,
    questions_of,
    repeat_of,
    spend,
)
from sandbox_departments.cases import CaseFile, case_of
from sandbox_departments.journal_entries import Answered, Repeated
from sandbox_departments.ledger import Ledger
from sandbox_departments.past import Answers, Spent
from sandbox_departments.register import Finding, Register
from sandbox_departments.replies import Decision, Stated, statement_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """With what a batch is decided: the open transaction, the situation, and what is asked meanwhile."""

    ledger: Ledger
    situation: Situation
    keys: Mapping[str, OpeningKey]
    register: Register
    budget: Budget
    secret: bytes = field(repr=False)
    randomness: Randomness

    def decide(self, items: Sequence[Admitted | HeyanError], lost: Mapping[bytes, HeyanError]) -> list[Decision]:
        """One decision for each item, in order; `lost` are the grants that may not be rested on, with the reason."""
        considered = [item if isinstance(item, HeyanError) else self._consider(item, lost) for item in items]
        # A request_id may stand twice in a batch (a hedge, a retry): the second is a repetition of the first.
        first: dict[tuple[str, bytes], int] = {}
        repeats: dict[int, int] = {}
        opened: dict[int, Opened] = {}
        decisions: dict[int, Decision] = {}
        for index, item in enumerate(considered):
            if not isinstance(item, Opened):
                decisions[index] = item
                continue
            query = item.admitted.query
            earlier = first.setdefault((query.requester, query.request_id), index)
            if earlier == index:
                opened[index] = item
            elif opened[earlier].admitted.digests == item.admitted.digests:
                repeats[index] = earlier
            else:
                decisions[index] = ConflictError(Reason.REQUEST_ID_CONFLICT)
        decisions |= self._attest(opened)
        decisions |= {index: decisions[earlier] for index, earlier in repeats.items()}
        return [decisions[index] for index in range(len(items))]

    def _consider(self, item: Admitted, lost: Mapping[bytes, HeyanError]) -> Opened | Decision:
        """Rules 6 to 10 for one ask."""
        for grant in item.grants:
            if grant in lost:
                return lost[grant]
        try:
            earlier = repeat_of(item, self.ledger.answers_to(item.query.requester, item.query.request_id))
            if earlier is not None:
                digests = tuple(map(statement_digest, earlier.statements))
                entry = Repeated(item.query_digest, item.part.digest, item.query.requester, digests)
                return Stated(earlier.statements, entry)
            return open_subjects(item, self.keys, self.situation)
        except LogUnavailableError:
            raise
        except HeyanError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one ask must not spoil the others' batch
            return internal_error("open_subjects", error)

    def _attest(self, opened: Mapping[int, Opened]) -> dict[int, Decision]:
        """Rules 11 to 14 for asks of different request_ids: what is reserved stays only if the register answered."""
        try:
            with self.ledger.reservation():
                return self._ask_register(opened)
        except LogUnavailableError:
            raise
        except UnreachableError as fault:
            return dict.fromkeys(opened, fault)
        except Exception as error:  # noqa: BLE001 - one question must not spoil the others' batch
            if len(opened) == 1:
                return dict.fromkeys(opened, internal_error("register", error))
        decisions: dict[int, Decision] = {}
        for index, item in opened.items():
            decisions |= self._attest({index: item})
        return decisions

    def _ask_register(self, opened: Mapping[int, Opened]) -> dict[int, Decision]:
        decisions: dict[int, Decision] = {}
        spent: dict[int, Spent] = {}
        for index, item in opened.items():
            try:
                spent[index] = spend(item, self.ledger, self.budget, self.secret, self.situation.now)
            except NotGrantedError as refusal:
                decisions[index] = refusal
        questions = [question for index in spent for question in questions_of(opened[index])]
        if not questions:
            return decisions
        findings = self.register.find(questions)
        if len(findings) != len(questions):
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "register: not one finding for each question")
        remaining = iter(findings)
        for index, counted in spent.items():
            own = tuple(next(remaining) for _ in opened[index].admitted.part.part.checks)
            decisions[index] = self._answer(opened[index], own, counted)
        return decisions

    def _answer(self, item: Opened, findings: Sequence[Finding], spent: Spent) -> Stated:
        attestations = attest(item, findings, self.register.snapshot_date, self.situation, self.randomness)
        statements = tuple(map(write_statement, attestations))
        query, part, sealed = item.admitted.digests
        digests = tuple(map(statement_digest, statements))
        cases = [case_of(question, self.secret) for question in questions_of(item)]
        issuers = {name: grant.issuer for name, grant in item.admitted.grants.items()}
        file = CaseFile(dict(zip(digests, cases, strict=True)), issuers)
        self.ledger.keep_answers(spent, Answers(query, part, sealed, statements), file)
        entry = Answered(
            query=query,
            part=part,
            requester=spent.requester,
            subjects=pseudonyms(item, item.subjects, self.secret),
            statements=digests,
            standings=tuple(finding.standing for finding in findings),
        )
        return Stated(statements, entry)
