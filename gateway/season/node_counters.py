"""What the gateway's `/metrics` say of each department node, and by how much that grew between two readings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from gateway.protocol.errors import MalformedError

_COUNTERS = {f"heyan_department_{name}_total": name for name in ("asks", "hedges", "failovers", "trips")}
_BUCKET = "heyan_department_seconds_bucket"


@dataclass(slots=True)
class NodeCounters:
    """One node: asks sent to it, and of its answers how many came within how many seconds."""

    asks: float = 0.0
    hedges: float = 0.0
    failovers: float = 0.0
    trips: float = 0.0
    within: dict[float, float] = field(default_factory=dict)
    """Answers that came within so many seconds, by the upper end; infinity has all of them."""

    def percentile(self, percent: float) -> float | None:
        """The upper end of the bucket of the nearest rank, in seconds, which may be infinity; None of no answer."""
        total = self.within.get(math.inf, 0.0)
        if total <= 0:
            return None
        rank = max(1, math.ceil(percent / 100 * total))
        return next((end for end, count in sorted(self.within.items()) if count >= rank), math.inf)

    def since(self, before: NodeCounters) -> NodeCounters:
        """By how much it grew; a gateway that was started anew meanwhile counts from zero."""
        if self.asks < before.asks:
            return self
        return NodeCounters(
            self.asks - before.asks,
            self.hedges - before.hedges,
            self.failovers - before.failovers,
            self.trips - before.trips,
            {end: count - before.within.get(end, 0.0) for end, count in self.within.items()},
        )


def read_counters(text: str) -> dict[str, NodeCounters]:
    """The counters of every node in a Prometheus text; MalformedError if it is none."""
    found: defaultdict[str, NodeCounters] = defaultdict(NodeCounters)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in _COUNTERS:
                    setattr(found[sample.labels["department"]], _COUNTERS[sample.name], sample.value)
                elif sample.name == _BUCKET:
                    found[sample.labels["department"]].within[float(sample.labels["le"])] = sample.value
    except (ValueError, KeyError) as error:
        raise MalformedError.at("metrics", f"must be a Prometheus text ({type(error).__name__})") from None
    return dict(found)


def growth(before: Mapping[str, NodeCounters], after: Mapping[str, NodeCounters]) -> dict[str, NodeCounters]:
    """Of each node in `after`, by how much its counters grew."""
    return {name: counters.since(before.get(name, NodeCounters())) for name, counters in after.items()}
