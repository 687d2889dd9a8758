"""What goes to and comes from department nodes, counted for `/metrics`, by node."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter


@dataclass(frozen=True, slots=True)
class NodeTraffic:
    """The counters of one node."""

    messages: Counter
    asks: Counter
    replies: Counter
    hedges: Counter
    failovers: Counter
    trips: Counter


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

    def of(self, department: str) -> NodeTraffic:
        """The counters of a node, by its SPIFFE ID; the label is the last part of it."""
        name = department.rpartition("/")[2]
        return NodeTraffic(
            messages=self._messages.labels(name),
            asks=self._asks.labels(name),
            replies=self._replies.labels(name),
            hedges=self._hedges.labels(name),
            failovers=self._failovers.labels(name),
            trips=self._trips.labels(name),
        )
