from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.operator.authority import LEAF_LIFETIME, Authority, request_certificate
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.keys import private_pem

NOW = 1_800_000_000.0
POLICE = Identity(PartyRole.DEPARTMENT, "police")
ENROL = Identity(PartyRole.REQUESTER, "enrol")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", NOW)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def names_of(pem: bytes) -> list[x509.GeneralName]:
    certificate = x509.load_pem_x509_certificate(pem)
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


SERVER_NAMES = [
    x509.UniformResourceIdentifier("spiffe://heyan/department/police"),
    x509.DNSName("police.department.heyan.internal"),
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
]


def request(key, names=(), authority_bit=False, subject="x") -> x509.CertificateSigningRequestBuilder:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority_bit:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder


def pem_of(signed) -> bytes:
    return signed.public_bytes(serialization.Encoding.PEM)


def test_request_with_forged_names_gets_only_the_stated_identity(authority):
    key = new_key()
    forged = request(
        key,
        [
            x509.UniformResourceIdentifier("spiffe://heyan/gateway/hunan"),
            x509.DNSName("hunan.gateway.heyan.internal"),
            x509.DNSName("*"),
        ],
        authority_bit=True,
        subject="gateway/hunan",
    )
    pem = authority.issue_for_request(POLICE, pem_of(forged.sign(key, hashes.SHA256())), NOW)
    certificate = x509.load_pem_x509_certificate(pem)
    assert names_of(pem) == SERVER_NAMES
    assert certificate.subject.rfc4514_string() == "CN=department/police"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.public_key() == key.public_key()


def test_request_not_signed_with_its_own_key_is_refused(authority):
    own, other = (request(new_key()).sign(new_key(), hashes.SHA256()) for _ in range(2))
    # The key of one request under the name of another: what a thief of a public key would send.
    forged = own.public_bytes(serialization.Encoding.DER).replace(point(own), point(other))
    with pytest.raises(ForgedError):
        authority.issue_for_request(POLICE, pem_of(x509.load_der_x509_csr(forged)), NOW)


def point(signed: x509.CertificateSigningRequest) -> bytes:
    return signed.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


@pytest.mark.parametrize(
    "signed",
    [
        lambda: pem_of(request(None).sign(rsa.generate_private_key(65537, 2048), hashes.SHA256())),
        lambda: pem_of(request(None).sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256())),
        lambda: pem_of(request(None).sign(ed25519.Ed25519PrivateKey.generate(), None)),
        lambda: b"",
        lambda: b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        lambda: b"x" * 20_000,
    ],
    ids=["rsa", "p-384", "ed25519", "empty", "garbage", "too large"],
)
def test_request_of_another_kind_is_refused(authority, signed):
    with pytest.raises(MalformedError):
        authority.issue_for_request(POLICE, signed(), NOW)


def test_party_that_does_not_serve_cannot_serve(authority):
    pem = authority.issue_for_request(ENROL, request_certificate(ENROL, new_key()), NOW)
    certificate = x509.load_pem_x509_certificate(pem)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert names_of(pem) == [x509.UniformResourceIdentifier(ENROL.uri)]


def test_leaf_lives_thirty_days_and_never_outlives_its_authority(authority):
    leaf = x509.load_pem_x509_certificate(authority.issue(POLICE, new_key().public_key(), NOW))
    assert leaf.not_valid_after_utc.timestamp() == NOW + LEAF_LIFETIME
    leaf.verify_directly_issued_by(authority.certificate)
    late = authority.certificate.not_valid_after_utc.timestamp() - 60
    leaf = x509.load_pem_x509_certificate(authority.issue(POLICE, new_key().public_key(), late))
    assert leaf.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_authority_comes_back_from_its_files_and_not_with_another_key(authority):
    assert Authority.load(authority.pem, private_pem(authority.key)).certificate == authority.certificate
    with pytest.raises(MalformedError):
        Authority.load(authority.pem, private_pem(new_key()))
    with pytest.raises(MalformedError):
        Authority.load(b"", private_pem(authority.key))
