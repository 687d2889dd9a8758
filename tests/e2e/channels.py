"""The way into a running federation: whose certificate a party shows, and a channel to the gateway."""

from __future__ import annotations

import grpc

from gateway.cli.sandbox import GATEWAY
from gateway.party.config import TlsFiles
from gateway.party.tls import open_channel, watch_tls
from tests.e2e.conftest import Running

LIST_LEAVES = "/heyan.v1.LogService/ListLeaves"


def tls_of(running: Running, kind: str, name: str) -> TlsFiles:
    folder = running.folder / kind / name / "tls"
    ca = running.folder / "operator/ca.pem"
    return TlsFiles(certificate=folder / "certificate.pem", key=folder / "key.pem", ca=ca)


def channel_as(running: Running, files: TlsFiles) -> grpc.aio.Channel:
    return open_channel(running.endpoints.gateway.grpc, GATEWAY, watch_tls(files))
