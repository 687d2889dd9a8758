"""The log over HTTPS: what each peer may read, and requests that look for more than there is."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from gateway.operator.authority import Authority
from gateway.operator.enrolment import enrol_certificate
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.tls import client_ssl_context
from gateway.protocol.errors import NotFoundError, UnknownPeerError, UnreachableError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.registry import Registry
from gateway.protocol.tiles import bundles_at, encode_entries, tiles_at
from gateway.static_log import server as log_http
from gateway.static_log.server import LogServer
from gateway.static_log.tile_proofs import prove_consistency, prove_inclusion, read_leaves
from gateway.static_log.tile_source import HttpSource
from tests.party.conftest import AUDITOR, ENROL, GATEWAY, POLICE, Clock, federation  # noqa: F401 - a fixture
from tests.static_logs import checkpoint_of, leaves, note_of, write_log

SIZE = 600
DATA = leaves(SIZE)
IMMUTABLE = "max-age=31536000, immutable"


@dataclass
class Served:
    """A running server, and who may call it."""

    parties: object
    server: LogServer
    port: int
    published: Path
    clock: Clock
    registry: RegistryKeeper

    def context(self, identity: Identity | None) -> ssl.SSLContext:
        if identity is not None:
            return client_ssl_context(self.parties.watch(identity).value)
        return ssl.create_default_context(cadata=self.parties.desk.authority.pem.decode())

    @asynccontextmanager
    async def source(self, identity: Identity | None = None):
        url = f"https://localhost:{self.port}/0"
        async with HttpSource(url, self.context(identity), server_name=GATEWAY.dns_name) as source:
            yield source

    async def ask(self, target: str, identity: Identity | None = None, method: str = "GET", more: str = ""):
        """Status, headers and body of one request, its target sent as it is written here."""
        context = self.context(identity)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=GATEWAY.dns_name
        )
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n".encode())
        head, _, body = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
        writer.transport.abort()
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers, body


@pytest.fixture
async def served(federation, tmp_path):  # noqa: F811 - pytest's way
    published = tmp_path / "published"
    write_log(published / "0", DATA)
    clock = Clock(federation.clock.now)
    keeper = RegistryKeeper(federation.registry_files(GATEWAY), federation.clock)
    server = LogServer(
        published=published,
        listen="127.0.0.1:0",
        tls=federation.watch(GATEWAY),
        registry=keeper.current,
        clock=clock,
    )
    port = await server.start()
    yield Served(federation, server, port, published, clock, keeper)
    await server.stop()


# -- what is served ---------------------------------------------------------------------------------------------


async def test_anyone_verifies_and_an_auditor_reads_everything(served):
    checkpoint = checkpoint_of(DATA)
    async with served.source() as source:
        assert await source.checkpoint() == note_of(DATA)
        await prove_inclusion(source, 599, checkpoint)
        await prove_consistency(source, checkpoint_of(DATA[:257]), checkpoint)
    async with served.source(AUDITOR) as source:
        assert [leaf async for _, leaf in read_leaves(source, 0, SIZE, checkpoint)] == DATA


async def test_types_and_caching_are_those_of_the_specification(served):
    status, headers, body = await served.ask("/0/checkpoint")
    assert (status, body) == (200, note_of(DATA))
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    for path in ("tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2"):
        status, headers, body = await served.ask(f"/0/{path}")
        assert (status, body) == (200, (served.published / "0" / path).read_bytes())
        assert headers["content-type"] == "application/octet-stream"
        assert headers["cache-control"] == IMMUTABLE
        assert int(headers["content-length"]) == len(body)
    status, headers, body = await served.ask("/0/tile/entries/000", AUDITOR)
    assert (status, body) == (200, encode_entries(DATA[:256]))
    assert headers["content-type"] == "application/octet-stream"
    assert headers["cache-control"] == f"private, {IMMUTABLE}"
    assert "content-encoding" not in headers


async def test_entries_are_compressed_for_who_takes_it(served):
    status, headers, body = await served.ask("/0/tile/entries/000", AUDITOR, more="Accept-Encoding: gzip\r\n")
    assert status == 200
    assert headers["content-encoding"] == "gzip"
    assert zlib.decompress(body, 31) == gzip.decompress(body) == encode_entries(DATA[:256])


async def test_head_has_everything_but_the_body(served):
    for target in ("/0/checkpoint", "/0/tile/0/000"):
        status, headers, body = await served.ask(target)
        status_of_head, headers_of_head, nothing = await served.ask(target, method="HEAD")
        assert (status_of_head, nothing) == (status, b"")
        assert {**headers_of_head, "date": ""} == {**headers, "date": ""}
        assert int(headers["content-length"]) == len(body)


async def test_a_partial_tile_that_was_deleted_or_never_published_is_cut_from_a_wider_one(served):
    tile = (served.published / "0/tile/0/000").read_bytes()
    edge = (served.published / "0/tile/0/002.p/88").read_bytes()
    assert (await served.ask("/0/tile/0/000.p/7"))[2] == tile[: 7 * 32]
    assert (await served.ask("/0/tile/0/002.p/5"))[2] == edge[: 5 * 32]
    assert (await served.ask("/0/tile/entries/002.p/5", AUDITOR))[2] == encode_entries(DATA[512:517])
    assert (await served.ask("/0/tile/0/002.p/89"))[0] == 404


async def test_a_tile_that_is_written_but_not_yet_shown_is_not_there(served):
    grown = leaves(700)
    write_log(served.published / "next", grown)
    for path in ("tile/0/002.p/188", "tile/entries/002.p/188"):
        (served.published / "0" / path).write_bytes((served.published / "next" / path).read_bytes())
        assert (await served.ask(f"/0/{path}", AUDITOR))[0] == 404
    new = served.published / "0/.new"
    new.write_bytes(note_of(grown))
    new.rename(served.published / "0/checkpoint")
    assert (await served.ask("/0/tile/0/002.p/188"))[0] == 200


async def test_each_shard_is_served_below_its_number(served):
    write_log(served.published / "1", DATA[:3])
    assert (await served.ask("/1/checkpoint"))[2] == note_of(DATA[:3])
    assert (await served.ask("/1/tile/0/000.p/3"))[0] == 200
    assert (await served.ask("/1/tile/0/000"))[0] == 404
    assert (await served.ask("/2/checkpoint"))[0] == 404
    assert (await served.ask("/2/tile/0/000"))[0] == 404


# -- paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/0",
        "/0/",
        "/checkpoint",
        "//0/checkpoint",
        "/0//checkpoint",
        "/00/checkpoint",
        "/01/checkpoint",
        "/-1/checkpoint",
        "/0/checkpoint/",
        "/0/checkpoint?",
        "/0/checkpoint?a=b",
        "/0/%63heckpoint",
        "/0/CHECKPOINT",
        "/0/checkpoints/600",
        "/0/outgrown",
        "/0/.new",
        "/0/tile",
        "/0/tile/",
        "/0/tile/0",
        "/0/tile/0/",
        "/0/../0/checkpoint",
        "/0/./checkpoint",
        "/0/tile/../checkpoint",
        "/0/tile/0/../../checkpoint",
        "/0/..%2fsecret",
        "/0/%2e%2e/secret",
        "/%2e%2e/secret",
        "/../secret",
        "/../../../../etc/passwd",
        "/0/../secret",
        "/0/tile/0/..\\000",
        "/0/tile/00/000",
        "/0/tile/0/0",
        "/0/tile/0/0000",
        "/0/tile/0/x000/000",
        "/0/tile/0/000.p/0",
        "/0/tile/0/000.p/00",
        "/0/tile/0/000.p/07",
        "/0/tile/0/000.p/256",
        "/0/tile/0/000.p/",
        "/0/tile/64/000",
        "/0/tile/63/000",
        "/0/tile/8/000",
        "/0/tile/2/000",
        "/0/tile/0/003",
        "/0/tile/0/x001/000",
        "/0/tile/0/x999/x999/x999/x999/x999/x999/999",
        "/0/tile/data/000",
        "/0/tile/entries/000/",
        "/0/tile/0/000#a",
        "https://localhost/0/checkpoint",
        "/0/" + "tile/" * 1_000,
    ],
)
async def test_a_target_that_is_no_path_of_the_log_is_not_there(served, target):
    (served.published.parent / "secret").write_bytes(b"secret")
    (served.published / "secret").write_bytes(b"secret")
    (served.published / "0/outgrown").write_bytes(b"1\n")
    (served.published / "0/checkpoints").mkdir()
    (served.published / "0/checkpoints/600").write_bytes(b"secret")
    status, _, body = await served.ask(target, AUDITOR)
    assert status == 404
    assert body == b"not in this log\n"


async def test_a_symbolic_name_in_the_folder_is_not_a_way_out(served):
    (served.published / "0/tile/9").symlink_to("/etc")
    assert (await served.ask("/0/tile/9/passwd"))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_nothing_but_reading_is_allowed(served, method):
    status, headers, _ = await served.ask("/0/checkpoint", AUDITOR, method)
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


async def test_a_request_with_a_body_is_refused(served):
    status, _, _ = await served.ask("/0/checkpoint", more="Content-Length: 5\r\n", method="GET")
    assert status == 400


@pytest.mark.parametrize(
    "ranges", ["bytes=0-0", "bytes=0-99999999999999", "bytes=-1", "bytes=" + "0-1," * 900 + "2-3", "lines=1"]
)
async def test_ranges_are_not_taken_up(served, ranges):
    status, _, body = await served.ask("/0/tile/0/000", more=f"Range: {ranges}\r\n")
    assert (status, len(body)) == (200, 8192)


# -- who may read entries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [None, ENROL, POLICE, GATEWAY])
async def test_entries_are_kept_from_whoever_is_no_auditor_and_told_what_to_do(served, identity):
    for path in ("tile/entries/000", "tile/entries/002.p/88", "tile/entries/999"):
        status, headers, body = await served.ask(f"/0/{path}", identity)
        assert status == 403
        assert headers["content-type"].startswith("text/plain")
        assert b"heyan registry enrol" in body
        assert "审计".encode() in body
    assert (await served.ask("/0/tile/0/000", identity))[0] == 200
    async with served.source(identity) as source:
        with pytest.raises(UnknownPeerError):
            await source.entries(0, 256)


async def test_an_auditor_that_the_registry_does_not_know_any_more_is_refused(served):
    async with served.source(AUDITOR) as source:
        assert await source.entries(0, 256) == DATA[:256]
        removed = [party for party in served.parties.desk.draft().parties if party.id != AUDITOR.uri]
        document = replace_parties(served.registry.current(), removed)
        served.server._registry = lambda: document
        with pytest.raises(UnknownPeerError):  # on a connection that was there before
            await source.entries(1, 256)
    assert (await served.ask("/0/tile/entries/000", AUDITOR))[0] == 403


def replace_parties(registry, parties):
    return Registry(msgspec.structs.replace(registry.document, parties=tuple(parties)), registry.token)


async def test_an_auditors_name_under_another_role_is_no_auditor(served):
    alias = Identity(PartyRole.REQUESTER, AUDITOR.name)
    enrol_certificate(served.parties.desk.authority, alias, served.parties.folder(alias), served.parties.clock())
    assert (await served.ask("/0/tile/entries/000", alias))[0] == 403


async def test_a_certificate_of_another_authority_is_refused(served):
    other = Authority.create("other", served.parties.clock())
    folder = served.parties.folder(AUDITOR)
    enrol_certificate(other, AUDITOR, folder, served.parties.clock())
    material = served.parties.watch(AUDITOR).value
    context = ssl.create_default_context(cadata=served.parties.desk.authority.pem.decode())
    context.load_cert_chain(material.files.certificate, material.files.key)
    async with HttpSource(f"https://localhost:{served.port}/0", context, server_name=GATEWAY.dns_name) as source:
        with pytest.raises(UnreachableError):
            await source.entries(0, 256)


async def test_a_certificate_that_expires_while_a_connection_stands_is_refused(served):
    certificate = x509.load_pem_x509_certificate(served.parties.folder(AUDITOR).tls.certificate.read_bytes())
    async with served.source(AUDITOR) as source:
        assert await source.entries(0, 256) == DATA[:256]
        served.clock.now = certificate.not_valid_after_utc.timestamp() + 1
        with pytest.raises(UnknownPeerError):
            await source.entries(1, 256)


async def test_an_expired_certificate_does_not_get_in(served):
    folder = served.parties.folder(AUDITOR)
    enrol_certificate(served.parties.desk.authority, AUDITOR, folder, served.parties.clock() - 4_000 * 86_400)
    async with served.source(AUDITOR) as source:
        with pytest.raises(UnreachableError):
            await source.entries(0, 256)


async def test_a_renewed_certificate_of_the_gateway_is_shown_without_a_restart(served):
    async def serial() -> int:
        context = served.context(None)
        _, writer = await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=context, server_hostname=GATEWAY.dns_name
        )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(shown).serial_number

    before = await serial()
    enrol_certificate(served.parties.desk.authority, GATEWAY, served.parties.folder(GATEWAY), served.parties.clock())
    assert await serial() != before
    assert (await served.ask("/0/tile/entries/000", AUDITOR))[0] == 200


# -- load and faults --------------------------------------------------------------------------------------------


async def test_a_truncated_file_is_a_fault_and_not_an_answer(served):
    for path in ("tile/0/001", "tile/entries/001", "checkpoint"):
        file = served.published / "0" / path
        file.write_bytes(file.read_bytes()[:-1] if path != "checkpoint" else b"nonsense")
    assert (await served.ask("/0/tile/0/001"))[0] == 500
    status, _, body = await served.ask("/0/tile/entries/001", AUDITOR)
    assert (status, body) == (500, b"cannot be read now\n")


async def test_too_many_requests_at_once_are_told_to_come_back(served, monkeypatch):
    monkeypatch.setattr(log_http, "MAX_UNDER_WAY", 0)
    status, headers, _ = await served.ask("/0/tile/0/000")
    assert status == 503
    assert headers["retry-after"] == "1"
    async with served.source() as source:
        with pytest.raises(UnreachableError):
            await source.checkpoint()


async def test_connections_beyond_the_bound_are_closed_and_the_others_served(served, monkeypatch):
    monkeypatch.setattr(log_http, "MAX_CONNECTIONS", 2)
    held = [
        await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=served.context(None), server_hostname=GATEWAY.dns_name
        )
        for _ in range(2)
    ]
    with pytest.raises((OSError, IndexError)):
        await served.ask("/0/checkpoint")
    for _, writer in held:
        writer.transport.abort()
    for _ in range(100):
        if not served.server._server.connections:
            break
        await asyncio.sleep(0.02)
    assert (await served.ask("/0/checkpoint"))[0] == 200


async def test_connections_that_never_shake_hands_are_bounded_too(served, monkeypatch):
    """Each takes a file descriptor of the process that answers: a flood of them must not take all."""
    monkeypatch.setattr(log_http, "MAX_CONNECTIONS", 8)
    silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(40)]
    closed = [asyncio.create_task(reader.read()) for reader, _ in silent]
    for _ in range(400):
        if sum(each.done() for each in closed) >= 32:
            break
        await asyncio.sleep(0.02)
    assert sum(each.done() for each in closed) == 32
    with pytest.raises((OSError, IndexError)):
        await served.ask("/0/checkpoint")
    for _, writer in silent:
        writer.transport.abort()
    await asyncio.gather(*closed, return_exceptions=True)
    for _ in range(100):
        if not served.server._listener._beginning:
            break
        await asyncio.sleep(0.02)
    assert (await served.ask("/0/checkpoint"))[0] == 200


async def test_a_connection_that_never_shakes_hands_is_ended(federation, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(log_http, "ASK_SECONDS", 0.3)
    server = LogServer(
        published=tmp_path / "published",
        listen="127.0.0.1:0",
        tls=federation.watch(GATEWAY),
        registry=lambda: None,
        clock=federation.clock,
    )
    port = await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.transport.abort()
    await server.stop()
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_peer_that_asks_slowly_is_cut_off(federation, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(log_http, "ASK_SECONDS", 0.3)
    write_log(tmp_path / "published/0", DATA[:3])
    server = LogServer(
        published=tmp_path / "published",
        listen="127.0.0.1:0",
        tls=federation.watch(GATEWAY),
        registry=lambda: None,
        clock=federation.clock,
    )
    port = await server.start()
    context = ssl.create_default_context(cadata=federation.desk.authority.pem.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=GATEWAY.dns_name)
    writer.write(b"GET /0/checkpoint HTTP/1.1\r\nHost: lo")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.transport.abort()
    await server.stop()


async def test_a_peer_that_takes_its_answer_slowly_is_cut_off(served, monkeypatch):
    monkeypatch.setattr(log_http, "SEND_SECONDS", 0.3)
    large = [bytes([at % 251]) * 65_535 for at in range(256)]
    write_log(served.published / "7", large)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, ssl=served.context(AUDITOR), server_hostname=GATEWAY.dns_name, limit=1_024
    )
    writer.write(b"GET /7/tile/entries/000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(250):
        if not served.server._server.connections:
            break
        await asyncio.sleep(0.04)
    assert not served.server._server.connections
    writer.transport.abort()
    assert (await served.ask("/0/checkpoint"))[0] == 200
    assert reader


async def test_the_largest_bundle_that_can_be_is_served(served):
    large = [bytes([at % 251]) * 65_535 for at in range(256)]
    write_log(served.published / "7", large)
    url = f"https://localhost:{served.port}/7"
    async with HttpSource(url, served.context(AUDITOR), server_name=GATEWAY.dns_name) as source:
        assert await source.entries(0, 256) == large


async def test_every_file_of_the_log_is_served_and_nothing_else(served):
    for resource in (*tiles_at(SIZE), *bundles_at(SIZE)):
        status, _, body = await served.ask(f"/0/{resource.path}", AUDITOR)
        assert (status, body) == (200, (served.published / "0" / resource.path).read_bytes())


async def test_a_log_that_is_not_published_yet_is_not_there(served):
    (served.published / "0/checkpoint").unlink()
    async with served.source(AUDITOR) as source:
        for attempt in (source.checkpoint(), source.tile(0, 0, 256), source.entries(0, 256)):
            with pytest.raises(NotFoundError):
                await attempt
