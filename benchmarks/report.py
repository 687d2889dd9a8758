"""The report: every target beside what was measured, as a Markdown table, from the files of a folder of results.

    python -m benchmarks.report                           print it
    python -m benchmarks.report --readme README.md        write it between the markers of that file

A row says whether its target is met, and by how much it is missed; why, and what would close it, is written by hand in
`notes.toml` beside the results. A figure with a dagger comes from a run of its own, too long for each suite. Nothing
in the table is typed: a test holds the README against the kept results.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.kept import Results, read_notes, read_results, seen_in
from benchmarks.setting import RESULTS
from benchmarks.targets import PERCENT, TARGETS, Kind, Seen, Target, Verdict

MARKER = "benchmarks"
DAGGER = "†"
_THOUSAND, _EXACT = 1_000, 10_000


def report(results: Results, notes: Mapping[str, str]) -> str:
    """The table, and on what it was measured."""
    lines = ["| what | target | stretch | measured (least–most) | |", "| --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(row_of(target, results, notes)) + " |" for target in TARGETS]
    return "\n".join([*lines, "", *_conditions(results)])


def row_of(target: Target, results: Results, notes: Mapping[str, str]) -> tuple[str, str, str, str, str]:
    """The cells of one target."""
    seen = seen_in(results, target)
    cells = [_seen(target, each) + (f" {DAGGER}" if name == target.apart else "") for name, each in seen.items()]
    verdict = target.verdict(*seen.values())
    judged = f"**{verdict}**" if verdict is Verdict.MISSED else str(verdict)
    if verdict is Verdict.MISSED:
        judged += f" by {_percent(shortfall(target, *seen.values()))}. {notes.get(target.id, '')}".rstrip()
    return target.what, _bound(target, target.bound), _bound(target, target.stretch), "; ".join(cells) or "–", judged


def shortfall(target: Target, *seen: Seen) -> float:
    """How far the worst figure is from its bound, as a share of the bound."""
    worst = (min if target.kind is Kind.AT_LEAST else max)(each.value for each in seen)
    return abs(worst - target.bound) / target.bound


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _bound(target: Target, bound: float | None) -> str:
    return "" if bound is None else f"{target.kind} {_number(target, bound)}{_unit(target)}"


def _seen(target: Target, seen: Seen) -> str:
    text = _number(target, seen.value) + _unit(target)
    if seen.low == seen.high:
        return text
    return f"{text} ({_number(target, seen.low)}–{_number(target, seen.high)})"


def _unit(target: Target) -> str:
    return f" {target.unit}" if target.unit else ""


def _number(target: Target, value: float) -> str:
    """Three digits that count, but of what is in the thousands all before the point."""
    shown = value * 100 if target.unit == PERCENT else value
    if abs(shown) >= _EXACT:
        shown = float(f"{shown:.3g}")
    return f"{shown:,.0f}" if abs(shown) >= _THOUSAND else f"{float(f'{shown:.3g}'):,g}"


def _conditions(results: Results) -> Iterator[str]:
    if "suite" in results:
        suite = results["suite"]
        machine, minutes = suite["machine"], sum(step["seconds"] for step in suite["steps"]) / 60
        versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "grpcio", "cryptography", "sqlite"))
        yield (
            f"{machine['cores']} cores of {machine['cpu']}; {versions}; `{machine['command']}`, {minutes:.0f} minutes, "
            f"{machine['time'][:10]}. Median of the rounds, with the least and the most."
        )
        if failed := [step["name"] for step in suite["steps"] if step["exit_code"]]:
            yield f"Failed in that run: {', '.join(failed)}."
        later = {name: results[name]["machine"]["time"] for name in sorted(_measuring()) if name in results}
        if again := [f"{name} ({at[:10]})" for name, at in later.items() if at > machine["time"]]:
            yield f"Measured again since: {', '.join(again)}."
    for name in sorted({target.apart for target in TARGETS if target.apart in results}):
        machine = results[name]["machine"]
        yield f"{DAGGER} In a run of its own: `{machine['command']}`, {machine['time'][:10]}."


def _measuring() -> set[str]:
    return {target.measured_by for target in TARGETS}


def markers(name: str) -> tuple[str, str]:
    """The comments between which a generated table stands in a Markdown file."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def between_markers(text: str, table: str, name: str = MARKER) -> str:
    """`text` with `table` between its markers; ValueError if they are not there, once each and in order."""
    first, last = markers(name)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in after:
        raise ValueError(f"needs {first} and {last}, once each, around the place where the table goes")
    return f"{before}{first}\n{table}\n{last}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that is reported")
    parser.add_argument("--readme", type=Path, help="write the table into this file instead of printing it")
    options = parser.parse_args()
    text = report(read_results(options.results), read_notes(options.results))
    if options.readme is None:
        print(text)
        return
    try:
        written = between_markers(options.readme.read_text(encoding="utf-8"), text)
    except ValueError as error:
        parser.error(f"{options.readme} {error}")
    options.readme.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
