"""What a folder of results holds: its JSON files, what they say of each target, and what is worse than before."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.targets import TARGETS, Seen, Target

Results = Mapping[str, Mapping[str, Any]]
"""The contents of each JSON file of a folder, by its name without the suffix."""

NOTES = "notes.toml"


def read_results(folder: Path) -> Results:
    """Every results file of `folder`."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def read_notes(folder: Path) -> Mapping[str, str]:
    """What somebody wrote about targets that are missed, by their ids; ValueError for one that is no target."""
    file = folder / NOTES
    notes = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if unknown := notes.keys() - {target.id for target in TARGETS}:
        raise ValueError(f"{NOTES} has notes about no target: {', '.join(sorted(unknown))}")
    return notes


def seen_in(results: Results, target: Target) -> dict[str, Seen]:
    """What was measured of a target, by the file that says so: the suite's first, then a longer run's."""
    files = (target.measured_by, target.apart)
    entries = {name: results[name].get("targets", {}).get(target.id) for name in files if name in results}
    return {name: Seen.read(entry) for name, entry in entries.items() if entry is not None}


def fallen(kept: Results, now: Results) -> list[str]:
    """Each ratio of a short run that is missing, or much worse than the kept one, in a line that says so."""
    lines = []
    for target in TARGETS:
        if target.slack is None:
            continue
        before = seen_in(kept, target).get(target.measured_by)
        if before is None:
            continue  # nothing to fall from
        after = seen_in(now, target).get(target.measured_by)
        if after is None:
            lines.append(f"{target.id}: {before.value:.3g} is kept, and the run does not say")
        elif target.fell(before, after):
            lines.append(f"{target.id}: {before.value:.3g} is kept, the run saw {after.value:.3g}")
    return lines
