"""`add-checkpoint` on the wire: the specification's example, one form as a server, any sensible one as a client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.errors import HeyanError, MalformedError
from gateway.protocol.witness_wire import (
    MAX_ANSWER_BYTES,
    MAX_PROOF_HASHES,
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    ComeBack,
    Cosignatures,
    HoldsSize,
    Refused,
    checkpoint_path,
    parse_add_checkpoint,
    read_answer,
)

# The example of C2SP tlog-witness.
NOTE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— example.com/behind-the-sofa "
    "opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n"
)
HASHES = """PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=
"""
EXAMPLE = f"old 20852014\n{HASHES}\n{NOTE}"
LINE = (
    "— witness.example/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
)


def test_example_of_the_specification_is_read_and_written_alike():
    request = parse_add_checkpoint(EXAMPLE.encode())
    assert (request.old, len(request.proof), request.checkpoint) == (20852014, 4, NOTE)
    assert len(request.note.unverified) == 2
    assert request.format() == EXAMPLE.encode()


def test_request_without_a_proof_and_one_with_the_longest():
    for proof in ((), (bytes(32),) * MAX_PROOF_HASHES):
        request = AddCheckpoint(0, proof, NOTE)
        assert parse_add_checkpoint(request.format()) == request
        assert len(request.format()) <= MAX_REQUEST_BYTES


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        EXAMPLE.replace("old 20852014", "old 020852014").encode(),
        EXAMPLE.replace("old 20852014", "old -1").encode(),
        EXAMPLE.replace("old 20852014", "old  20852014").encode(),
        EXAMPLE.replace("old 20852014", "old 20852014 ").encode(),
        EXAMPLE.replace("old 20852014", "old").encode(),
        EXAMPLE.replace("old 20852014", "OLD 20852014").encode(),
        EXAMPLE.replace("old 20852014", "old 9223372036854775808").encode(),
        EXAMPLE.replace("old 20852014", "size 20852014").encode(),
        EXAMPLE.replace("\n", "\r\n").encode(),
        EXAMPLE.removesuffix("\n").encode(),
        EXAMPLE.replace("old 20852014\n", "").encode(),
        EXAMPLE.replace("jrJZ", "jrJ").encode(),
        EXAMPLE.replace("pkaw=", "pkax=").encode(),
        EXAMPLE.replace("pkaw=", "pkaw").encode(),
        EXAMPLE.replace("PlRNCrwH", " PlRNCrwH").encode(),
        f"old 1\n{'A' * 44}\n\n{NOTE}".encode(),
        f"old 1\n{HASHES}{NOTE}".encode(),
        f"old 0\n\n{NOTE.partition(chr(10) * 2)[0]}\n".encode(),
        AddCheckpoint(1, (bytes(32),) * (MAX_PROOF_HASHES + 1), NOTE).format(),
        EXAMPLE.encode() + b"\xff",
        b"old 0\n\n" + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_any_other_form_of_a_request_is_refused(body):
    with pytest.raises(MalformedError):
        parse_add_checkpoint(body)


@given(st.binary(max_size=300))
def test_any_octets_are_a_request_or_refused(data):
    try:
        request = parse_add_checkpoint(data)
    except MalformedError:
        return
    assert request.format() == data


def test_cosignatures_are_read_with_whatever_line_ends():
    for body in (f"{LINE}\n", f"{LINE}\r\n", f"{LINE}\n\n", LINE):
        answer = read_answer(200, {}, body.encode())
        assert isinstance(answer, Cosignatures)
        assert [signature.name for signature in answer.signatures] == ["witness.example/w1"]


@pytest.mark.parametrize("body", [b"", b"\n", b"ok\n", LINE.encode()[:-3], b"\xff", b"x" * (MAX_ANSWER_BYTES + 1)])
def test_success_that_says_nothing_is_refused(body):
    with pytest.raises(HeyanError):
        read_answer(200, {}, body)


@pytest.mark.parametrize("body", [b"17\n", b"17", b" 17\r\n"])
def test_size_is_read_by_its_digits(body):
    assert read_answer(409, {"Content-Type": "text/plain"}, body) == HoldsSize(17)


@pytest.mark.parametrize("body", [b"", b"-1\n", b"0x11\n", b"9223372036854775808\n", b"1\n2\n"])
def test_conflict_without_a_size_is_refused(body):
    with pytest.raises(MalformedError):
        read_answer(409, {}, body)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422, 301, 204])
def test_refusals_are_told_by_their_status(status):
    assert read_answer(status, {}, b"whatever") == Refused(status)


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [(429, "7", 7.0), (503, "", None), (500, "soon", None), (429, "99999999", 3600.0), (408, "-1", None)],
)
def test_pushback_is_for_later(status, value, seconds):
    assert read_answer(status, {"Retry-After": value}, b"") == ComeBack(status, seconds)


def test_path_for_monitors_is_the_hash_of_the_origin():
    assert checkpoint_path("a") == "/ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb/checkpoint"
