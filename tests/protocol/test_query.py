"""Queries, parts and checks as bytes: what is written is read again, and every field has its bound."""

from dataclasses import replace

import pytest

from gateway.protocol.claims import Role
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import MalformedError
from gateway.protocol.limits import MAX_CHECKS_PER_PART, MAX_GRANTS, MAX_PARTS, MAX_USES
from gateway.protocol.query import GrantUse, open_part, read_query, write_part, write_query
from gateway.protocol.reasons import Reason
from heyan.v1 import check_pb2, query_pb2
from tests.federation import AUDITOR, GATEWAY, REQUESTER
from tests.protocol.casework import GRANT, POLICE, SECOND_GRANT, make_check, make_part, make_query, refused, sign_query

UNKNOWN_FIELD = b"\xf2\x01\x01x"  # field 30, one byte
QUERY = make_query()
CHECK = make_check("months", "insurance.paid_months@1")
PAIR = make_check("guardian", "guardianship.guardian_of@1")
PART = make_part(POLICE, (PAIR, make_check("b", "hukou.child_registered@1")))


def numbered(count):
    return tuple(bytes([number]) * 32 for number in range(count))


# -- queries ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        QUERY,
        replace(QUERY, request_id=bytes(32), issue_time=1.5, answer_until_time=2e9),
        replace(QUERY, grant_digests=numbered(MAX_GRANTS), part_digests=numbered(MAX_PARTS)),
        replace(QUERY, purpose="a" * 64),
    ],
)
def test_query_survives_its_bytes(query):
    assert read_query(write_query(query)) == query


def test_digest_names_the_exact_bytes():
    signed = sign_query(QUERY)
    assert signed.digest == digest(Kind.QUERY, write_query(QUERY))
    assert replace(signed, signature=bytes(64)).digest == signed.digest


QUERY_BOUNDS = {
    "request_id of 15 bytes": {"request_id": bytes(15)},
    "request_id of 33 bytes": {"request_id": bytes(33)},
    "requester that is a gateway": {"requester": GATEWAY},
    "requester that is nothing": {"requester": ""},
    "gateway that is a requester": {"gateway": REQUESTER},
    "gateway that is a host": {"gateway": "gateway.test:443"},
    "no purpose": {"purpose": ""},
    "purpose with a space": {"purpose": "enrolment and more"},
    "purpose with a newline": {"purpose": "enrolment\n"},
    "purpose of 65 letters": {"purpose": "a" * 65},
    "no grant": {"grant_digests": ()},
    "a grant twice": {"grant_digests": (GRANT, GRANT)},
    "too many grants": {"grant_digests": numbered(MAX_GRANTS + 1)},
    "a short grant digest": {"grant_digests": (GRANT[:31],)},
    "no part": {"part_digests": ()},
    "a part twice": {"part_digests": (GRANT, GRANT)},
    "too many parts": {"part_digests": numbered(MAX_PARTS + 1)},
    "a long part digest": {"part_digests": (GRANT + b"x",)},
    "parts out of order": {"part_digests": tuple(reversed(numbered(2)))},
}


@pytest.mark.parametrize("change", QUERY_BOUNDS.values(), ids=QUERY_BOUNDS.keys())
def test_query_out_of_bounds_is_refused(change):
    with pytest.raises(MalformedError) as refusal:
        read_query(write_query(replace(QUERY, **change)))
    assert refusal.value.reason is Reason.MESSAGE_MALFORMED


@pytest.mark.parametrize("field", ["issue_time", "expire_time", "answer_until_time"])
def test_query_without_a_time_is_refused(field):
    message = query_pb2.Query.FromString(write_query(QUERY))
    message.ClearField(field)
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_query(message.SerializeToString(deterministic=True))


def test_query_with_unknown_fields_is_refused():
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_query(write_query(QUERY) + UNKNOWN_FIELD)


def test_query_over_the_message_limit_is_refused():
    with refused(MalformedError, Reason.MESSAGE_TOO_LARGE):
        read_query(bytes((1 << 20) + 1))


# -- parts --------------------------------------------------------------------------------------------------


def test_part_survives_its_bytes():
    opened = open_part(write_part(PART))
    assert opened.part == PART
    assert opened.data == write_part(PART)
    assert opened.digest == digest(Kind.PART, opened.data)


def test_part_knows_its_roles_and_grants():
    assert PART.roles == {Role.CHILD, Role.GUARDIAN}
    assert PART.grant_digests == {GRANT}
    two = replace(CHECK, authorizations=(GrantUse(GRANT, 0), GrantUse(SECOND_GRANT, 3)))
    assert make_part(POLICE, (two,)).grant_digests == {GRANT, SECOND_GRANT}


def test_other_salt_gives_another_digest():
    other = replace(PART, salt=bytes(32))
    assert open_part(write_part(other)).digest != open_part(write_part(PART)).digest


@pytest.mark.parametrize(
    "change",
    [{"salt": b""}, {"salt": bytes(31)}, {"department": AUDITOR}, {"department": ""}, {"checks": ()}],
    ids=["no salt", "short salt", "no department's", "nobody's", "no checks"],
)
def test_part_out_of_bounds_is_refused(change):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_part(write_part(replace(PART, **change)))


@pytest.mark.parametrize("count", [MAX_CHECKS_PER_PART, MAX_CHECKS_PER_PART + 1])
def test_part_holds_sixteen_checks_and_no_more(count):
    data = write_part(replace(PART, checks=tuple(replace(CHECK, check_id=f"c{number}") for number in range(count))))
    if count == MAX_CHECKS_PER_PART:
        assert len(open_part(data).part.checks) == count
        return
    with refused(MalformedError, Reason.TOO_MANY_CHECKS):
        open_part(data)


def test_part_with_unknown_fields_is_refused_wherever_they_are():
    message = check_pb2.Part.FromString(write_part(PART))
    inside = check_pb2.Check.FromString(message.checks[0].SerializeToString() + UNKNOWN_FIELD)
    message.checks[0].CopyFrom(inside)
    for data in (write_part(PART) + UNKNOWN_FIELD, message.SerializeToString(deterministic=True)):
        with refused(MalformedError, Reason.MESSAGE_MALFORMED):
            open_part(data)


# -- checks -------------------------------------------------------------------------------------------------

CHECK_BOUNDS = {
    "no check_id": {"check_id": ""},
    "check_id of 65 letters": {"check_id": "a" * 65},
    "check_id with a capital": {"check_id": "A"},
    "check_id with a newline": {"check_id": "a\n"},
    "check_id in Chinese": {"check_id": "张三"},
    "region of five digits": {"region": "43010"},
    "region of seven digits": {"region": "4301020"},
    "region with other digits": {"region": "４３０１０２"},
    "a parameter twice": {"parameters": (("months", "12"), ("months", "24"))},
    "parameters out of order": {"parameters": (("year", "2027"), ("level", "primary"))},
    "no subject": {"subjects": ()},
    "subjects out of order": {"subjects": tuple(reversed(PAIR.subjects))},
    "a role twice": {"subjects": (PAIR.subjects[0], PAIR.subjects[0])},
    "a short commitment": {"subjects": ((Role.CHILD, bytes(31)),)},
    "no authorization": {"authorizations": ()},
    "a grant twice": {"authorizations": (GrantUse(GRANT, 0), GrantUse(GRANT, 1))},
    "too many grants": {"authorizations": tuple(GrantUse(value, 0) for value in numbered(MAX_GRANTS + 1))},
    "a short grant digest": {"authorizations": (GrantUse(GRANT[:-1], 0),)},
    "authorization out of range": {"authorizations": (GrantUse(GRANT, MAX_USES + 1),)},
}


@pytest.mark.parametrize("change", CHECK_BOUNDS.values(), ids=CHECK_BOUNDS.keys())
def test_check_out_of_bounds_is_refused(change):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_part(write_part(make_part(POLICE, (replace(PAIR, **change),))))


@pytest.mark.parametrize("role", ["", "parent", "CHILD", "child "])
def test_unknown_role_is_refused(role):
    message = check_pb2.Part.FromString(write_part(PART))
    message.checks[0].subjects[0].role = role
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_part(message.SerializeToString(deterministic=True))


@pytest.mark.parametrize("check_id", ["a", "0", "a.b_c-d", "x" * 64])
def test_check_id_within_its_letters_is_read(check_id):
    part = make_part(POLICE, (replace(CHECK, check_id=check_id),))
    assert open_part(write_part(part)).part == part
