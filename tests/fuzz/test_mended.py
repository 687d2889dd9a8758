"""What fuzzing found, and what is said instead: each of these ended a command or a process with a foreign exception."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consent.guardian import _refusal
from gateway.audit.journals import read_journal
from gateway.cli.endpoints import read_endpoints
from gateway.cli.sandbox import held
from gateway.config import GatewayConfig
from gateway.operator.authority import Authority, request_certificate
from gateway.party.config import TlsFiles
from gateway.party.tls import certificate_identity, load_material
from gateway.protocol.errors import HeyanError, MalformedError, UnknownPeerError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.keys import load_private, private_pem
from gateway.protocol.reasons import Reason
from sandbox_departments.faults.switch import read_fault
from sandbox_departments.journal_entries import read_entry, write_entry
from sandbox_departments.truth import find_truth, read_truth
from tests.federation import DEPARTMENTS, REQUESTER
from tests.mutations.journal_messages import journal_entries

NOW = 1_800_000_000.0
WHO = parse_identity(REQUESTER)
DEPARTMENT = next(iter(DEPARTMENTS.values()))
KEY = ec.derive_private_key(3, ec.SECP256R1())
P256, STRANGE_CURVE = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030009")
EC_KEY, STRANGE_KIND = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0203")
DEEP = b'{"a":' * 5_000
AUTHORITY = Authority.create("test", NOW)

each_oid = pytest.mark.parametrize(("there", "instead"), [(P256, STRANGE_CURVE), (EC_KEY, STRANGE_KIND)])


def altered(pem: bytes, there: bytes, instead: bytes) -> bytes:
    """A PEM file with one object identifier of its DER replaced."""
    first, *lines, last = pem.strip().split(b"\n")
    der = base64.b64decode(b"".join(lines))
    assert there in der
    return b"\n".join((first, base64.encodebytes(der.replace(there, instead)).strip(), last, b""))


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


@each_oid
def test_private_key_of_an_unknown_algorithm_is_refused(there, instead):
    with pytest.raises(MalformedError):
        load_private(altered(private_pem(KEY), there, instead))


@each_oid
def test_certificate_request_of_an_unknown_algorithm_is_refused(there, instead):
    request = altered(request_certificate(WHO, KEY), there, instead)
    with pytest.raises(MalformedError):
        AUTHORITY.issue_for_request(WHO, request, NOW)


@each_oid
def test_certificate_of_an_unknown_algorithm_is_refused(tmp_path, there, instead):
    genuine = AUTHORITY.issue(WHO, KEY.public_key(), NOW)
    files = TlsFiles(
        certificate=written(tmp_path, "certificate.pem", altered(genuine, there, instead)),
        key=written(tmp_path, "key.pem", private_pem(KEY)),
        ca=written(tmp_path, "ca.pem", AUTHORITY.pem),
    )
    with pytest.raises(MalformedError) as refusal:
        load_material(files)
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID


@each_oid
def test_authority_of_an_unknown_algorithm_is_refused(there, instead):
    with pytest.raises(MalformedError):
        Authority.load(altered(AUTHORITY.pem, there, instead), private_pem(AUTHORITY.key))


def test_certificate_that_states_an_extension_twice_is_of_nobody():
    genuine = x509.load_pem_x509_certificate(AUTHORITY.issue(WHO, KEY.public_key(), NOW))
    der = genuine.public_bytes(serialization.Encoding.DER)
    usage, names = bytes.fromhex("0603551d25"), bytes.fromhex("0603551d11")  # extKeyUsage becomes a subjectAltName
    with pytest.raises(UnknownPeerError):
        certificate_identity(x509.load_der_x509_certificate(der.replace(usage, names)))


def test_settings_nested_too_deep_are_refused(tmp_path):
    with pytest.raises(MalformedError) as refusal:
        GatewayConfig.from_file(written(tmp_path, "gateway.toml", b"x = " + b"[" * 5_000))
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID


@pytest.mark.parametrize("data", [DEEP, b'{"ca":"\xff"}'])
def test_endpoints_that_are_no_json_are_refused(tmp_path, data):
    written(tmp_path, "endpoints.json", data)
    with pytest.raises(MalformedError) as refusal:
        read_endpoints(tmp_path)
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID


@pytest.mark.parametrize("data", [DEEP, b'{"seed":"\xff"}'])
def test_what_a_sandbox_was_made_with_is_refused_if_it_is_no_json(tmp_path, data):
    written(tmp_path, "sandbox.json", data)
    with pytest.raises(MalformedError) as refusal:
        held(tmp_path)
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID


@pytest.mark.parametrize("data", [DEEP, b'{"type":"batch_signed","gateway":"\xff"}'])
def test_journal_entry_that_is_no_json_is_refused(data):
    with pytest.raises(MalformedError):
        read_entry(data)


@pytest.mark.parametrize("data", [DEEP, b'{"type":"batch_signed","gateway":"\xff"}'])
def test_journal_that_is_no_json_is_refused_to_its_auditor(data):
    with pytest.raises(MalformedError) as refusal:
        read_journal(DEPARTMENT, [write_entry(journal_entries()[0]), data], NOW)
    assert refusal.value.violations[0].field == "entries.2"


@pytest.mark.parametrize("data", [DEEP, b'{"kind":"\xff"}'])
def test_fault_that_is_no_json_is_refused(tmp_path, data):
    with pytest.raises(MalformedError) as refusal:
        read_fault(written(tmp_path, "fault.json", data))
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID


@pytest.mark.parametrize("data", [DEEP, b"\xff\n"])
def test_truth_that_is_no_json_is_refused(tmp_path, data):
    path = written(tmp_path, "truth.jsonl", data)
    with pytest.raises(HeyanError):
        list(read_truth(path))
    with pytest.raises(HeyanError):
        find_truth(path, "F1")


def test_problem_of_an_issuer_nested_too_deep_is_a_fault_of_its_own():
    assert isinstance(_refusal(400, DEEP), UnreachableError)
