"""What a party's own folder holds, and how fresh keys and certificates get into it.

    <folder>/tls/certificate.pem, key.pem, ca.pem     transport identity; key.pem is private (0600)
    <folder>/keys/<kid>.pem                           signature keys (0600)
    <folder>/sealing/<kid>.key                        sealing keys of a department node (0600)
    <folder>/staff/<kid>.pem                          keys of a requester's staff (0600), kept by each member

Where operator and party are one (the sandbox, a small deployment) these functions write straight into the folder.
A party apart makes its keys itself and hands over public halves and a certificate request only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from gateway.operator.authority import LEAF_LIFETIME, Authority
from gateway.party.config import TlsFiles
from gateway.party.keyfiles import destroy, save_sealing_key, save_signing_key, write_atomic, write_private
from gateway.protocol.codec import b64url
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.keys import Algorithm, PrivateKey, SigningKey, private_pem, raw_public
from gateway.protocol.limits import SEALING_KEY_LIFETIME
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyTerms, KeyUse, SealingKeyTerms, Suite
from gateway.protocol.sealing import fresh_seed, public_bytes

SIGNING_KEY_LIFETIME = 366 * 86_400
"""Seconds for which a signature key may sign."""
DESTROY_AFTER = 86_400
"""Seconds after a sealing key's expiry at which its file is destroyed: nothing may be opened with it any more."""
_SEED_RANDOMNESS = 96
_MEMBER = re.compile(r"[a-z0-9]{1,32}")

USE_OF_ROLE = {
    PartyRole.REQUESTER: KeyUse.QUERY,
    PartyRole.DEPARTMENT: KeyUse.ANSWER,
    PartyRole.GATEWAY: KeyUse.LOG,
    PartyRole.ISSUER: KeyUse.GRANT,
}
"""What each role signs; an auditor signs nothing."""


@dataclass(frozen=True, slots=True)
class PartyFolder:
    """The places in one party's folder."""

    path: Path

    @property
    def tls(self) -> TlsFiles:
        """The files of the transport identity."""
        folder = self.path / "tls"
        return TlsFiles(certificate=folder / "certificate.pem", key=folder / "key.pem", ca=folder / "ca.pem")

    @property
    def keys(self) -> Path:
        """The folder of signature keys."""
        return self.path / "keys"

    @property
    def staff(self) -> Path:
        """The folder of staff keys: apart from those that the party's processes sign with."""
        return self.path / "staff"

    @property
    def sealing(self) -> Path:
        """The folder of sealing keys."""
        return self.path / "sealing"


def enrol_certificate(
    authority: Authority, identity: Identity, folder: PartyFolder, now: float, lifetime: int = LEAF_LIFETIME
) -> None:
    """Give the party a fresh TLS key and certificate; running processes use them for their next handshakes."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue(identity, key.public_key(), now, lifetime)
    files = folder.tls
    write_atomic(files.ca, authority.pem)
    # A watcher that looks between these two sees a pair that does not match, keeps the old one and looks again.
    write_private(files.key, private_pem(key))
    write_atomic(files.certificate, certificate)


_MAKERS: dict[Algorithm, Callable[[], PrivateKey]] = {
    Algorithm.ES256: lambda: ec.generate_private_key(ec.SECP256R1()),
    Algorithm.ED25519: ed25519.Ed25519PrivateKey.generate,
    Algorithm.ML_DSA_44: mldsa.MLDSA44PrivateKey.generate,
}


def usual_algorithm(use: KeyUse) -> Algorithm:
    """With what keys of a use sign: Ed25519 for the log, as readers of logs expect, else ES256."""
    return Algorithm.ED25519 if use is KeyUse.LOG else Algorithm.ES256


def make_signing_key(
    folder: PartyFolder,
    use: KeyUse,
    not_before: float,
    lifetime: int = SIGNING_KEY_LIFETIME,
    algorithm: Algorithm | None = None,
) -> KeyTerms:
    """Write a fresh signature key into the party's folder (of the use's usual algorithm); its registry terms."""
    algorithm = algorithm or usual_algorithm(use)
    name = "log-pq" if algorithm is Algorithm.ML_DSA_44 else use.value
    return _save(folder.keys, _MAKERS[algorithm](), use, name, int(not_before), lifetime)


def make_staff_key(
    folder: PartyFolder, member: str, not_before: float, lifetime: int = SIGNING_KEY_LIFETIME
) -> KeyTerms:
    """Write a fresh ES256 key of a staff member into the requester's folder; its registry terms.

    `member` becomes part of the key's id, and so of every receipt: a staff number, not a name. MalformedError.
    """
    if not _MEMBER.fullmatch(member):
        raise MalformedError.at(
            "member", "must be 1 to 32 of a-z and 0-9, such as a staff number", Reason.CONFIGURATION_INVALID
        )
    private = ec.generate_private_key(ec.SECP256R1())
    return _save(folder.staff, private, KeyUse.STAFF, f"{KeyUse.STAFF.value}-{member}", int(not_before), lifetime)


def _save(folder: Path, private: PrivateKey, use: KeyUse, name: str, start: int, lifetime: int) -> KeyTerms:
    public = raw_public(private)
    key = SigningKey(_kid(name, start, public), private)
    save_signing_key(folder, key)
    return KeyTerms(key.key_id, use, key.algorithm, b64url(public), start, start + lifetime)


def make_sealing_key(
    folder: PartyFolder,
    not_before: float,
    suite: Suite = Suite.HYBRID,
    lifetime: int = int(SEALING_KEY_LIFETIME),
) -> SealingKeyTerms:
    """Write a fresh sealing key into the node's folder; its registry terms."""
    seed = fresh_seed(suite, os.urandom(_SEED_RANDOMNESS))
    public = public_bytes(suite, seed)
    start = int(not_before)
    kid = _kid("seal", start, public)
    save_sealing_key(folder.sealing, kid, suite, seed)
    return SealingKeyTerms(kid, suite, b64url(public), start, start + lifetime)


def destroy_expired(folder: PartyFolder, terms: Iterable[SealingKeyTerms], now: float) -> tuple[str, ...]:
    """Destroy the files of sealing keys that expired a day ago or earlier; their kids."""
    expired = [key.kid for key in terms if key.not_after + DESTROY_AFTER < now]
    gone = [(kid, folder.sealing / f"{kid}.key") for kid in expired]
    destroyed = [(kid, path) for kid, path in gone if path.exists()]
    for _, path in destroyed:
        destroy(path)
    return tuple(kid for kid, _ in destroyed)


def _kid(name: str, start: int, public: bytes) -> str:
    """Sorts by date, and names the key itself: two keys never share one."""
    return f"{name}-{datetime.fromtimestamp(start, UTC):%Y%m%d}-{sha256(public).hexdigest()[:8]}"
