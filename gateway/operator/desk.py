"""The operator's desk: one folder, from which the federation is run.

    operator.key     the registry's signature key as a C2SP signer key (0600)
    ca.key, ca.pem   the transport CA (0600), and its certificate, which parties pin
    draft.json       the document that is edited
    registry.jws     the version published last

Invariants: a version is signed once, with one content, because its number is taken from the published file and
that file is replaced before the draft; two desks on one folder exclude each other (`Desk.alone`).

Losing operator.key means that every party has to pin another key: keep a copy offline.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.operator import document as editing
from gateway.operator.authority import BACKDATE, Authority
from gateway.operator.enrolment import (
    USE_OF_ROLE,
    PartyFolder,
    destroy_expired,
    enrol_certificate,
    make_sealing_key,
    make_signing_key,
    make_staff_key,
    usual_algorithm,
)
from gateway.party.keyfiles import FOLDER_MODE, read_private, read_public, unusable, write_atomic, write_private
from gateway.party.registry_keeper import operator_key, operator_kid
from gateway.protocol.errors import ConflictError, MalformedError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.jws import sign_jws
from gateway.protocol.keys import Algorithm, SigningKey, private_pem
from gateway.protocol.note import ED25519_SEED_BYTES, SignerKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import TYP, Registry, open_registry
from gateway.protocol.registry_terms import Document, KeyTerms, KeyUse, Party, SealingKeyTerms, Suite

REGISTRY_LIFETIME = 30 * 86_400
"""Seconds: as long as a federation may stand without its operator."""
START_DELAY = 10
"""Seconds until a rotated key begins, so that parties, which look every second, know it by then."""
OVERLAP = 3_600
"""Seconds for which the key before it still counts: longer than any query lives or any acknowledgement waits."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The desk of one folder. Methods given `now` (seconds since the epoch) read no clock; all of them do file I/O."""

    folder: Path
    authority: Authority
    operator: SignerKey = field(repr=False)

    @classmethod
    def create(cls, folder: Path, federation: str, now: float) -> Desk:
        """Make keys, CA and an empty draft in `folder`; ConflictError if there is a desk already."""
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if (folder / "operator.key").exists():
            raise ConflictError(Reason.CONFIGURATION_INVALID, f"{folder} is a desk already: its keys are kept")
        draft = editing.new_draft(federation)
        operator = SignerKey.from_seed(f"registry.{federation}", os.urandom(ED25519_SEED_BYTES))
        authority = Authority.create(federation, now)
        write_private(folder / "ca.key", private_pem(authority.key))
        write_atomic(folder / "ca.pem", authority.pem)
        write_atomic(folder / "draft.json", editing.encode_draft(draft))
        write_private(folder / "operator.key", operator.format().encode() + b"\n")  # last: it makes the desk
        return cls(folder, authority, operator)

    @classmethod
    def open(cls, folder: Path) -> Desk:
        """The desk in `folder`; MalformedError (CONFIGURATION_INVALID) saying which file cannot serve."""
        key_file = folder / "operator.key"
        if not key_file.exists():
            raise unusable(folder, f"is no desk: make one with heyan registry init --desk {folder}")
        try:
            operator = SignerKey.parse(read_private(key_file).decode("utf-8", errors="replace").strip())
        except MalformedError as error:
            raise error if error.reason is Reason.CONFIGURATION_INVALID else unusable(key_file, error.detail) from None
        authority = Authority.load(read_public(folder / "ca.pem"), read_private(folder / "ca.key"))
        return cls(folder, authority, operator)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other desks on this folder away meanwhile; ConflictError if one is at work."""
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(
                    Reason.CONFIGURATION_INVALID, f"another command is at work in {self.folder}: wait for it"
                ) from None
            yield

    @property
    def vkey(self) -> str:
        """The operator's C2SP verifier key, which every party pins."""
        return self.operator.verifier.format()

    @property
    def registry_file(self) -> Path:
        """Where the signed registry is published: the `source` of every party's configuration."""
        return self.folder / "registry.jws"

    def draft(self) -> Document:
        """The draft; MalformedError if it was edited into something that cannot be signed."""
        return editing.decode_draft(read_public(self.folder / "draft.json"))

    def save(self, draft: Document) -> None:
        """Replace the draft."""
        write_atomic(self.folder / "draft.json", editing.encode_draft(draft))

    def published(self) -> Registry | None:
        """The registry signed last, or None; what `open_registry` raises if the file was changed since."""
        if not self.registry_file.exists():
            return None
        token = read_public(self.registry_file).decode("ascii", errors="replace").strip()
        return open_registry(token, operator_key(self.vkey))

    def sign(self, now: float, lifetime: int = REGISTRY_LIFETIME) -> Registry:
        """Sign the draft as the next version and publish it, durable when this returns."""
        published = self.published()
        last = published.document if published is not None else None
        document = editing.to_be_signed(self.draft(), last, now, lifetime)
        key = SigningKey(operator_kid(self.operator.verifier), self.operator.private_key)
        registry = open_registry(
            sign_jws(editing.encode_document(document), TYP, key), operator_key(self.vkey), now
        )  # as every party will read it
        write_atomic(self.registry_file, registry.token.encode("ascii"))
        self.save(document)
        return registry

    def enrol(self, party: Party, folder: PartyFolder, now: float) -> Party:
        """Add a party to the draft with keys and certificate made for it in its folder; its entry.

        A key of its role's use is added to those it has, and a sealing key for a department node.
        """
        identity = parse_identity(party.id)
        draft = editing.add_party(self.draft(), party)
        use = USE_OF_ROLE.get(identity.role)
        if use is not None:
            draft = editing.add_key(draft, party.id, make_signing_key(folder, use, now - BACKDATE))
        if identity.role is PartyRole.DEPARTMENT:
            draft = editing.add_sealing_key(draft, party.id, make_sealing_key(folder, now - BACKDATE))
        enrol_certificate(self.authority, identity, folder, now)
        self.save(draft)
        return editing.find_party(draft, party.id)

    def renew_certificate(self, party: str, folder: PartyFolder, now: float) -> None:
        """Give a party of the draft a fresh TLS key and certificate."""
        identity = parse_identity(editing.find_party(self.draft(), party).id)
        enrol_certificate(self.authority, identity, folder, now)

    def certify(self, party: str, csr_pem: bytes, now: float) -> bytes:
        """The PEM certificate for a request of a party of the draft; see `Authority.issue_for_request`."""
        identity = parse_identity(editing.find_party(self.draft(), party).id)
        return self.authority.issue_for_request(identity, csr_pem, now)

    def rotate_signing_key(
        self,
        party: str,
        use: KeyUse,
        folder: PartyFolder,
        now: float,
        *,
        delay: int = START_DELAY,
        overlap: int = OVERLAP,
        algorithm: Algorithm | None = None,
    ) -> KeyTerms:
        """Put a fresh signature key into the party's folder and, with the end of the old ones, into the draft.

        `algorithm` is the use's usual one, or ML-DSA-44 for a log: its second key, which ends no Ed25519 key.
        """
        if algorithm is Algorithm.ML_DSA_44 and use is not KeyUse.LOG:
            raise MalformedError.at("--algorithm", "ML-DSA-44 signs for a log only", Reason.CONFIGURATION_INVALID)
        if algorithm not in (None, Algorithm.ML_DSA_44, usual_algorithm(use)):
            detail = f"a {use.value} key is {usual_algorithm(use).value}"
            raise MalformedError.at("--algorithm", detail, Reason.CONFIGURATION_INVALID)
        if USE_OF_ROLE.get(parse_identity(party).role) is not use:
            raise MalformedError.at("use", f"{party} does not sign as {use.value}", Reason.CONFIGURATION_INVALID)
        draft = self.draft()
        editing.find_party(draft, party)
        key = make_signing_key(folder, use, now + delay, algorithm=algorithm)
        self.save(editing.rotate_key(draft, party, key, overlap, now))
        return key

    def add_staff_key(self, requester: str, member: str, folder: PartyFolder, now: float) -> KeyTerms:
        """Put a fresh key of a staff member into the requester's folder and the draft."""
        draft = self.draft()
        if editing.find_party(draft, requester).requester is None:
            raise MalformedError.at("party", f"{requester} is no requester", Reason.CONFIGURATION_INVALID)
        key = make_staff_key(folder, member, now - BACKDATE)
        self.save(editing.add_key(draft, requester, key))
        return key

    def rotate_sealing_key(
        self, department: str, folder: PartyFolder, now: float, *, delay: int = START_DELAY, suite: Suite = Suite.HYBRID
    ) -> tuple[SealingKeyTerms, tuple[str, ...]]:
        """Put a fresh sealing key into the node's folder and the draft, destroy expired ones; the key, their kids."""
        draft = self.draft()
        terms = editing.find_party(draft, department).department
        if terms is None:
            raise MalformedError.at("party", f"{department} is no department node", Reason.CONFIGURATION_INVALID)
        key = make_sealing_key(folder, now + delay, suite)
        self.save(editing.rotate_sealing_key(draft, department, key))
        return key, destroy_expired(folder, terms.sealing_keys, now)
