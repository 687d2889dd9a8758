"""The witnesses of a sandbox: `witnesses/<name>/` for each, and the policy that all of its readers share.

A witness is nobody in the federation and trusts no registry: it is told the log's keys by its own file, which follows
the registry here because the same person runs both. Of the log's keys both files have every one that was not
compromised, so that neither a rotation nor an old receipt finds a key missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.cli.endpoints import WitnessEndpoint
from gateway.cli.sandbox import GATEWAY, POLICY_FILE, Sandbox, address
from gateway.cli.settings_files import toml_table
from gateway.party.keyfiles import FOLDER_MODE, write_atomic
from gateway.protocol.log_keys import UNKNOWN_TIME, proof_verifiers
from gateway.protocol.note import ED25519, VerifierKey
from gateway.protocol.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness
from gateway.protocol.registry import Registry
from gateway.witness.files import make_key, read_keys

KEY_NAME = "witness.sandbox.heyan.internal/{}"
_GROUP = "majority"


def make_witnesses(sandbox: Sandbox) -> None:
    """Make the key and the settings of each witness."""
    for name, port in sandbox.witness_ports.items():
        folder = sandbox.witness_folder(name)
        folder.mkdir(mode=FOLDER_MODE, parents=True)
        make_key(folder / "key", KEY_NAME.format(name))
        values = {
            "listen": address(port),
            "probes": address(port + 1),
            "store": "store.db",
            "key": "key",
            "logs": "logs",
        }
        write_atomic(sandbox.witness_settings(name), toml_table(values).encode())


def tell_witnesses(sandbox: Sandbox, registry: Registry) -> list[str]:
    """Tell the witnesses, and whoever goes by the policy, the log's keys as the registry has them; what was changed."""
    if not sandbox.witness_ports:
        return []
    keys = list(_log_keys(registry))
    logs = "".join(key.format() + "\n" for key in keys).encode()
    names = sandbox.witness_ports
    done = [f"log keys of {name}" for name in names if _write_changed(sandbox.witness_folder(name) / "logs", logs)]
    if _write_changed(sandbox.folder / POLICY_FILE, _policy(sandbox, keys).format().encode()):
        done.append("policy of witnesses")
    return done


def witness_endpoints(sandbox: Sandbox) -> dict[str, WitnessEndpoint]:
    """Where each witness is, and its verifier key."""
    return {
        name: WitnessEndpoint(url=_url(port), vkey=_verifier(sandbox, name).format())
        for name, port in sandbox.witness_ports.items()
    }


def _policy(sandbox: Sandbox, keys: list[VerifierKey]) -> Policy:
    """More than half of the witnesses, of the log's Ed25519 keys: readers elsewhere know no other type of a log.

    A key that signs for two logs which followed each other may not stand twice: then the logs are left to the registry.
    """
    logs = tuple(PolicyLog(key) for key in keys if key.algorithm == ED25519)
    if len({log.key.public_key for log in logs}) != len(logs):
        logs = ()
    witnesses = tuple(
        PolicyWitness(name, _verifier(sandbox, name), _url(port)) for name, port in sandbox.witness_ports.items()
    )
    members = tuple(witness.name for witness in witnesses)
    group = PolicyGroup(_GROUP, len(members) // 2 + 1, members)
    return Policy(logs, witnesses, (group,), _GROUP)


def _log_keys(registry: Registry) -> Iterator[VerifierKey]:
    terms = registry.party(GATEWAY.uri).gateway
    for origin in terms.origins if terms is not None else ():
        yield from proof_verifiers(registry, GATEWAY.uri, origin, UNKNOWN_TIME)


def _verifier(sandbox: Sandbox, name: str) -> VerifierKey:
    return read_keys(sandbox.witness_folder(name) / "key")[0].verifier


def _url(port: int) -> str:
    return f"http://{address(port)}"


def _write_changed(path: Path, data: bytes) -> bool:
    if path.exists() and path.read_bytes() == data:
        return False
    write_atomic(path, data)
    return True
