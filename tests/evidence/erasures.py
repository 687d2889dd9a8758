"""What the tests of kept and erased evidence share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.ending import Endings
from gateway.evidence.erasing import Eraser
from gateway.protocol.errors import NotFoundError
from gateway.protocol.identities import parse_identity
from gateway.protocol.presentation import Submission
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.stores.records import RequestKey
from gateway.stores.sqlite_keeping import SqliteKeeping
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.gateway.conftest import PEER, Gateway


def eraser_of(gateway: Gateway, forget: Callable[[bytes], None] | None = None) -> Eraser:
    return Eraser(
        store=gateway.store,
        keeping=SqliteKeeping(gateway.store),
        log=gateway.log,
        requests=gateway.requests,
        stamp=gateway.stamp,
        endings=Endings(parse_identity(fed.GATEWAY), gateway.clock, gateway.requests),
        forget=forget or gateway.vault.forget,
    )


def key_of(submission: Submission) -> RequestKey:
    return RequestKey(PEER.uri, read_query(submission.signed.query).request_id)


def request_id_of(submission: Submission) -> bytes:
    return read_query(submission.signed.query).request_id


def erasures_in(gateway: Gateway) -> list[log_pb2.ErasureEvent]:
    return [leaf.erasure for leaf in gateway.leaves() if leaf.HasField("erasure")]


def is_erased(error: NotFoundError) -> bool:
    return error.reason is Reason.EVIDENCE_ERASED


def raw_bytes(store: Path) -> bytes:
    """Everything that the files of a store hold, in whatever pages."""
    return b"".join(file.read_bytes() for file in sorted(store.parent.glob(store.name + "*")) if file.is_file())
