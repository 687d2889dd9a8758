"""Shapes of the leaves that tell of the log itself and of what is kept beside it: looks, erasures, shards, restores."""

from __future__ import annotations

import re

from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.errors import MalformedError
from gateway.protocol.merkle import HASH_BYTES
from heyan.v1 import log_pb2

MAX_ERASED = 1_024
"""Grants of one erasure leaf: their tags take half of the largest leaf."""
CASE_REFERENCE = re.compile(r"[A-Za-z0-9._-]{1,40}")
"""An auditor's reference of a case."""
_GROUNDS = frozenset({log_pb2.ERASURE_GROUND_RETENTION_OVER, log_pb2.ERASURE_GROUND_LAWFUL_REQUEST})


def check_keeping(leaf: log_pb2.LogLeaf) -> None:
    """Refuse such a leaf that says nothing definite; MalformedError. Other leaves pass."""
    event = leaf.WhichOneof("event")
    if event == "evidence_access":
        access = leaf.evidence_access
        _require(
            event,
            len(access.query_tag) in (0, DIGEST_BYTES) and CASE_REFERENCE.fullmatch(access.case_reference) is not None,
            f"must name a case in 1 to 40 letters, digits and ._-, and a tag of {DIGEST_BYTES} bytes or none",
        )
    elif event == "erasure":
        tags = list(leaf.erasure.grant_tags)
        _require(
            event,
            leaf.erasure.ground in _GROUNDS
            and 0 < len(tags) <= MAX_ERASED
            and all(len(tag) == DIGEST_BYTES for tag in tags)
            and tags == sorted(set(tags)),
            f"must name a ground, and 1 to {MAX_ERASED} tags of {DIGEST_BYTES} bytes, ascending",
        )
    elif event == "shard_start":
        start = leaf.shard_start
        _require(
            event,
            bool(start.previous_origin) and start.previous_size > 0 and len(start.previous_root) == HASH_BYTES,
            "must name the log before it, its size and its root",
        )
    elif event == "shard_end":
        _require(event, bool(leaf.shard_end.next_origin), "must name the log that goes on")
    elif event == "restore":
        restore = leaf.restore
        _require(event, 0 <= restore.backup_size <= restore.restored_size, "must tell sizes that can be")


def _require(event: str, holds: bool, description: str) -> None:
    if not holds:
        raise MalformedError.at(f"leaf.{event}", description)
