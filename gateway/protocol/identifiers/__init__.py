"""Identifiers: read as a clerk or a parent types them, normalised, and refused before anything is sent.

One module a kind: `persons` (resident ID, residence permit of Hong Kong, Macao and Taiwan residents, foreign permanent
resident), `organisations` (统一社会信用代码), `properties` (不动产权证书号, 不动产单元号). `subjects` checks a whole
subject by its kind of document; `rules` holds what each check asks for, in both languages; `spelling` how text is
normalised.

- Each check returns the one spelling of a number (NFKC, no white space, upper case): normalising twice changes nothing.
- A number is accepted as one kind of document only, so that no person comes to be known under two.
- Every violation is located, says in both languages what is expected, and never holds what was typed.
- The day that a date is held against is an argument. Nothing is looked up: whether a number was ever issued, and to
  whom or for what, only the department knows that issued it.
"""

from __future__ import annotations

from gateway.protocol.identifiers.organisations import check_organisation_code, organisation_check_character
from gateway.protocol.identifiers.persons import (
    MAX_SEQUENCE,
    check_character,
    check_foreign_permanent_resident,
    check_residence_permit,
    check_resident_id,
    foreign_permanent_resident,
    resident_id,
)
from gateway.protocol.identifiers.properties import (
    check_older_house_certificate,
    check_property_certificate,
    check_property_unit,
)
from gateway.protocol.identifiers.subjects import check_subject

__all__ = [
    "MAX_SEQUENCE",
    "check_character",
    "check_foreign_permanent_resident",
    "check_older_house_certificate",
    "check_organisation_code",
    "check_property_certificate",
    "check_property_unit",
    "check_residence_permit",
    "check_resident_id",
    "check_subject",
    "foreign_permanent_resident",
    "organisation_check_character",
    "resident_id",
]
