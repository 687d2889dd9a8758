"""The metrics of several workers as those of one gateway: each sample with the number of its worker.

What counts in each of them is to be summed. A gauge of what they share (`OF_THE_WHOLE`), such as how much of the log is
published, is taken from the one that leads: the others would tell it later, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.workers.wire import Told

OF_THE_WHOLE = frozenset(
    {
        "heyan_deferrals_waiting",
        "heyan_disputes_unconfirmed",
        "heyan_log_published_size",
        "heyan_log_published_behind_seconds",
        "heyan_log_publication_failing",
        "heyan_retention_behind_seconds",
        "heyan_retention_unreadable",
        "heyan_witnessed_age_seconds",
        "heyan_witnessed_size",
    }
)
"""Gauges of the store and the log."""


class _Gathered(Collector):
    def __init__(self, told: Mapping[int, Told]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, told in self._told.items():
            for family in text_string_to_metric_families(told.metrics):
                if family.name in OF_THE_WHOLE and not told.leads:
                    continue
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                whole.samples += [
                    sample._replace(labels={**sample.labels, "worker": str(number)}) for sample in family.samples
                ]
        yield from families.values()


def gather(own: CollectorRegistry, told: Mapping[int, Told]) -> bytes:
    """The Prometheus text of a supervisor's own metrics and of what its workers told, by their numbers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(told))
    return generate_latest(own) + generate_latest(registry)
