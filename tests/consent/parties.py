"""Parties on loopback with real TLS: folders, certificates of a throwaway CA, and a status list server that may lie."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from consent.status_list import MEDIA_TYPE, StatusList, sign_status_list
from gateway.operator.authority import Authority
from gateway.operator.enrolment import PartyFolder, enrol_certificate
from gateway.party.keyfiles import save_signing_key, write_atomic, write_private
from gateway.party.tls import client_ssl_context, load_material, server_ssl_context, watch_tls
from gateway.protocol.identities import parse_identity
from gateway.protocol.keys import SigningKey
from tests.federation import ISSUER, Federation


def make_folder(path: Path, authority: Authority, party: str, key: SigningKey | None = None) -> PartyFolder:
    folder = PartyFolder(path)
    enrol_certificate(authority, parse_identity(party), folder, time.time())
    if key is not None:
        save_signing_key(folder.keys, key)
    return folder


def client_context(folder: PartyFolder) -> ssl.SSLContext:
    return client_ssl_context(load_material(folder.tls))


@dataclass
class StatusServer:
    """Serves status lists over HTTPS as it is told to."""

    folder: PartyFolder
    key: SigningKey
    base_uri: str = ""
    revoked: set[int] = field(default_factory=set)
    requests: int = 0
    status: int = 200
    token: str | None = None
    issued: float | None = None
    delay: float = 0.0
    content_type: str = MEDIA_TYPE
    port: int = 0
    runner: web.AppRunner | None = None

    async def start(self, clock) -> None:
        self.clock = clock
        app = web.Application()
        app.router.add_get("/status-lists/{number}", self.serve)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        context = server_ssl_context(watch_tls(self.folder.tls), ssl.CERT_NONE)
        site = web.TCPSite(self.runner, "127.0.0.1", self.port, ssl_context=context)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    def sign(self, number: str = "0") -> str:
        issued = self.clock() if self.issued is None else self.issued
        uri = f"{self.base_uri}/status-lists/{number}"
        return sign_status_list(StatusList.of(self.revoked), uri, int(issued), self.key)

    async def serve(self, request: web.Request) -> web.Response:
        self.requests += 1
        await asyncio.sleep(self.delay)
        if self.status != 200:
            return web.Response(status=self.status, headers={"Location": "/status-lists/1"})
        token = self.token if self.token is not None else self.sign(request.match_info["number"])
        return web.Response(body=token.encode(), content_type=self.content_type)


def issuer_files(root: Path, federation: Federation, authority: Authority) -> Path:
    """The folder of a consent issuer, with a configuration file; its path."""
    folder = make_folder(root / "consent", authority, ISSUER, federation.signing_keys[ISSUER])
    write_private(folder.path / "pseudonyms.key", b"p" * 32)
    write_atomic(root / "registry.jws", federation.registry.token.encode())
    listen = (
        federation.registry.party(ISSUER).issuer.base_uri.removeprefix("https://").replace("localhost", "127.0.0.1")
    )
    text = f"""
spiffe_id = "{ISSUER}"
listen = "{listen}"
store = "consent.db"
keys = "keys"
pseudonym_secret = "pseudonyms.key"

[tls]
certificate = "tls/certificate.pem"
key = "tls/key.pem"
ca = "tls/ca.pem"

[registry]
source = "../registry.jws"
operator_vkey = "{federation.operator_vkey}"
seen = "registry.seen"
"""
    config = folder.path / "consent.toml"
    config.write_text(text)
    return config
