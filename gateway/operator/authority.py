"""The federation's certificate authority: short-lived transport certificates, each for one identity of heyan.

Invariants: the subject alternative names of a certificate are made from the identity that the operator states,
never from the request; whoever asks has proved to hold the key (PKCS#10 signature); a party that does not serve
gets a certificate that cannot serve. Clients of gRPC rest on the first (see gateway.party.tls).

There is no revocation list. A stolen certificate lives 30 days at most, and without the party's signature keys it
asks and answers nothing; an auditor, who has none, is taken out of the registry and refused at once.
Source: RFC 5280; X.509-SVID specification §2 to §5 (one URI SAN, leaf not a CA).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.party.tls import UNREADABLE
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.keys import load_private
from gateway.protocol.reasons import Reason

LEAF_LIFETIME = 30 * 86_400
"""Seconds: short, because nothing revokes a certificate."""
ROOT_LIFETIME = 10 * 365 * 86_400
"""Seconds."""
BACKDATE = 60
"""Seconds by which a certificate begins early, for clocks that are slow."""
MAX_CSR = 16_384
"""Bytes of a PEM request; a P-256 one has about 500."""

SERVING_ROLES = frozenset({PartyRole.GATEWAY, PartyRole.DEPARTMENT, PartyRole.ISSUER})


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA: its self-signed certificate and key. `issue…` return a PEM certificate."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, federation: str, now: float, lifetime: int = ROOT_LIFETIME) -> Authority:
        """A new CA with a fresh P-256 key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation[:64]),
                x509.NameAttribute(NameOID.COMMON_NAME, "Heyan transport CA"),
            ]
        )
        builder = _builder(name, name, key.public_key(), key.public_key(), now, now + lifetime)
        certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(
            certificate.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256()), key
        )

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Authority:
        """The CA of its PEM files' bytes; MalformedError (CONFIGURATION_INVALID)."""
        key = load_private(key_pem)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            public_key = certificate.public_key()
        except UNREADABLE:
            raise MalformedError.at("ca", "must be a PEM certificate", Reason.CONFIGURATION_INVALID) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or public_key != key.public_key():
            raise MalformedError.at("ca", "certificate and key do not match", Reason.CONFIGURATION_INVALID)
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """The CA's certificate, which every party pins."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, identity: Identity, public_key: ec.EllipticCurvePublicKey, now: float, lifetime: int = LEAF_LIFETIME
    ) -> bytes:
        """A certificate of `identity` for a P-256 key whose possession the caller has established.

        Ends with the CA's at the latest. MalformedError for another curve.
        """
        if not isinstance(public_key.curve, ec.SECP256R1):
            raise MalformedError.at("key", "must be a P-256 key")
        serves = identity.role in SERVING_ROLES
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if serves:
            names += [x509.DNSName(identity.dns_name), x509.DNSName("localhost")]
            names.append(x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        end = min(now + lifetime, self.certificate.not_valid_after_utc.timestamp())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{identity.role.value}/{identity.name}")])
        certificate = (
            _builder(subject, self.certificate.subject, public_key, self.key.public_key(), now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def issue_for_request(self, identity: Identity, csr_pem: bytes, now: float, lifetime: int = LEAF_LIFETIME) -> bytes:
        """A certificate of `identity` for the key of a PKCS#10 request; nothing else in the request counts.

        Raises MalformedError, or ForgedError (SIGNATURE_INVALID) if the request was not signed with its own key.
        The operator answers for `identity`: the request must have come from it by a way that shows so.
        """
        if len(csr_pem) > MAX_CSR:
            raise MalformedError(Reason.MESSAGE_TOO_LARGE, f"a certificate request of {len(csr_pem)} bytes")
        try:
            request = x509.load_pem_x509_csr(csr_pem)
            public_key = request.public_key()
            is_signed = request.is_signature_valid
        except UNREADABLE:
            raise MalformedError.at("csr", "must be a PEM certificate request (PKCS#10)") from None
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise MalformedError.at("csr", "must hold a P-256 key")
        if not is_signed:
            raise ForgedError(Reason.SIGNATURE_INVALID, "the certificate request is not signed with its own key")
        return self.issue(identity, public_key, now, lifetime)


def request_certificate(identity: Identity, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A PEM certificate request for `key`, as a party makes it (openssl req makes one as well)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{identity.role.value}/{identity.name}")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: float,
    end: float,
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(seconds=BACKDATE))
        .not_valid_after(datetime.fromtimestamp(int(end), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
