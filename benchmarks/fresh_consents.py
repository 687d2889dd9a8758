"""Many consents of few families, each used once: so that no gateway has seen a grant's signature before.

A consent that the federation's issuer gave once is drafted, approved and signed anew, with the issuer's own key and
the guardian's own passkey, but without HTTP and without the issuer's store, which would take longer than all that is
measured. Everything random in it is fresh; what stays is whom it concerns, what it allows, and its place in the
status list.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from consent.authenticator import derive_authenticator
from consent.consent_file import ConsentFile, GrantConsent
from consent.disclosures import Detail
from consent.drafting import Request, draft_grant, seal_grant
from consent.issuer.config import IssuerConfig
from gateway.cli.endpoints import read_endpoints
from gateway.cli.sandbox import account_id
from gateway.party.keyfiles import load_signing_keys, newest_usable, read_private
from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.claims import Role
from gateway.protocol.registry_terms import KeyUse


class FreshConsents:
    """Issues again what the issuer of the federation in `folder` issued."""

    def __init__(self, folder: Path) -> None:
        config = IssuerConfig.from_file(folder / "consent" / "settings.toml")
        registry = RegistryKeeper(config.registry, time.time).current()
        keys = load_signing_keys(config.keys)
        self._key = newest_usable(keys, registry, config.spiffe_id, KeyUse.GRANT, time.time())
        self._pseudonym_secret = read_private(config.pseudonym_secret)
        self._passkeys_secret = read_private(folder / read_endpoints(folder).guardians)
        terms = registry.party(config.spiffe_id).issuer
        assert terms is not None
        self._rp_id, self._origin = terms.rp_id, terms.origins[0]

    def again(self, family: str, consent: ConsentFile) -> ConsentFile:
        """A new consent of the family, by its guardian alone, to what `consent` allows."""
        (old,) = consent.grants
        claims, elements = old.claims, old.authorizations
        passkey = derive_authenticator(self._passkeys_secret, account_id(family, claims.actor))
        request = Request(
            issuer=claims.iss,
            requester=claims.aud,
            gateway=elements[0].locations[0],
            purpose=elements[0].purpose,
            details=tuple(Detail(element.claims, element.regions, element.max_uses) for element in elements),
            child=old.subjects[Role.CHILD],
            actor=old.subjects[claims.actor],
            actor_role=claims.actor,
            relation=claims.rel,
            acr=claims.acr,
            notice=claims.notice,
            status=claims.status.status_list,
            issued_at=claims.iat,
            expires=claims.exp,
        )
        drafted = draft_grant(
            request,
            public_key=passkey.public_key,
            secret=self._pseudonym_secret,
            random_bytes=secrets.token_bytes,
        )
        assertion = passkey.approve(drafted.challenge, rp_id=self._rp_id, origin=self._origin)
        token, evidence = seal_grant(drafted.payload, drafted.key_salt, passkey.public_key, assertion, self._key)
        subjects = {role: old.subjects[role] for role in drafted.salts}
        return ConsentFile((GrantConsent(token, drafted.disclosures, drafted.salts, evidence, subjects),))
