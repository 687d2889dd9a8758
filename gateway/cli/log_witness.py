"""`heyan log witness` and `heyan log witness-key`: a witness of logs, alone, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path

from gateway.cli.options import usage_error
from gateway.protocol.errors import MalformedError
from gateway.protocol.note import COSIGNATURE, ML_DSA_44


class KeyType(Enum):
    """Types of keys under which a witness cosigns."""

    ED25519 = "ed25519"
    ML_DSA_44 = "ml-dsa-44"


_ALGORITHMS = {KeyType.ED25519: COSIGNATURE, KeyType.ML_DSA_44: ML_DSA_44}


def witness(*, config: Path) -> None:
    """Serve a witness (C2SP tlog-witness) until SIGTERM or Ctrl-C: it cosigns checkpoints of the logs it was told of.

    It cosigns a checkpoint only if it extends the one that it cosigned before, which it remembers durably. Its settings
    name the file of its key (`heyan log witness-key` makes one), the file of the logs' verifier keys, which is looked
    at every second, and its store. Never start it on an old copy of its store: make a new key instead.

    Example: `heyan log witness --config witness/settings.toml`

    Parameters
    ----------
    config
        TOML file with the witness's settings: store, key, logs, listen, probes, and tls away from loopback.
    """
    from gateway.party.process import begin, run_until_signal  # noqa: PLC0415 - a key can be made without
    from gateway.witness.config import WitnessConfig  # noqa: PLC0415
    from gateway.witness.server import serve  # noqa: PLC0415

    settings = WitnessConfig.from_file(config)
    begin(settings)
    run_until_signal(lambda stop: serve(settings, stop))


def witness_key(name: str, file: Path, *, kind: KeyType = KeyType.ED25519) -> None:
    """Make a witness's private key, write it to FILE (mode 0600), and print its verifier key for policies.

    Examples: `heyan log witness-key witness.example/w1 witness/key`,
    `heyan log witness-key witness.example/w1 witness/key-pq --kind ml-dsa-44`

    Parameters
    ----------
    name
        The witness's name, by custom a URL without its scheme.
    file
        File to write, which must not be there yet.
    kind
        Type of the key.
    """
    from gateway.witness.files import make_key  # noqa: PLC0415

    try:
        verifier = make_key(file, name, _ALGORITHMS[kind])
    except MalformedError as error:
        if [each.field for each in error.violations] == ["name"]:
            raise usage_error("NAME", error.violations[0].description) from None
        raise
    sys.stdout.write(verifier.format() + "\n")
