from __future__ import annotations

import asyncio
import ssl

import aiohttp
import grpc
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from gateway.operator.authority import Authority
from gateway.operator.enrolment import enrol_certificate
from gateway.party.keyfiles import write_atomic, write_private
from gateway.party.tls import (
    RenewingChannel,
    check_server,
    client_ssl_context,
    load_material,
    open_channel,
    peer_identity,
    server_ssl_context,
)
from gateway.protocol.errors import MalformedError, UnknownPeerError, UnreachableError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.keys import private_pem
from gateway.protocol.reasons import Reason
from tests.party.conftest import AUDITOR, ENROL, GATEWAY, POLICE


def who(context) -> str:
    return peer_identity(context).uri


async def ask(channel) -> str:
    return (await channel.unary_unary("/any/method")(b"", timeout=5)).decode()


async def refused_call(channel) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    return refused.value.details()


def renew(federation, identity, authority=None):
    enrol_certificate(authority or federation.desk.authority, identity, federation.folder(identity), federation.clock())


def put(federation, identity, names: list[x509.GeneralName], purpose=None):
    """Put a certificate with any names, by the real CA's key, into a party's folder: a dishonest CA."""
    authority = federation.desk.authority
    key = ec.generate_private_key(ec.SECP256R1())
    honest = x509.load_pem_x509_certificate(authority.issue(identity, key.public_key(), federation.clock()))
    builder = x509.CertificateBuilder(
        honest.issuer, honest.subject, key.public_key(), honest.serial_number, honest.not_valid_before_utc,
        honest.not_valid_after_utc,
    )  # fmt: skip
    for extension in honest.extensions:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, extension.critical)
    forged = builder.add_extension(x509.SubjectAlternativeName(names), False).sign(authority.key, hashes.SHA256())
    files = federation.folder(identity).tls
    write_private(files.key, private_pem(key))
    write_atomic(files.certificate, forged.public_bytes(serialization.Encoding.PEM))


async def test_server_knows_its_client_by_the_uri_san(federation, serve):
    target = await serve(federation.watch(POLICE), who)
    for identity in (GATEWAY, ENROL, AUDITOR):
        async with open_channel(target, POLICE, federation.watch(identity)) as channel:
            assert await ask(channel) == identity.uri


async def test_renewed_server_certificate_is_used_without_restart(federation, serve):
    target = await serve(federation.watch(POLICE), who)
    client = federation.watch(GATEWAY)
    async with open_channel(target, POLICE, client) as before:
        assert await ask(before) == GATEWAY.uri
        first = await check_server(target, POLICE, client)
        renew(federation, POLICE)
        second = await check_server(target, POLICE, client)
        assert first.serial_number != second.serial_number
        assert second.serial_number == (await check_server(target, POLICE, client)).serial_number
        assert await ask(before) == GATEWAY.uri  # open connections stay
    async with open_channel(target, POLICE, client) as after:
        assert await ask(after) == GATEWAY.uri


async def test_probe_of_a_grpc_server_has_nobody_else_offer_http2(federation):
    client, files = federation.watch(GATEWAY), federation.folder(POLICE).tls
    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # as one that stands before an issuer's pages
    front.load_cert_chain(files.certificate, files.key)
    front.set_alpn_protocols(["h2", "http/1.1"])
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=front)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for _ in range(2):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_ssl_context(client.value), server_hostname=POLICE.dns_name
            )
            chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
            writer.transport.abort()
            assert chosen is None  # aiohttp speaks HTTP/1.1 only
            with pytest.raises(UnknownPeerError):  # it speaks no HTTP/2, so that it says nothing first
                await check_server(f"127.0.0.1:{port}", POLICE, client)


async def test_half_replaced_certificate_keeps_the_old_one_serving(federation, serve):
    target = await serve(federation.watch(POLICE), who)
    client = federation.watch(GATEWAY)
    first = await check_server(target, POLICE, client)
    with capture_logs() as logs:
        write_private(federation.folder(POLICE).tls.key, private_pem(ec.generate_private_key(ec.SECP256R1())))
        assert (await check_server(target, POLICE, client)).serial_number == first.serial_number
    assert [line["event"] for line in logs] == ["files_refused"]
    renew(federation, POLICE)
    assert (await check_server(target, POLICE, client)).serial_number != first.serial_number


async def test_renewed_ca_is_trusted_for_new_clients_without_restart(federation, serve):
    target = await serve(federation.watch(POLICE), who)
    other = Authority.create("successor", federation.clock())
    renew(federation, GATEWAY, other)
    renew(federation, POLICE, other)
    async with open_channel(target, POLICE, federation.watch(GATEWAY)) as channel:
        assert await ask(channel) == GATEWAY.uri
    async with open_channel(target, POLICE, federation.watch(ENROL)) as channel:  # still of the old CA
        await refused_call(channel)


async def test_client_certificate_is_renewed_by_a_new_channel(federation, serve):
    seen = []

    def record(context) -> str:
        seen.append(x509.load_pem_x509_certificate(context.auth_context()["x509_pem_cert"][0]).serial_number)
        return ""

    target = await serve(federation.watch(POLICE), record)
    renewing = RenewingChannel(target, POLICE, federation.watch(GATEWAY), grace=0.1)
    old = renewing.channel
    await ask(old)
    assert not renewing.renew()
    renew(federation, GATEWAY)
    assert renewing.renew()
    await ask(renewing.channel)
    assert len(set(seen)) == 2
    await asyncio.sleep(0.3)
    with pytest.raises((grpc.aio.UsageError, grpc.aio.AioRpcError)):
        await ask(old)
    await renewing.close()


async def test_client_of_an_unknown_ca_is_refused(federation, serve):
    target = await serve(federation.watch(POLICE), who)
    tls = federation.folder(GATEWAY).tls
    renew(federation, GATEWAY, Authority.create("stranger", federation.clock()))
    write_atomic(tls.ca, federation.desk.authority.pem)  # trusts the right CA, is of another
    client = federation.watch(GATEWAY)
    async with open_channel(target, POLICE, client) as channel:
        await refused_call(channel)
    with pytest.raises(UnknownPeerError) as refused:
        await check_server(target, POLICE, client)
    assert refused.value.reason is Reason.PEER_UNAUTHENTICATED


async def test_client_without_certificate_is_refused(federation, serve):
    target = await serve(federation.watch(POLICE), who)
    options = [("grpc.ssl_target_name_override", POLICE.dns_name)]
    credentials = grpc.ssl_channel_credentials(federation.desk.authority.pem)
    async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
        await refused_call(channel)


async def test_server_of_an_unknown_ca_is_refused(federation, serve):
    client = federation.watch(GATEWAY)
    renew(federation, POLICE, Authority.create("stranger", federation.clock()))
    target = await serve(federation.watch(POLICE), who)
    async with open_channel(target, POLICE, client) as channel:
        await refused_call(channel)
    with pytest.raises(UnknownPeerError, match="certificate") as refused:
        await check_server(target, POLICE, client)
    assert refused.value.reason is Reason.PEER_IDENTITY_MISMATCH


async def test_server_with_the_certificate_of_another_node_is_refused(federation, serve):
    target = await serve(federation.watch(GATEWAY), who)  # a party of the federation, but not the one expected
    client = federation.watch(ENROL)
    async with open_channel(target, POLICE, client) as channel:
        await refused_call(channel)
    with pytest.raises(UnknownPeerError) as refused:
        await check_server(target, POLICE, client)
    assert refused.value.reason is Reason.PEER_IDENTITY_MISMATCH


async def test_certificate_that_may_not_serve_is_refused_of_a_server(federation, serve):
    put(federation, ENROL, [x509.UniformResourceIdentifier(POLICE.uri), x509.DNSName(POLICE.dns_name)])
    with pytest.raises(UnknownPeerError) as refused:
        await check_server(await serve(federation.watch(ENROL)), POLICE, federation.watch(GATEWAY))
    assert refused.value.reason is Reason.PEER_IDENTITY_MISMATCH


async def test_server_with_the_right_dns_name_and_a_wrong_uri_san_is_refused(federation, serve):
    other = Identity(PartyRole.DEPARTMENT, "impostor")
    put(federation, POLICE, [x509.UniformResourceIdentifier(other.uri), x509.DNSName(POLICE.dns_name)])
    target = await serve(federation.watch(POLICE), who)
    with pytest.raises(UnknownPeerError, match="URI SAN") as refused:
        await check_server(target, POLICE, federation.watch(GATEWAY))
    assert refused.value.reason is Reason.PEER_IDENTITY_MISMATCH


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("hunan.gateway.heyan.internal")],
        [x509.UniformResourceIdentifier(GATEWAY.uri), x509.UniformResourceIdentifier(POLICE.uri)],
        [x509.UniformResourceIdentifier("spiffe://elsewhere/gateway/hunan")],
        [x509.UniformResourceIdentifier("spiffe://heyan/gateway/hunan/more")],
        [x509.UniformResourceIdentifier("https://heyan/gateway/hunan")],
        [x509.DNSName("spiffe://heyan/gateway/hunan")],
    ],
    ids=["no uri", "two uris", "other trust domain", "longer path", "other scheme", "dns name spelt as uri"],
)
async def test_client_without_exactly_one_identity_is_unauthenticated(federation, serve, names):
    def reason(context) -> str:
        try:
            return who(context)
        except UnknownPeerError as error:
            return error.reason.value

    target = await serve(federation.watch(POLICE), reason)
    authority = federation.desk.authority
    genuine = load_material(federation.folder(GATEWAY).tls)
    put(federation, GATEWAY, names)
    files = federation.folder(GATEWAY).tls
    credentials = grpc.ssl_channel_credentials(authority.pem, files.key.read_bytes(), files.certificate.read_bytes())
    options = [("grpc.ssl_target_name_override", POLICE.dns_name), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
        assert await ask(channel) == Reason.PEER_UNAUTHENTICATED.value
    with pytest.raises(UnknownPeerError):
        load_material(genuine.files)


async def test_unreachable_and_unencrypted_servers_are_told_apart(federation, free_port):
    client = federation.watch(GATEWAY)
    with pytest.raises(UnreachableError):
        await check_server(f"127.0.0.1:{free_port()}", POLICE, client)

    async def plain(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        with pytest.raises(UnknownPeerError) as refused:
            await check_server(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", POLICE, client)
    assert refused.value.reason is Reason.PEER_UNAUTHENTICATED


def test_key_of_another_certificate_and_readable_key_are_refused(federation):
    files = federation.folder(GATEWAY).tls
    files.key.chmod(0o640)
    with pytest.raises(MalformedError, match="chmod 600"):
        load_material(files)
    write_private(files.key, federation.folder(POLICE).tls.key.read_bytes())
    with pytest.raises(MalformedError, match="not the certificate of the key"):
        load_material(files)


@pytest.fixture
async def serve_http():
    runners = []

    async def start(context) -> str:
        async def handler(request):
            names = (request.transport.get_extra_info("peercert") or {}).get("subjectAltName", ())
            return web.Response(text=dict(names).get("URI", "nobody"))

        application = web.Application()
        application.router.add_get("/", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        runners.append(runner)
        return f"https://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"

    yield start
    for runner in runners:
        await runner.cleanup()


async def get(url: str, context: ssl.SSLContext, name: str | None = None) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, ssl=context, server_hostname=name) as response,
    ):
        return await response.text()


async def test_http_client_is_known_by_its_uri_san_and_may_be_nobody_where_optional(federation, serve_http):
    url = await serve_http(server_ssl_context(federation.watch(GATEWAY), ssl.VerifyMode.CERT_OPTIONAL))
    context = client_ssl_context(federation.watch(AUDITOR).value)
    assert await get(url, context, GATEWAY.dns_name) == AUDITOR.uri
    anonymous = ssl.create_default_context(cadata=federation.desk.authority.pem.decode())
    assert await get(url, anonymous) == "nobody"
    with pytest.raises(aiohttp.ClientError):
        await get(url, context, POLICE.dns_name)


async def test_http_server_requires_a_certificate_by_default_and_tls_1_3(federation, serve_http):
    url = await serve_http(server_ssl_context(federation.watch(GATEWAY)))
    anonymous = ssl.create_default_context(cadata=federation.desk.authority.pem.decode())
    with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
        await get(url, anonymous)
    old = client_ssl_context(federation.watch(AUDITOR).value)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(aiohttp.ClientError):
        await get(url, old, GATEWAY.dns_name)


@pytest.mark.parametrize("server_name", [GATEWAY.dns_name, None])
async def test_http_server_uses_a_renewed_certificate_and_ca_without_restart(federation, serve_http, server_name):
    url = await serve_http(server_ssl_context(federation.watch(GATEWAY)))
    assert await get(url, client_ssl_context(federation.watch(AUDITOR).value), server_name) == AUDITOR.uri
    other = Authority.create("successor", federation.clock())
    renew(federation, GATEWAY, other)
    stale = client_ssl_context(federation.watch(AUDITOR).value)
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await get(url, stale, server_name)
    renew(federation, AUDITOR, other)
    assert await get(url, client_ssl_context(federation.watch(AUDITOR).value), server_name) == AUDITOR.uri
