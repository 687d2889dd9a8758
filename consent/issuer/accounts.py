"""Who is enrolled with an issuer: a person, their passkey, and the children they may act for or live with.

How a person came to be enrolled (identity check, guardianship register, registering the passkey) is the citizen app's
business; `Account.assurance` says how sure it was, and becomes the grant's `acr`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from consent.authenticator import derive_authenticator
from gateway.protocol.registry_terms import Assurance
from gateway.protocol.subjects import MAX_ID_NUMBER_BYTES, IdType, Subject

PARENT = "parent"
CO_RESIDENT = "co_resident"
"""The relation of a person who lives with a child and is not its guardian."""
MAX_ACCOUNT_ID = 128


@dataclass(frozen=True, slots=True)
class Child:
    """A child of an account, and the relation to it: "parent", "guardian" …, or "co_resident"."""

    subject: Subject
    relation: str


@dataclass(frozen=True, slots=True)
class Account:
    """One enrolled person. `public_key` is a COSE_Key; `repr` shows neither person nor passkey."""

    account_id: str
    subject: Subject
    public_key: bytes = field(repr=False)
    credential_id: bytes = field(repr=False)
    children: tuple[Child, ...]
    assurance: Assurance = Assurance.HIGH

    def child(self, id_number: str) -> Child | None:
        """The child with this number, as an identity document writes it."""
        wanted = id_number.strip().upper()
        return next((child for child in self.children if child.subject.id_number.strip().upper() == wanted), None)


def decoy(secret: bytes, account_id: str) -> Account:
    """What stands in for an account that does not exist, the same each time (WebAuthn §14.6.2).

    A draft for it looks like any other; it has no children, so that no draft of it can be approved.
    """
    passkey = derive_authenticator(secret, f"decoy:{account_id}")
    return Account(account_id, stand_in(secret, account_id), passkey.public_key, passkey.credential_id, ())


def stand_in(secret: bytes, *names: str) -> Subject:
    """A subject that is no person, the same each time for the same names."""
    number = hmac.digest(secret, "\x00".join(("heyan.v1.StandIn", *names)).encode(), sha256).hex()
    return Subject(IdType.RESIDENT_ID, number[:MAX_ID_NUMBER_BYTES], "-")
