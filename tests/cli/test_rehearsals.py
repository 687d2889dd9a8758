"""A sandbox's rule packs: windows around today everywhere but in one county, moved along without touching the rest."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from gateway.cli.rehearsals import MARK, closed_county, renew_rules, write_rules
from gateway.protocol.divisions import COUNTIES, counties_of
from gateway.rules.layering import rules_of
from gateway.rules.region_rules import RegionRules
from gateway.rules.shelf import all_rules, open_shelf
from gateway.rules.windows import Window, next_window, window_at
from sandbox_departments.population import DEFAULT_PREFECTURES

NOW = datetime.fromisoformat("2026-11-26T01:30:00+08:00").timestamp()
DAY = 86_400
CLOSED = "430382"
OPEN = [county for prefecture in DEFAULT_PREFECTURES for county in counties_of(prefecture) if county != CLOSED]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    write_rules(tmp_path / "rules", DEFAULT_PREFECTURES, CLOSED, NOW)
    return tmp_path / "rules"


def rules_at(folder: Path, county: str) -> RegionRules:
    return rules_of(county, open_shelf(folder))


def windows_at(folder: Path) -> dict[str, tuple[Window, ...]]:
    packs = open_shelf(folder)
    return {county: rules_of(county, packs).windows for county in COUNTIES}


def test_closed_county_is_one_of_the_last_prefecture() -> None:
    assert closed_county(DEFAULT_PREFECTURES) == CLOSED
    for prefecture in {code[:4] for code in COUNTIES}:
        assert closed_county(["4301", prefecture]).startswith(prefecture)
        assert closed_county([prefecture]) not in open_shelf()


def test_every_county_but_one_is_open_around_today_and_that_one_says_when_it_opens(rules: Path) -> None:
    assert len(OPEN) == 13
    stated = windows_at(rules)
    for county in OPEN:
        assert all(window_at(stated[county], NOW + days * DAY) for days in (-1, 0, 1, 29))
        assert not window_at(stated[county], NOW - 2 * DAY)
    windows = stated[CLOSED]
    assert not any(window_at(windows, NOW + days * DAY) for days in range(-400, 29))
    following = next_window(windows, NOW)
    assert following is not None
    assert following.opens.isoformat() == "2026-12-26T00:00:00+08:00"


def test_a_day_begins_at_midnight_in_beijing(tmp_path: Path) -> None:
    for moment in ("2026-11-26T00:00:00+08:00", "2026-11-26T23:59:59+08:00"):
        folder = tmp_path / moment
        write_rules(folder, ("4301",), "430182", datetime.fromisoformat(moment).timestamp())
        (window,) = rules_at(folder, "430103").windows
        assert window.opens.isoformat() == "2026-11-25T00:00:00+08:00"
        assert window.closes.isoformat() == "2026-12-26T00:00:00+08:00"


def test_rules_of_every_county_are_the_shipped_ones_but_for_windows(rules: Path) -> None:
    written, shelf = open_shelf(rules), open_shelf()
    for county in COUNTIES:
        ours, shipped = (rules_of(county, packs) for packs in (written, shelf))
        for part in ("materials", "rows", "insurance", "assurance", "guide"):
            assert getattr(ours, part) == getattr(shipped, part), (county, part)
        if county in shelf:
            assert ours.digest() == shipped.digest()
    assert written.keys() == {*shelf, *OPEN, CLOSED}
    assert all_rules(written)


def test_shipped_windows_that_open_later_stay_and_those_in_the_way_go(tmp_path: Path) -> None:
    """430102 announces 7 to 12 June and 16 to 18 August 2027."""
    for moment, months in [
        ("2026-11-26T12:00:00+08:00", [6, 8]),
        ("2027-05-08T12:00:00+08:00", [6, 8]),
        ("2027-05-09T12:00:00+08:00", [8]),
        ("2027-06-09T12:00:00+08:00", [8]),
        ("2028-01-01T12:00:00+08:00", []),
    ]:
        now = datetime.fromisoformat(moment).timestamp()
        write_rules(tmp_path / moment, ("4301",), "430182", now)
        first, *others = rules_at(tmp_path / moment, "430102").windows
        assert first.contains(now)
        assert [window.opens.month for window in others] == months
        assert renew_rules(tmp_path / moment, "430182", now) == []


def test_closed_county_with_a_pack_of_its_own_opens_no_earlier(tmp_path: Path) -> None:
    now = datetime.fromisoformat("2027-06-09T12:00:00+08:00").timestamp()
    write_rules(tmp_path / "rules", ("4301",), "430102", now)
    windows = windows_at(tmp_path / "rules")["430102"]
    assert not any(window_at(windows, now + days * DAY) for days in range(-400, 29))
    assert window_at(windows, now + 31 * DAY)


def test_fresh_rules_are_left_alone(rules: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in rules.iterdir()}
    assert renew_rules(rules, CLOSED, NOW) == []
    assert renew_rules(rules, CLOSED, NOW + 22 * DAY) == []
    assert {file.name: file.stat().st_mtime_ns for file in rules.iterdir()} == before


@pytest.mark.parametrize("days", [24, 29, 31, 200, 400, -40])
def test_rules_left_alone_for_days_are_open_around_the_new_day(days: int, rules: Path) -> None:
    later = NOW + days * DAY
    above = {file.name: text_above(file) for file in rules.iterdir()}
    done = renew_rules(rules, CLOSED, later)
    moved = [*OPEN, CLOSED] if days > 0 else OPEN  # the closed county's window lies ahead all the more
    assert done == [f"rehearsal window of {county}" for county in sorted(moved)]
    windows = windows_at(rules)
    assert all(window_at(windows[county], later + ahead * DAY) for county in OPEN for ahead in (-1, 0, 29))
    assert not any(window_at(windows[CLOSED], later + ahead * DAY) for ahead in range(29))
    assert renew_rules(rules, CLOSED, later) == []
    assert {file.name: text_above(file) for file in rules.iterdir()} == above


def test_rules_that_somebody_wrote_are_kept_when_windows_move(rules: Path) -> None:
    file = rules / "430103.toml"
    text = file.read_text(encoding="utf-8")
    own = '[social_insurance]\nrequired = true\nmonths = "24"\ngroups = ["neither"]\n\n'
    file.write_text(text.replace(MARK, own + MARK), encoding="utf-8")
    before = rules_at(rules, "430103").digest()
    assert "rehearsal window of 430103" in renew_rules(rules, CLOSED, NOW + 40 * DAY)
    assert rules_at(rules, "430103").insurance.months == "24"
    assert rules_at(rules, "430103").digest() == before
    assert window_at(rules_at(rules, "430103").windows, NOW + 40 * DAY)


def test_file_without_the_line_is_its_writers_own(rules: Path) -> None:
    file = rules / "430103.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(MARK, ""), encoding="utf-8")
    before = file.read_bytes()
    assert "rehearsal window of 430103" not in renew_rules(rules, CLOSED, NOW + 40 * DAY)
    assert file.read_bytes() == before


def text_above(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition(MARK)[0]
