"""What a wave takes follows from what an application costs, and from who comes when."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import capacity
from benchmarks.capacity import MARKER, PLACES, shares_of, tables, waves
from benchmarks.kept import read_results
from benchmarks.needs import BUSY, CHECKING, COMMITTING, CORES, MAKING, Costs, need, spent
from benchmarks.report import between_markers
from benchmarks.setting import RESULTS as KEPT
from gateway.season.assumptions import Assumptions

PAGE = Path(__file__).parents[2] / "docs/capacity.md"
GROWN = {
    "size": 1_000,
    "leaves_per_second": 50_000.0,
    "inclusion_proof_ms": 0.1,
    "start_ms": 3.0,
    "bytes_per_leaf": 600.0,
}
RESULTS: dict[str, Any] = {
    "peers": {
        "machine": {"cpu": "A CPU"},
        "medians": {
            "saturation": {
                "heyan": {
                    "client_cpu_us": {"value": 500.0},
                    "gateway_cpu_us": {"value": 1_400.0},
                    "nodes_cpu_us": {"value": 2_100.0},
                }
            }
        },
    },
    "gateway_core": {"bytes": {"application": [10_000, 15_000]}},
    "wire": {"application": {"asks": 20_000, "replies": 5_000}},
    "disk": {
        "5 checks": {
            "bytes_per_application": 5_000.0,
            "journal_bytes_per_check": 400.0,
            "checks": 500,
            "applications": 100,
        }
    },
    "functions": {
        "rows": [
            {"function": MAKING, "us_per_item": 1_000.0},
            {"function": CHECKING, "us_per_item": 1_100.0},
            {"function": COMMITTING, "us_per_item": 200.0},
        ]
    },
    "fsck": {"targets": {"fsck_rate": {"value": 200_000.0}}},
    "memory": {"rows": [{"rss_mib": 100.0}, {"rss_mib": 180.0}]},
    "appending": {"rows": [GROWN]},
    "appending_large": {"rows": [{**GROWN, "size": 10_000_000}]},
}


def test_the_opening_morning_is_that_of_the_seasons_planning() -> None:
    """The checks a second that the project plans with: 312 of a city of 200,000 families, 2,734 of the province."""
    city, province, country = waves(PLACES, Assumptions())
    assert city.peak * 5 == pytest.approx(312.5)
    assert province.peak * 5 == pytest.approx(2_734, abs=1)
    assert country.peak * 5 == pytest.approx(54_141, abs=10)


def test_an_application_costs_what_the_kept_results_say() -> None:
    costs = Costs.of(RESULTS)
    assert costs.client_us == 500 + 1_000 + 1_100
    assert (costs.gateway_us, costs.nodes_us) == (1_400, 2_100)
    assert costs.journal_bytes == 2_000
    assert costs.department_bytes == 25_000
    assert costs.rss_mib == 180


def test_cores_are_planned_with_room_and_shared_out_among_departments() -> None:
    (city,) = waves({"a city": 200_000}, Assumptions())
    found = need(city, Costs.of(RESULTS), shares_of(Assumptions()))
    assert found.gateway_cores == pytest.approx(62.5 * 1_400e-6 / BUSY)
    assert sum(found.node_cores.values()) == pytest.approx(62.5 * 2_100e-6 / BUSY)
    assert found.node_cores["police"] == pytest.approx(0.6 * sum(found.node_cores.values()))
    assert found.disk_gb == pytest.approx(1.0)
    assert found.requester_mbit == pytest.approx(62.5 * 25_000 * 8 / 1e6)
    assert found.fsck_seconds == pytest.approx(1.0)


def test_more_checks_cost_more_of_everything_but_the_request() -> None:
    five, ten = Costs.of(RESULTS), Costs.of(RESULTS).of_checks(10)
    assert ten.gateway_us == 2 * five.gateway_us
    assert ten.disk_bytes == 2 * five.disk_bytes
    assert ten.fsck_rate == five.fsck_rate


def test_what_is_spent_first_comes_first() -> None:
    costs = Costs.of(RESULTS)
    (country,) = waves({"everybody": 34_650_000}, Assumptions())
    uses = spent(country, need(country, costs, shares_of(Assumptions())), costs)
    assert next(iter(uses)) == CORES
    assert list(uses.values()) == sorted(uses.values(), reverse=True)
    assert uses[CORES] == pytest.approx(country.peak * 1_400e-6 / 2)


def test_tables_tell_costs_needs_and_growth() -> None:
    text = tables(RESULTS, PLACES, Assumptions())
    assert "| gateway | 1,400 |" in text
    assert "| 10,000,000 | 50,000 |" in text
    assert "| cores: police | 0.11 | 0.98 | 19 |" in text


def test_a_missing_result_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["capacity", "--results", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        capacity.main()
    assert ended.value.code == 2
    assert "lacks 'peers'" in capsys.readouterr().err


@pytest.mark.skipif(not (KEPT / "peers.json").exists(), reason="no run of the whole suite is kept")
def test_the_page_tells_what_is_kept() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert between_markers(text, tables(read_results(KEPT), PLACES, Assumptions()), MARKER) == text
