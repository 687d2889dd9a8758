"""The key-encryption keys of a gateway's settings, opened: which one wraps, and which only unwrap.

A token's key wraps if one is set, else that of the file `kek`; every other key that is named only unwraps.
"""

from __future__ import annotations

from gateway.config import GatewayConfig
from gateway.evidence.keks import FileKek, Kek, Keks
from gateway.evidence.pkcs11_kek import Token, token_keks
from gateway.party.keyfiles import read_private


def open_keks(config: GatewayConfig) -> Keks:
    """The keys of a gateway; MalformedError (CONFIGURATION_INVALID) for a file that cannot serve.

    A token that is not there is no error of the settings: it is told when it is needed (`Keks.complaints`).
    """
    found: list[Kek] = []
    if config.token is not None:
        token = Token(config.token.module, config.token.label, config.token.pin)
        found += token_keks(token, (config.token.key, *config.token.retired_keys))
    files = (*((config.kek,) if config.kek is not None else ()), *config.retired_keks)
    return Keks([*found, *(FileKek(read_private(file)) for file in files)])
