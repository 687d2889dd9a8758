"""What an application costs by party, as the kept results say, and what a wave of them takes at its worst moment.

Arithmetic only: `benchmarks.capacity` makes tables of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.kept import Results
from gateway.log import GROUP_LIMIT

CHECKS = 5
"""Of the application that is measured."""
MAKING, CHECKING = "submission_make_of_five_checks", "receipt_verify_of_six_checks_with_known_registry"
COMMITTING = f"store_commit[{GROUP_LIMIT}]"
"""Functions whose cost is part of a party's: see `benchmarks.functions`."""
MICRO, GIGA, MBIT = 1e6, 1e9, 1e6 / 8
HOUR = 3_600.0
BUSY = 0.7
"""Of a core, how much is planned with: above it queues grow faster than the load."""

CORES, WRITER, NETWORK, DISK, MEMORY = "cores", "log writer", "network", "disk", "memory"
SMALL_MACHINE = {CORES: 2.0, WRITER: 1.0, NETWORK: 1_000.0, DISK: 100.0, MEMORY: 2_048.0}
"""What a gateway's load is held against, to say which resource is spent first: a small virtual machine with 2 cores,
1 Gbit/s, 100 GB and 2 GiB. A log has one writer, whatever the machine."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one application of five checks takes: microseconds of CPU by party, bytes by wire and by disk.

    `client_us` is what the requester spends in making, sending and checking one. `nodes_us` and `journal_bytes` are
    those of all departments together. Rates are of the log.
    """

    client_us: float
    gateway_us: float
    nodes_us: float
    request_bytes: float
    receipt_bytes: float
    department_bytes: float
    disk_bytes: float
    journal_bytes: float
    commit_us: float
    """Of the log's one writer, when groups are full."""
    fsck_rate: float
    rss_mib: float

    @classmethod
    def of(cls, results: Results) -> Costs:
        """From the kept results; KeyError names a file that is missing."""
        system = results["peers"]["medians"]["saturation"]["heyan"]
        request, receipt = results["gateway_core"]["bytes"]["application"]
        wire, disk = results["wire"]["application"], results["disk"][f"{CHECKS} checks"]
        functions = {row["function"]: row["us_per_item"] for row in results["functions"]["rows"]}
        return cls(
            client_us=system["client_cpu_us"]["value"] + functions[MAKING] + functions[CHECKING],
            gateway_us=system["gateway_cpu_us"]["value"],
            nodes_us=system["nodes_cpu_us"]["value"],
            request_bytes=request,
            receipt_bytes=receipt,
            department_bytes=wire["asks"] + wire["replies"],
            disk_bytes=disk["bytes_per_application"],
            journal_bytes=disk["journal_bytes_per_check"] * disk["checks"] / disk["applications"],
            fsck_rate=results["fsck"]["targets"]["fsck_rate"]["value"],
            commit_us=functions[COMMITTING],
            rss_mib=max(row["rss_mib"] for row in results["memory"]["rows"]),
        )

    def of_checks(self, checks: float) -> Costs:
        """The same for applications of another number of checks at the same departments.

        What the requester spends and sends goes by departments, so it stays (too little for more checks, by what their
        answers add to checking); all else is taken to grow with the number, which is rather too much.
        """
        factor = checks / CHECKS
        scaled = (
            "gateway_us",
            "nodes_us",
            "department_bytes",
            "disk_bytes",
            "journal_bytes",
            "receipt_bytes",
            "commit_us",
        )
        return replace(self, **{name: getattr(self, name) * factor for name in scaled})


@dataclass(frozen=True, slots=True)
class Wave:
    """Families that apply in one season, and how many of them begin on the same morning."""

    name: str
    families: int
    first_hour: float
    burst: float
    retries: float

    @property
    def peak(self) -> float:
        """Applications a second at the worst moment of the opening morning: bursts and repetitions among them."""
        return self.families * self.first_hour / HOUR * self.burst * self.retries


@dataclass(frozen=True, slots=True)
class Need:
    """What a wave takes at its peak, and of a season what stays."""

    peak: float
    gateway_cores: float
    node_cores: Mapping[str, float]
    client_cores: float
    requester_mbit: float
    department_mbit: float
    disk_gb: float
    journals_gb: float
    fsck_seconds: float


def need(wave: Wave, costs: Costs, shares: Mapping[str, float]) -> Need:
    """What `wave` takes; `shares` are each department's of all checks, and sum to 1."""

    def cores(us: float) -> float:
        return wave.peak * us / MICRO / BUSY

    return Need(
        peak=wave.peak,
        gateway_cores=cores(costs.gateway_us),
        node_cores={department: cores(costs.nodes_us) * share for department, share in shares.items()},
        client_cores=cores(costs.client_us),
        requester_mbit=wave.peak * (costs.request_bytes + costs.receipt_bytes) / MBIT,
        department_mbit=wave.peak * costs.department_bytes / MBIT,
        disk_gb=wave.families * costs.disk_bytes / GIGA,
        journals_gb=wave.families * costs.journal_bytes / GIGA,
        fsck_seconds=wave.families / costs.fsck_rate,
    )


def spent(wave: Wave, found: Need, costs: Costs) -> dict[str, float]:
    """How many small machines the gateway of `wave` would fill, by resource; the first one is spent first.

    Commits are no resource of their own: under load applications share them, as many as come while one lasts.
    """
    uses = {
        CORES: found.gateway_cores * BUSY / SMALL_MACHINE[CORES],
        WRITER: wave.peak * costs.commit_us / MICRO / SMALL_MACHINE[WRITER],
        NETWORK: (found.requester_mbit + found.department_mbit) / SMALL_MACHINE[NETWORK],
        DISK: found.disk_gb / SMALL_MACHINE[DISK],
        MEMORY: costs.rss_mib / SMALL_MACHINE[MEMORY],
    }
    return dict(sorted(uses.items(), key=lambda item: -item[1]))
