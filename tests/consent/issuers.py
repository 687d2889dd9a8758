"""An issuer with a family enrolled, whose clock stands; and one whose file outlives its process."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from random import Random

from consent.authenticator import derive_authenticator
from consent.issuer.accounts import CO_RESIDENT as LIVES_WITH
from consent.issuer.accounts import Account, Child
from consent.issuer.requests import DraftBody, read_body
from consent.issuer.service import ConsentIssuer, IssuerSettings
from consent.issuer.store import IssuerStore
from consent.status_list import open_status_list
from gateway.protocol.digests import Kind, digest
from gateway.protocol.subjects import IdType, Subject
from tests.fakes_sqlite import TrippedConnection
from tests.federation import (
    CHILD,
    CO_RESIDENT,
    DAY,
    GATEWAY,
    GUARDIAN,
    ISSUER,
    ORIGIN,
    REGION,
    REQUESTER,
    RP_ID,
)

OTHER_CHILD = Subject(IdType.RESIDENT_ID, "43990020190101001X", "李小红")
HUKOU, CO_RESIDENT_HOME = "hukou.child_registered@1", "property.co_resident_owns_home@1"


class Issuer:
    """One issuer with a family enrolled, a clock that stands, and bodies as clients send them."""

    def __init__(self, federation, path, now):
        self.federation, self.now = federation, now
        self.store = IssuerStore(path)
        self.passkeys = {name: derive_authenticator(federation.seed, name) for name in ("mother", "grandpa", "other")}
        self.store.put_accounts(
            [
                self.account("mother", GUARDIAN, (Child(CHILD, "parent"), Child(OTHER_CHILD, "parent"))),
                self.account("grandpa", CO_RESIDENT, (Child(CHILD, LIVES_WITH),)),
                self.account(
                    "other", replace(GUARDIAN, id_number="439900198802020025"), (Child(OTHER_CHILD, LIVES_WITH),)
                ),
            ],
        )
        self.service = ConsentIssuer(
            settings=IssuerSettings(ISSUER, b"p" * 32, 90 * DAY, 20),
            store=self.store,
            registry=lambda: self.federation.registry,
            signing_key=lambda: self.federation.signing_keys[ISSUER],
            clock=lambda: self.now,
            random_bytes=Random(1).randbytes,
        )

    def account(self, name, subject, children):
        passkey = self.passkeys[name]
        return Account(name, subject, passkey.public_key, passkey.credential_id, children)

    def body(self, **changes):
        value = {
            "account": "mother",
            "child": CHILD.id_number,
            "requester": REQUESTER,
            "gateway": GATEWAY,
            "purpose": "enrolment",
            "details": [{"claims": [HUKOU], "regions": [REGION], "max_uses": 3}],
            **changes,
        }
        return read_body(DraftBody, json.dumps(value).encode())

    def assertion(self, draft, who="mother", **changes):
        values = {"rp_id": RP_ID, "origin": ORIGIN, **changes}
        return self.passkeys[who].approve(draft.challenge, **values)

    def issue(self, **changes):
        draft = self.service.draft(self.body(**changes))
        return self.service.approve(draft.draft, self.assertion(draft, changes.get("account", "mother")))

    def issue_beside(self, guardians, **changes):
        values = {
            "account": "grandpa",
            "acting_with": guardians.claims.jti,
            "details": [{"claims": [CO_RESIDENT_HOME], "regions": [REGION], "max_uses": 1}],
            **changes,
        }
        return self.issue(**values)

    def withdrawal(self, consent, who="mother"):
        challenge = digest(Kind.PASSKEY_REVOCATION, consent.digest)
        return self.passkeys[who].approve(challenge, rp_id=RP_ID, origin=ORIGIN)


def statuses(issuer, consent):
    reference = consent.claims.status.status_list
    token = issuer.service.status_list(int(reference.uri.rpartition("/")[2]))
    opened = open_status_list(
        token, uri=reference.uri, issuer=ISSUER, registry=issuer.federation.registry, now=issuer.now
    )
    return opened.statuses.is_set(reference.idx)


class Killed(Issuer):
    """An issuer whose file is opened by one process after another."""

    def __init__(self, federation, path, now) -> None:
        super().__init__(federation, path, now)
        self.path = path
        self.service._random_bytes = self.service._lists._random_bytes = secrets.token_bytes
        self.connection = TrippedConnection(self.store._db.conn)
        self.store._db.conn = self.connection

    def successor(self):
        """The next process, after this one died."""
        self.connection.abandon()
        return Killed(self.federation, self.path, self.now)

    def is_withdrawn(self, consent) -> bool:
        """What the status list says to whoever fetches it when the one handed out before is a second old."""
        self.now += 1
        return statuses(self, consent)

    def count(self, table: str) -> int:
        return self.store._count(f"SELECT count(*) FROM {table}")  # noqa: S608 - tables of this test

    def steps_of(self, work) -> list[str]:
        self.connection.arm(None)
        work()
        return list(self.connection.steps)
