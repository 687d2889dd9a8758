"""Editing the registry's document: each function takes one and returns the next, checked.

Invariants:

- a key once listed is never removed, only ended: what it signed is judged by the time of signing;
- no edit voids a signature already made, but a compromise, and a stated compromise only moves earlier;
- the version grows at `to_be_signed` alone.

A draft is a document that was not signed yet: its version is the one signed last (0 before the first) and its
times are those of that version. Functions raise MalformedError (REGISTRY_INVALID or CONFIGURATION_INVALID),
NotFoundError, ConflictError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from gateway.protocol.claims import CLAIMS
from gateway.protocol.codec import parse_json_object
from gateway.protocol.errors import ConflictError, MalformedError, NotFoundError
from gateway.protocol.identities import parse_identity
from gateway.protocol.note import ED25519, VerifierKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import (
    FORMAT,
    Assurance,
    ClaimTerms,
    Coverage,
    DepartmentTerms,
    Document,
    KeyTerms,
    Party,
    SealingKeyTerms,
)

SEALING_KEYS_KEPT = 30 * 86_400
"""Seconds for which an expired sealing key stays listed: nothing is judged by it, unlike a signature key."""

replace = msgspec.structs.replace


def new_draft(federation: str, claims: Iterable[ClaimTerms] | None = None) -> Document:
    """A draft without parties. By default all claims are offered, with substantial assurance and evidence."""
    terms = claims if claims is not None else (ClaimTerms(name, Assurance.SUBSTANTIAL) for name in CLAIMS)
    return Document(FORMAT, federation, 0, 0, 0, (), tuple(terms))


def find_party(document: Document, party: str) -> Party:
    """The party of a SPIFFE ID; NotFoundError (PEER_UNKNOWN)."""
    for listed in document.parties:
        if listed.id == party:
            return listed
    raise NotFoundError(Reason.PEER_UNKNOWN, f"{party} is not in the draft: heyan registry add")


def add_party(document: Document, party: Party) -> Document:
    """With one more party; ConflictError if its SPIFFE ID is taken."""
    if any(listed.id == party.id for listed in document.parties):
        raise ConflictError(Reason.CONFIGURATION_INVALID, f"{party.id} is in the draft already")
    return _checked(replace(document, parties=(*document.parties, party)))


def remove_party(document: Document, party: str) -> Document:
    """Without a party that has no signature keys (an auditor), which everybody then refuses.

    A party that signed stays, so that what it signed can be judged: retire its keys. ConflictError.
    """
    if find_party(document, party).keys:
        raise ConflictError(Reason.CONFIGURATION_INVALID, f"{party} has keys that receipts rest on: retire them")
    return _checked(replace(document, parties=tuple(listed for listed in document.parties if listed.id != party)))


def add_key(document: Document, party: str, key: KeyTerms) -> Document:
    """With one more signature key; ConflictError if the kid is taken, or the key is another party's."""
    for listed in document.parties:
        for known in listed.keys:
            if (listed.id == party and known.kid == key.kid) or known.public == key.public:
                raise ConflictError(Reason.CONFIGURATION_INVALID, f"{known.kid} of {listed.id} has this kid or key")
    return _edit_party(document, party, lambda entry: replace(entry, keys=(*entry.keys, key)))


def rotate_key(document: Document, party: str, key: KeyTerms, overlap: int, now: float) -> Document:
    """With `key` added, and the other keys of its use and algorithm ending `overlap` s after it begins, or as they do.

    In the overlap both count: signers move to the new key when they see it, verifiers accept either. The key
    begins now or later, best after every party has read the new version.
    """
    if key.not_before < int(now) or overlap < 0:
        raise _invalid("key", "must begin now or later, with an overlap of 0 or more: else signatures are voided")
    end = key.not_before + overlap
    document = add_key(document, party, key)
    return _edit_keys(
        document,
        party,
        lambda known: (
            replace(known, not_after=min(known.not_after, end))
            if (known.use, known.alg) == (key.use, key.alg) and known.kid != key.kid and known.not_before <= end
            else known
        ),
    )


def retire_key(document: Document, party: str, kid: str, at: int, now: float) -> Document:
    """With a key that ends at `at`, now or later, so that nothing it signed is voided."""
    if at < int(now):
        raise _invalid("at", "must not be in the past: that voids signatures; use compromise if the key leaked")
    _find_key(document, party, kid)
    return _edit_keys(
        document, party, lambda key: replace(key, not_after=min(key.not_after, at)) if key.kid == kid else key
    )


def compromise_key(document: Document, party: str, kid: str, at: int, now: float) -> Document:
    """With a key that counts for nothing signed at `at` or later; a compromise stated before only moves earlier."""
    if at > now:
        raise _invalid("at", "must not be in the future: state when the key may have leaked at the earliest")
    known = _find_key(document, party, kid)
    if known.compromised is not None and known.compromised < at:
        raise ConflictError(Reason.CONFIGURATION_INVALID, f"{kid} is compromised since {known.compromised} already")
    return _edit_keys(document, party, lambda key: replace(key, compromised=at) if key.kid == kid else key)


def add_sealing_key(document: Document, department: str, key: SealingKeyTerms) -> Document:
    """With one more sealing key of a department node."""
    return _edit_department(document, department, lambda terms: replace(terms, sealing_keys=(*terms.sealing_keys, key)))


def rotate_sealing_key(document: Document, department: str, key: SealingKeyTerms) -> Document:
    """With `key` added, and those long expired dropped.

    The old keys end as they were published to end: a deferred query may be sealed to one until then. Requesters
    move to the new key at once, because it lasts longest.
    """
    stale = key.not_before - SEALING_KEYS_KEPT
    return _edit_department(
        document,
        department,
        lambda terms: replace(
            terms, sealing_keys=(*(old for old in terms.sealing_keys if old.not_after >= stale), key)
        ),
    )


def set_coverage(document: Document, department: str, coverage: Iterable[Coverage]) -> Document:
    """With another coverage of a department node."""
    return _edit_department(document, department, lambda terms: replace(terms, coverage=tuple(coverage)))


def set_channels(document: Document, party: str, channels: Iterable[str]) -> Document:
    """With other addresses (host:port, the primary first) of a department node or a gateway."""
    listed = tuple(channels)

    def moved(entry: Party) -> Party:
        if entry.department is not None:
            return replace(entry, department=replace(entry.department, channels=listed))
        if entry.gateway is not None:
            return replace(entry, gateway=replace(entry.gateway, channels=listed))
        raise _invalid(f"{party}.channels", "only a department or a gateway has channels")

    return _edit_party(document, party, moved)


def go_on_as(document: Document, gateway: str, origin: str) -> Document:
    """With a gateway whose log goes on as `origin`; the log before it is listed as ended, and believed for ever."""
    terms = find_party(document, gateway).gateway
    if terms is None:
        raise _invalid(gateway, "must be a gateway")
    if any(origin in entry.gateway.origins for entry in document.parties if entry.gateway is not None):
        raise ConflictError(Reason.CONFIGURATION_INVALID, f"{origin} is the origin of a log already: choose a new one")
    VerifierKey.of(origin, ED25519, bytes(32))  # a log's key bears its origin as name
    following = replace(terms, log_origin=origin, ended_origins=terms.origins)
    return _edit_party(document, gateway, lambda entry: replace(entry, gateway=following))


def to_be_signed(draft: Document, published: Document | None, now: float, lifetime: int) -> Document:
    """The next version: one above the draft's and the published one's, issued now, expiring after `lifetime` s.

    ConflictError if the draft, perhaps edited by hand, lacks or changes a published key in a way that voids
    signatures.
    """
    if published is not None:
        _require_nothing_voided(published, draft, now)
    version = max(draft.version, published.version if published is not None else 0) + 1
    issued = int(now)
    document = replace(draft, version=version, issued=issued, expires=issued + lifetime)
    document.check()
    return document


def _require_nothing_voided(published: Document, draft: Document, now: float) -> None:
    terms = {party.id: party.gateway for party in draft.parties if party.gateway is not None}
    for party in published.parties:
        known = party.gateway.origins if party.gateway is not None else ()
        if known and (party.id not in terms or terms[party.id].origins[: len(known)] != known):
            detail = f"the logs of {party.id} were published: one may end and another follow, none vanish"
            raise ConflictError(Reason.CONFIGURATION_INVALID, detail)
    drafted = {(party.id, key.kid): key for party in draft.parties for key in party.keys}
    for party in published.parties:
        for old in party.keys:
            new = drafted.get((party.id, old.kid))
            where = f"{old.kid} of {party.id}"
            if new is None or (new.use, new.alg, new.public) != (old.use, old.alg, old.public):
                raise ConflictError(Reason.CONFIGURATION_INVALID, f"{where} was published: it may end, not vanish")
            if new.not_before > old.not_before or new.not_after < min(old.not_after, int(now)):
                raise ConflictError(Reason.CONFIGURATION_INVALID, f"{where}: its time may not shrink into the past")
            if old.compromised is not None and (new.compromised is None or new.compromised > old.compromised):
                raise ConflictError(Reason.CONFIGURATION_INVALID, f"{where}: a compromise is not taken back")


def encode_document(document: Document) -> bytes:
    """The JSON that is signed: compact, fields in their order."""
    return msgspec.json.encode(document)


def encode_draft(draft: Document) -> bytes:
    """The JSON of a draft, indented for a person who reads or edits it."""
    return msgspec.json.format(msgspec.json.encode(draft), indent=2) + b"\n"


def decode_draft(data: bytes) -> Document:
    """The draft of `encode_draft`'s JSON, also edited by hand; MalformedError (REGISTRY_INVALID) with the place."""
    try:
        return _checked(msgspec.convert(parse_json_object(data, "draft"), Document))
    except msgspec.ValidationError as error:
        raise _invalid("draft", str(error)) from None


def decode_party(data: bytes) -> Party:
    """A party's entry of JSON, as it submits it; MalformedError (REGISTRY_INVALID) with the place."""
    try:
        party = msgspec.convert(parse_json_object(data, "party"), Party)
    except msgspec.ValidationError as error:
        raise _invalid("party", str(error)) from None
    parse_identity(party.id, "party.id")
    return party


def _edit_party(document: Document, party: str, edit: Callable[[Party], Party]) -> Document:
    find_party(document, party)
    parties = tuple(edit(listed) if listed.id == party else listed for listed in document.parties)
    return _checked(replace(document, parties=parties))


def _edit_keys(document: Document, party: str, edit: Callable[[KeyTerms], KeyTerms]) -> Document:
    return _edit_party(document, party, lambda entry: replace(entry, keys=tuple(edit(key) for key in entry.keys)))


def _edit_department(
    document: Document, department: str, edit: Callable[[DepartmentTerms], DepartmentTerms]
) -> Document:
    def edited(entry: Party) -> Party:
        if entry.department is None:
            raise _invalid(department, "must be a department node")
        return replace(entry, department=edit(entry.department))

    return _edit_party(document, department, edited)


def _find_key(document: Document, party: str, kid: str) -> KeyTerms:
    for key in find_party(document, party).keys:
        if key.kid == kid:
            return key
    raise NotFoundError(Reason.KEY_UNKNOWN, f"{party} has no key {kid}: heyan registry show lists them")


def _checked(draft: Document) -> Document:
    """Hold a draft against the rules of a signed document, but for version and times, which it gets at signing."""
    replace(draft, version=max(draft.version, 1), issued=0, expires=1).check()
    return draft


def _invalid(where: str, description: str) -> MalformedError:
    return MalformedError.at(where, description, Reason.REGISTRY_INVALID)
