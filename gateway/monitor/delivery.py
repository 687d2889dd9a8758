"""Bringing alarms to a webhook: at least once, in their order, for as long as it takes.

    POST URL    Content-Type: application/json; charset=utf-8
                Heyan-Alarm: <id>
                Heyan-Signature: sha256=<hex HMAC-SHA256(secret, body)>     if there is a secret

The body is the alarm's document. Any status from 200 to 299 is taken for "I have it", and nothing else is; no redirect
is followed. A receiver drops what it has by `id`. What is not taken stays in the store, and is tried again after 1 s,
2 s, 4 s, … up to MAX_WAIT, also after a restart; the monitor goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import aiohttp

from gateway.monitor.alarms import encode_document
from gateway.monitor.store import MonitorStore
from gateway.party.addresses import is_loopback
from gateway.party.keyfiles import read_private
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.reasons import Reason

TIMEOUT = 10.0
"""Seconds for one alarm."""
FIRST_WAIT = 1.0
MAX_WAIT = 600.0
"""Seconds between attempts: the first, and the longest."""
BATCH = 100
"""Alarms of one round."""
MIN_SECRET = 16
"""Bytes: what cannot be guessed."""
SIGNATURE_HEADER = "Heyan-Signature"
ID_HEADER = "Heyan-Alarm"


class Receiver(Protocol):
    """Takes alarms."""

    async def post(self, alarm_id: str, body: bytes) -> None:
        """Return once it has the alarm; UnreachableError if it may not have it."""
        ...


class Webhook:
    """A receiver behind a URL. Use as an asynchronous context manager."""

    def __init__(self, url: str, secret: bytes | None, context: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._secret = secret
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make ready; connects when there is something to tell."""
        connector = aiohttp.TCPConnector(ssl=self._context if self._context is not None else True)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, alarm_id: str, body: bytes) -> None:
        """See the port."""
        if self._session is None:
            raise UnreachableError(Reason.INTERNAL, "the webhook is not open")
        headers = {"Content-Type": "application/json; charset=utf-8", ID_HEADER: alarm_id}
        if self._secret is not None:
            headers[SIGNATURE_HEADER] = sign(self._secret, body)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                if not 200 <= response.status < 300:  # noqa: PLR2004 - success
                    raise UnreachableError(Reason.PEER_UNREACHABLE, f"the webhook answered {response.status}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnreachableError(Reason.PEER_UNREACHABLE, f"the webhook: {type(error).__name__}") from error


def sign(secret: bytes, body: bytes) -> str:
    """The value of the signature header."""
    return "sha256=" + hmac.digest(secret, body, sha256).hex()


def read_secret(file: Path) -> bytes:
    """The secret in a private file, without the line's end; MalformedError (CONFIGURATION_INVALID)."""
    secret = read_private(file).rstrip(b"\r\n")
    if len(secret) < MIN_SECRET:
        description = f"{file} must hold at least {MIN_SECRET} bytes"
        raise MalformedError.at("--webhook-secret", description, Reason.CONFIGURATION_INVALID)
    return secret


def require_nameless(url: str, option: str) -> str:
    """A URL without user and password: it is printed, and told in alarms; MalformedError as `require_safe`."""
    if "@" in urlsplit(require_safe(url, option)).netloc:
        raise MalformedError.at(option, "must not hold a user or a password", Reason.CONFIGURATION_INVALID)
    return url


def require_safe(url: str, option: str) -> str:
    """A URL of HTTPS, or of HTTP on this machine; MalformedError (CONFIGURATION_INVALID) naming the option."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        host, has_port, parts = "", False, urlsplit("")
    if not host or not has_port or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        description = "must be https://…, or http:// to a loopback address"
        raise MalformedError.at(option, description, Reason.CONFIGURATION_INVALID)
    return url


async def deliver_round(store: MonitorStore, receiver: Receiver) -> int:
    """Bring what is not brought yet, one after another; how many were taken.

    One that is not taken does not hold up those after it, unless nobody answers at all. Raises UnreachableError, once
    the round is over, if any was not taken.
    """
    taken, failure = 0, None
    for number, document in store.unposted(BATCH):
        body = encode_document(document).encode()
        try:
            await receiver.post(document["id"], body)
        except UnreachableError as error:
            failure = error
            if error.__cause__ is not None:  # no answer: the next would wait as long
                break
        else:
            store.mark_posted(number)
            taken += 1
    if failure is not None:
        raise failure
    return taken


class Delivery:
    """Brings alarms while a monitor runs. `wake` it when there are new ones."""

    def __init__(self, store: MonitorStore, receiver: Receiver) -> None:
        self._store = store
        self._receiver = receiver
        self._new = asyncio.Event()
        self.fault: UnreachableError | None = None
        """Why the last round did not bring everything; None if it did."""

    def wake(self) -> None:
        """Something may be there to be brought."""
        self._new.set()

    async def run(self) -> None:
        """Bring alarms until cancelled."""
        wait = FIRST_WAIT
        while True:
            self._new.clear()
            try:
                taken = await deliver_round(self._store, self._receiver)
            except UnreachableError as error:
                self.fault = error
                await asyncio.sleep(wait)
                wait = min(2 * wait, MAX_WAIT)
                continue
            self.fault, wait = None, FIRST_WAIT
            if taken < BATCH:
                await self._new.wait()
