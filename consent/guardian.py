"""The guardian's app, as a client: asks the issuer for a draft, has the passkey approve it, keeps the consent.

The app approves nothing that it did not ask for: it reads the payload that it was sent, holds requester, subjects
and elements against its own request, and computes the challenge itself. It speaks HTTPS to the issuer whose URL it
is given, with the CA that it is given.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from consent.authenticator import SoftwareAuthenticator
from consent.consent_file import ConsentFile, GrantConsent, consent_from_json
from consent.disclosures import Detail, disclosure_digest, read_disclosure, share_of
from consent.dispute import challenge_of as challenge_of_dispute
from consent.grant import challenge_of, read_payload
from consent.passkey import assertion_to_json
from gateway.protocol.claims import Role
from gateway.protocol.codec import b64url, parse_json_object, unb64url
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import Dispute
from gateway.protocol.errors import (
    ForgedError,
    HeyanError,
    MalformedError,
    NotGrantedError,
    OverloadedError,
    UnreachableError,
)
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.reasons import Reason

TIMEOUT = 10.0
"""Seconds for one request."""
MAX_RESPONSE = 1 << 20

_CLASS_OF_STATUS: Mapping[int, type[HeyanError]] = {
    400: MalformedError,
    403: NotGrantedError,
    413: MalformedError,
    429: OverloadedError,
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account at the issuer, and their passkey."""

    account: str
    authenticator: SoftwareAuthenticator


class GuardianApp:
    """A client of one issuer at `url`; an async context manager. Its origin is the URL's unless another is given."""

    def __init__(self, url: str, ssl_context: ssl.SSLContext, *, origin: str | None = None) -> None:
        parts = urlsplit(url)
        self._url = url.rstrip("/")
        self._ssl = ssl_context
        self._origin = origin or f"{parts.scheme}://{parts.netloc}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def issue(
        self,
        guardian: Person,
        child: str,
        *,
        requester: str,
        gateway: str,
        details: Sequence[Detail],
        co_residents: Sequence[Person] = (),
        purpose: str = PURPOSE_ENROLMENT,
        lang: str = "zh-CN",
    ) -> ConsentFile:
        """The consent of a guardian, and of co-residents, to `details` about the child with that ID number.

        Details are shared out: claims on a co-resident go into the co-residents' grants, the rest into the
        guardian's. Raises what the issuer refuses with, or UnreachableError (PEER_UNREACHABLE).
        """
        request = {
            "child": child,
            "requester": requester,
            "gateway": gateway,
            "purpose": purpose,
            "lang": lang,
        }
        guardians = await self._consent(guardian, request, share_of(details, Role.GUARDIAN), None)
        grants = [guardians]
        share = share_of(details, Role.CO_RESIDENT)
        grants += [await self._consent(person, request, share, guardians) for person in co_residents if share]
        return ConsentFile(tuple(grants))

    async def revoke(self, person: Person, consent: GrantConsent, *, rp_id: str | None = None) -> str:
        """Withdraw a grant; the issuer's signed statement. `rp_id` is the URL's host unless another is given."""
        assertion = person.authenticator.approve(
            digest(Kind.PASSKEY_REVOCATION, consent.digest),
            rp_id=rp_id or urlsplit(self._origin).hostname or "",
            origin=self._origin,
        )
        body = {"jti": consent.claims.jti, "assertion": assertion_to_json(assertion)}
        statement = (await self._post("/v1/revocations", body)).get("statement")
        if not isinstance(statement, str):
            raise MalformedError.at("statement", "must be text")
        return statement

    async def dispute(self, person: Person, dispute: Dispute, *, rp_id: str | None = None) -> str:
        """Dispute an answer that rests on a grant of this person's; the issuer's signed report.

        `opener` and `issue_time` of the dispute are the issuer's to say, and mean nothing here.
        """
        assertion = person.authenticator.approve(
            challenge_of_dispute(dispute), rp_id=rp_id or urlsplit(self._origin).hostname or "", origin=self._origin
        )
        body = {
            "grant": b64url(dispute.grant_digest or b""),
            "request_id": b64url(dispute.request_id),
            "department": dispute.department,
            "statement": b64url(dispute.statement_digest),
            "ground": dispute.ground.name,
            "assertion": assertion_to_json(assertion),
        }
        report = (await self._post("/v1/disputes", body)).get("report")
        if not isinstance(report, str):
            raise MalformedError.at("report", "must be text")
        return report

    async def _consent(
        self,
        person: Person,
        request: Mapping[str, object],
        details: tuple[Detail, ...],
        companion: GrantConsent | None,
    ) -> GrantConsent:
        body = {
            **request,
            "account": person.account,
            "details": [
                {"claims": detail.claims, "regions": detail.regions, "max_uses": detail.max_uses} for detail in details
            ],
            "acting_with": companion.claims.jti if companion is not None else None,
        }
        draft = await self._post("/v1/consents", body)
        payload = unb64url(str(draft.get("payload")), "payload")
        _require_asked_for(draft, payload, companion, request, details)
        rp_id = str(draft.get("rp_id"))
        assertion = person.authenticator.approve(challenge_of(payload), rp_id=rp_id, origin=self._origin)
        answer = await self._post(
            f"/v1/consents/{draft.get('draft')}/approval", {"assertion": assertion_to_json(assertion)}
        )
        consent = consent_from_json(answer)
        if consent.claims != read_payload(payload):
            raise ForgedError(Reason.GRANT_INVALID, "the issuer signed another payload than was approved")
        return consent

    async def _post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        if self._session is None:
            raise MalformedError.at("session", "must be used as an async context manager")
        try:
            async with self._session.post(
                self._url + path, json=body, ssl=self._ssl, allow_redirects=False
            ) as response:
                data = await response.content.read(MAX_RESPONSE)
                while more := await response.content.read(MAX_RESPONSE):
                    data += more
                    if len(data) > MAX_RESPONSE:
                        raise MalformedError(Reason.MESSAGE_TOO_LARGE, "the issuer's answer")
                if response.status >= 400:  # noqa: PLR2004 - RFC 9110 §15.5
                    raise _refusal(response.status, data)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnreachableError(Reason.PEER_UNREACHABLE, f"{self._url}: {type(error).__name__}") from error
        return parse_json_object(data, "response")


def _refusal(status: int, data: bytes) -> HeyanError:
    """The domain error of a problem response; what is no problem of ours is a fault of the issuer's."""
    try:
        reason = Reason(json.loads(data)["reason"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return UnreachableError(Reason.INTERNAL, f"HTTP {status}")
    return _CLASS_OF_STATUS.get(status, UnreachableError)(reason, f"HTTP {status}")


def _require_asked_for(
    draft: Mapping[str, Any],
    payload: bytes,
    companion: GrantConsent | None,
    request: Mapping[str, object],
    details: tuple[Detail, ...],
) -> None:
    """Refuse a draft that is not the one asked for, before anything is approved; ForgedError (GRANT_INVALID)."""
    claims = read_payload(payload)
    texts = [str(text) for text in draft.get("disclosures", ())]
    elements = tuple(read_disclosure(text, index) for index, text in enumerate(texts))
    shown = tuple(Detail(element.claims, element.regions, element.max_uses) for element in elements)
    notice = str(draft.get("notice", {}).get("text"))
    right = (
        claims.aud == request["requester"]
        and claims.actor is (Role.GUARDIAN if companion is None else Role.CO_RESIDENT)
        and (companion is None or claims.txn == companion.claims.txn)
        and claims.disclosure_digests == tuple(disclosure_digest(text) for text in texts)
        and shown == details
        and all(element.purpose == request["purpose"] for element in elements)
        and all(element.locations == (request["gateway"],) for element in elements)
        and claims.notice.digest == b64url(sha256(notice.encode()).digest())
    )
    if not right:
        raise ForgedError(Reason.GRANT_INVALID, "the draft is not what was asked for")
