"""Leaves of the log: reading them strictly, and the tags that stand in them for what must not be matched.

A leaf holds no personal data and no plain digest of query or grant: it holds HMACs under a leaf key, which is
derived from the grant's evidence key and travels in the receipt. A department, which knows query and grant
digests, can therefore not find in the log what others were asked; the holder of a receipt can find every row.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import IntEnum, unique
from hashlib import sha256

from gateway.protocol.codec import encode, from_timestamp, parse_canonical
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf_events import check_keeping
from gateway.protocol.offline import OfflineGround
from heyan.v1 import log_pb2

VERSION = 1
MAX_LEAF = 65_535
"""Largest leaf in bytes: an entry of a C2SP entry bundle has a 16-bit length."""

LEAF_KEY_BYTES = 32
_LEAF_KEY_LABEL = b"heyan.v1.LeafKey\x00"


@unique
class CheckStatus(IntEnum):
    """How a check ended. Numbers are those of `heyan.v1.CheckStatus`."""

    ANSWERED = 1
    REFUSED = 2
    UNAVAILABLE = 3
    WITHHELD = 4
    CONTRADICTED = 5
    DEFERRED = 6

    @property
    def is_final(self) -> bool:
        """Whether no later leaf of the query says anything of the check: its department has spoken."""
        return self in (CheckStatus.ANSWERED, CheckStatus.REFUSED, CheckStatus.CONTRADICTED)

    @property
    def has_statement(self) -> bool:
        """Whether one statement of the department stands behind it."""
        return self in (CheckStatus.ANSWERED, CheckStatus.REFUSED, CheckStatus.WITHHELD)

    @property
    def is_spoken(self) -> bool:
        """Whether the department said anything, if only to contradict itself."""
        return self.has_statement or self is CheckStatus.CONTRADICTED

    @property
    def spends(self) -> bool:
        """Whether a use of the consent is spent: the department answered, if only to contradict itself."""
        return self in (CheckStatus.ANSWERED, CheckStatus.CONTRADICTED)


_STATUSES = frozenset(int(status) for status in CheckStatus)
_GROUNDS = frozenset(int(ground) for ground in OfflineGround)


def derive_leaf_key(evidence_key: bytes) -> bytes:
    """The leaf key of a grant's evidence key (32 bytes each); one way, so that a receipt opens no evidence."""
    return hmac.digest(evidence_key, _LEAF_KEY_LABEL, sha256)


@dataclass(frozen=True, slots=True)
class Tags:
    """Makes the tags of one leaf key."""

    leaf_key: bytes

    def query(self, query_digest: bytes) -> bytes:
        """Tag of a query."""
        return hmac.digest(self.leaf_key, b"query\x00" + query_digest, sha256)

    def grant(self, grant_digest: bytes) -> bytes:
        """Tag of a grant."""
        return hmac.digest(self.leaf_key, b"grant\x00" + grant_digest, sha256)

    def ticket(self, ticket_id: bytes) -> bytes:
        """Tag of an offline ticket."""
        return hmac.digest(self.leaf_key, b"ticket\x00" + ticket_id, sha256)

    def check(self, part_digest: bytes, check_id: str) -> bytes:
        """Tag of a check."""
        return hmac.digest(self.leaf_key, b"check\x00" + part_digest + check_id.encode(), sha256)


def read_leaf(data: bytes) -> log_pb2.LogLeaf:
    """The leaf of canonical bytes: version, time and event are there; MalformedError."""
    leaf = parse_canonical(log_pb2.LogLeaf, data, MAX_LEAF)
    if leaf.version != VERSION:
        raise MalformedError.at("leaf.version", f"must be {VERSION}")
    from_timestamp(leaf, "log_time")
    if leaf.WhichOneof("event") is None:
        raise MalformedError.at("leaf.event", "must be set")
    _require_digests(leaf)
    for check in leaf.verification.checks:
        if int(check.status) not in _STATUSES:
            raise MalformedError.at("leaf.verification.checks.status", "must be set, to a status of the contract")
        if len(check.statement_digest) != (DIGEST_BYTES if CheckStatus(int(check.status)).has_statement else 0):
            raise MalformedError.at("leaf.verification.checks.statement_digest", "must fit the status")
    _check_offline(leaf)
    check_keeping(leaf)
    return leaf


def _check_offline(leaf: log_pb2.LogLeaf) -> None:
    ticket, result = leaf.offline_ticket, leaf.offline_result
    if leaf.HasField("offline_ticket"):
        if ticket.WhichOneof("subject") is None or int(ticket.ground) not in _GROUNDS:
            raise MalformedError.at("leaf.offline_ticket", "must name a subject, and a ground of the contract")
        if len(ticket.ticket_tag) != DIGEST_BYTES:
            raise MalformedError.at("leaf.offline_ticket.ticket_tag", f"must be {DIGEST_BYTES} bytes")
    if leaf.HasField("offline_result") and {len(result.ticket_tag), len(result.result_digest)} != {DIGEST_BYTES}:
        raise MalformedError.at("leaf.offline_result", f"must hold a tag and a digest of {DIGEST_BYTES} bytes")


def _require_digests(leaf: log_pb2.LogLeaf) -> None:
    """The digests by which a dispute and its resolution are found; MalformedError."""
    digests: list[bytes] = []
    if leaf.HasField("dispute"):
        event = leaf.dispute
        digests = [event.statement_digest, event.grant_tag, event.proof_digest]
    elif leaf.HasField("resolution"):
        digests = [leaf.resolution.dispute_id, leaf.resolution.statement_digest]
    if any(len(value) != DIGEST_BYTES for value in digests):
        raise MalformedError.at("leaf.event", f"must have digests of {DIGEST_BYTES} bytes")


def write_leaf(leaf: log_pb2.LogLeaf) -> bytes:
    """The canonical bytes of a leaf; MalformedError if it is over MAX_LEAF."""
    leaf.version = VERSION
    data = encode(leaf)
    if len(data) > MAX_LEAF:
        raise MalformedError.at("leaf", f"must be at most {MAX_LEAF} bytes")
    return data


def log_time(leaf: log_pb2.LogLeaf) -> float:
    """When the gateway recorded the leaf, in seconds since the epoch."""
    return from_timestamp(leaf, "log_time")
