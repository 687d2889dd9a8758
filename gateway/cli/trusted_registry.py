"""The registry by which a command judges signatures: a federation's, or a file and the operator's pinned key."""

from __future__ import annotations

from pathlib import Path

from gateway.cli.options import usage_error
from gateway.party.keyfiles import read_public
from gateway.party.registry_keeper import operator_key
from gateway.protocol.errors import MalformedError
from gateway.protocol.keys import PublicKey
from gateway.protocol.registry import Registry, open_registry


def trusted_registry(folder: Path | None, file: Path | None, vkey: str | None) -> Registry:
    """The verified registry of `--registry` and `--operator-vkey`, each of a federation's `--dir` if left out.

    MalformedError (CONFIGURATION_INVALID) saying what is missing, ForgedError (REGISTRY_INVALID).
    """
    if folder is not None:
        from gateway.cli.endpoints import read_endpoints  # noqa: PLC0415 - brings in gRPC, which a file needs not

        file = file or folder / read_endpoints(folder).registry
    if file is None:
        raise usage_error("--registry", "and --operator-vkey, or --dir, must say whose signatures count")
    return open_registry(read_public(file).decode("ascii", errors="replace").strip(), operator_of(folder, vkey))


def operator_of(folder: Path | None, vkey: str | None) -> PublicKey:
    """The operator's pinned key: `--operator-vkey`, or a federation's; MalformedError (CONFIGURATION_INVALID)."""
    if vkey is None and folder is not None:
        from gateway.cli.endpoints import read_endpoints  # noqa: PLC0415 - brings in gRPC, which a file needs not

        vkey = read_endpoints(folder).operator_vkey
    if vkey is None:
        raise usage_error("--operator-vkey", "or --dir must say whom to trust")
    try:
        return operator_key(vkey)
    except MalformedError as error:
        raise usage_error("--operator-vkey", error.detail) from None
