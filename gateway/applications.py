"""Applications at the gateway: held against their county's rules before anything is asked, and judged by them after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consent.verified import VerifiedGrant
from gateway.protocol.application import Application
from gateway.protocol.disputes import spending
from gateway.protocol.errors import MalformedError, NotCurrentError, NotGrantedError, about
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.query import Check, Query
from gateway.protocol.query_rules import require_one_family
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Assurance
from gateway.rulebook import Rulebook
from gateway.rules.region_rules import RegionRules
from gateway.rules.requirements import Question
from gateway.rules.windows import closed_text, window_at
from gateway.verdicts import (
    application_of,
    field_question,
    groups_judged,
    judge_application,
    offline_only,
    outcomes_in,
    question_of,
    write_verdict,
)
from heyan.v1 import receipt_pb2, verdict_pb2

MOST_VERDICTS = 1_024
"""Verdicts that are remembered, of some 4 KiB each with what they follow from."""


class Applications:
    """Holds queries against the rules in force. What a query serves is the requester's signed word."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        self._verdicts: dict[tuple[object, ...], verdict_pb2.Verdict] = {}
        """By all that a verdict follows from, nothing of a person: most families of a group are answered alike."""

    def require_allowed(
        self,
        application: Application | None,
        query: Query,
        checks: Sequence[Check],
        grants: Mapping[bytes, VerifiedGrant],
    ) -> None:
        """Refuse what the county's rules do not ask: other rules, other checks, too little assurance of identity.

        An answer that is asked for once more after a correction may serve no application; if it serves one, all of this
        holds for it too. Raises MalformedError if an enrolment names no application, the rules have no such group or a
        role has two persons, NotCurrentError (RULES_CHANGED), or NotGrantedError (NOT_PLANNED, ASSURANCE_TOO_LOW).
        """
        if application is None:
            if query.purpose == PURPOSE_ENROLMENT and spending(checks):
                raise MalformedError.at("application", "must be set: which county, school and group the query serves")
            return
        rules = self._rulebook.rules_of(application.region)
        if rules.digest() != application.rules_digest:
            raise NotCurrentError(Reason.RULES_CHANGED)
        require_one_family(checks)
        needed = _assurances(application, rules)
        for check in checks:
            least = needed.get(question_of(check))
            if check.region != application.region or least is None:
                raise NotGrantedError(Reason.NOT_PLANNED)
            if any(grants[use.grant_digest].acr.rank < least.rank for use in check.authorizations):
                raise NotGrantedError(Reason.ASSURANCE_TOO_LOW, "less than the county's rules ask")

    def require_open(self, application: Application | None, checks: Sequence[Check], now: float) -> None:
        """Refuse an application outside its county's windows; NotCurrentError (WINDOW_CLOSED) naming the next one.

        What is only asked once more after a correction was asked in time, and needs no window.
        """
        if application is None or not spending(checks):
            return
        windows = self._rulebook.rules_of(application.region).windows
        if window_at(windows, now) is None:
            raise NotCurrentError(Reason.WINDOW_CLOSED, text=closed_text(windows, now))

    def require_offline_only(self, application: Application | None, material: str) -> None:
        """Refuse a material that can be verified online, or that the application does not owe.

        Raises NotCurrentError (RULES_CHANGED) if other rules hold by now, or NotGrantedError (OFFLINE_MATERIAL_ONLINE).
        """
        if application is None:
            raise NotGrantedError(Reason.OFFLINE_MATERIAL_ONLINE, "the query serves no application")
        with about(application.region):
            rules = self._rulebook.rules_of(application.region)
            if rules.digest() != application.rules_digest:
                raise NotCurrentError(Reason.RULES_CHANGED)
            if material not in offline_only(application, rules):
                raise NotGrantedError(Reason.OFFLINE_MATERIAL_ONLINE)

    def verdict(self, receipt: receipt_pb2.Receipt) -> verdict_pb2.Verdict | None:
        """The verdict of a receipt of ours; None if it serves no application, or other rules hold by now."""
        application = application_of(receipt)
        if application is None:
            return None
        rules = self._rulebook.rules_of(application.region)
        if rules.digest() != application.rules_digest:
            return None
        outcomes = tuple(outcomes_in(receipt))
        require_one_family(check for check, _ in outcomes)
        told = tuple(
            [(check.check_id, check.claim, check.parameters, check.region, outcome) for check, outcome in outcomes]
        )
        key = (application.rules_digest, application.region, application.school, application.group, told)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = write_verdict(judge_application(application, rules, outcomes))
            if len(self._verdicts) >= MOST_VERDICTS:
                self._verdicts.clear()
            self._verdicts[key] = verdict
        return verdict


def _assurances(application: Application, rules: RegionRules) -> dict[Question, Assurance]:
    """Every question that the application's plan may ask, with the assurance that its materials need."""
    asked = rules.questions_of(application.school, groups_judged(application, rules))
    return {**{field_question(name): rules.assurance for name in rules.fields}, **asked}
