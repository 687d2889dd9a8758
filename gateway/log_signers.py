"""Which keys sign a gateway's checkpoints: every log key that counts, judged when it signs.

- While one Ed25519 key follows another both count and both sign, under the one name that is the origin: whoever knows
  either can verify. Afterwards the new one signs alone; a compromised key signs nothing from its compromise on.
- They sign as the log that the registry says goes on, and as the one before it, which ends a moment later: as no other.
- An Ed25519 key is needed. An ML-DSA-44 key signs beside it where there is one, with the time of signing.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import GatewayConfig
from gateway.party.keyfiles import load_signing_keys, no_key, usable
from gateway.party.process import Clock
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.keys import Algorithm, SigningKey
from gateway.protocol.note import Signer, SignerKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse


class LogSigners:
    """The signers of the logs of `gateway` (SPIFFE ID), from the keys it holds. May be called on any thread."""

    def __init__(
        self,
        *,
        gateway: str,
        keys: Callable[[], tuple[SigningKey, ...]],
        registry: Callable[[], Registry],
        clock: Clock,
    ) -> None:
        self._gateway = gateway
        self._keys = keys
        self._registry = registry
        self._clock = clock

    @classmethod
    def loaded(cls, config: GatewayConfig, registry: Callable[[], Registry], clock: Clock) -> LogSigners:
        """By the keys that lie there now, for whoever ends before they change; MalformedError if one cannot be read."""
        keys = load_signing_keys(config.log_keys)
        return cls(gateway=config.spiffe_id, keys=lambda: keys, registry=registry, clock=clock)

    def __call__(self, origin: str) -> tuple[Signer, ...]:
        """Those that sign a checkpoint of the log `origin` now, Ed25519 first.

        ForgedError (KEY_UNKNOWN) if none does, LogUnavailableError (LOG_ENDED) if it is not the log that goes on.
        """
        now, registry = self._clock(), self._registry()
        terms = registry.party(self._gateway).gateway
        if terms is None or origin not in terms.origins[-2:]:
            detail = f"{origin} is not the log that goes on, as the registry has it here"
            raise LogUnavailableError(Reason.LOG_ENDED, detail, retry_after=1.0)
        keys = usable(self._keys(), registry, self._gateway, KeyUse.LOG, now)
        plain = [_plain(origin, key) for key in keys if key.algorithm is Algorithm.ED25519]
        if not plain:
            raise no_key(self._gateway, KeyUse.LOG)
        timed = [_timed(origin, key).at(int(now)) for key in keys if key.algorithm is Algorithm.ML_DSA_44]
        return (*plain, *timed)

    def require(self) -> None:
        """Refuse if nobody can sign as the log that goes on; what `__call__` raises."""
        terms = self._registry().party(self._gateway).gateway
        self(terms.log_origin if terms is not None else "")


def _plain(origin: str, key: SigningKey) -> SignerKey:
    return SignerKey.from_seed(origin, key.private.private_bytes_raw())  # type: ignore[union-attr]


def _timed(origin: str, key: SigningKey) -> CosignerKey:
    return CosignerKey.of(origin, key.private)  # type: ignore[arg-type]
