"""What a register is asked, as SQL whose work does not depend on whom it finds.

A lookup by equality is quicker for nobody than for somebody: no row is read. Here each lookup reads a *window*
instead: as many rows as any one person has in that table, from the person's key on in the order of the index, and
then counts only the rows that are the person's. Whoever is asked about, so many rows are read and every condition
is computed for each of them: `&` instead of `AND`, which would stop at the first condition that fails. The index
holds all columns, so that no further page is read for a row that is found, and the table ends in *closing rows*,
so that a window is full at the end of the table too. There are as many of them as the window is long.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from types import MappingProxyType

CLOSING_KEY = "~"
"""Kind and number of the closing rows: behind every kind and number of a document."""

PERSON_WINDOW = Template(
    "SELECT id_type, id_number, name, protected, confirmed_on FROM persons"
    " WHERE (id_type, id_number) >= (?, ?) ORDER BY id_type, id_number LIMIT $persons"
)
"""The rows of a person, if any, and of those who follow; `$persons` is the length of the window."""


def _window(table: str, role: str, columns: str = "id") -> str:
    """The rows of the person of `role` in `table`, if any, and of those who follow."""
    return (
        f"(SELECT * FROM {table} WHERE ({columns}_type, {columns}_number) >= (:{role}_type, :{role})"  # noqa: S608
        f" ORDER BY {columns}_type, {columns}_number LIMIT ${table})"
    )


def _own(role: str, columns: str = "id") -> str:
    """Whether a row is the person's of `role`."""
    return f"({columns}_type = :{role}_type) & ({columns}_number = :{role})"


def _exists(table: str, role: str, *conditions: str) -> Template:
    """1 if the person of `role` has a row in `table` that meets every condition, else 0."""
    met = " & ".join((_own(role), *conditions))
    return Template(f"SELECT coalesce(sum({met}), 0) > 0 FROM {_window(table, role)}")  # noqa: S608 (constants only)


_IN_REGION = "(region = :region)"
_CURRENT_HOME = (_IN_REGION, "(use = 'residential')", "(state = 'current')")

FACTS: Mapping[str, Template] = MappingProxyType(
    {
        "identity.valid@1": _exists(
            "identity_cards", "guardian", "(cancelled = 0)", "(coalesce(expires_on, :as_of) >= :as_of)"
        ),
        "guardianship.guardian_of@1": Template(
            f"SELECT coalesce(sum({_own('child', 'child')} & {_own('guardian', 'guardian')}), 0) > 0"  # noqa: S608
            f" FROM {_window('guardianships', 'child', 'child')}"
        ),
        "hukou.child_registered@1": _exists("hukou", "child", _IN_REGION),
        "hukou.guardian_registered@1": _exists("hukou", "guardian", _IN_REGION),
        "hukou.child_registered_elsewhere@1": _exists("hukou", "child", "(region <> :region)"),
        "kinship.same_household@1": Template(
            "SELECT coalesce(sum(own & childs & (household = childs_household)), 0) > 0 FROM"  # noqa: S608
            f" (SELECT household, {_own('co_resident')} AS own FROM {_window('hukou', 'co_resident')}) CROSS JOIN"
            f" (SELECT household AS childs_household, {_own('child')} AS childs FROM {_window('hukou', 'child')})"
        ),
        "residence.permit_valid@1": _exists("residence_permits", "guardian", _IN_REGION, "(expires_on >= :as_of)"),
        "property.owns_home@1": _exists("homes", "guardian", *_CURRENT_HOME),
        "property.owns_no_home@1": _exists("homes", "guardian", *_CURRENT_HOME),
        "property.co_resident_owns_home@1": _exists("homes", "co_resident", *_CURRENT_HOME),
        "insurance.paid_months@1": Template(
            f"SELECT coalesce(sum(months * ({_own('guardian')} & {_IN_REGION})), 0) >= :months"  # noqa: S608
            f" FROM {_window('contributions', 'guardian')}"
        ),
        "housing.lease_on_file@1": _exists("leases", "guardian", _IN_REGION, "(ends_on >= :as_of)"),
        "housing.public_housing@1": _exists("tenancies", "guardian", _IN_REGION, "(ends_on >= :as_of)"),
        "enrolment.of_school_age@1": _exists(
            "pupils", "child", "(born_on >= :first_birth)", "(born_on <= :last_birth)"
        ),
        "enrolment.not_enrolled_elsewhere@1": _exists(
            "enrolments", "child", "(level = :level)", "(state = 'current')", "(region <> :region)"
        ),
        "enrolment.field_on_file@1": _exists("student_fields", "child", "(field = :field)", "(value <> '')"),
    }
)
"""The fact record of each claim, before any negation: one row of one column, 1 if it exists."""
