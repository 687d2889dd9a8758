"""Leaves: strict to read, and with tags that only the holder of the leaf key can match."""

import hmac
from hashlib import sha256

import pytest

from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf import (
    LEAF_KEY_BYTES,
    MAX_LEAF,
    CheckStatus,
    Tags,
    derive_leaf_key,
    log_time,
    read_leaf,
    write_leaf,
)
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2
from tests.federation import GATEWAY, REQUESTER
from tests.protocol.casework import GRANT, HRSS, LOGGED_AT, POLICE, Case, genuine, refused

CASE = Case()
EVENTS = {
    "verification": log_pb2.VerificationEvent(requester=REQUESTER),
    "refusal": log_pb2.RefusalEvent(peer=REQUESTER, reason="OVERLOADED"),
    "refusal_summary": log_pb2.RefusalSummaryEvent(peer=REQUESTER),
    "registry": log_pb2.RegistryEvent(version=2, digest=bytes(32)),
    "recovery": log_pb2.RecoveryEvent(department=POLICE, statement_digests=[bytes(32)]),
    "revocation": log_pb2.RevocationEvent(issuer="x", grant_tag=bytes(32)),
    "offline_ticket": log_pb2.OfflineTicketEvent(ground=1, material="x", ticket_tag=bytes(32)),
    "offline_result": log_pb2.OfflineResultEvent(ticket_tag=bytes(32), result_digest=bytes(32)),
}


def leaf_of(event="registry", **changes):
    values = {"log_time": to_timestamp(LOGGED_AT), "gateway": GATEWAY, "registry_version": 1, event: EVENTS[event]}
    return log_pb2.LogLeaf(**{**values, **changes})


@pytest.mark.parametrize("event", EVENTS)
def test_leaf_of_every_event_survives_its_bytes(event):
    leaf = read_leaf(write_leaf(leaf_of(event)))
    assert leaf.WhichOneof("event") == event
    assert leaf.version == 1
    assert log_time(leaf) == LOGGED_AT


def test_genuine_leaf_is_read():
    data = genuine().leaf()
    assert read_leaf(data).SerializeToString(deterministic=True) == data


def encoded(leaf, version=1):
    leaf.version = version
    return leaf.SerializeToString(deterministic=True)


MALFORMED = {
    "no version": encoded(leaf_of(), 0),
    "a later version": encoded(leaf_of(), 2),
    "no time": encoded(leaf_of(log_time=None)),
    "no event": encoded(log_pb2.LogLeaf(log_time=to_timestamp(LOGGED_AT))),
    "unknown field": write_leaf(leaf_of()) + b"\xf2\x01\x01x",
    "unknown event": encoded(log_pb2.LogLeaf(log_time=to_timestamp(LOGGED_AT))) + b"\xa2\x01\x00",
    "two events": write_leaf(leaf_of("verification")) + b"\x32\x00",
    "nothing": b"",
    "no message": b"\xff",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_leaf_is_refused(data):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_leaf(data)


@pytest.mark.parametrize(
    ("status", "size"),
    [(0, 32), (0, 0), (6, 32), (5, 32), (99, 32), (-1, 32), (1, 0), (2, 31), (3, 32), (4, 0), (4, 33)],
)
def test_row_of_unknown_status_or_with_an_unfit_digest_is_refused(status, size):
    row = CASE.row(POLICE, "hukou", status, statement_digest=bytes(size))
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_leaf(CASE.leaf([row]))


@pytest.mark.parametrize(
    "event",
    [
        log_pb2.OfflineTicketEvent(material="x", ticket_tag=bytes(32)),
        log_pb2.OfflineTicketEvent(ground=4, material="x", ticket_tag=bytes(32)),  # type: ignore[arg-type]
        log_pb2.OfflineTicketEvent(ground=1, ticket_tag=bytes(32)),
        log_pb2.OfflineTicketEvent(ground=1, check_tag=bytes(32), ticket_tag=bytes(31)),
        log_pb2.OfflineResultEvent(ticket_tag=bytes(32)),
        log_pb2.OfflineResultEvent(result_digest=bytes(32), ticket_tag=bytes(33)),
    ],
)
def test_offline_event_without_ground_subject_tag_or_digest_is_refused(event):
    name = "offline_ticket" if isinstance(event, log_pb2.OfflineTicketEvent) else "offline_result"
    leaf = log_pb2.LogLeaf(log_time=to_timestamp(LOGGED_AT), **{name: event})
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_leaf(encoded(leaf))


@pytest.mark.parametrize("status", CheckStatus)
def test_row_of_every_status_is_read(status):
    size = 32 if status in (CheckStatus.ANSWERED, CheckStatus.REFUSED, CheckStatus.WITHHELD) else 0
    row = CASE.row(POLICE, "hukou", status, statement_digest=bytes(size))
    assert read_leaf(CASE.leaf([row])).verification.checks[0].status == status


@pytest.mark.parametrize("over", [0, 1])
def test_leaf_is_at_most_what_an_entry_bundle_holds(over):
    padding = MAX_LEAF - len(write_leaf(leaf_of("refusal"))) - 6 + over
    leaf = leaf_of("refusal", refusal=log_pb2.RefusalEvent(peer=REQUESTER, reason="OVERLOADED", method="m" * padding))
    if not over:
        assert len(read_leaf(write_leaf(leaf)).refusal.method) == padding
        assert len(write_leaf(leaf)) == MAX_LEAF
        return
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        write_leaf(leaf)
    with refused(MalformedError, Reason.MESSAGE_TOO_LARGE):
        read_leaf(encoded(leaf))


def test_leaf_key_is_pinned_and_opens_no_evidence():
    evidence_key = bytes(range(32))
    leaf_key = derive_leaf_key(evidence_key)
    assert leaf_key == hmac.new(evidence_key, b"heyan.v1.LeafKey\x00", sha256).digest()
    assert len(leaf_key) == LEAF_KEY_BYTES
    assert leaf_key != derive_leaf_key(leaf_key)


def test_tags_are_pinned():
    tags = Tags(bytes(32))
    expected = {
        tags.query(b"q"): b"query\x00q",
        tags.grant(b"g"): b"grant\x00g",
        tags.check(b"p", "a"): b"check\x00pa",
        tags.ticket(b"t"): b"ticket\x00t",
    }
    assert {tag: hmac.new(bytes(32), data, sha256).digest() for tag, data in expected.items()} == {
        tag: tag for tag in expected
    }


def test_tag_of_one_thing_stands_for_no_other():
    tags = Tags(bytes(32))
    found = {tags.query(GRANT), tags.grant(GRANT), tags.ticket(GRANT), tags.check(GRANT, "")}
    assert len({*found, Tags(GRANT).grant(GRANT), GRANT}) == 6


def test_leaf_shows_no_digest_that_a_department_knows():
    pieces = genuine()
    data = pieces.leaf()
    known = [pieces.case.signed.digest, GRANT, *(part.digest for part in pieces.case.opened.values())]
    known += [commitment for part in pieces.case.opened.values() for _, commitment in part.part.checks[0].subjects]
    assert not any(digest in data for digest in known)
    assert HRSS.encode() in data
