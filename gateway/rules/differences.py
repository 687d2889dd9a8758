"""What differs between the rules of two regions, item by item, in the words of the packs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.rules.region_rules import RegionRules


@dataclass(frozen=True, slots=True)
class Difference:
    """One item that differs: `before` and `after` are JSON values, None where the item is not there."""

    item: str
    before: object
    after: object

    def lines(self) -> tuple[str, ...]:
        """The difference as a person reads it."""
        shown = [f"{self.item}"]
        if self.before is not None:
            shown.append(f"  - {_shown(self.before)}")
        if self.after is not None:
            shown.append(f"  + {_shown(self.after)}")
        return tuple(shown)


def differences(before: RegionRules, after: RegionRules) -> tuple[Difference, ...]:
    """What `after` has otherwise than `before`; which pack said it, and its version, do not count."""
    earlier, later = dict(_items(before)), dict(_items(after))
    return tuple(
        Difference(item, earlier.get(item), later.get(item))
        for item in dict.fromkeys([*earlier, *later])
        if earlier.get(item) != later.get(item)
    )


def _items(rules: RegionRules) -> Iterator[tuple[str, object]]:
    document = rules.document()
    yield "school_year", document["school_year"]
    yield "assurance", document["assurance"]
    for key, material in _table(document["materials"]):
        for part, value in _table(material):
            yield f"materials.{key}.{part}", value
    for (school, group), row in rules.rows.items():
        yield f"rows.{school.value}.{group.value}.materials", list(row.materials)
        yield f"rows.{school.value}.{group.value}.note", row.note and {"zh": row.note.zh, "en": row.note.en}
    yield from ((f"social_insurance.{key}", value) for key, value in _table(document["social_insurance"]))
    yield "registry_fields", document["registry_fields"]
    yield "windows", document["windows"]
    yield from ((f"guide.{key}", value) for key, value in _table(document["guide"]))


def _table(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from value.items()


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
