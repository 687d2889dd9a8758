"""What a season takes: cost of an application by party, from the kept results, times the applicants of a place.

    python -m benchmarks.capacity                                          the tables of docs/capacity.md
    python -m benchmarks.capacity --families 90000 --checks 7              for a place of one's own
    python -m benchmarks.capacity --write docs/capacity.md                 the tables, between that file's markers

Arithmetic only. What is measured comes from results files, each of which names its machine; what is assumed about
applicants comes from the season's planning (`gateway.season.assumptions`), and can be replaced here by one's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bounds import amount, count
from benchmarks.kept import Results, read_results
from benchmarks.needs import BUSY, Costs, Need, Wave, need, spent
from benchmarks.report import between_markers
from benchmarks.setting import RESULTS, table
from gateway.season.assumptions import Assumptions

MARKER = "capacity"
DEPARTMENTS = ("police", "education", "land", "housing")
PLACES = {"one city": 200_000, "the province": 1_750_000, "the country": 34_650_000}
"""Families in a season; docs/capacity.md says where the numbers come from."""


def waves(places: Mapping[str, int], assumed: Assumptions) -> list[Wave]:
    """Waves of the families of each place, who behave as assumed."""
    first_hour = assumed.first_hour_percent / 100
    return [
        Wave(name, families, first_hour, assumed.burst_factor, assumed.retry_factor)
        for name, families in places.items()
    ]


def shares_of(assumed: Assumptions) -> dict[str, float]:
    """Each department's share of all checks."""
    return {name: assumed.share_percent[name] / 100 for name in DEPARTMENTS}


def tables(results: Results, places: Mapping[str, int], assumed: Assumptions) -> str:
    """All tables, in Markdown."""
    costs = Costs.of(results).of_checks(assumed.checks_per_application)
    found = [(wave, need(wave, costs, shares_of(assumed))) for wave in waves(places, assumed)]
    return "\n\n".join(
        (
            _costs_table(results, costs, assumed),
            _needs_table(found),
            _spent_table(found, costs),
            _growth_table(results),
        )
    )


def _costs_table(results: Results, costs: Costs, assumed: Assumptions) -> str:
    rows = [
        ("requester", f"{costs.client_us:,.0f}", f"{costs.request_bytes:,.0f} out, {costs.receipt_bytes:,.0f} in", "–"),
        (
            "gateway",
            f"{costs.gateway_us:,.0f}",
            f"{costs.department_bytes:,.0f} to and from departments",
            _bytes(costs.disk_bytes),
        ),
        ("all departments", f"{costs.nodes_us:,.0f}", "the same", _bytes(costs.journal_bytes)),
        *(
            (
                f"… of which {name}",
                f"{costs.nodes_us * share:,.0f}",
                f"{costs.department_bytes * share:,.0f}",
                _bytes(costs.journal_bytes * share),
            )
            for name, share in shares_of(assumed).items()
        ),
    ]
    machine = results["peers"]["machine"]
    return (
        f"One application of {assumed.checks_per_application:g} checks at saturation, on {machine['cpu']}:\n\n"
        + table(("party", "CPU, µs", "bytes on the wire", "bytes on disk"), rows)
    )


def _needs_table(found: Sequence[tuple[Wave, Need]]) -> str:
    headings = ("", *(wave.name for wave, _ in found))
    lines: list[tuple[str, ...]] = [
        ("families in a season", *(f"{wave.families:,}" for wave, _ in found)),
        ("applications/s at the worst moment", *(_figure(each.peak) for _, each in found)),
        ("cores: gateways", *(_figure(each.gateway_cores) for _, each in found)),
    ]
    lines += [(f"cores: {name}", *(_figure(each.node_cores[name]) for _, each in found)) for name in DEPARTMENTS]
    lines += [
        ("cores: requesters", *(_figure(each.client_cores) for _, each in found)),
        ("Mbit/s: requesters and gateways", *(_figure(each.requester_mbit) for _, each in found)),
        ("Mbit/s: gateways and departments", *(_figure(each.department_mbit) for _, each in found)),
        ("GB a season: logs and evidence", *(_figure(each.disk_gb) for _, each in found)),
        ("GB a season: journals of all departments", *(_figure(each.journals_gb) for _, each in found)),
        ("seconds of `heyan log fsck`, one core", *(_figure(each.fsck_seconds) for _, each in found)),
    ]
    return f"At the worst moment of an opening morning, cores {BUSY:.0%} busy:\n\n" + table(headings, lines)


def _spent_table(found: Sequence[tuple[Wave, Need]], costs: Costs) -> str:
    lines = []
    for wave, each in found:
        uses = spent(wave, each, costs)
        lines.append((wave.name, *(f"{name}: {_figure(share)}" for name, share in uses.items())))
    places = ("first", "second", "third", "fourth", "fifth")
    return (
        "How many small machines (2 cores, one log's writer, 1 Gbit/s, 100 GB, 2 GiB) a single gateway would fill, by "
        "resource:\n\n" + table(("", *places), lines)
    )


def _growth_table(results: Results) -> str:
    rows = list(_growth_rows(results))
    headings = ("leaves", "leaves/s appended", "inclusion proof, ms", "start to first commit, ms", "bytes a leaf")
    return "The log as it grows:\n\n" + table(headings, rows)


def _growth_rows(results: Results) -> Iterator[tuple[Any, ...]]:
    files = [results[name] for name in ("appending_large", "appending") if name in results]
    by_size = {row["size"]: row for file in files for row in file["rows"]}
    for size in sorted(by_size):
        row = by_size[size]
        yield (
            f"{size:,}",
            f"{row['leaves_per_second']:,.0f}",
            f"{row['inclusion_proof_ms']:.2f}",
            f"{row['start_ms']:.1f}",
            f"{row['bytes_per_leaf']:.0f}",
        )


def _bytes(value: float) -> str:
    return f"{value:,.0f}"


def _figure(value: float) -> str:
    """Two digits that count, or a whole number."""
    return f"{float(f'{value:.2g}'):,g}" if value < 100 else f"{float(f'{value:.3g}'):,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=count, help="of one place, instead of city, province and country")
    parser.add_argument("--checks", type=amount, help="of an application (5)")
    parser.add_argument("--first-hour-percent", type=count, help="of the families, who come in the first hour (25)")
    parser.add_argument("--burst", type=amount, help="times the first hour's average, at the worst moment (3)")
    parser.add_argument("--retries", type=amount, help="times each application is sent (1.5)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results")
    parser.add_argument("--write", type=Path, help="write the tables into this file instead of printing them")
    options = parser.parse_args()
    given = {
        "checks_per_application": options.checks,
        "first_hour_percent": options.first_hour_percent,
        "burst_factor": options.burst,
        "retry_factor": options.retries,
    }
    assumed = replace(Assumptions(), **{name: value for name, value in given.items() if value is not None})
    places = PLACES if options.families is None else {"this place": options.families}
    try:
        text = tables(read_results(options.results), places, assumed)
        if options.write is not None:
            text = between_markers(options.write.read_text(encoding="utf-8"), text, MARKER)
    except KeyError as error:
        parser.error(f"{options.results} lacks {error}: run the suite first")
    except ValueError as error:
        parser.error(f"{options.write} {error}")
    if options.write is None:
        print(text)
    else:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
