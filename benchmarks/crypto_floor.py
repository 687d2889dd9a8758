"""The two signatures of a single check that no design can leave out or share: the query's and a fresh grant's.

What is verified once for many requests (a department's batch) is left out, and so is all reading of what is signed:
this is the cryptography alone, as fast as the library does it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from consent.grant import peek
from gateway.cli.endpoints import read_endpoints
from gateway.party.registry_keeper import operator_key
from gateway.protocol.codec import parse, unb64url
from gateway.protocol.digests import Kind, octets
from gateway.protocol.keys import PublicKey, load_public
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.query import read_query
from gateway.protocol.registry import Registry, open_registry
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import gateway_service_pb2 as pb

Verification = tuple[ec.EllipticCurvePublicKey, bytes, bytes]
"""A key, a DER signature, and the bytes that it covers."""
_ECDSA = ec.ECDSA(hashes.SHA256())
_HALF = 32


def registry_of(folder: Path) -> Registry:
    """The registry of the federation in `folder`, as its operator publishes it."""
    endpoints = read_endpoints(folder)
    token = (folder / endpoints.registry).read_text(encoding="ascii").strip()
    return open_registry(token, operator_key(endpoints.operator_vkey), time.time())


def verifications_of(message: bytes, registry: Registry) -> tuple[Verification, Verification]:
    """What must be verified of a VerifyRequest that rests on one grant: its query and that grant."""
    request = parse(pb.VerifyRequest, message, MAX_MESSAGE)
    signed, query = request.query, read_query(request.query.query)
    query_key = registry.key(query.requester, KeyUse.QUERY, signed.signature.key_id, query.issue_time)
    (grant,) = request.grants
    covered, _, signature = grant.grant.rpartition(".")
    header = json.loads(unb64url(covered.partition(".")[0], "grant"))
    grant_key = registry.key(peek(grant.grant).iss, KeyUse.GRANT, header["kid"], query.issue_time)
    return (
        _verification(query_key, signed.signature.value, octets(Kind.QUERY, signed.query)),
        _verification(grant_key, unb64url(signature, "grant"), covered.encode("ascii")),
    )


def floor_seconds(requests: Sequence[tuple[Verification, ...]], seconds: float) -> float:
    """CPU seconds of verifying what one of `requests` needs, measured for about so many seconds in this thread."""
    done, began = 0, time.thread_time()
    while (used := time.thread_time() - began) < seconds or not done:
        for request in requests:
            for key, signature, covered in request:
                key.verify(signature, covered, _ECDSA)
        done += len(requests)
    return used / done


def _verification(key: PublicKey, signature: bytes, covered: bytes) -> Verification:
    loaded = load_public(key.algorithm, key.public)
    assert isinstance(loaded, ec.EllipticCurvePublicKey), "the floor is that of ES256"
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    return loaded, encode_dss_signature(r, s), covered
