"""What is counted of witnessing. Labels are the policy's names of witnesses, and reasons."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.protocol.reasons import Reason


class WitnessTraffic:
    """The metrics of one gateway's witnesses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.age = Gauge(
            "heyan_witnessed_age_seconds", "Seconds since the newest witnessed head became so", registry=registry
        )
        self.size = Gauge("heyan_witnessed_size", "Leaves of the newest witnessed head", registry=registry)
        self.contradictions = Counter(
            "heyan_log_contradictions", "Proofs against the log that witnesses showed", registry=registry
        )
        self._cosignatures = Counter(
            "heyan_witness_cosignatures", "Cosignatures that hold", ["witness"], registry=registry
        )
        self._failures = Counter(
            "heyan_witness_failures", "Requests without a cosignature", ["witness", "reason"], registry=registry
        )

    def follow(self, names: Iterable[str]) -> None:
        """Show each witness from now on, also one that has not cosigned yet."""
        for name in names:
            self._cosignatures.labels(_label(name))

    def cosigned(self, name: str) -> None:
        """A witness cosigned."""
        self._cosignatures.labels(_label(name)).inc()

    def failed(self, name: str, reason: Reason) -> None:
        """A witness did not."""
        self._failures.labels(_label(name), reason.value).inc()


def _label(name: str) -> str:
    """A policy's names are octets, a label is text."""
    return name.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="backslashreplace")
