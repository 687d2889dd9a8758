"""Following the status lists of grants in use: does this grant still stand?

A list proves that a grant stands for STATUS_LIST_MAX_AGE seconds from the moment it was asked for, or from
MAX_CLOCK_SKEW after its `iat` if that was earlier. Lists in use are
fetched every two seconds, so that a request normally waits for none; the first sight of a list, or an overaged one,
is fetched at once, one fetch for all who wait.

- A list is taken only from under the issuer's `base_uri` of the registry, over TLS from that issuer
  (`server_hostname` is its DNS SAN), signed by one of its GRANT keys, and signed within
  RESIGN_SECONDS of the fetch, as far as two clocks can tell (MAX_CLOCK_SKEW).
- `iat` never goes backwards, and a withdrawal once seen stays seen: an old list cannot be replayed.
- An issuer that cannot be reached has `status_grace_seconds` of the registry in which its last list still serves.
  One that answers with anything but a good list has none: that may be someone in its place.
- When grace is over, the answer is "try again" (STATUS_UNAVAILABLE), never "withdrawn".
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import structlog

from consent.status_list import MAX_TOKEN, MEDIA_TYPE, OpenedStatusList, open_status_list
from consent.verified import VerifiedGrant
from gateway.protocol.errors import (
    BadDataError,
    ForgedError,
    HeyanError,
    MalformedError,
    NotCurrentError,
    NotGrantedError,
    UnknownPeerError,
    UnreachableError,
)
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.limits import MAX_CLOCK_SKEW, STATUS_LIST_MAX_AGE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import IssuerTerms

POLL_SECONDS = 2.0
"""Between fetches of a list in use: two may fail before the list is overaged."""
FETCH_TIMEOUT = 1.0
"""Seconds for one fetch, connecting included; a request under a deadline may be waiting for it."""
FORGET_SECONDS = 600.0
"""After which a list that no grant asked for is no longer fetched, nor remembered."""
RESIGN_SECONDS = 2.0
"""Within which an issuer signs a list anew that is asked for, with room for the fetch."""
MAX_LISTS = 4096
"""Lists followed at once: 2**29 grants. The one least lately asked for is given up."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Followed:
    """One list: what is held of it, and how the last fetch ended. Times are seconds since the epoch."""

    issuer: str
    uri: str
    asked: float
    held: OpenedStatusList | None = None
    good_at: float = float("-inf")
    failed_at: float = float("-inf")
    unreachable: bool = False
    fetch: asyncio.Task[None] | None = None


class StatusFollower:
    """Follows status lists for one process. `close` it from the event loop that used it.

    `ssl_context` is called for each fetch, so that a renewed one is used; `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        *,
        registry: Callable[[], Registry],
        ssl_context: Callable[[], ssl.SSLContext],
        clock: Callable[[], float],
        poll_seconds: float = POLL_SECONDS,
        fetch_timeout: float = FETCH_TIMEOUT,
    ) -> None:
        self._registry = registry
        self._ssl_context = ssl_context
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._fetch_timeout = fetch_timeout
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._clock_ahead = 0.0
        self._session: aiohttp.ClientSession | None = None
        self._poller: asyncio.Task[None] | None = None

    async def require_standing(self, grant: VerifiedGrant) -> None:
        """Return if a good list says that `grant` stands.

        Raises NotGrantedError (GRANT_REVOKED; GRANT_INVALID for a list that cannot be this issuer's), or
        UnreachableError (STATUS_UNAVAILABLE, with `retry_after`).
        """
        terms = self._terms(grant.issuer)
        if not _is_under(grant.status.uri, terms):
            raise NotGrantedError(Reason.GRANT_INVALID, "a status list outside the issuer's place")
        followed = self._follow(grant)
        if self._clock() - followed.good_at > STATUS_LIST_MAX_AGE and not self._failed_just_now(followed):
            await self._refresh(followed)
        statuses = self._serving(followed, terms).statuses
        try:
            revoked = statuses.is_set(grant.status.idx)
        except MalformedError as error:
            raise NotGrantedError(Reason.GRANT_INVALID, error.detail) from None
        if revoked:
            raise NotGrantedError(Reason.GRANT_REVOKED)

    def stands(self, grant: VerifiedGrant) -> bool:
        """Whether a good list that is held says that `grant` stands. From any thread; never waits, never fetches."""
        followed = self._followed.get((grant.issuer, grant.status.uri))
        if followed is None:
            return False
        now, good_at = self._clock(), followed.good_at
        held = followed.held  # read after its time, and taken before it: never older than that time says
        if held is None or now - good_at > STATUS_LIST_MAX_AGE:
            return False
        try:
            terms = self._terms(grant.issuer)
            if not _is_under(grant.status.uri, terms) or held.statuses.is_set(grant.status.idx):
                return False
        except BadDataError:
            return False
        followed.asked = now
        return True

    @property
    def clock_complaint(self) -> str | None:
        """Why this process should want no work: its clock is off, as the issuer that signed last would say.

        A list is signed within RESIGN_SECONDS of being fetched, so its `iat` shows the issuer's clock.
        """
        ahead = self._clock_ahead
        if -MAX_CLOCK_SKEW <= ahead <= MAX_CLOCK_SKEW + RESIGN_SECONDS:
            return None
        return f"the clock differs by {abs(ahead):.0f} s from an issuer's; see `heyan doctor`"

    async def close(self) -> None:
        """Stop fetching."""
        tasks = [followed.fetch for followed in self._followed.values() if followed.fetch is not None]
        tasks += [self._poller] if self._poller is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followed.clear()
        self._poller = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _terms(self, issuer: str) -> IssuerTerms:
        try:
            terms = self._registry().party_in_role(issuer, PartyRole.ISSUER).issuer
        except UnknownPeerError as error:
            raise NotGrantedError(Reason.GRANT_INVALID, error.detail) from None
        assert terms is not None  # noqa: S101 - the registry's check() ties terms to roles
        return terms

    def _follow(self, grant: VerifiedGrant) -> _Followed:
        now = self._clock()
        key = (grant.issuer, grant.status.uri)
        followed = self._followed.get(key)
        if followed is None:
            if len(self._followed) >= MAX_LISTS:
                self._forget(min(self._followed, key=lambda other: self._followed[other].asked))
            followed = self._followed[key] = _Followed(grant.issuer, grant.status.uri, now)
        followed.asked = now
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())
        return followed

    def _forget(self, key: tuple[str, str]) -> None:
        fetch = self._followed.pop(key).fetch
        if fetch is not None:
            fetch.cancel()

    def _failed_just_now(self, followed: _Followed) -> bool:
        """Whether a fetch failed within the polling interval: the poller, not each request, tries again."""
        return 0 <= self._clock() - followed.failed_at < self._poll_seconds

    def _serving(self, followed: _Followed, terms: IssuerTerms) -> OpenedStatusList:
        age = self._clock() - followed.good_at
        allowed = STATUS_LIST_MAX_AGE
        if followed.unreachable:
            allowed = max(allowed, float(terms.status_grace_seconds))
        if followed.held is None or age > allowed:
            raise UnreachableError(
                Reason.STATUS_UNAVAILABLE, f"{followed.issuer}: no list of late", retry_after=self._poll_seconds
            )
        return followed.held

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            now = self._clock()
            for key in [key for key, followed in self._followed.items() if now - followed.asked > FORGET_SECONDS]:
                self._forget(key)
            await asyncio.gather(*(self._refresh(followed) for followed in tuple(self._followed.values())))

    async def _refresh(self, followed: _Followed) -> None:
        """Fetch a list once for all who wait for it; the outcome is in `followed`."""
        if followed.fetch is None:
            followed.fetch = asyncio.get_running_loop().create_task(self._fetch(followed))
        # Not awaited itself: a waiting request that is cancelled must not end the fetch of the others.
        await asyncio.wait({followed.fetch})

    async def _fetch(self, followed: _Followed) -> None:
        began = self._clock()
        try:
            token = await self._download(followed)
            self._take(followed, token, began)
        except (aiohttp.ClientError, OSError, TimeoutError, UnreachableError) as error:
            self._fail(followed, unreachable=not isinstance(error, aiohttp.ClientSSLError | ssl.SSLError), cause=error)
        except HeyanError as error:
            self._fail(followed, unreachable=False, cause=error)
        finally:
            followed.fetch = None

    async def _download(self, followed: _Followed) -> str:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._fetch_timeout),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        async with self._session.get(
            followed.uri,
            ssl=self._ssl_context(),
            server_hostname=parse_identity(followed.issuer).dns_name,
            allow_redirects=False,
            headers={"Accept": MEDIA_TYPE, "Accept-Encoding": "identity"},
        ) as response:
            if response.status >= 500:  # noqa: PLR2004 - the server's own fault (RFC 9110 §15.6)
                raise UnreachableError(Reason.STATUS_UNAVAILABLE, f"HTTP {response.status}")
            if response.status != 200 or response.content_type != MEDIA_TYPE:  # noqa: PLR2004
                raise MalformedError.at("status_list", f"HTTP {response.status} {response.content_type}")
            body = await response.content.read(MAX_TOKEN + 1)
            while len(body) <= MAX_TOKEN and (more := await response.content.read(MAX_TOKEN + 1 - len(body))):
                body += more
        return body.decode("ascii", "replace")

    def _take(self, followed: _Followed, token: str, began: float) -> None:
        opened = open_status_list(token, uri=followed.uri, issuer=followed.issuer, registry=self._registry(), now=began)
        self._clock_ahead = began - opened.issued
        if began - opened.issued > RESIGN_SECONDS + MAX_CLOCK_SKEW:
            raise NotCurrentError(Reason.STATUS_UNAVAILABLE, "signed too long ago")
        if followed.held is not None:
            if opened.issued < followed.held.issued:
                raise ForgedError(Reason.STATUS_UNAVAILABLE, "an older list than the one held")
            joined = opened.statuses.joined(followed.held.statuses)
            opened = OpenedStatusList(joined, opened.issued, opened.expires)
        # Asking late does not make an old list young: past the clocks' tolerance its own time counts.
        good_at = min(began, opened.issued + MAX_CLOCK_SKEW)
        followed.held, followed.good_at, followed.unreachable = opened, good_at, False

    def _fail(self, followed: _Followed, *, unreachable: bool, cause: Exception) -> None:
        followed.failed_at, followed.unreachable = self._clock(), unreachable
        detail = cause.detail if isinstance(cause, BadDataError) else type(cause).__name__
        _log.warning("status_list_not_had", uri=followed.uri, unreachable=unreachable, cause=detail)


def _is_under(uri: str, terms: IssuerTerms) -> bool:
    return uri.startswith(terms.base_uri.rstrip("/") + "/")
