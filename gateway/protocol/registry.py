"""The federation registry: one signed document that says who is who and who may do what.

It is a compact JWS (typ heyan-registry+jwt, Ed25519) by the federation operator, whose key every party pins as
a C2SP verifier key. Invariants, all held by `adopt`:

- a party keeps the newest version it has seen, refuses an older one, and refuses other bytes of the same one;
- expiry stops new work (`require_current`), never the judging of what was logged before it;
- a key counts at a time: inside its validity and before its compromise, so that rotation needs no downtime
  and a compromise voids nothing that was logged earlier.

What it does not do: fetch, store or publish the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from gateway.protocol import jws
from gateway.protocol.codec import parse_json_object, unb64url
from gateway.protocol.errors import ForgedError, MalformedError, NotCurrentError, NotGrantedError, UnknownPeerError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.keys import Algorithm, PublicKey
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import ClaimTerms, Document, KeyUse, Party, SealingKeyTerms

TYP = "heyan-registry+jwt"
MAX_REGISTRY = 4 << 20
"""Bytes of the compact JWS: about 1,000 parties with hybrid sealing keys."""


class Registry:
    """A verified registry: the document, its exact bytes, and the look-ups that parties make in it."""

    def __init__(self, document: Document, token: str) -> None:
        self.document = document
        self.token = token
        self.version = document.version
        self.digest = sha256(token.encode("ascii")).digest()
        self._parties = {party.id: party for party in document.parties}
        self._roles = {party.id: parse_identity(party.id).role for party in document.parties}
        self._claims = {terms.claim: terms for terms in document.claims}
        self._keys = {
            (party.id, key.use, key.kid): (key, PublicKey(key.kid, Algorithm(key.alg), unb64url(key.public, "public")))
            for party in document.parties
            for key in party.keys
        }

    def party(self, uri: str) -> Party:
        """The party of a SPIFFE ID; UnknownPeerError (PEER_UNKNOWN)."""
        try:
            return self._parties[uri]
        except KeyError:
            raise UnknownPeerError(Reason.PEER_UNKNOWN, "not in the registry") from None

    def party_in_role(self, uri: str, role: PartyRole) -> Party:
        """The party of a SPIFFE ID if it has `role`; UnknownPeerError."""
        party = self.party(uri)
        if self._roles[uri] is not role:
            raise UnknownPeerError(Reason.PEER_ROLE_NOT_ALLOWED, f"not a {role.value}")
        return party

    def parties(self, role: PartyRole) -> tuple[Party, ...]:
        """All parties of a role, in the document's order."""
        return tuple(party for party in self.document.parties if self._roles[party.id] is role)

    def key(
        self,
        party: str,
        use: KeyUse,
        kid: str,
        at: float,
        reason: Reason = Reason.KEY_UNKNOWN,
        *,
        recorded: float | None = None,
    ) -> PublicKey:
        """The key `kid` of a party if it counts at time `at` (see `KeyTerms.counts_at`); ForgedError(reason)."""
        entry = self._keys.get((party, use, kid))
        if entry is None or not entry[0].counts_at(at, recorded):
            raise ForgedError(reason, "no such key at that time")
        return entry[1]

    def keys(self, party: str, use: KeyUse, at: float) -> tuple[PublicKey, ...]:
        """All keys of a party for a use that count at time `at`."""
        return tuple(
            key
            for (owner, key_use, _), (terms, key) in self._keys.items()
            if owner == party and key_use is use and terms.counts_at(at)
        )

    def log_keys(self, gateway: str, at: float) -> tuple[PublicKey, ...]:
        """The log keys of a gateway at time `at`: Ed25519, and ML-DSA-44 if it has one."""
        return self.keys(gateway, KeyUse.LOG, at)

    def checkpoint_keys(self, gateway: str, log_time: float) -> tuple[PublicKey, ...]:
        """The log keys whose checkpoints prove a leaf of `log_time`: those that counted then, and later ones.

        A proof is made under the newest checkpoint, which a key may have signed that did not exist at that time.
        """
        return tuple(
            key
            for (owner, use, _), (terms, key) in self._keys.items()
            if owner == gateway
            and use is KeyUse.LOG
            and log_time <= terms.not_after
            and (terms.compromised is None or log_time < terms.compromised)
        )

    def sound_log_keys(self, gateway: str) -> tuple[PublicKey, ...]:
        """The log keys that were never compromised, ended ones too: what they signed, the gateway signed."""
        return tuple(
            key
            for (owner, use, _), (terms, key) in self._keys.items()
            if owner == gateway and use is KeyUse.LOG and terms.compromised is None
        )

    def sealing_keys_of(self, department: str) -> tuple[SealingKeyTerms, ...]:
        """All sealing keys of a department node that the document lists, ended ones too."""
        terms = self.party_in_role(department, PartyRole.DEPARTMENT).department
        return terms.sealing_keys if terms is not None else ()

    def sealing_keys(self, department: str, at: float) -> tuple[SealingKeyTerms, ...]:
        """The sealing keys of a department node that may be used at `at`, the one that lasts longest first."""
        usable = [key for key in self.sealing_keys_of(department) if key.not_before <= at <= key.not_after]
        return tuple(sorted(usable, key=lambda key: key.not_after, reverse=True))

    def claim_terms(self, claim: str) -> ClaimTerms:
        """Evidence and assurance that a claim needs; NotGrantedError if the federation does not offer it."""
        try:
            return self._claims[claim]
        except KeyError:
            raise NotGrantedError(Reason.CLAIM_NOT_ALLOWED, "the federation does not offer this claim") from None

    def node_for(self, claim: str, region: str) -> Party:
        """The node that answers `claim` in `region`: the longest matching region prefix, then the first listed."""
        best: tuple[int, Party] | None = None
        for party in self._nodes_by_claim.get(claim, ()):
            assert party.department is not None  # noqa: S101 - _nodes_by_claim holds departments only
            length = party.department.prefix_length(claim, region)
            if length is not None and (best is None or length > best[0]):
                best = (length, party)
        if best is None:
            raise NotGrantedError(Reason.REGION_NOT_SERVED, f"nobody answers {claim} in {region}")
        return best[1]

    @cached_property
    def _nodes_by_claim(self) -> Mapping[str, tuple[Party, ...]]:
        nodes: dict[str, list[Party]] = {}
        for party in self.document.parties:
            for coverage in party.department.coverage if party.department else ():
                for claim in coverage.claims:
                    nodes.setdefault(claim, []).append(party)
        return {claim: tuple(parties) for claim, parties in nodes.items()}

    def require_current(self, now: float) -> None:
        """Refuse new work under an expired registry; NotCurrentError (REGISTRY_EXPIRED)."""
        if now > self.document.expires + EXPIRY_TOLERANCE:
            raise NotCurrentError(Reason.REGISTRY_EXPIRED, f"version {self.version}")


def open_registry(token: str, operator: PublicKey, now: float | None = None) -> Registry:
    """Verify a registry's signature and shape; with `now`, also that it is not from the future.

    Raises ForgedError or MalformedError (REGISTRY_INVALID). Expiry is not checked here: see `require_current`.
    """

    def operator_key(kid: str) -> PublicKey:
        if kid != operator.key_id:
            raise ForgedError(Reason.REGISTRY_INVALID, "signed by another key than the pinned one")
        return operator

    try:
        opened = jws.open_jws(token, TYP, operator_key, MAX_REGISTRY, reason=Reason.REGISTRY_INVALID)
        document = read_document(parse_json_object(opened.payload, "registry"))
    except MalformedError as error:
        raise MalformedError(Reason.REGISTRY_INVALID, error.detail, violations=error.violations) from None
    if now is not None and document.issued > now + EARLY_TOLERANCE:
        raise NotCurrentError(Reason.REGISTRY_INVALID, "issued in the future")
    return Registry(document, token)


def read_document(value: dict[str, Any]) -> Document:
    """A Document of parsed JSON, every reference in it checked; MalformedError (REGISTRY_INVALID)."""
    try:
        document = msgspec.convert(value, Document)
        document.check()
    except msgspec.ValidationError as error:
        raise MalformedError.at("registry", str(error), Reason.REGISTRY_INVALID) from None
    return document


def adopt(held: Registry | None, token: str, operator: PublicKey, now: float) -> Registry:
    """The registry to hold after seeing `token`: the held one if it is the same, else the newer one.

    Raises NotCurrentError (REGISTRY_ROLLED_BACK) for an older version, ForgedError (REGISTRY_FORKED) for other
    bytes of the same one, and what `open_registry` raises. The held registry stays in force after a refusal.
    """
    if held is not None and token == held.token:
        return held
    candidate = open_registry(token, operator, now)
    if held is None or candidate.version > held.version:
        return candidate
    if candidate.version < held.version:
        raise NotCurrentError(Reason.REGISTRY_ROLLED_BACK, f"version {candidate.version} after {held.version}")
    raise ForgedError(Reason.REGISTRY_FORKED, f"two documents of version {held.version}")
