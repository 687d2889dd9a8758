"""What goes to and comes from department nodes, counted for `/metrics`, by node."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.protocol.reasons import Reason

SECONDS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0),
)
"""Upper ends of the buckets of a node's answers: near enough to each other that a percentile means something."""


@dataclass(frozen=True, slots=True)
class NodeTraffic:
    """The counters of one node."""

    messages: Counter
    asks: Counter
    replies: Counter
    hedges: Counter
    failovers: Counter
    trips: Counter
    seconds: Histogram


class Unanswered:
    """Checks that ended without a node's answer, by node and reason. Nodes are those of the registry: few."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._checks = Counter(
            "heyan_checks_unanswered",
            "Checks that ended without the node's answer, by reason",
            ["department", "reason"],
            registry=registry,
        )

    def count(self, department: str, reason: Reason) -> None:
        """One check that `department` (a SPIFFE ID) left without an answer."""
        self._checks.labels(_label(department), reason.value).inc()


class Traffic:
    """The counters of all nodes, in one registry of metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        label = ["department"]
        self._messages = Counter(
            "heyan_department_messages",
            "Messages sent to a node, of asks or acknowledgements",
            label,
            registry=registry,
        )
        self._asks = Counter("heyan_department_asks", "Asks sent to a node", label, registry=registry)
        self._replies = Counter(
            "heyan_department_replies", "Reply batches of a node whose signature holds", label, registry=registry
        )
        self._hedges = Counter(
            "heyan_department_hedges", "Asks sent twice because the first took long", label, registry=registry
        )
        self._failovers = Counter(
            "heyan_department_failovers", "Asks sent again because the first failed", label, registry=registry
        )
        self._trips = Counter(
            "heyan_department_trips", "Times that the breaker of a channel opened", label, registry=registry
        )
        self._seconds = Histogram(
            "heyan_department_seconds",
            "Seconds from an ask to the node's answer, hedges and failovers included",
            label,
            registry=registry,
            buckets=SECONDS,
        )

    def of(self, department: str) -> NodeTraffic:
        """The counters of a node, by its SPIFFE ID; the label is the last part of it."""
        name = _label(department)
        return NodeTraffic(
            messages=self._messages.labels(name),
            asks=self._asks.labels(name),
            replies=self._replies.labels(name),
            hedges=self._hedges.labels(name),
            failovers=self._failovers.labels(name),
            trips=self._trips.labels(name),
            seconds=self._seconds.labels(name),
        )


def _label(department: str) -> str:
    return department.rpartition("/")[2]
