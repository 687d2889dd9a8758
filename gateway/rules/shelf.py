"""Where rule packs lie: a folder of `REGION.toml` files, read whole and at once. The shipped ones are package data.

The only module of the rules that reads files. A folder replaces the shipped packs altogether: what holds in a place is
never a mix of a bureau's folder and a release of Heyan.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.protocol.errors import FieldViolation, HeyanError, MalformedError
from gateway.protocol.reasons import Reason, Text
from gateway.rules.layering import rules_of
from gateway.rules.pack import Pack
from gateway.rules.pack_file import read_pack
from gateway.rules.reading import MAX_PACK, refusal
from gateway.rules.region_rules import RegionRules

SHIPPED = files("gateway.rules") / "packs"
"""The province's pack and samples of two prefectures and their counties."""


def open_pack(file: Traversable | Path) -> Pack:
    """The pack in `file`; MalformedError (RULES_INVALID with every problem, or CONFIGURATION_INVALID if unreadable)."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_PACK + 1)
    except OSError as error:
        expected = f"cannot be read: {error.strerror}"
        raise MalformedError.at(str(file), expected, Reason.CONFIGURATION_INVALID) from None
    return read_pack(str(file) if isinstance(file, Path) else file.name, data)


def open_shelf(folder: Path | None = None) -> dict[str, Pack]:
    """Every pack of a folder by its region, or the shipped ones; each file is named for its region.

    What is no pack by its name is passed over, but for names that an editor gives a pack (`430102.toml.txt`, `.TOML`):
    a county would be closed without a word. Raises MalformedError with the problems of all files.
    """
    place: Traversable | Path = SHIPPED if folder is None else folder
    try:
        found = sorted((file for file in place.iterdir() if _is_meant(file.name)), key=lambda file: file.name)
    except OSError as error:
        expected = f"cannot be read: {error.strerror}"
        raise MalformedError.at(str(place), expected, Reason.CONFIGURATION_INVALID) from None
    packs: dict[str, Pack] = {}
    problems: list[FieldViolation] = []
    for file in found:
        if not file.is_file():
            raise MalformedError.at(str(file), "cannot be read: is no file", Reason.CONFIGURATION_INVALID)
        try:
            pack = open_pack(file)
        except MalformedError as error:
            if error.reason is not Reason.RULES_INVALID:
                raise
            problems += error.violations
            continue
        if file.name != f"{pack.region}.toml":
            named = Text(f"文件应名为 {pack.region}.toml", f"must stand in a file named {pack.region}.toml")
            problems.append(pack.source.violation(("region",), named))
        packs[pack.region] = pack
    if problems:
        raise refusal(problems)
    return packs


def _is_meant(name: str) -> bool:
    return name.lower().endswith((".toml", ".toml.txt")) and not name.startswith(".")


def all_rules(packs: Mapping[str, Pack]) -> dict[str, RegionRules]:
    """The rules of every region that has a pack; MalformedError with the problems of all of them.

    What serves applications calls this once at start, so that no pack fails later.
    """
    rules: dict[str, RegionRules] = {}
    problems: list[FieldViolation] = []
    for region in sorted(packs):
        try:
            rules[region] = rules_of(region, packs)
        except HeyanError as error:
            problems += error.violations
    if problems:
        raise refusal(problems)
    return rules
