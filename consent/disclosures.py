"""What a grant authorizes, element by element, and the disclosures that show single elements of it.

An element of `authorization_details` (RFC 9396 §2) says which claims may be asked in which regions, for which
purpose, spent at which gateway, how often. The grant itself holds only a digest of each element (RFC 9901 §4.2.4.2);
a disclosure is base64url of `[salt, element]` (§4.2.2) and is shown to those whose part rests on it.
An element's index, by which uses are counted, is the place of its digest in the grant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any

import msgspec

from gateway.protocol.claims import DepartmentKind, Role, claim_named
from gateway.protocol.codec import b64url, convert, parse_json_object, unb64url
from gateway.protocol.errors import MalformedError
from gateway.protocol.limits import MAX_DISCLOSURE, MAX_USES
from gateway.protocol.reasons import Reason

TYPE = "heyan-check"
DISCLOSURE_SALT_BYTES = 16
"""128 bits, as RFC 9901 §9.3 recommends."""

Region = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9]{2}|[0-9]{4}|[0-9]{6})\Z")]
"""A GB/T 2260 prefix: province, prefecture or county. Never empty, which would be a prefix of everything."""

Uses = Annotated[int, msgspec.Meta(ge=1, le=MAX_USES)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


@dataclass(frozen=True, slots=True)
class Detail:
    """What a person is asked to allow, before it is put into a grant: claims, regions, and how many queries."""

    claims: tuple[str, ...]
    regions: tuple[str, ...]
    max_uses: int


@dataclass(frozen=True, slots=True)
class Authorization:
    """A disclosed element of a grant. `index` is its place in the grant; uses are counted per grant and index."""

    index: int
    claims: tuple[str, ...]
    regions: tuple[str, ...]
    purpose: str
    locations: tuple[str, ...]
    max_uses: int

    def covers_region(self, region: str) -> bool:
        """Whether a county lies under one of the prefixes."""
        return any(region.startswith(prefix) for prefix in self.regions)


class _Element(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    claims: Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1)]
    regions: Annotated[tuple[Region, ...], msgspec.Meta(min_length=1)]
    purpose: _Name
    locations: Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1)]
    max_uses: Uses


def write_disclosure(detail: Detail, *, purpose: str, gateway: str, salt: bytes) -> str:
    """The disclosure of one element, which only `gateway` may spend; `salt` is 16 fresh random bytes."""
    if len(salt) != DISCLOSURE_SALT_BYTES:
        raise MalformedError.at("salt", f"must be {DISCLOSURE_SALT_BYTES} bytes")
    element = _Element(TYPE, detail.claims, detail.regions, purpose, (gateway,), detail.max_uses)
    text = b64url(msgspec.json.encode([b64url(salt), element]))
    read_disclosure(text, 0)  # a detail outside its bounds is refused here, not by whoever verifies the grant
    return text


@lru_cache(maxsize=1024)
def read_disclosure(text: str, index: int) -> Authorization:
    """The element that a disclosure shows; MalformedError. Whether it is of a grant is the verifier's question."""
    if len(text) > MAX_DISCLOSURE:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, "a disclosure over its limit")
    # Read as the one member of an object, so that repeated names are refused at every depth.
    document = parse_json_object(b'{"":' + unb64url(text, "disclosure") + b"}", "disclosure")
    value: Any = document.get("")
    if len(document) != 1 or not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):  # noqa: PLR2004 - salt and element
        raise MalformedError.at("disclosure", "must be [salt, element] (RFC 9901 §4.2.2)")
    element = convert(value[1], _Element, "disclosure")
    if element.type != TYPE:
        raise MalformedError.at("disclosure.type", f"must be {TYPE}")
    return Authorization(index, element.claims, element.regions, element.purpose, element.locations, element.max_uses)


def disclosure_digest(text: str) -> str:
    """The digest under which a grant names a disclosure: base64url(SHA-256(its ASCII text)), RFC 9901 §4.2.3."""
    return b64url(sha256(text.encode("ascii", "replace")).digest())


def group_details(claims: Iterable[str], regions: tuple[str, ...], max_uses: int) -> tuple[Detail, ...]:
    """One detail for each kind of department that answers one of `claims`, so that none is shown another's."""
    by_kind: dict[DepartmentKind, list[str]] = {}
    for name in sorted(set(claims)):
        by_kind.setdefault(claim_named(name).department, []).append(name)
    return tuple(Detail(tuple(names), regions, max_uses) for _, names in sorted(by_kind.items()))


def share_of(details: Iterable[Detail], actor: Role) -> tuple[Detail, ...]:
    """The part of `details` that `actor` may allow: a co-resident what concerns a co-resident, the guardian all else.

    A claim on child and co-resident together needs both, and stands in both shares.
    """
    own = frozenset({Role.CO_RESIDENT}) if actor is Role.CO_RESIDENT else frozenset({Role.CHILD, Role.GUARDIAN})
    shares = (
        Detail(tuple(name for name in detail.claims if claim_named(name).roles & own), detail.regions, detail.max_uses)
        for detail in details
    )
    return tuple(share for share in shares if share.claims)
