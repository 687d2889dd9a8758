"""The issuer end to end: its process's parts over real TLS, the guardian's app, and the follower of its lists."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sqlite3
import ssl
import sys
import threading
import time
from pathlib import Path

import aiohttp
import grpc
import msgspec
import pytest
from aiohttp import web

from consent.authenticator import derive_authenticator
from consent.consent_file import read_consent_file, write_consent_file
from consent.disclosures import group_details
from consent.guardian import GuardianApp, Person
from consent.issuer.accounts import CO_RESIDENT as LIVES_WITH
from consent.issuer.accounts import Account, Child
from consent.issuer.config import IssuerConfig
from consent.issuer.server import IssuerServer, serve
from consent.issuer.store import IssuerStore
from consent.revocation import open_revocation
from consent.status_follower import StatusFollower
from consent.status_list import open_status_list
from consent.verification import require_evidence
from gateway.operator.authority import Authority
from gateway.operator.enrolment import PartyFolder, enrol_certificate
from gateway.party.keyfiles import save_signing_key, write_atomic
from gateway.party.tls import server_credentials, server_ssl_context, watch_tls
from gateway.protocol.claims import CLAIMS
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import gateway_service_pb2
from tests.consent.parties import client_context, issuer_files, make_folder
from tests.federation import (
    CHILD,
    CO_RESIDENT,
    GATEWAY,
    GUARDIAN,
    ISSUER,
    OTHER_ISSUER,
    REGION,
    REQUESTER,
    Federation,
    edit_party,
    key_terms,
)

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"sandbox secret of thirty-two byt"
MOTHER = Person("mother", derive_authenticator(SECRET, "mother"))
GRANDPA = Person("grandpa", derive_authenticator(SECRET, "grandpa"))
STRANGER = Person("stranger", derive_authenticator(SECRET, "stranger"))


class World:
    """An issuer on loopback, and what a test needs of its surroundings."""

    def __init__(self, root: Path, port: int, gateway_port: int) -> None:
        self.root, self.port = root, port
        self.url = f"https://localhost:{port}"
        self.authority = Authority.create("heyan.test", time.time())
        self.federation = Federation.create(
            time.time(),
            base_uri=self.url,
            origins=(self.url,),
            channels={GATEWAY: (f"127.0.0.1:{gateway_port}",)},
        )
        self.config = IssuerConfig.from_file(issuer_files(root, self.federation, self.authority))
        store = IssuerStore(self.config.store)
        store.put_accounts([_account(MOTHER, GUARDIAN, "parent"), _account(GRANDPA, CO_RESIDENT, LIVES_WITH)])
        store.close()
        self.gateway = make_folder(root / "gateway", self.authority, GATEWAY)
        self.ssl = ssl.create_default_context(cadata=self.authority.pem.decode())

    def app(self) -> GuardianApp:
        return GuardianApp(self.url, self.ssl)

    async def issue(self, **changes):
        values = {
            "requester": REQUESTER,
            "gateway": GATEWAY,
            "details": group_details(CLAIMS, (REGION,), 3),
            "co_residents": (GRANDPA,),
            **changes,
        }
        async with self.app() as app:
            return await app.issue(values.pop("guardian", MOTHER), values.pop("child", CHILD.id_number), **values)

    def follower(self) -> StatusFollower:
        context = client_context(self.gateway)
        return StatusFollower(registry=lambda: self.federation.registry, ssl_context=lambda: context, clock=time.time)


def _account(person, subject, relation):
    passkey = person.authenticator
    return Account(person.account, subject, passkey.public_key, passkey.credential_id, (Child(CHILD, relation),))


@pytest.fixture
def world(tmp_path, free_port, desk):
    world = World(tmp_path, free_port(), free_port())
    desk.federation, desk.now = world.federation, time.time()
    return world


@pytest.fixture
async def server(world):
    server = IssuerServer(world.config)
    assert await server.start() == world.port
    yield server
    await server.stop()


@pytest.fixture
async def gateway(world):
    """A gateway that takes withdrawals."""
    statements: asyncio.Queue[tuple[str, list[bytes]]] = asyncio.Queue()

    async def report(message, context):
        request = gateway_service_pb2.ReportRevocationRequest.FromString(message)
        statements.put_nowait((request.statement, list(context.auth_context()["peer_uri"])))
        return gateway_service_pb2.ReportRevocationResponse().SerializeToString()

    handlers = {"ReportRevocation": grpc.unary_unary_rpc_method_handler(report)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("heyan.v1.GatewayService", handlers),))
    address = world.federation.registry.party(GATEWAY).gateway.channels[0]
    server.add_secure_port(address, server_credentials(watch_tls(world.gateway.tls)))
    await server.start()
    yield statements
    await server.stop(0)


async def test_family_consents_and_every_claim_can_be_asked(world, server, desk, tmp_path):
    consent = await world.issue()
    write_consent_file(tmp_path / "family.json", consent)
    consent = read_consent_file(tmp_path / "family.json")
    grants = desk.open_all(consent)
    follower = world.follower()
    try:
        for grant in grants.values():
            await follower.require_standing(grant)
    finally:
        await follower.close()
    part = desk.part([desk.check(consent, "kinship.same_household@1")])
    evidence = [grant.evidence for grant in consent.grants]
    require_evidence(part, grants, evidence, world.federation.registry)


async def test_withdrawal_reaches_the_gateway_at_once_and_the_follower_within_five_seconds(
    world, server, gateway, desk, refused
):
    consent = await world.issue()
    grant = desk.open(consent.grants[0])
    follower = world.follower()
    try:
        await follower.require_standing(grant)
        async with world.app() as app:
            statement = await app.revoke(MOTHER, consent.grants[0])
        opened = open_revocation(statement, world.federation.registry, time.time())
        assert (opened.grant_digest, opened.issuer) == (grant.digest, grant.issuer)
        reported, peer = await asyncio.wait_for(gateway.get(), 3)
        assert reported == statement
        assert peer == [ISSUER.encode()]
        with refused(Reason.GRANT_REVOKED):
            await ask_for(follower, grant, seconds=5)
        await follower.require_standing(desk.open(consent.grants[1]))
    finally:
        await follower.close()


async def ask_for(follower, grant, seconds):
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await follower.require_standing(grant)
        await asyncio.sleep(0.1)


async def test_withdrawal_is_honoured_though_the_gateway_cannot_be_told(world, server, desk, refused):
    consent = await world.issue(co_residents=())
    async with world.app() as app:
        await app.revoke(MOTHER, consent.grants[0])
    follower = world.follower()
    try:
        with refused(Reason.GRANT_REVOKED):
            await follower.require_standing(desk.open(consent.grants[0]))
    finally:
        await follower.close()


async def test_stranger_is_refused_alike_everywhere(world, server, refused):
    consent = await world.issue(co_residents=())
    for changes in (
        {"guardian": STRANGER},
        {"guardian": Person("mother", STRANGER.authenticator)},
        {"guardian": GRANDPA},
        {"child": "439900201809010025"},
        {"co_residents": (STRANGER,)},
        {"co_residents": (MOTHER,)},
    ):
        with refused(Reason.EVIDENCE_INVALID):
            await world.issue(**changes)
    async with world.app() as app:
        for person in (STRANGER, GRANDPA):
            with refused(Reason.EVIDENCE_INVALID):
                await app.revoke(person, consent.grants[0])


async def test_app_on_a_foreign_page_is_refused(world, server, refused):
    async with GuardianApp(world.url, world.ssl, origin="https://evil.test") as app:
        with refused(Reason.EVIDENCE_INVALID):
            await app.issue(
                MOTHER, CHILD.id_number, requester=REQUESTER, gateway=GATEWAY, details=group_details(CLAIMS, ("43",), 1)
            )


async def test_app_trusts_no_other_ca(world, server, tmp_path):
    other = Authority.create("evil", time.time())
    context = ssl.create_default_context(cadata=other.pem.decode())
    async with GuardianApp(world.url, context) as app:
        with pytest.raises(UnreachableError):
            await app.issue(
                MOTHER, CHILD.id_number, requester=REQUESTER, gateway=GATEWAY, details=group_details(CLAIMS, ("43",), 1)
            )


@pytest.mark.parametrize("lie", ["requester", "details", "notice", "gateway", "uses"])
async def test_app_approves_nothing_that_it_did_not_ask_for(world, server, lie, monkeypatch):
    """The issuer drafts something else than was asked: the passkey is not touched."""
    honest = server._issuer.draft

    def dishonest(body):
        changes = {
            "requester": {"requester": "spiffe://heyan/requester/zhuzhou-edu"},
            "gateway": {"gateway": "spiffe://heyan/gateway/other"},
            "details": {"details": body.details[:-1]},
            "uses": {"details": (*body.details[:-1], msgspec.structs.replace(body.details[-1], max_uses=999))},
        }
        draft = honest(msgspec.structs.replace(body, **changes.get(lie, {})))
        if lie == "notice":
            notice = type(draft.notice)(draft.notice.notice, "something harmless")
            draft = type(draft)(draft.draft, draft.payload, draft.disclosures, draft.rp_id, draft.credential_id, notice)
        return draft

    monkeypatch.setattr(server._issuer, "draft", dishonest)
    touched = []
    watched = Person("mother", _Watched(MOTHER.authenticator, touched))
    with pytest.raises(ForgedError):
        await world.issue(guardian=watched, co_residents=())
    assert not touched


class _Watched:
    def __init__(self, authenticator, touched):
        self._authenticator, self._touched = authenticator, touched

    def approve(self, *arguments, **options):
        self._touched.append(arguments)
        return self._authenticator.approve(*arguments, **options)


# -- HTTP ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def http(world, server):
    connector = aiohttp.TCPConnector(ssl=world.ssl)
    async with aiohttp.ClientSession(world.url, connector=connector) as session:
        yield session


async def test_problems_are_localized_and_quote_nothing(http):
    secret = "439900201809010017"
    cases = [
        (await http.post("/v1/consents", data=b"{"), 400, "MESSAGE_MALFORMED"),
        (await http.post("/v1/consents", json={"account": secret, "child": 5}), 400, "MESSAGE_MALFORMED"),
        (await http.post("/v1/revocations", json={"jti": "a", "assertion": {}, secret: 1}), 400, "MESSAGE_MALFORMED"),
        (await http.post("/v1/consents", data=b"x" * 20_000), 413, "MESSAGE_TOO_LARGE"),
        (await http.post(f"/v1/consents/{secret}/approval", json={"assertion": {}}), 400, "MESSAGE_MALFORMED"),
        (await http.get("/status-lists/7"), 404, "NOT_FOUND"),
        (await http.get(f"/{secret}"), 404, "MESSAGE_MALFORMED"),
        (await http.delete("/v1/consents"), 405, "MESSAGE_MALFORMED"),
    ]
    for response, status, reason in cases:
        assert (response.status, response.content_type) == (status, "application/problem+json")
        problem = await response.json(content_type=None)
        assert problem["reason"] == reason
        assert problem["zh"]
        assert problem["en"]
        assert secret not in await response.text()
        assert "Traceback" not in await response.text()


async def test_unexpected_fault_leaves_nothing_internal(http, server, monkeypatch, capsys):
    def fail(_number):
        raise RuntimeError("secret detail 439900201809010017")

    monkeypatch.setattr(server._issuer, "status_list", fail)
    response = await http.get("/status-lists/0")
    assert response.status == 500
    assert "secret" not in await response.text()
    assert (await response.json(content_type=None))["reason"] == "INTERNAL"
    captured = capsys.readouterr()
    assert "439900201809010017" not in captured.out + captured.err


@pytest.fixture
def stuck(server, monkeypatch):
    """Drafts take as long as the test: a flood of them, in effect."""
    free = threading.Event()
    honest = server._issuer.draft

    def draft(body):
        free.wait(20)
        return honest(body)

    monkeypatch.setattr(server._issuer, "draft", draft)
    yield free
    free.set()


def _draft_body():
    return {
        "account": "nobody",
        "child": "nobody",
        "requester": REQUESTER,
        "gateway": GATEWAY,
        "purpose": "enrolment",
        "details": [{"claims": ["hukou.child_registered@1"], "regions": [REGION], "max_uses": 1}],
    }


async def test_flood_of_drafts_delays_no_withdrawal_and_no_status_list(world, server, http, desk, stuck):
    stuck.set()
    consent = await world.issue(co_residents=())
    stuck.clear()
    flood = [asyncio.create_task(http.post("/v1/consents", json=_draft_body())) for _ in range(20)]
    await asyncio.sleep(0.2)
    async with world.app() as app:
        await asyncio.wait_for(app.revoke(MOTHER, consent.grants[0]), 3)
    response = await asyncio.wait_for(http.get("/status-lists/0"), 3)
    opened = open_status_list(
        await response.text(),
        uri=f"{world.url}/status-lists/0",
        issuer=ISSUER,
        registry=world.federation.registry,
        now=time.time(),
    )
    assert opened.statuses.is_set(desk.open(consent.grants[0]).status.idx)
    assert not any(task.done() for task in flood)
    stuck.set()
    await asyncio.gather(*flood)


async def test_flood_of_drafts_beyond_the_bound_is_told_to_come_back(http, stuck, monkeypatch):
    monkeypatch.setattr("consent.issuer.app.MAX_UNDER_WAY", 3)
    flood = [asyncio.create_task(http.post("/v1/consents", json=_draft_body())) for _ in range(3)]
    await asyncio.sleep(0.3)
    response = await asyncio.wait_for(http.post("/v1/consents", json=_draft_body()), 3)
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert (await response.json(content_type=None))["reason"] == "OVERLOADED"
    stuck.set()
    answers = await asyncio.gather(*flood)
    assert 429 not in {answer.status for answer in answers}
    assert (await http.post("/v1/consents", json=_draft_body())).status != 429


async def test_status_list_is_served_with_an_etag(world, http):
    await world.issue(co_residents=())
    response = await http.get("/status-lists/0")
    assert response.content_type == "application/statuslist+jwt"
    uri = f"{world.url}/status-lists/0"
    open_status_list(await response.text(), uri=uri, issuer=ISSUER, registry=world.federation.registry, now=time.time())
    again = await http.get("/status-lists/0", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status in {200, 304}  # signed again after a second
    if again.status == 304:
        assert not await again.read()


async def test_keys_are_published(world, http):
    keys = (await (await http.get("/.well-known/jwks.json")).json())["keys"]
    assert [(key["kid"], key["kty"], key["crv"], key["alg"]) for key in keys] == [("key-1", "EC", "P-256", "ES256")]
    assert "d" not in keys[0]
    assert (await http.get("/healthz")).status == 200


async def test_private_answers_are_not_stored_by_caches(http):
    for response in (await http.post("/v1/consents", json={}), await http.get("/.well-known/jwks.json")):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


# -- process ------------------------------------------------------------------------------------------------


async def test_renewed_certificate_is_used_without_a_restart(world, server):
    def serial():
        with (
            socket.create_connection(("127.0.0.1", world.port)) as plain,
            world.ssl.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            return connection.getpeercert()["serialNumber"]

    before = await asyncio.to_thread(serial)
    folder = PartyFolder(world.config.tls.key.parent.parent)
    enrol_certificate(world.authority, parse_identity(ISSUER), folder, time.time())
    assert await asyncio.to_thread(serial) != before


async def test_new_signing_key_is_used_without_a_restart(world, server):
    key = SigningKey("key-2", world.federation.signing_keys[OTHER_ISSUER].private)
    save_signing_key(world.config.keys, key)
    terms = key_terms(key, KeyUse.GRANT, time.time() + 60)
    old = world.federation.registry.party(ISSUER).keys
    world.federation = world.federation.changed(lambda document: edit_party(document, ISSUER, keys=(*old, terms)))
    write_atomic(world.config.registry.source, world.federation.registry.token.encode())
    deadline = time.monotonic() + 10
    while True:
        consent = await world.issue(co_residents=())
        if '"kid":"key-2"' in _header(consent.grants[0].token):
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)


def _header(token):
    return base64.urlsafe_b64decode(token.split(".")[0] + "==").decode().replace(" ", "")


def test_short_pseudonym_secret_is_refused(world, refused):
    world.config.pseudonym_secret.write_bytes(b"short")
    with refused(Reason.CONFIGURATION_INVALID):
        IssuerServer(world.config)


async def test_start_without_a_key_that_counts_is_refused(world, refused):
    (world.config.keys / "key-1.pem").unlink()
    server = IssuerServer(world.config)
    with refused(Reason.KEY_UNKNOWN):
        await server.start()
    await server.stop()


def test_configuration_with_an_unknown_setting_is_refused(world):
    path = world.config.store.parent / "consent.toml"
    path.write_text(path.read_text().replace("[tls]", "surprise = 1\n[tls]"))
    with pytest.raises(MalformedError):
        IssuerConfig.from_file(path)


async def test_part_that_will_not_stop_keeps_none_of_the_others_open(world, monkeypatch):
    server = IssuerServer(world.config)
    port = await server.start()

    stop_probes = server._probes.stop

    async def breaks():
        await stop_probes()
        raise OSError("in the way")

    monkeypatch.setattr(server._probes, "stop", breaks)
    with pytest.raises(OSError, match="in the way"):
        await server.stop()
    assert all(task.done() for task in server._tasks)
    with pytest.raises(OSError, match=str(port)):
        await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(sqlite3.ProgrammingError):
        server._store.count_drafts()


async def test_app_says_of_an_issuer_that_is_not_there_that_it_is_unreachable(world, refused):
    with refused(Reason.PEER_UNREACHABLE):
        await world.issue()


async def test_serve_ends_when_told(world):
    stop, ports = asyncio.Event(), []
    task = asyncio.create_task(serve(world.config, stop, ports.append))
    while not ports:  # noqa: ASYNC110 - the callback may come before this looks
        await asyncio.sleep(0.02)
    consent = await world.issue()
    stop.set()
    await asyncio.wait_for(task, 10)
    assert ports == [world.port]
    assert len(consent.grants) == 2
    with pytest.raises(UnreachableError):
        await world.issue()


@pytest.mark.e2e
async def test_process_ends_on_sigterm(world):
    program = (
        "import sys; from pathlib import Path; from consent.issuer.config import IssuerConfig\n"
        "from consent.issuer.server import serve\n"
        "from gateway.party.process import configure_logging, run_until_signal\n"
        "configure_logging('info')\n"
        "config = IssuerConfig.from_file(Path(sys.argv[1]))\n"
        "run_until_signal(lambda stop: serve(config, stop, lambda port: print(port, flush=True)))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        str(world.config.store.parent / "consent.toml"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'gen'}"},
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == f"{world.port}\n".encode()
    await world.issue()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_app_used_outside_its_context_says_so(world):
    app = world.app()
    with pytest.raises(MalformedError):
        await app.revoke(MOTHER, world.federation.issue().grants[0])


async def test_issuer_that_may_not_sign_now_does_not_want_work(world, server):
    assert server._complaints() == []
    (world.config.keys / "key-1.pem").unlink()
    server._keys.refresh()
    assert len(server._complaints()) == 1


async def test_withdrawal_for_a_gateway_that_left_the_registry_is_only_logged(world, server):
    server._reporter.report("statement", "spiffe://heyan/gateway/nobody")
    await server._reporter.close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"<html>"),
        (503, b'{"reason": "NO_SUCH_REASON"}'),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"statement": 5}'),
        (200, b"x" * ((1 << 20) + 9)),
        (302, b""),
    ],
)
async def test_answer_that_is_none_is_a_domain_error(world, status, body):
    async def answer(_request):
        return web.Response(status=status, body=body, headers={"Location": "https://evil.test"})

    app = web.Application()
    app.router.add_post("/v1/revocations", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(
        runner, "127.0.0.1", world.port, ssl_context=server_ssl_context(watch_tls(world.config.tls), ssl.CERT_NONE)
    ).start()
    try:
        async with world.app() as client:
            with pytest.raises(HeyanError):
                await client.revoke(MOTHER, world.federation.issue().grants[0])
    finally:
        await runner.cleanup()
