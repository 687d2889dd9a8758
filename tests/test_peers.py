"""The peers are set up fairly: mutual TLS on both of their sides, to the department that was asked for."""

from __future__ import annotations

import pytest

from benchmarks.peers.envoy import configuration as envoy_configuration
from benchmarks.peers.nginx import configuration as nginx_configuration
from benchmarks.peers.proxies import Setup, Upstream
from gateway.party.config import TlsFiles


@pytest.fixture
def setup(tmp_path) -> Setup:
    tls = TlsFiles(certificate=tmp_path / "own.pem", key=tmp_path / "own.key", ca=tmp_path / "ca.pem")
    upstream = Upstream("police-4301", 18_401, "police-4301.department.heyan.internal")
    return Setup(18_400, 2, tls, {"spiffe://heyan/department/police-4301": upstream}, tmp_path)


def test_envoy_demands_and_shows_certificates_on_both_sides(setup: Setup) -> None:
    resources = envoy_configuration(setup)["static_resources"]
    (listener,), (cluster,) = resources["listeners"], resources["clusters"]
    (chain,) = listener["filter_chains"]
    downstream = chain["transport_socket"]["typed_config"]
    assert downstream["require_client_certificate"] is True
    upstream = cluster["transport_socket"]["typed_config"]
    for context in (downstream["common_tls_context"], upstream["common_tls_context"]):
        assert context["tls_certificates"][0]["private_key"]["filename"] == str(setup.tls.key)
        assert context["validation_context"]["trusted_ca"]["filename"] == str(setup.tls.ca)
    (san,) = upstream["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert san == {"san_type": "DNS", "matcher": {"exact": "police-4301.department.heyan.internal"}}


def test_nginx_demands_and_shows_certificates_on_both_sides(setup: Setup) -> None:
    lines = {line.strip() for line in nginx_configuration(setup).splitlines()}
    assert {"ssl_verify_client on;", "grpc_ssl_verify on;", "grpc_ssl_name $department_name;"} <= lines
    assert {f"grpc_ssl_certificate_key {setup.tls.key};", f"ssl_client_certificate {setup.tls.ca};"} <= lines
    assert "police-4301 police-4301.department.heyan.internal;" in lines
