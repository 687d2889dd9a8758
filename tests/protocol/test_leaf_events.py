"""Leaves that tell of the log itself: what says nothing definite is no leaf."""

from __future__ import annotations

import pytest

from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf import read_leaf, write_leaf
from gateway.protocol.leaf_events import MAX_ERASED
from heyan.v1 import log_pb2

TAG = bytes(range(32))
OVER = log_pb2.ERASURE_GROUND_RETENTION_OVER


def leaf(**event) -> log_pb2.LogLeaf:
    return log_pb2.LogLeaf(
        version=1,
        log_time=to_timestamp(1_900_000_000.0),
        gateway="spiffe://heyan/gateway/main",
        registry_version=1,
        **event,
    )


def access(**fields) -> log_pb2.LogLeaf:
    return leaf(evidence_access=log_pb2.EvidenceAccessEvent(auditor="spiffe://heyan/auditor/a", **fields))


def erasure(ground: int, *tags: bytes) -> log_pb2.LogLeaf:
    return leaf(erasure=log_pb2.ErasureEvent(ground=ground, grant_tags=tags))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "made",
    [
        access(query_tag=TAG, case_reference="2027-06.17_a"),
        access(case_reference="A" * 40),
        erasure(OVER, TAG),
        erasure(log_pb2.ERASURE_GROUND_LAWFUL_REQUEST, bytes(32), TAG),
        erasure(OVER, *(number.to_bytes(32, "big") for number in range(MAX_ERASED))),
        leaf(shard_start=log_pb2.ShardStartEvent(previous_origin="a", previous_size=1, previous_root=TAG)),
        leaf(shard_end=log_pb2.ShardEndEvent(next_origin="b")),
        leaf(restore=log_pb2.RestoreEvent(backup_size=3, restored_size=3)),
    ],
)
def test_leaf_that_says_something_definite_is_read_as_written(made: log_pb2.LogLeaf) -> None:
    assert read_leaf(write_leaf(made)) == made


@pytest.mark.parametrize(
    "made",
    [
        access(query_tag=TAG),
        access(query_tag=TAG[:31], case_reference="a"),
        access(query_tag=TAG, case_reference="A" * 41),
        access(query_tag=TAG, case_reference="two words"),
        access(query_tag=TAG, case_reference="案"),
        erasure(OVER),
        erasure(0, TAG),
        erasure(3, TAG),
        erasure(OVER, TAG, TAG),
        erasure(OVER, TAG, bytes(32)),
        erasure(OVER, TAG[:31]),
        erasure(OVER, *(number.to_bytes(32, "big") for number in range(MAX_ERASED + 1))),
        leaf(shard_start=log_pb2.ShardStartEvent(previous_size=1, previous_root=TAG)),
        leaf(shard_start=log_pb2.ShardStartEvent(previous_origin="a", previous_root=TAG)),
        leaf(shard_start=log_pb2.ShardStartEvent(previous_origin="a", previous_size=1, previous_root=TAG + TAG)),
        leaf(shard_end=log_pb2.ShardEndEvent()),
        leaf(restore=log_pb2.RestoreEvent(backup_size=4, restored_size=3)),
    ],
)
def test_leaf_that_says_nothing_definite_is_refused(made: log_pb2.LogLeaf) -> None:
    with pytest.raises(MalformedError) as refused:
        read_leaf(write_leaf(made))
    assert refused.value.violations[0].field.startswith("leaf.")
