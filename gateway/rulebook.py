"""The rules in force at a gateway: the packs of a folder, taken up again when its files change.

Whoever is handed rules keeps them for as long as it works with them: a folder that changes meanwhile makes new ones.
Packs that do not hold together are refused as a whole, and the ones before them stay in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.party.keyfiles import Watched
from gateway.rules.bundle import write_bundle
from gateway.rules.layering import rules_of
from gateway.rules.pack import Pack
from gateway.rules.region_rules import RegionRules
from gateway.rules.shelf import all_rules, open_shelf


class _Edition:
    """One state of all packs, and the rules and bundles that were made from it."""

    def __init__(self, packs: Mapping[str, Pack]) -> None:
        self._packs = packs
        self._rules = all_rules(packs)
        self._bundles: dict[str, bytes] = {}

    def rules_of(self, region: str) -> RegionRules:
        if region not in self._rules:
            self._rules[region] = rules_of(region, self._packs)
        return self._rules[region]

    def bundle_of(self, region: str) -> bytes:
        if region not in self._bundles:
            self._bundles[region] = write_bundle(region, self._packs)
        return self._bundles[region]


class Rulebook:
    """The packs of `folder`, or those that come with Heyan; `refresh` once a second.

    Raises MalformedError (RULES_INVALID, CONFIGURATION_INVALID) with every problem if they do not hold at start.
    """

    def __init__(self, folder: Path | None) -> None:
        self._editions = Watched([] if folder is None else [folder], lambda: _Edition(open_shelf(folder)))

    def refresh(self) -> bool:
        """Take up what changed in the folder; whether anything did."""
        return self._editions.refresh()

    def rules_of(self, region: str) -> RegionRules:
        """The rules of a county; MalformedError naming the region if there is none of that code."""
        return self._editions.value.rules_of(region)

    def bundle_of(self, region: str) -> bytes:
        """The packs that make those rules, as they travel."""
        return self._editions.value.bundle_of(region)
