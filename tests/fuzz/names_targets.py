"""Identifiers of persons, names, identities, addresses, claims with their parameters, divisions, the matrix."""

from __future__ import annotations

from datetime import date

from gateway.party.addresses import split_address
from gateway.protocol.claims import Role, check_parameters, claim_named
from gateway.protocol.divisions import counties_of, is_county, prefecture_of
from gateway.protocol.errors import MalformedError
from gateway.protocol.identifiers import (
    check_character,
    check_foreign_permanent_resident,
    check_older_house_certificate,
    check_organisation_code,
    check_property_certificate,
    check_property_unit,
    check_residence_permit,
    check_resident_id,
    check_subject,
    resident_id,
)
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.matrix import Group, School
from gateway.protocol.subjects import (
    SALT_BYTES,
    IdType,
    Subject,
    canonical_record,
    commit,
    normalise_name,
    open_commitment,
)
from gateway.rules.region_rules import plan_checks
from tests.county_rules import SHIPPED_RULES
from tests.federation import CHILD, GATEWAY, REGION, REQUESTER
from tests.fuzz.target import Target, text

_NUMBER = CHILD.id_number.encode()
_NAMES = ("张三", "阿卜杜拉·买买提", "Ｗａｎｇ", "ﷺ", "e\u0301 e")
_PARAMETERS = (b"insurance.paid_months@1\nmonths=12", b"enrolment.of_school_age@1\nlevel=primary\nyear=2027")


_OTHERS = (
    (check_residence_permit, ("810000199001010019", " 830000 19900101 0013")),
    (check_foreign_permanent_resident, ("943999199001010011", "xxa439900900101")),
    (check_organisation_code, ("91350100M000100Y43", "11439900mb00000193")),
    (check_property_certificate, ("湘(2024)长沙市不动产权第0000000号", "湘〔2024〕长沙市不动产证明第0A号")),
    (check_older_house_certificate, ("长房权证（2009）字第001号",)),
    (check_property_unit, ("439900001001GB00001F00010001", "439900 001001 gb00001 w00000000")),
)


def _subject(data: bytes) -> Subject:
    """Number, name and, if it is not a resident ID, the kind of document, a line each."""
    number, _, rest = text(data).partition("\n")
    name, _, kind = rest.partition("\n")
    try:
        return Subject(IdType(kind) if kind else IdType.RESIDENT_ID, number, name)
    except ValueError:
        raise MalformedError.at("id_type", "no such kind") from None


def _numbers() -> tuple[Target, ...]:
    """Every other kind of identifier: what was accepted once is accepted again, unchanged."""
    return tuple(
        Target(
            check.__name__.removeprefix("check_").replace("_", " "),
            lambda data, check=check: check(text(data)),  # type: ignore[misc]
            tuple(seed.encode() for seed in seeds),
            lambda _data, value, check=check: check(value) == value,  # type: ignore[misc]
        )
        for check, seeds in _OTHERS
    )


def _is_fixed(data: bytes, value: object) -> bool:
    """What was normalised once stays as it is."""
    assert isinstance(value, str)
    return check_resident_id(value) == value and len(value) == 18


def _subject_is_fixed(_data: bytes, value: object) -> bool:
    assert isinstance(value, Subject)
    return check_subject(value) == value and canonical_record(value) != b""


def _commitment(data: bytes) -> object:
    subject, salt = _subject(data), bytes(SALT_BYTES)
    commitment = commit(subject, salt)
    open_commitment(commitment, subject, salt)
    return commitment


def _claim(data: bytes) -> object:
    name, *lines = text(data).split("\n")
    pairs = [line.partition("=") for line in lines]
    claim = claim_named(name)
    check_parameters(claim, {key: value for key, _, value in pairs})
    return claim


def _division(data: bytes) -> object:
    code = text(data)
    if is_county(code):
        return prefecture_of(code), code in counties_of(prefecture_of(code))
    return prefecture_of(code)


def _prefecture(data: bytes) -> object:
    return counties_of(text(data))


def _plan(data: bytes) -> object:
    school, _, group = text(data).partition("\n")
    try:
        kinds = School(school), Group(group)
    except ValueError:
        raise MalformedError.at("plan", "no such kind") from None
    return plan_checks(SHIPPED_RULES.rules_of(REGION), kinds[0], kinds[1:], frozenset(Role))


def _typed_number(data: bytes) -> object:
    return check_resident_id(text(data), today=date(2027, 1, 1))


def _made_number(data: bytes) -> object:
    """A number made of an area and a sequence reads as itself, if its area is one of a resident ID."""
    number = resident_id(text(data[2:]), date(2018, 9, 1), int.from_bytes(data[:2], "big"))
    assert check_character(number[:17]) == number[17]
    return number


def _identity_is_written_again(data: bytes, value: object) -> bool:
    assert isinstance(value, Identity)
    return value.uri == text(data) and parse_identity(value.uri) == value


def _name(data: bytes) -> object:
    return normalise_name(text(data))


def targets() -> tuple[Target, ...]:
    pairs = tuple(_NUMBER + b"\n" + name.encode() for name in _NAMES)
    pairs += tuple(
        f"{number}\n张三\n{kind.value}".encode()
        for kind, number in (
            (IdType.HMT_RESIDENCE_PERMIT, "810000199001010019"),
            (IdType.FOREIGN_PERMANENT_RESIDENT, "943999199001010011"),
            (IdType.FOREIGN_PERMANENT_RESIDENT, "XXA439900900101"),
        )
    )
    schools = tuple(f"{school}\n{group}".encode() for school in School for group in Group)
    return (
        Target("resident ID", lambda data: check_resident_id(text(data)), (_NUMBER, b" " + _NUMBER.lower()), _is_fixed),
        Target("resident ID of today", _typed_number, (_NUMBER,)),
        Target("resident ID made", _made_number, (b"\x00\x01430102",)),
        *_numbers(),
        Target("name", _name, tuple(name.encode() for name in _NAMES), lambda _, name: normalise_name(name) == name),  # type: ignore[arg-type]
        Target("subject", lambda data: check_subject(_subject(data)), pairs, _subject_is_fixed),
        Target("canonical record", lambda data: canonical_record(_subject(data)), pairs),
        Target("commitment", _commitment, pairs),
        Target(
            "identity",
            lambda data: parse_identity(text(data)),
            (REQUESTER.encode(), GATEWAY.encode()),
            _identity_is_written_again,
        ),
        Target("claim", _claim, _PARAMETERS),
        Target("division", _division, (REGION.encode(), b"430100", b"43")),
        Target("prefecture", _prefecture, (b"430100", b"4301", REGION.encode())),
        Target("plan", _plan, schools),
        Target("address", lambda data: split_address(text(data)), (b"127.0.0.1:8443", b"[::1]:1", b"host:65536")),
    )
