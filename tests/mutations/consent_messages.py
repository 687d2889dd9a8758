"""Signed things of a consent: grant, disclosures, passkey evidence, withdrawal, status list, the private file."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable
from pathlib import Path
from random import Random

from consent.consent_file import GrantConsent, read_consent_file, write_consent_file
from consent.passkey import read_evidence, write_evidence
from consent.revocation import Revocation, open_revocation, sign_revocation
from consent.status_list import StatusList, open_status_list, sign_status_list
from consent.verification import open_grant, verify_evidence
from consent.verified import VerifiedGrant
from gateway.protocol.errors import HeyanError
from gateway.protocol.presentation import Presentation
from gateway.protocol.registry_terms import IssuerTerms
from gateway.protocol.subjects import canonical_record, open_commitment
from tests.federation import BASE_URI, BIG_FAMILY, DAY, FAMILY, GATEWAY, ISSUER, OTHER_ISSUER, REQUESTER
from tests.mutations.message import Message, any_bytes, mixed, protobuf
from tests.mutations.octets import lower_form, mirrored_der
from tests.mutations.text import mutate_json, mutate_jws, padless, unpadded
from tests.protocol.casework import FEDERATION, NOW

_MIRROR = "an ES256 signature and its mirror are one: nothing is counted by these tokens (ADR 0012)"
_REGISTRY = FEDERATION.registry


def _open(token: str, disclosures: tuple[str, ...] = ()) -> VerifiedGrant:
    presentation = Presentation(token, disclosures)
    return open_grant(presentation, requester=REQUESTER, gateway=GATEWAY, registry=_REGISTRY, now=NOW)


def _issued() -> tuple[GrantConsent, ...]:
    """Grants of two families' guardians and a co-resident."""
    return (*FEDERATION.issue(FAMILY).grants, *FEDERATION.issue(BIG_FAMILY).grants)


def _terms() -> IssuerTerms:
    terms = _REGISTRY.party(ISSUER).issuer
    assert terms is not None
    return terms


def grant() -> Message:
    samples = tuple(item.token.encode() for item in _issued())

    def judge(_number: int, data: bytes) -> Hashable:
        return _open(data.decode(errors="surrogateescape")).digest

    return Message("grant", samples, judge, mixed(mutate_jws, 0.8), share=16)


def disclosure() -> Message:
    """Each disclosure of one grant, shown with it; those of another grant beside it for splices."""
    (own,), (foreign,) = FEDERATION.issue(FAMILY).grants, FEDERATION.issue(FAMILY).grants
    samples = tuple(text.encode() for text in own.disclosures)
    others = [text.encode() for text in foreign.disclosures]

    def judge(_number: int, data: bytes) -> Hashable:
        verified = _open(own.token, (data.decode(errors="surrogateescape"),))
        return tuple(sorted((index, repr(element)) for index, element in verified.authorizations.items()))

    def mutate(random: Random, data: bytes, other: bytes) -> bytes:
        if random.random() < 0.1:
            return random.choice(others)
        if random.random() < 0.5:
            return padless(mutate_json(random, unpadded(data), unpadded(other)))
        return any_bytes(random, data, random.choice((other, *others)))

    return Message("SD-JWT disclosure", samples, judge, mutate, share=10)


def passkey_evidence() -> Message:
    """Evidence, held against its own grant."""
    issued = _issued()
    verified = [_open(item.token) for item in issued]

    def judge(number: int, data: bytes) -> Hashable:
        verify_evidence(verified[number], data, _terms())
        return data

    def mutate(random: Random, data: bytes, other: bytes) -> bytes:
        if random.random() < 0.05:
            return _mirrored(data)
        return protobuf(random, data, other)

    return Message("passkey evidence", tuple(item.evidence for item in issued), judge, mutate, share=10, bound=True)


def _mirrored(data: bytes) -> bytes:
    """The same assertion with the second valid form of its signature; as it is if that cannot be made."""
    try:
        evidence = read_evidence(data)
        assertion = evidence.assertion
        other = type(assertion)(
            assertion.credential_id,
            assertion.authenticator_data,
            assertion.client_data_json,
            mirrored_der(assertion.signature),
        )
    except (HeyanError, ValueError):
        return data
    return write_evidence(type(evidence)(evidence.key_salt, evidence.public_key, other))


def withdrawal() -> Message:
    statements = [
        Revocation(issuer, token * 22, bytes([number]) * 32, int(NOW), int(NOW) + DAY)
        for number, (issuer, token) in enumerate(((ISSUER, "a"), (ISSUER, "b"), (OTHER_ISSUER, "c")))
    ]
    samples = tuple(sign_revocation(item, FEDERATION.signing_keys[item.issuer]).encode() for item in statements)

    def judge(_number: int, data: bytes) -> Hashable:
        token = data.decode(errors="surrogateescape")
        return open_revocation(token, _REGISTRY, NOW), _signed_once(token)

    return Message("withdrawal", samples, judge, mixed(mutate_jws, 0.8), share=10, alike=_MIRROR)


def status_list() -> Message:
    uri = f"{BASE_URI}/status-lists/0"
    key = FEDERATION.signing_keys[ISSUER]
    lists = (StatusList.of([3], 256), StatusList.of([5, 9], 256))
    samples = tuple(sign_status_list(bits, uri, int(NOW) - age, key).encode() for age, bits in enumerate(lists))
    foreign = sign_status_list(lists[0], uri, int(NOW), FEDERATION.signing_keys[OTHER_ISSUER]).encode()
    elsewhere = sign_status_list(lists[0], f"{BASE_URI}/status-lists/1", int(NOW), key).encode()

    def judge(_number: int, data: bytes) -> Hashable:
        token = data.decode(errors="surrogateescape")
        opened = open_status_list(token, uri=uri, issuer=ISSUER, registry=_REGISTRY, now=NOW)
        return opened, _signed_once(token)

    def mutate(random: Random, data: bytes, other: bytes) -> bytes:
        return mixed(mutate_jws, 0.8)(random, data, random.choice((other, foreign, elsewhere)))

    return Message("status list token", samples, judge, mutate, share=10, alike=_MIRROR)


def _signed_once(token: str) -> tuple[str, bytes]:
    """What is signed, as it stands, and the lower form of the signature."""
    signed, _, signature = token.rpartition(".")
    return signed, lower_form(unpadded(signature.encode()))


def consent_file(folder: Path) -> Message:
    """The private file: every grant, element, evidence and subject in it is one that the issuer signed for."""
    path = folder / "consent.json"
    samples = []
    for people in (FAMILY, BIG_FAMILY):
        write_consent_file(path, FEDERATION.issue(people))
        samples.append(path.read_bytes())

    def judge(_number: int, data: bytes) -> Hashable:
        path.write_bytes(data)  # keeps the mode
        return frozenset(fact for grant in read_consent_file(path).grants for fact in _facts(grant))

    why = (
        "JSON may be laid out otherwise, a spelling may name the same person, and a holder may show"
        " less (RFC 9901), or put grants together, each of which stands alone"
    )
    mutate = mixed(mutate_json, 0.8)
    return Message("consent file", tuple(samples), judge, mutate, share=6, alike=why, agrees=_says_no_more)


def _says_no_more(genuine: tuple[Hashable, ...], facts: Hashable) -> bool:
    known = frozenset[Hashable]().union(*(item for item in genuine if isinstance(item, frozenset)))
    return isinstance(facts, frozenset) and facts <= known


def _facts(grant: GrantConsent) -> list[Hashable]:
    verified = _open(grant.token, grant.disclosures)
    verify_evidence(verified, grant.evidence, _terms())
    for role, subject in grant.subjects.items():
        open_commitment(verified.subjects.get(role, b""), subject, grant.salts[role])
    return [
        (grant.token, grant.evidence),
        *((grant.token, index, repr(element)) for index, element in verified.authorizations.items()),
        *((grant.token, role, canonical_record(who), grant.salts[role]) for role, who in grant.subjects.items()),
    ]


def messages(folder: Path | None = None) -> tuple[Message, ...]:
    """`folder` is where the consent file is written, again and again."""
    return (
        grant(),
        disclosure(),
        passkey_evidence(),
        withdrawal(),
        status_list(),
        consent_file(folder or Path(tempfile.mkdtemp())),
    )
