"""What the answers of a query make of its application. Pure: from rules and attestations alone.

The gateway computes it for its response, the client and the auditor again from the receipt, by the rule packs that the
receipt carries: nobody need believe anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gateway.protocol.application import Application, open_application
from gateway.protocol.attestation import Attestation, read_statement
from gateway.protocol.claims import FIELD_ON_FILE, Role, claim_named
from gateway.protocol.errors import ForgedError
from gateway.protocol.matrix import Group
from gateway.protocol.offline import OfflineOutcome, Subject
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import Check, open_part, read_query
from gateway.protocol.query_rules import require_one_family
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt
from gateway.rules.bundle import read_bundle
from gateway.rules.pack import Exemption
from gateway.rules.region_rules import RegionRules
from gateway.rules.requirements import Question
from gateway.rules.verdict import GroupVerdict, MaterialVerdict, Standing, judge_group, supported_groups
from heyan.v1 import receipt_pb2, verdict_pb2

Outcomes = Iterable[tuple[Check, Outcome]]
"""Checks of one query with their outcomes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The standing of each group that the application is judged for; `supported` are those that the answers show.

    `to_collect` are the fields of the student record that no answer shows to be on file. `asked` names the check of
    each question. `with_paper` are the groups that answers and what staff accepted on paper show together; it is known
    only of a receipt, and the same as `supported` where nothing was looked at on paper.
    """

    application: Application
    rules: RegionRules
    groups: tuple[GroupVerdict, ...]
    supported: tuple[Group, ...]
    to_collect: tuple[str, ...]
    asked: dict[Question, str]
    with_paper: tuple[Group, ...] = ()


def judge_application(application: Application, rules: RegionRules, outcomes: Outcomes) -> Verdict:
    """The verdict of `application` by `rules`; MalformedError if they have no such group, or a role has two persons.

    Answers about another region, and claims that the rules do not ask, count for nothing. What the guardian's consent
    alone would let ask and nobody asked is as open as what no department answered: no paper is owed for it (应核尽核).
    """
    answers: dict[Question, Outcome] = {}
    asked: dict[Question, str] = {}
    known = tuple(outcomes)
    require_one_family(check for check, _ in known)
    for check, outcome in known:
        if check.region == application.region:
            question = question_of(check)
            answers[question], asked[question] = outcome, check.check_id
    groups = groups_judged(application, rules)
    for question in _askable(application, rules, groups):
        answers.setdefault(question, Outcome.UNAVAILABLE)
    verdicts = tuple(judge_group(rules, application.school, group, answers) for group in groups)
    to_collect = tuple(name for name in rules.fields if answers.get(field_question(name)) is not Outcome.YES)
    return Verdict(application, rules, verdicts, supported_groups(verdicts), to_collect, asked)


def _askable(application: Application, rules: RegionRules, groups: Iterable[Group]) -> Iterator[Question]:
    """What the rules ask for `groups` of child and guardian, whom every application has; a co-resident need not be."""
    for question in rules.questions_of(application.school, groups):
        if Role.CO_RESIDENT not in claim_named(question.claim).roles:
            yield question


def verdict_of(verified: VerifiedReceipt, bundle: bytes) -> Verdict | None:
    """The verdict of a receipt that holds, by the packs that came with it; None if it serves no application.

    Raises BadDataError if the packs are not those that the requester signed, or cannot be read, or if the receipt has a
    ticket on the ground that a material is verified on paper only, and these rules know otherwise.
    """
    application = verified.application
    if application is None:
        return None
    rules = read_bundle(bundle, application.rules_digest)
    on_paper = offline_only(application, rules)
    if any(ticket.opened.subject.material not in {"", *on_paper} for ticket in verified.tickets):
        raise ForgedError(Reason.RECEIPT_INVALID, "a ticket for a material that the rules have verified online")
    verdict = judge_application(application, rules, ((answer.check, answer.outcome) for answer in verified.answers))
    shown = _with_paper(verified, application, rules) if verified.tickets else verdict.supported
    return replace(verdict, with_paper=shown)


_ON_PAPER = {OfflineOutcome.ACCEPTED: Outcome.YES, OfflineOutcome.REJECTED: Outcome.NO}
_TOLD = frozenset({Outcome.YES, Outcome.NO})


def _with_paper(verified: VerifiedReceipt, application: Application, rules: RegionRules) -> tuple[Group, ...]:
    """The groups that are supported if what staff found stands for what departments could not tell.

    What a department told, also after the paper was looked at, goes before it.
    """
    found = {
        ticket.opened.subject: _ON_PAPER[ticket.resolution.result.outcome]
        for ticket in verified.tickets
        if ticket.resolution is not None
    }
    outcomes = (
        (
            answer.check,
            answer.outcome
            if answer.outcome in _TOLD
            else found.get(Subject(check_id=answer.check.check_id), answer.outcome),
        )
        for answer in verified.answers
    )

    def holds(material: MaterialVerdict) -> bool:
        accepted = found.get(Subject(material=material.material.key)) is Outcome.YES
        return material.standing is Standing.EXEMPT or (material.material.requirement is None and accepted)

    judged = judge_application(application, rules, outcomes)
    return tuple(group.group for group in judged.groups if all(map(holds, group.materials)))


def application_of(receipt: receipt_pb2.Receipt) -> Application | None:
    """The application of a receipt of our own making; None if its query serves none."""
    return open_application(receipt.application, read_query(receipt.query.query).application_digest)


def outcomes_in(receipt: receipt_pb2.Receipt) -> Iterator[tuple[Check, Outcome]]:
    """What a receipt of our own making says of each check: nothing of it is verified here."""
    attested: dict[str, Outcome] = {}
    refused: set[bytes] = set()
    for item in receipt.statements:
        statement = read_statement(item.proof.statement)
        if isinstance(statement, Attestation):
            attested[statement.asked.check.check_id] = statement.outcome
        else:
            refused.add(statement.part_digest)
    contradicted = {gap.check_id for gap in receipt.unavailable if gap.reason == Reason.ANSWERS_CONTRADICT}
    for part in map(open_part, receipt.parts):
        for check in part.part.checks:
            if check.check_id in attested:
                yield check, attested[check.check_id]
            elif check.check_id in contradicted:
                yield check, Outcome.UNDETERMINED
            else:
                yield check, Outcome.REFUSED if part.digest in refused else Outcome.UNAVAILABLE


def question_of(check: Check) -> Question:
    """A check as the rules know it."""
    return Question(check.claim, tuple(sorted(check.parameters)))


def field_question(name: str) -> Question:
    """Whether a field of the student record is on file."""
    return Question(FIELD_ON_FILE, (("field", name),))


def groups_judged(application: Application, rules: RegionRules) -> tuple[Group, ...]:
    """The application's own group, or all of its school where it is left open."""
    return (application.group,) if application.group is not None else rules.groups_of(application.school)


def offline_only(application: Application, rules: RegionRules) -> frozenset[str]:
    """Keys of the materials of an application that the rules have verified on paper only."""
    return frozenset(
        material.key
        for group in groups_judged(application, rules)
        for material in rules.materials_of(application.school, group)
        if material.requirement is None
    )


# -- as it travels ------------------------------------------------------------------------------------------

_EXEMPTIONS: dict[Exemption | None, verdict_pb2.Exemption.ValueType] = {
    None: verdict_pb2.EXEMPTION_UNSPECIFIED,
    Exemption.GOVERNMENT_ISSUED: verdict_pb2.EXEMPTION_GOVERNMENT_ISSUED,
    Exemption.VERIFIED_BY_SHARING: verdict_pb2.EXEMPTION_VERIFIED_BY_SHARING,
    Exemption.E_CERTIFICATE: verdict_pb2.EXEMPTION_E_CERTIFICATE,
}


def write_exemption(exemption: Exemption | None) -> verdict_pb2.Exemption.ValueType:
    """An exemption's number in the contract."""
    return _EXEMPTIONS[exemption]


def write_verdict(verdict: Verdict) -> verdict_pb2.Verdict:
    """The message of a verdict."""
    return verdict_pb2.Verdict(
        rules_digest=verdict.application.rules_digest,
        groups=[
            verdict_pb2.GroupVerdict(
                group=group.group.value,
                standing=group.standing.value,  # type: ignore[arg-type]
                materials=[_write_material(material, verdict) for material in group.materials],
            )
            for group in verdict.groups
        ],
        supported_groups=[group.value for group in verdict.supported],
        fields_to_collect=verdict.to_collect,
    )


def _write_material(material: MaterialVerdict, verdict: Verdict) -> verdict_pb2.MaterialVerdict:
    return verdict_pb2.MaterialVerdict(
        key=material.material.key,
        standing=material.standing.value,  # type: ignore[arg-type]
        exemption=write_exemption(material.exemption),
        check_ids=[verdict.asked[question] for question in material.grounds if question in verdict.asked],
    )
