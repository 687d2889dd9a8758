"""The registry's document: its fields, as JSON carries them, and the checks that need no other document.

Times are whole seconds since the epoch, keys are raw public bytes in base64url, regions are prefixes of
GB/T 2260 codes ("43" a province, "4301" a prefecture, "430102" a county). Unknown fields are refused: a
restriction that a reader does not understand must not be skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum, unique

import msgspec

from gateway.protocol.claims import CLAIMS, DepartmentKind
from gateway.protocol.codec import unb64url
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.keys import Algorithm, load_public
from gateway.protocol.limits import STATUS_LIST_GRACE
from gateway.protocol.reasons import Reason

FORMAT = 1
_REGION_PREFIX = re.compile(r"\d{2}|\d{4}|\d{6}", re.ASCII)


@unique
class KeyUse(StrEnum):
    """What a key signs; a key counts for one use only."""

    QUERY = "query"
    ANSWER = "answer"
    LOG = "log"
    GRANT = "grant"
    STAFF = "staff"
    """Results of offline tickets; the key's id names the staff member of a requester who holds it."""


@unique
class Assurance(StrEnum):
    """Identity assurance of a consent (`acr`), lowest first. Names as in eIDAS article 8."""

    LOW = "low"
    SUBSTANTIAL = "substantial"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """0 for the lowest."""
        return _RANKS[self]


_RANKS = {assurance: rank for rank, assurance in enumerate(Assurance)}


@unique
class Suite(StrEnum):
    """HPKE suites (RFC 9180; the hybrid KEM of draft-ietf-hpke-pq), all with HKDF-SHA256 and AES-128-GCM."""

    HYBRID = "MLKEM768-X25519/HKDF-SHA256/AES-128-GCM"
    X25519 = "X25519/HKDF-SHA256/AES-128-GCM"


_SEALING_PUBLIC_BYTES = {Suite.HYBRID: 1184 + 32, Suite.X25519: 32}
"""Of ML-KEM-768 then X25519, and of X25519 alone."""


class _Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all terms: immutable, and strict about unknown fields."""


class LocalName(_Terms, frozen=True):
    """A name in both languages."""

    zh: str
    en: str


class KeyTerms(_Terms, frozen=True):
    """A signature key and when it counts."""

    kid: str
    use: KeyUse
    alg: Algorithm
    public: str
    not_before: int
    not_after: int
    compromised: int | None = None

    def counts_at(self, at: float, recorded: float | None = None) -> bool:
        """Whether a signature of time `at` by this key counts.

        If that time is the signer's own word, `recorded` is when somebody else had it: whoever stole the key can
        write any time before the compromise, but cannot have been recorded then.
        """
        known = at if recorded is None else max(at, recorded)
        return self.not_before <= at <= self.not_after and (self.compromised is None or known < self.compromised)


class SealingKeyTerms(_Terms, frozen=True):
    """A public HPKE key of a department node."""

    kid: str
    suite: Suite
    public: str
    not_before: int
    not_after: int


class Coverage(_Terms, frozen=True):
    """Which claims a node answers in which regions."""

    claims: tuple[str, ...]
    regions: tuple[str, ...]


class DepartmentTerms(_Terms, frozen=True):
    """A department node: what it answers, where it listens (host:port, the primary first), how to seal to it."""

    kind: DepartmentKind
    coverage: tuple[Coverage, ...]
    channels: tuple[str, ...]
    sealing_keys: tuple[SealingKeyTerms, ...]

    def prefix_length(self, claim: str, region: str) -> int | None:
        """Length of the longest region prefix under which this node answers `claim` in `region`, or None."""
        lengths = [
            len(prefix)
            for coverage in self.coverage
            if claim in coverage.claims
            for prefix in coverage.regions
            if region.startswith(prefix)
        ]
        return max(lengths, default=None)


class RequesterTerms(_Terms, frozen=True):
    """What a requester may ask. `deferral_seconds`: how long after issue a query may stay open."""

    claims: tuple[str, ...]
    regions: tuple[str, ...]
    purposes: tuple[str, ...]
    deferral_seconds: int = 0
    legal_bases: tuple[str, ...] = ("consent",)

    def allows_region(self, region: str) -> bool:
        """Whether a county is under one of the prefixes."""
        return any(region.startswith(prefix) for prefix in self.regions)


class IssuerTerms(_Terms, frozen=True):
    """A consent issuer: where its status lists are, and its WebAuthn relying party."""

    base_uri: str
    rp_id: str
    origins: tuple[str, ...]
    status_grace_seconds: int = STATUS_LIST_GRACE


class GatewayTerms(_Terms, frozen=True):
    """A gateway: where it listens, and the origin of its log; `ended_origins` those of logs that it went on from."""

    channels: tuple[str, ...]
    log_origin: str
    ended_origins: tuple[str, ...] = ()
    """Oldest first."""

    @property
    def origins(self) -> tuple[str, ...]:
        """All origins, in the order in which the logs grew."""
        return (*self.ended_origins, self.log_origin)


class Party(_Terms, frozen=True):
    """One party of the federation; the terms of its role are set, the others are not."""

    id: str
    name: LocalName
    keys: tuple[KeyTerms, ...] = ()
    department: DepartmentTerms | None = None
    requester: RequesterTerms | None = None
    issuer: IssuerTerms | None = None
    gateway: GatewayTerms | None = None


class ClaimTerms(_Terms, frozen=True):
    """What the federation asks of a consent for one claim."""

    claim: str
    assurance: Assurance
    evidence: bool = True


class Document(_Terms, frozen=True):
    """The registry."""

    format: int
    federation: str
    version: int
    issued: int
    expires: int
    parties: tuple[Party, ...]
    claims: tuple[ClaimTerms, ...]

    def check(self) -> None:
        """Refuse a document that contradicts itself; MalformedError (REGISTRY_INVALID) with its place."""
        if self.format != FORMAT:
            raise _invalid("format", f"must be {FORMAT}")
        if self.version < 1 or self.expires <= self.issued:
            raise _invalid("version", "must be at least 1, and expiry after issue")
        _require_unique("parties.id", (party.id for party in self.parties))
        _require_unique("claims.claim", (terms.claim for terms in self.claims))
        for party in self.parties:
            _check_party(party)
        for terms in self.claims:
            _require_claims(f"claims.{terms.claim}", (terms.claim,))


_TERMS_OF_ROLE = {
    PartyRole.DEPARTMENT: "department",
    PartyRole.REQUESTER: "requester",
    PartyRole.ISSUER: "issuer",
    PartyRole.GATEWAY: "gateway",
}


def _check_party(party: Party) -> None:
    try:
        role = parse_identity(party.id).role
    except MalformedError:
        raise _invalid("parties.id", "must be spiffe://heyan/<role>/<id>") from None
    for owner, attribute in _TERMS_OF_ROLE.items():
        if (getattr(party, attribute) is not None) != (owner is role):
            raise _invalid(f"{party.id}.{attribute}", "must be set for this role and no other")
    _require_unique(f"{party.id}.keys", (key.kid for key in party.keys))
    for key in party.keys:
        _check_key(f"{party.id}.keys.{key.kid}", key)
        if key.use is KeyUse.STAFF and role is not PartyRole.REQUESTER:
            raise _invalid(f"{party.id}.keys.{key.kid}", "a staff key must be a requester's")
    log_keys = {key.alg for key in party.keys if key.use is KeyUse.LOG}
    if log_keys and Algorithm.ED25519 not in log_keys:
        raise _invalid(f"{party.id}.keys", "a log must have an Ed25519 key beside its ML-DSA-44 one")
    if party.gateway is not None:
        _require_unique(f"{party.id}.origins", party.gateway.origins)
    if party.department is not None:
        _check_department(party.id, party.department)
    if party.requester is not None:
        _require_claims(f"{party.id}.claims", party.requester.claims)
        _require_regions(f"{party.id}.regions", party.requester.regions)


def _check_key(where: str, key: KeyTerms) -> None:
    try:
        load_public(key.alg, unb64url(key.public, where))
    except MalformedError:
        raise _invalid(where, f"must be a raw {key.alg.value} public key") from None
    if key.use is KeyUse.LOG and key.alg is Algorithm.ES256:
        raise _invalid(where, "a log key must be Ed25519 or ML-DSA-44")
    if key.use is not KeyUse.LOG and key.alg is Algorithm.ML_DSA_44:
        raise _invalid(where, "only a log signs with ML-DSA-44")


def _check_department(party: str, terms: DepartmentTerms) -> None:
    _require_unique(f"{party}.sealing_keys", (key.kid for key in terms.sealing_keys))
    for key in terms.sealing_keys:
        where = f"{party}.sealing_keys.{key.kid}"
        try:
            size = len(unb64url(key.public, where))
        except MalformedError:
            size = 0
        if size != _SEALING_PUBLIC_BYTES[key.suite]:
            raise _invalid(where, f"must be a raw public key of {key.suite.value}")
    for coverage in terms.coverage:
        _require_claims(f"{party}.coverage", coverage.claims)
        _require_regions(f"{party}.coverage", coverage.regions)
        for claim in coverage.claims:
            if CLAIMS[claim].department is not terms.kind:
                raise _invalid(f"{party}.coverage", f"{claim} is of another kind of department")


def _require_claims(where: str, claims: Iterable[str]) -> None:
    for claim in claims:
        if claim not in CLAIMS:
            raise _invalid(where, "names a claim that the vocabulary does not have")


def _require_regions(where: str, regions: Iterable[str]) -> None:
    for region in regions:
        if not _REGION_PREFIX.fullmatch(region):
            raise _invalid(where, "must be prefixes of GB/T 2260 codes: 2, 4 or 6 digits")


def _require_unique(where: str, values: Iterable[str]) -> None:
    listed = list(values)
    if len(set(listed)) != len(listed):
        raise _invalid(where, "must not repeat")


def _invalid(where: str, description: str) -> MalformedError:
    return MalformedError.at(where, description, Reason.REGISTRY_INVALID)
