"""Keeping a sandbox fresh: what is about to end is made anew, while everything runs.

Sealing keys rotate weekly; certificates, signature keys and the registry are renewed a week before they end, and
rehearsal windows moved along. The parties notice new files by themselves.
"""

from __future__ import annotations

from cryptography import x509

from gateway.cli.rehearsals import renew_rules
from gateway.cli.sandbox import Sandbox
from gateway.cli.sandbox_make import STAFF_MEMBER, write_endpoints
from gateway.cli.sandbox_witnesses import tell_witnesses
from gateway.operator.desk import START_DELAY, Desk
from gateway.operator.enrolment import USE_OF_ROLE, PartyFolder, usual_algorithm
from gateway.protocol.identities import Identity, PartyRole, parse_identity
from gateway.protocol.keys import Algorithm
from gateway.protocol.registry_terms import KeyUse, Party

RENEW_BEFORE = 7 * 86_400
"""Seconds before its end at which a thing is made anew; sealing keys live two of these, and so rotate weekly."""


def renew(sandbox: Sandbox, now: float) -> list[str]:
    """Renew what ends within RENEW_BEFORE; what was done, one line each."""
    desk = Desk.open(sandbox.desk_folder)
    with desk.alone():
        done = [line for identity in sandbox.identities for line in _renew_party(sandbox, desk, identity, now)]
        published = desk.published()
        if published is None or done or published.document.expires - now < RENEW_BEFORE:
            published = desk.sign(now)
            done.append(f"registry version {published.version}")
        done += tell_witnesses(sandbox, published)
        write_endpoints(sandbox, desk, published, now)  # also where somebody deleted it
    return done + renew_rules(sandbox.rules_folder, sandbox.made.closed, now)


def _renew_party(sandbox: Sandbox, desk: Desk, identity: Identity, now: float) -> list[str]:
    folder = PartyFolder(sandbox.folder_of(identity))
    party = next(party for party in desk.draft().parties if party.id == identity.uri)
    done = []
    certificate = x509.load_pem_x509_certificate(folder.tls.certificate.read_bytes())
    if certificate.not_valid_after_utc.timestamp() - now < RENEW_BEFORE:
        desk.renew_certificate(identity.uri, folder, now)
        done.append(f"certificate of {identity.name}")
    use = USE_OF_ROLE.get(identity.role)
    if use is not None:
        for algorithm in (usual_algorithm(use), Algorithm.ML_DSA_44):
            done += _renew_key(desk, party, use, algorithm, folder, now)
    if identity.role is PartyRole.REQUESTER:
        ends = [key.not_after for key in party.keys if key.use is KeyUse.STAFF and key.compromised is None]
        if not ends or max(ends) - now < RENEW_BEFORE:
            desk.add_staff_key(identity.uri, STAFF_MEMBER, folder, now)
            done.append(f"staff key of {identity.name}")
    if identity.role is PartyRole.DEPARTMENT and party.department is not None:
        ends = [key.not_after for key in party.department.sealing_keys]
        if not ends or max(ends) - now < RENEW_BEFORE:
            desk.rotate_sealing_key(identity.uri, folder, now, delay=_delay(ends, now))
            done.append(f"sealing key of {identity.name}")
    return done


def _renew_key(
    desk: Desk, party: Party, use: KeyUse, algorithm: Algorithm, folder: PartyFolder, now: float
) -> list[str]:
    """Renew the key of a use and algorithm; a second key of a log only if there was one."""
    keys = [key for key in party.keys if (key.use, key.alg) == (use, algorithm)]
    if algorithm is Algorithm.ML_DSA_44 and not keys:
        return []
    ends = [key.not_after for key in keys if key.compromised is None]
    if ends and max(ends) - now >= RENEW_BEFORE:
        return []
    desk.rotate_signing_key(party.id, use, folder, now, delay=_delay(ends, now), algorithm=algorithm)
    name = parse_identity(party.id).name
    return [f"{'ML-DSA-44 ' if algorithm is Algorithm.ML_DSA_44 else ''}{use.value} key of {name}"]


def _delay(ends: list[int], now: float) -> int:
    """Seconds until the new key begins: none if no old one still counts, as in a folder left alone for long."""
    return START_DELAY if any(end > now for end in ends) else 0
