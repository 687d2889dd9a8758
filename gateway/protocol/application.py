"""The application that a query serves: which county, school and group, and by which rules.

A query names it only by a salted digest, so that no department learns what kind of family asks; the gateway and whoever
holds the receipt are shown it, and compute from it what the answers mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from gateway.protocol.codec import encode, parse_canonical
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.divisions import is_county
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.limits import APPLICATION_SALT_SIZE
from gateway.protocol.matrix import Group, School
from gateway.protocol.reasons import Reason
from heyan.v1 import query_pb2

MAX_APPLICATION = 512
"""Bytes; real ones are about 120."""

_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Application:
    """What a query serves. `group` is None where the family leaves it open; `rules_digest` is that of the plan."""

    salt: bytes
    region: str
    school: School
    group: Group | None
    rules_digest: bytes


def write_application(application: Application) -> bytes:
    """The canonical bytes of an application."""
    return encode(
        query_pb2.Application(
            salt=application.salt,
            region=application.region,
            school=application.school.value,
            group=application.group.value if application.group is not None else "",
            rules_digest=application.rules_digest,
        )
    )


def application_digest(data: bytes) -> bytes:
    """The digest by which a query names an application; empty for none."""
    return digest(Kind.APPLICATION, data) if data else b""


def open_application(data: bytes, named: bytes) -> Application | None:
    """The application of canonical bytes, held against the digest that the query names; None if it names none.

    Raises ForgedError (QUERY_PARTS_MISMATCH) if they do not belong together, or MalformedError naming the field.
    """
    if application_digest(data) != named:
        raise ForgedError(Reason.QUERY_PARTS_MISMATCH, "not the application that the query names")
    if not data:
        return None
    message = parse_canonical(query_pb2.Application, data, MAX_APPLICATION)
    if len(message.salt) != APPLICATION_SALT_SIZE:
        raise MalformedError.at("application.salt", f"must be {APPLICATION_SALT_SIZE} random bytes")
    if len(message.rules_digest) != DIGEST_BYTES:
        raise MalformedError.at("application.rules_digest", f"must be {DIGEST_BYTES} bytes")
    region, school, group = read_choice(message.region, message.school, message.group, prefix="application.")
    return Application(message.salt, region, school, group, message.rules_digest)


def read_choice(region: str, school: str, group: str, *, prefix: str = "") -> tuple[str, School, Group | None]:
    """County, school and group as they travel; MalformedError naming the field, after `prefix`."""
    if not is_county(region):
        raise MalformedError.at(f"{prefix}region", "must be the GB/T 2260 code of a county of Hunan")
    return (
        region,
        _member(School, school, f"{prefix}school"),
        _member(Group, group, f"{prefix}group") if group else None,
    )


def _member(kind: type[_E], value: str, field: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise MalformedError.at(field, "must be one of " + ", ".join(member.value for member in kind)) from None
