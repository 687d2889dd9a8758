"""The settings files that `heyan up` writes for the parties it runs; paths in them are relative to the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gateway.party.keyfiles import write_atomic
from gateway.protocol.identities import Identity, PartyRole

PUBLISHED = "published"
"""The gateway's folder of its published log, and the setting that names it."""

_OWN = {
    PartyRole.GATEWAY: {"store": "store.db", "log_keys": "keys", "kek": "kek", "rules": "../rules"},
    PartyRole.ISSUER: {"store": "store.db", "keys": "keys", "pseudonym_secret": "pseudonym-secret"},
    PartyRole.DEPARTMENT: {
        "register_file": "register.db",
        "journal": "journal.db",
        "answer_keys": "keys",
        "sealing_keys": "sealing",
        "secret": "secret",
    },
}


def write_settings(
    path: Path,
    *,
    identity: Identity,
    port: int,
    registry: str,
    operator_vkey: str,
    log_port: int | None = None,
    witness_policy: str | None = None,
) -> None:
    """Write one party's settings; its probes listen on the port after its own.

    A `log_port` has a log published, a `witness_policy` has it cosigned.
    """
    values = {
        "spiffe_id": identity.uri,
        "listen": f"127.0.0.1:{port}",
        "probes": f"127.0.0.1:{port + 1}",
        **_OWN[identity.role],
    }
    if log_port is not None:
        values |= {"published": PUBLISHED, "log_listen": f"127.0.0.1:{log_port}"}
    if witness_policy is not None:
        values["witness_policy"] = witness_policy
    tls = {"certificate": "tls/certificate.pem", "key": "tls/key.pem", "ca": "tls/ca.pem"}
    seen = {"source": registry, "operator_vkey": operator_vkey, "seen": "registry.jws"}
    text = f"{toml_table(values)}\n[tls]\n{toml_table(tls)}\n[registry]\n{toml_table(seen)}"
    write_atomic(path, text.encode())


def toml_table(values: Mapping[str, str]) -> str:
    """The lines of a TOML table; a JSON string is a TOML basic string."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
