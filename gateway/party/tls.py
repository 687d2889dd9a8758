"""Mutual TLS of every party, over gRPC and HTTP: certificates that renew while the process runs, peers by SPIFFE ID.

What a server knows of its client: the URI SAN of each connection's certificate, in `peer_identity`.

What a client knows of its server, because grpc.aio shows a client nothing of the peer's certificate:

- on every connection, also each later reconnect: a chain to the pinned CA, and the DNS SAN
  `<id>.<role>.heyan.internal` of exactly the expected identity (gRPC's own host name check, overridden to it);
- in `check_server`, at the moment it is called: the URI SAN too, that TLS is 1.3, and that the server accepts us.

The gap between the two is a certificate with the DNS SAN of one party and the URI SAN of another. The operator's
CA never issues one (gateway.operator.authority makes both from one identity), so the gap needs a dishonest CA,
and that one could forge the URI as well. Against it stand the signatures, whose keys the registry names.

TLS is 1.3 at least wherever Python's ssl serves or asks. gRPC for Python has no setting for it: it takes 1.2 from a
peer that offers no better, with forward secret suites only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import grpc
from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from gateway.party.config import TlsFiles
from gateway.party.keyfiles import Watched, read_private, read_public, unusable
from gateway.protocol.errors import MalformedError, UnknownPeerError, UnreachableError
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.keys import load_private
from gateway.protocol.reasons import Reason

PROBE_TIMEOUT = 5.0
"""Seconds for connecting, the handshake, and the server's first frame."""

UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    InternalError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises about a certificate, a request for one, or its key, that it cannot read."""

ChannelOptions = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """A party's transport identity, read and checked: PEM bytes, and what the certificate says."""

    files: TlsFiles
    certificate: bytes
    key: bytes
    ca: bytes
    identity: Identity
    not_after: datetime


def load_material(files: TlsFiles) -> TlsMaterial:
    """Read a party's certificate, key and CA; MalformedError (CONFIGURATION_INVALID) naming the bad file.

    Key and certificate must belong together. Dates and chain are the peers' to judge (`heyan doctor` shows them).
    Raises UnknownPeerError if the certificate's URI SAN is no identity of heyan.
    """
    certificate, ca, key = read_public(files.certificate), read_public(files.ca), read_private(files.key)
    try:
        private = load_private(key)
    except MalformedError as error:
        raise unusable(files.key, error.detail) from error
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        public_key = leaf.public_key()
    except UNREADABLE:
        raise unusable(files.certificate, "must be a PEM certificate") from None
    try:
        x509.load_pem_x509_certificates(ca)
    except UNREADABLE:
        raise unusable(files.ca, "must be PEM certificates") from None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if public_key.public_bytes(*form) != private.public_key().public_bytes(*form):
        raise unusable(files.certificate, f"is not the certificate of the key {files.key}")
    return TlsMaterial(files, certificate, key, ca, certificate_identity(leaf), leaf.not_valid_after_utc)


def watch_tls(files: TlsFiles) -> Watched[TlsMaterial]:
    """The transport identity, read again when a file changes; raises what `load_material` raises."""
    return Watched((files.certificate, files.key, files.ca), lambda: load_material(files))


def certificate_identity(certificate: x509.Certificate) -> Identity:
    """The identity of a certificate: its one URI SAN; UnknownPeerError (PEER_UNAUTHENTICATED)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return _only_identity([])
    return _only_identity(names.get_values_for_type(x509.UniformResourceIdentifier))


# -- gRPC ---------------------------------------------------------------------------------------------------


def server_credentials(tls: Watched[TlsMaterial]) -> grpc.ServerCredentials:
    """Mutual TLS for `grpc.aio.Server.add_secure_port`; each new handshake uses the newest certificate and CA.

    gRPC asks for them on threads of its own, before each handshake. Open connections stay as they are.
    """
    served = tls.generation

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        tls.refresh()
        newest = tls.generation
        if newest == served:
            return None  # go on with the configuration given last
        configuration = _server_configuration(tls.value)
        served = newest
        return configuration

    initial = _server_configuration(tls.value)
    return grpc.dynamic_ssl_server_credentials(initial, fetch, require_client_authentication=True)  # type: ignore[arg-type] # grpc-stubs forget that None means "no change"


def _server_configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.certificate)], material.ca)


def peer_identity(context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
    """Who calls: the one URI SAN of the client's certificate; UnknownPeerError (PEER_UNAUTHENTICATED).

    Taken from `peer_uri`, which holds URI SANs only: in `x509_subject_alternative_name` a DNS name spelt like a
    SPIFFE ID would look the same. Whether the registry knows this identity is the caller's next question.
    """
    properties = context.auth_context()
    if list(properties.get("transport_security_type", ())) != [b"ssl"]:
        raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, "not a TLS connection")
    return _only_identity([value.decode("utf-8", errors="replace") for value in properties.get("peer_uri", ())])


def open_channel(
    target: str, expected: Identity, tls: Watched[TlsMaterial], options: ChannelOptions = ()
) -> grpc.aio.Channel:
    """A channel to `target` (host:port) that talks to no server but `expected` (its DNS SAN; see the module's text).

    Connects when first used. Its client certificate is the one in force now; see `RenewingChannel`.
    """
    material = tls.value
    credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)
    # Channels with other credentials must not share this one's connections.
    own = [("grpc.ssl_target_name_override", expected.dns_name), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(target, credentials, options=[*options, *own])


class RenewingChannel:
    """A channel that is opened anew when our certificate is renewed, because a gRPC channel keeps its own for life.

    Ask `channel` for every call or stream. `renew` (once a second is enough, from the event loop) opens the new
    one; calls on the old one have `grace` seconds to end, then it closes: a long stream must be opened again.
    """

    def __init__(
        self,
        target: str,
        expected: Identity,
        tls: Watched[TlsMaterial],
        options: ChannelOptions = (),
        *,
        grace: float = 60.0,
    ) -> None:
        self._arguments = (target, expected, tls, tuple(options))
        self._tls = tls
        self._grace = grace
        self._closing: set[asyncio.Task[None]] = set()
        self._generation = tls.generation
        self._channel = open_channel(*self._arguments)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel with the newest certificate."""
        return self._channel

    def renew(self) -> bool:
        """Look at the certificate's files; whether a new channel replaced the old one."""
        self._tls.refresh()
        generation = self._tls.generation
        if generation == self._generation:
            return False
        old, self._channel, self._generation = self._channel, open_channel(*self._arguments), generation
        closing = asyncio.get_running_loop().create_task(old.close(self._grace))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return True

    async def close(self, grace: float | None = None) -> None:
        """Close the channel, and those still closing."""
        for closing in tuple(self._closing):
            closing.cancel()
        await asyncio.gather(self._channel.close(grace), *self._closing, return_exceptions=True)


async def check_server(
    target: str, expected: Identity, tls: Watched[TlsMaterial], *, speaks_first: bool = True
) -> x509.Certificate:
    """Shake hands with the server at `target` (host:port) once, and hold its certificate against `expected`.

    A gRPC server speaks first, and so shows that it takes our certificate; an HTTPS server does not, and with
    `speaks_first` unset is not waited for. Returns the server's certificate. Raises UnreachableError
    (PEER_UNREACHABLE), or UnknownPeerError: PEER_IDENTITY_MISMATCH (an unknown CA, expired, or another
    party's), PEER_UNAUTHENTICATED (it refuses ours).
    """
    host, _, port = target.rpartition(":")
    context = _client_context(tls.value)  # its own: what it offers must not become what all offer
    context.set_alpn_protocols(["h2"] if speaks_first else ["http/1.1"])
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=context, server_hostname=expected.dns_name
            )
            try:
                certificate = x509.load_der_x509_certificate(
                    writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                )
                # In TLS 1.3 a refusal of our certificate comes after the handshake, in place of HTTP/2's first frame.
                accepted = not speaks_first or bool(await reader.read(1))
            finally:
                writer.transport.abort()  # a probe says no goodbye, and leaves no socket behind
    except ssl.SSLCertVerificationError as error:
        detail = f"{target} is not {expected.uri}: {error.verify_message}"
        raise UnknownPeerError(Reason.PEER_IDENTITY_MISMATCH, detail) from error
    except ssl.SSLError as error:
        raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, f"handshake with {target}: {error.reason}") from error
    except ConnectionResetError as error:
        raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, f"{target} broke the handshake off") from error
    except (OSError, TimeoutError, *UNREADABLE) as error:
        detail = f"{target} ({expected.uri}): {str(error) or 'no answer in time'}"
        raise UnreachableError(Reason.PEER_UNREACHABLE, detail) from error
    if certificate_identity(certificate) != expected:
        raise UnknownPeerError(Reason.PEER_IDENTITY_MISMATCH, f"{target} is not {expected.uri}: its URI SAN differs")
    if not accepted:
        raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, f"{target} refuses the certificate of {tls.value.identity}")
    return certificate


# -- HTTP ---------------------------------------------------------------------------------------------------


def server_ssl_context(
    tls: Watched[TlsMaterial], client_auth: ssl.VerifyMode = ssl.VerifyMode.CERT_REQUIRED
) -> ssl.SSLContext:
    """A context for an aiohttp server that uses the newest certificate and CA for each new handshake.

    `client_auth` is CERT_REQUIRED, CERT_OPTIONAL or CERT_NONE.
    """
    newest = _server_context(tls.value, client_auth)
    generation = tls.generation

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal newest, generation
        tls.refresh()
        seen = tls.generation
        if seen != generation:
            newest, generation = _server_context(tls.value, client_auth), seen
        connection.context = newest

    listening = _server_context(tls.value, client_auth)
    listening.sni_callback = choose  # OpenSSL calls it for clients that name no server, too
    return listening


def _server_context(material: TlsMaterial, client_auth: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = client_auth
    context.num_tickets = 0  # no resumption past a renewed CA
    _load(context, material)
    return context


@lru_cache(maxsize=4)  # one costs milliseconds, and a status list is fetched every two seconds
def client_ssl_context(material: TlsMaterial) -> ssl.SSLContext:
    """A context for an aiohttp client: our certificate in force now, the pinned CA and no other.

    Give `server_hostname=expected.dns_name` with each request. It is made once for each material: change nothing in it.
    """
    return _client_context(material)


def _client_context(material: TlsMaterial) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load(context, material)
    return context


def _load(context: ssl.SSLContext, material: TlsMaterial) -> None:
    context.load_cert_chain(material.files.certificate, material.files.key)
    context.load_verify_locations(cadata=material.ca.decode("ascii"))


def _only_identity(uris: Sequence[str]) -> Identity:
    if len(uris) != 1:
        raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, f"a certificate with {len(uris)} URI SANs, not one")
    try:
        return parse_identity(uris[0])
    except MalformedError:
        raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, "the URI SAN is not an identity of heyan") from None
