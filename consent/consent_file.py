"""The private consent file: everything that a requester needs to ask on the strength of a consent, and nobody else.

JSON, `"format": "heyan-consent/1"`: for each grant, the guardian's first, the compact JWS, all its disclosures, and
what opens its commitments: salts and records by role, and the passkey evidence. A co-resident's grant opens the
co-resident only; the child that both concern is opened by the guardian's.

The file names persons. It is written whole or not at all with mode 0600, and not read if others could read it.
No `repr` here shows a name, a number or a salt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from consent.disclosures import Authorization, disclosure_digest, read_disclosure
from consent.grant import GrantPayload, grant_digest, peek
from gateway.party.keyfiles import read_private, write_private
from gateway.protocol.claims import Role, claim_named
from gateway.protocol.codec import b64url, convert, parse_json_object, unb64url
from gateway.protocol.errors import MalformedError, NotGrantedError
from gateway.protocol.presentation import Presentation
from gateway.protocol.query import GrantUse
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import SALT_BYTES, IdType, Subject

FORMAT: Literal["heyan-consent/1"] = "heyan-consent/1"


@dataclass(frozen=True, slots=True)
class GrantConsent:
    """One grant with what opens it."""

    token: str = field(repr=False)
    disclosures: tuple[str, ...] = field(repr=False)
    salts: Mapping[Role, bytes] = field(repr=False)
    evidence: bytes = field(repr=False)
    subjects: Mapping[Role, Subject] = field(repr=False)

    @property
    def digest(self) -> bytes:
        """The grant's digest."""
        return grant_digest(self.token)

    @property
    def presentation(self) -> Presentation:
        """The grant with all its disclosures; `consent.selection.select_disclosures` narrows it."""
        return Presentation(self.token, self.disclosures)

    @property
    def claims(self) -> GrantPayload:
        """What the grant states, not verified: `jti`, `aud`, `exp`, `actor`, `commitments` …"""
        return peek(self.token)

    @property
    def authorizations(self) -> tuple[Authorization, ...]:
        """The elements at hand, by index."""
        index_of = {value: index for index, value in enumerate(self.claims.disclosure_digests)}
        found = (read_disclosure(text, index_of[disclosure_digest(text)]) for text in self.disclosures)
        return tuple(sorted(found, key=lambda element: element.index))


@dataclass(frozen=True, slots=True)
class Footing:
    """What a check of one claim rests on: the elements it spends, and the commitment of each role, sorted by role."""

    uses: tuple[GrantUse, ...]
    subjects: tuple[tuple[Role, bytes], ...]


@dataclass(frozen=True, slots=True)
class ConsentFile:
    """The grants of one application: the guardian's, then those of co-residents."""

    grants: tuple[GrantConsent, ...]

    @property
    def roles(self) -> frozenset[Role]:
        """Whom the grants open: of whom a plan may ask."""
        return frozenset(role for grant in self.grants for role in grant.subjects)

    def footing(self, claim: str, region: str, *, purpose: str, gateway: str, co_resident: int = 0) -> Footing:
        """What a check must rest on, as `verification.authorize` demands it; for the co-resident of that place.

        Raises NotGrantedError: GRANT_SUBJECT_MISSING if nobody here can consent for a role of the claim,
        CLAIM_NOT_GRANTED if no element covers claim, region, purpose and gateway.
        """
        uses: dict[bytes, GrantUse] = {}
        subjects: list[tuple[Role, bytes]] = []
        for role in sorted(claim_named(claim).roles):
            consent = self.consenting(role, co_resident)
            if consent.digest not in uses:
                uses[consent.digest] = GrantUse(consent.digest, _covering(consent, claim, region, purpose, gateway))
            subjects.append((role, consent.claims.commitments[role]))
        return Footing(tuple(uses.values()), tuple(subjects))

    def consenting(self, role: Role, co_resident: int = 0) -> GrantConsent:
        """The grant that consents for `role` and opens it; NotGrantedError (GRANT_SUBJECT_MISSING)."""
        if role is Role.CO_RESIDENT:
            co_residents = [grant for grant in self.grants if grant.claims.actor is Role.CO_RESIDENT]
            if co_resident < len(co_residents):
                return co_residents[co_resident]
        elif self.grants and self.grants[0].claims.actor is Role.GUARDIAN:
            return self.grants[0]
        raise NotGrantedError(Reason.GRANT_SUBJECT_MISSING, role.value)


def _covering(consent: GrantConsent, claim: str, region: str, purpose: str, gateway: str) -> int:
    for element in consent.authorizations:
        if (
            claim in element.claims
            and element.covers_region(region)
            and element.purpose == purpose
            and gateway in element.locations
        ):
            return element.index
    raise NotGrantedError(Reason.CLAIM_NOT_GRANTED, claim)


class _SubjectJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id_type: IdType
    id_number: str
    name: str


class _GrantJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grant: str
    disclosures: tuple[str, ...]
    salts: dict[Role, str]
    subjects: dict[Role, _SubjectJson]
    evidence: str


class _FileJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["heyan-consent/1"]
    grants: Annotated[tuple[_GrantJson, ...], msgspec.Meta(min_length=1)]


def write_consent_file(path: Path, consent: ConsentFile) -> None:
    """Write the file, whole or not at all, with mode 0600. Raises OSError."""
    document = _FileJson(FORMAT, tuple(_to_json(grant) for grant in consent.grants))
    write_private(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def read_consent_file(path: Path) -> ConsentFile:
    """Read the file; MalformedError, with CONFIGURATION_INVALID if it is missing or others could read it."""
    value = parse_json_object(read_private(path), str(path))
    document = convert(value, _FileJson, str(path))
    return ConsentFile(tuple(_from_json(grant) for grant in document.grants))


def consent_to_json(consent: GrantConsent) -> dict[str, object]:
    """One grant as the file, and the issuer's answer to an approval, hold it."""
    value: dict[str, object] = msgspec.to_builtins(_to_json(consent))
    return value


def consent_from_json(value: object) -> GrantConsent:
    """The grant of its JSON value; MalformedError."""
    return _from_json(convert(value, _GrantJson, "consent"))


def _to_json(consent: GrantConsent) -> _GrantJson:
    return _GrantJson(
        grant=consent.token,
        disclosures=consent.disclosures,
        salts={role: b64url(salt) for role, salt in sorted(consent.salts.items())},
        subjects={
            role: _SubjectJson(subject.id_type, subject.id_number, subject.name)
            for role, subject in sorted(consent.subjects.items())
        },
        evidence=b64url(consent.evidence),
    )


def _from_json(value: _GrantJson) -> GrantConsent:
    salts = {role: unb64url(salt, "consent.salts") for role, salt in value.salts.items()}
    if salts.keys() != value.subjects.keys() or any(len(salt) != SALT_BYTES for salt in salts.values()):
        raise MalformedError.at("consent.salts", f"must be {SALT_BYTES} bytes for each subject")
    consent = GrantConsent(
        token=value.grant,
        disclosures=value.disclosures,
        salts=salts,
        evidence=unb64url(value.evidence, "consent.evidence"),
        subjects={
            role: Subject(subject.id_type, subject.id_number, subject.name) for role, subject in value.subjects.items()
        },
    )
    digests = consent.claims.disclosure_digests
    if any(disclosure_digest(text) not in digests for text in consent.disclosures):
        raise MalformedError.at("consent.disclosures", "must be of the grant")
    return consent
