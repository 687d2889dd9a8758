"""Domain separation: pinned digests, and no name that could stand for another."""

from hashlib import sha256

import pytest

from gateway.protocol.digests import DIGEST_BYTES, Kind, digest, octets


def test_octets_are_the_prefix_then_the_bytes():
    assert octets(Kind.QUERY, b"data") == b"heyan.v1.Query\x00data"
    assert octets(Kind.STATEMENT_BATCH, b"") == b"heyan.v1.StatementBatch\x00"


def test_digest_is_pinned():
    expected = "240e5fdf0d2d818aa8108d147d17c89cc33380fa54a02d77a69916e570d7cab5"
    assert digest(Kind.PART, b"data") == sha256(b"heyan.v1.Part\x00data").digest()
    assert digest(Kind.PART, b"data").hex() == expected


@pytest.mark.parametrize("kind", Kind)
def test_digest_covers_kind_and_bytes(kind):
    assert digest(kind, b"data") == sha256(octets(kind, b"data")).digest()
    assert len(digest(kind, b"")) == DIGEST_BYTES
    assert digest(kind, b"a") != digest(kind, b"b")


def test_no_octets_of_one_kind_begin_like_another():
    prefixes = [octets(kind, b"") for kind in Kind]
    assert not any(one != other and one.startswith(other) for one in prefixes for other in prefixes)
    assert all(prefix.count(b"\x00") == 1 and prefix.endswith(b"\x00") for prefix in prefixes)
