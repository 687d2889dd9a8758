"""The issuer over HTTPS: JSON in, JSON or a problem out.

    GET  /.well-known/jwks.json            the keys that grants and status lists verify under (RFC 7517)
    GET  /status-lists/{n}                 application/statuslist+jwt, with an ETag
    POST /v1/consents                      a draft to show and approve
    POST /v1/consents/{draft}/approval     the grant, and what its holder needs to use it
    POST /v1/revocations                   the signed statement of a withdrawal
    POST /v1/disputes                      the signed report of a dispute, which goes to the gateway
    GET  /healthz

A problem is `{"reason", "zh", "en"}`, with `violations` for located ones, as application/problem+json (RFC 9457).
No exception's text, nor anything that was sent, stands in a response or a log line. Drafts and approvals
run on one thread, status lists and withdrawals on another: whatever anybody asks to have drafted, a withdrawal and
the list that shows it do not wait behind it. Of each kind of work a bounded number is under way; beyond: 429.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, TypeVar

import structlog
from aiohttp import web

from consent.consent_file import consent_to_json
from consent.issuer.disputes import GuardianDisputes
from consent.issuer.requests import MAX_BODY, ApprovalBody, DisputeBody, DraftBody, RevocationBody, read_body
from consent.issuer.service import ConsentIssuer, Draft
from consent.passkey import assertion_from_json
from consent.status_list import MEDIA_TYPE, TTL
from gateway.party.process import place_of
from gateway.protocol.codec import b64url
from gateway.protocol.errors import (
    ForgedError,
    HeyanError,
    MalformedError,
    NotCurrentError,
    NotFoundError,
    NotGrantedError,
    OverloadedError,
    UnknownPeerError,
    UnreachableError,
)
from gateway.protocol.keys import Algorithm, PublicKey
from gateway.protocol.reason_texts import text_of
from gateway.protocol.reasons import Reason

R = TypeVar("R")

MAX_UNDER_WAY = 64
"""Requests of one kind (drafts, approvals, withdrawals) that wait for their thread or are on it."""

OnWithdrawn = Callable[[str, str], None]
"""Told of each statement and the gateway that it concerns, once it is durable."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUS_OF_CLASS: tuple[tuple[type[HeyanError], int], ...] = (
    (MalformedError, 400),
    (ForgedError, 403),
    (NotGrantedError, 403),
    (UnknownPeerError, 403),
    (NotFoundError, 404),
    (NotCurrentError, 409),
    (OverloadedError, 429),
    (UnreachableError, 503),
)
_POINT_HALF = 32

_log = structlog.get_logger(__name__)


class IssuerApp:
    """The handlers. `keys` gives the public keys to publish; `close` after the server has stopped."""

    def __init__(
        self,
        issuer: ConsentIssuer,
        disputes: GuardianDisputes,
        keys: Callable[[], tuple[PublicKey, ...]],
        on_withdrawn: OnWithdrawn,
    ) -> None:
        self._issuer = issuer
        self._disputes = disputes
        self._keys = keys
        self._on_withdrawn = on_withdrawn
        self._drafting = ThreadPoolExecutor(1, "consent-drafts")
        self._withdrawing = ThreadPoolExecutor(1, "consent-withdrawals")
        self._drafts, self._approvals, self._withdrawals = _Bound("drafts"), _Bound("approvals"), _Bound("withdrawals")
        self._disputed = _Bound("disputes")

    def application(self) -> web.Application:
        """The aiohttp application; further pages may be added to it."""
        app = web.Application(middlewares=[_answer_problems], client_max_size=MAX_BODY)
        app.router.add_get("/.well-known/jwks.json", self._jwks)
        app.router.add_get("/status-lists/{number:[0-9]{1,9}}", self._status_list)
        app.router.add_post("/v1/consents", self._draft)
        app.router.add_post("/v1/consents/{draft}/approval", self._approve)
        app.router.add_post("/v1/revocations", self._revoke)
        app.router.add_post("/v1/disputes", self._dispute)
        app.router.add_get("/healthz", self._healthz)
        return app

    async def run(self, work: Callable[[], R]) -> R:
        """Do work on the thread of drafts and approvals."""
        return await asyncio.get_running_loop().run_in_executor(self._drafting, work)

    def close(self) -> None:
        """Wait for the work under way."""
        self._drafting.shutdown()
        self._withdrawing.shutdown()

    async def _run_urgent(self, work: Callable[[], R]) -> R:
        """Do work on the thread of status lists and withdrawals."""
        return await asyncio.get_running_loop().run_in_executor(self._withdrawing, work)

    async def _draft(self, request: web.Request) -> web.Response:
        body = read_body(DraftBody, await request.read())
        with self._drafts.one():
            draft = await self.run(lambda: self._issuer.draft(body))
        return _json(_draft_json(draft), status=201)

    async def _approve(self, request: web.Request) -> web.Response:
        assertion = assertion_from_json(read_body(ApprovalBody, await request.read()).assertion)
        draft = request.match_info["draft"]
        with self._approvals.one():
            consent = await self.run(lambda: self._issuer.approve(draft, assertion))
        return _json(consent_to_json(consent), status=201)

    async def _revoke(self, request: web.Request) -> web.Response:
        body = read_body(RevocationBody, await request.read())
        assertion = assertion_from_json(body.assertion)
        with self._withdrawals.one():
            withdrawn = await self._run_urgent(lambda: self._issuer.revoke(body.jti, assertion))
        self._on_withdrawn(withdrawn.statement, withdrawn.gateway)
        return _json({"statement": withdrawn.statement})

    async def _dispute(self, request: web.Request) -> web.Response:
        body = read_body(DisputeBody, await request.read())
        with self._disputed.one():
            report = await self.run(lambda: self._disputes.dispute(body))
        return _json({"report": report}, status=201)

    async def _status_list(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        token = await self._run_urgent(lambda: self._issuer.status_list(number))
        tag = sha256(token.encode()).hexdigest()[:32]
        headers = {"ETag": f'"{tag}"', "Cache-Control": f"max-age={TTL}"}
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=token.encode(), content_type=MEDIA_TYPE, headers=headers)

    async def _jwks(self, _request: web.Request) -> web.Response:
        return _json({"keys": [jwk_of(key) for key in self._keys()]})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")


class _Bound:
    """At most MAX_UNDER_WAY of one kind of work at a time. For one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Room for one; OverloadedError if there is none."""
        if self._under_way >= MAX_UNDER_WAY:
            raise OverloadedError(Reason.OVERLOADED, f"{self._name} under way", retry_after=1.0)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def jwk_of(key: PublicKey) -> dict[str, str]:
    """A public key as a JWK (RFC 7517; RFC 7518 §6.2; RFC 8037 §2, alg of RFC 9864)."""
    common = {"kid": key.key_id, "use": "sig", "alg": key.algorithm.value}
    if key.algorithm is Algorithm.ED25519:
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url(key.public), **common}
    x, y = key.public[1 : 1 + _POINT_HALF], key.public[1 + _POINT_HALF :]
    return {"kty": "EC", "crv": "P-256", "x": b64url(x), "y": b64url(y), **common}


def _draft_json(draft: Draft) -> dict[str, object]:
    notice = draft.notice.notice
    return {
        "draft": draft.draft,
        "payload": b64url(draft.payload),
        "disclosures": list(draft.disclosures),
        "challenge": b64url(draft.challenge),
        "rp_id": draft.rp_id,
        "credential_id": b64url(draft.credential_id),
        "notice": {
            "id": notice.id,
            "version": notice.version,
            "lang": notice.lang,
            "digest": notice.digest,
            "text": draft.notice.text,
        },
    }


@web.middleware
async def _answer_problems(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except HeyanError as error:
        _log.info("refused", path=_route(request), reason=error.reason.value, detail=error.detail)
        return problem(error)
    except web.HTTPRequestEntityTooLarge:
        return problem(MalformedError(Reason.MESSAGE_TOO_LARGE), status=413)
    except web.HTTPException as error:
        return problem(MalformedError(Reason.MESSAGE_MALFORMED), status=error.status)
    except Exception as error:  # noqa: BLE001 - the last line before the client: nothing internal may leave
        _log.error("internal_error", path=_route(request), kind=type(error).__name__, place=place_of(error))
        return problem(UnreachableError(Reason.INTERNAL), status=500)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def problem(error: HeyanError, status: int | None = None) -> web.Response:
    """The problem response of a domain error (RFC 9457)."""
    text = text_of(error.reason)
    number = status or next((code for kind, code in _STATUS_OF_CLASS if isinstance(error, kind)), 500)
    value: dict[str, Any] = {"status": number, "reason": error.reason.value, "zh": text.zh, "en": text.en}
    if error.violations:
        value["violations"] = [
            {"field": violation.field, "description": violation.description} for violation in error.violations
        ]
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    body = json.dumps(value, ensure_ascii=False).encode()
    return web.Response(body=body, status=number, content_type="application/problem+json", headers=headers)


def _json(value: dict[str, object], status: int = 200) -> web.Response:
    body = json.dumps(value, ensure_ascii=False).encode()
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def _route(request: web.Request) -> str:
    """The pattern of the path, since the path itself holds a draft's secret name."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "?"
