"""Real messages of a federation in memory: what a requester sends, for whoever times functions by themselves.

Keys, registry and consents are those of `tests.federation`; nothing is served, nothing is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent.consent_file import ConsentFile
from consent.disclosures import group_details
from gateway.asking import Envelope, Question, make_submission
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.presentation import Submission
from tests.federation import FAMILY, GATEWAY, REGION, REQUESTER, Federation

NOW = 1_800_000_000.0
"""When everything here was made, in seconds since the epoch."""
ONE = (Question("c1", "hukou.child_registered@1", REGION, {}),)
"""The smallest application: a single check."""
FIVE = (
    Question("c1", "enrolment.of_school_age@1", REGION, {"level": "primary", "year": "2027"}),
    Question("c2", "housing.lease_on_file@1", REGION, {}),
    Question("c3", "hukou.guardian_registered@1", REGION, {}),
    Question("c4", "insurance.paid_months@1", REGION, {"months": "12"}),
    Question("c5", "residence.permit_valid@1", REGION, {}),
)
"""Five checks at four departments, the same that the systems are measured by."""


def federation() -> Federation:
    """The federation; two calls give the same keys."""
    return Federation.create(NOW)


def consent_to(federation: Federation, questions: Sequence[Question]) -> ConsentFile:
    """A guardian's fresh consent to just these questions."""
    return federation.issue(FAMILY, group_details([question.claim for question in questions], (REGION,), 1))


def submission_of(federation: Federation, questions: Sequence[Question], consent: ConsentFile) -> Submission:
    """The questions, signed by the requester and sealed to the departments."""
    envelope = Envelope(REQUESTER, GATEWAY, PURPOSE_ENROLMENT, NOW)
    key, random = federation.signing_keys[REQUESTER], federation.random
    return make_submission(questions, consent, envelope, federation.registry, key, random.randbytes)


def submission(federation: Federation, questions: Sequence[Question] = ONE) -> Submission:
    """Questions that rest on a consent which no message showed before."""
    return submission_of(federation, questions, consent_to(federation, questions))
