"""What is shown along with a query: read into values, each field within its bound, before anything is verified."""

import pytest

from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import MalformedError
from gateway.protocol.limits import ENVELOPE_SIZE, MAX_DISCLOSURE, MAX_DISCLOSURES, MAX_GRANT, MAX_GRANTS, MAX_PARTS
from gateway.protocol.presentation import (
    Presentation,
    PresentedPart,
    Submission,
    read_presentations,
    read_presented_part,
    read_signed_query,
    read_submission,
    write_presentation,
    write_submission,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.sealing import Sealed
from heyan.v1 import gateway_service_pb2, query_pb2, signing_pb2
from tests.protocol.casework import PARTS, make_query, refused, sign_query

SUBMISSION = Submission(
    signed=sign_query(make_query()),
    grants=(Presentation("a.b.c", ("one", "two")), Presentation("d.e.f", ())),
    parts=tuple(PresentedPart(part, Sealed(1, "seal-1", b"ciphertext")) for part in PARTS),
)


def message():
    return write_submission(SUBMISSION)


def test_submission_survives_its_message():
    again = gateway_service_pb2.VerifyRequest.FromString(message().SerializeToString())
    assert read_submission(again) == SUBMISSION


def test_largest_submission_is_read():
    grants = tuple(
        Presentation(f"{number}" * MAX_GRANT, ("x" * MAX_DISCLOSURE,) * MAX_DISCLOSURES) for number in range(MAX_GRANTS)
    )
    part = PresentedPart(b"part", Sealed(1, "k" * 64, bytes(ENVELOPE_SIZE + 2048)))
    largest = Submission(SUBMISSION.signed, grants, (part,) * MAX_PARTS)
    assert read_submission(write_submission(largest)) == largest


def test_digest_of_a_grant_leaves_its_disclosures_out():
    shown = Presentation("a.b.c", ("one",))
    assert shown.digest == digest(Kind.GRANT, b"a.b.c") == Presentation("a.b.c", ()).digest
    assert shown.digest != Presentation("a.b.d", ("one",)).digest


def test_grant_that_is_not_ascii_has_a_digest_and_no_more():
    assert len(Presentation("é\ud800", ()).digest) == 32


def without_query(value):
    value.ClearField("query")


def without_signature(value):
    value.query.ClearField("signature")


def with_signature(**changes):
    def change(value):
        value.query.signature.MergeFrom(signing_pb2.Signature(**changes))

    return change


def without_key_id(value):
    value.query.signature.key_id = ""


def without_parts(value):
    del value.parts[:]


def with_many_parts(value):
    value.parts.extend([value.parts[0]] * MAX_PARTS)


def without_grants(value):
    del value.grants[:]


def with_many_grants(value):
    value.grants.extend(query_pb2.GrantPresentation(grant=str(number)) for number in range(MAX_GRANTS))


def with_a_grant_twice(value):
    value.grants[1].grant = value.grants[0].grant


def without_sealed(value):
    value.parts[0].ClearField("sealed")


def without_ciphertext(value):
    value.parts[2].sealed.ciphertext = b""


MALFORMED = {
    "no query": without_query,
    "no signature": without_signature,
    "signature of 63 bytes": with_signature(value=bytes(63)),
    "signature of 65 bytes": with_signature(value=bytes(65)),
    "no key id": without_key_id,
    "key id of 65 letters": with_signature(key_id="k" * 65),
    "no parts": without_parts,
    "too many parts": with_many_parts,
    "no grants": without_grants,
    "too many grants": with_many_grants,
    "a grant twice": with_a_grant_twice,
    "a part without its subjects": without_sealed,
    "a part with empty subjects": without_ciphertext,
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_submission_is_refused_and_the_field_named(change):
    value = message()
    change(value)
    with pytest.raises(MalformedError) as refusal:
        read_submission(value)
    assert refusal.value.reason is Reason.MESSAGE_MALFORMED
    assert refusal.value.violations[0].field


@pytest.mark.parametrize(
    "grant",
    [
        {"grant": "x" * (MAX_GRANT + 1)},
        {"grant": "x", "disclosures": ["d"] * (MAX_DISCLOSURES + 1)},
        {"grant": "x", "disclosures": ["d", "d" * (MAX_DISCLOSURE + 1)]},
    ],
    ids=["grant", "disclosures", "one disclosure"],
)
def test_too_large_grant_is_refused(grant):
    with refused(MalformedError, Reason.MESSAGE_TOO_LARGE):
        read_presentations([query_pb2.GrantPresentation(**grant)])


@pytest.mark.parametrize(
    "sealed",
    [{"ciphertext": bytes(ENVELOPE_SIZE + 2049)}, {"ciphertext": b"x", "key_id": "k" * 65}],
    ids=["ciphertext", "key id"],
)
def test_too_large_sealed_subject_is_refused(sealed):
    with refused(MalformedError, Reason.MESSAGE_TOO_LARGE):
        read_presented_part(query_pb2.PresentedPart(part=b"x", sealed=query_pb2.SealedSubject(**sealed)))


def test_same_grant_with_other_disclosures_is_a_repetition():
    grants = [write_presentation(Presentation("a.b.c", disclosures)) for disclosures in ((), ("x",))]
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_presentations(grants)


def test_empty_query_is_malformed():
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_signed_query(query_pb2.SignedQuery())
