"""Guardians' disputes at the issuer: taken by the passkey of the grant, signed, and kept until the gateway has them.

- A dispute is taken only on a passkey assertion over all that it says, by the account whose grant it names; whatever is
  wrong with that is one refusal, as with withdrawals.
- The report is durable before it is answered, and one for each grant and disputed answer: disputing it again gives the
  same. Nobody is given, or kept from disputing by, a report on the strength of another grant, or one that says of the
  answer what is wrong.
- The issuer does not see the answer and judges nothing of it: the gateway and the department hold the report against
  the statement that it names. So one grant disputes only so many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from consent.dispute import challenge_of, sign_report
from consent.issuer.requests import DisputeBody
from consent.issuer.service import ConsentIssuer
from consent.issuer.store import IssuerStore, StoredReport
from consent.passkey import assertion_from_json
from gateway.protocol.codec import b64url, unb64url
from gateway.protocol.disputes import Dispute, DisputeGround
from gateway.protocol.errors import ForgedError, MalformedError, OverloadedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason

MAX_DISPUTES_OF_A_GRANT = 64
"""Twice the answers of the largest query."""
_TRY_AGAIN = 86_400.0


class GuardianDisputes:
    """The disputes of one issuer's guardians. Methods block; called on one thread."""

    def __init__(
        self,
        issuer: ConsentIssuer,
        *,
        spiffe_id: str,
        store: IssuerStore,
        signing_key: Callable[[], SigningKey],
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._issuer = issuer
        self._spiffe_id = spiffe_id
        self._store = store
        self._signing_key = signing_key
        self._clock = clock
        self._random_bytes = random_bytes

    def dispute(self, body: DisputeBody) -> str:
        """Take a dispute; the signed report, which is brought to the gateway. Durable when this returns.

        Raises MalformedError, ForgedError (EVIDENCE_INVALID) or OverloadedError (TOO_MANY_DISPUTES).
        """
        now = self._clock()
        if body.ground not in DisputeGround.__members__:
            raise MalformedError.at("ground", f"must be one of {', '.join(DisputeGround.__members__)}")
        claimed = Dispute(
            opener=self._spiffe_id,
            requester="",
            request_id=unb64url(body.request_id, "request_id"),
            gateway="",
            department=body.department,
            statement_digest=unb64url(body.statement, "statement"),
            ground=DisputeGround[body.ground],
            issue_time=float(int(now)),
        )
        claimed.check()  # before the grant is looked for: whether there is one must not show
        grant = self._store.grant_of(unb64url(body.grant, "grant"))
        if grant is None:
            raise ForgedError(Reason.EVIDENCE_INVALID, "no such grant")
        dispute = replace(claimed, requester=grant.requester, gateway=grant.gateway, grant_digest=grant.digest)
        self._issuer.require_approved(grant.account_id, challenge_of(dispute), assertion_from_json(body.assertion))
        # Whichever ground: an answer is disputed once.
        said = challenge_of(replace(dispute, ground=DisputeGround.RECORD_OUTDATED))
        known = self._store.report_of(said)
        if known is not None:
            return known
        if self._store.count_reports(grant.jti) >= MAX_DISPUTES_OF_A_GRANT:
            raise OverloadedError(Reason.TOO_MANY_DISPUTES, "of one grant", retry_after=_TRY_AGAIN)
        report = sign_report(dispute, b64url(self._random_bytes(16)), self._signing_key())
        self._store.put_report(StoredReport(said, grant.jti, grant.gateway, report), now)
        return report
