"""Annex 2 of 湘教通〔2024〕90号 as tables that an education bureau can read: written by hand, from no pack.

Each section is a family of one row of annex 2. Its head names the schools, the group, and what the family's right rests
on; then come the questions that departments answer with YES, one a line:

    material   exemption   question   if NO   if UNDETERMINED   if UNAVAILABLE   groups supported then

the material that the answer replaces, the exemption (三个免于提交) under which the paper need not be handed in, how the
material stands if the department says no, cannot tell or cannot be reached instead, and the groups in which the family
is supported then. With all answers YES, and NO to whatever else its school asks, it is supported in those behind `=`.

    exempt   免于提交    nothing is handed in
    owed     仍需提交    the family hands the paper in
    offline  线下核验    staff look at the paper
    open     尚待核验    asked again first; no paper before that
"""

from __future__ import annotations

from dataclasses import dataclass

PUBLIC = "public_primary public_junior"
PRIVATE = "private_primary private_junior"

TABLE = f"""
有房有户
{PUBLIC} | home_and_hukou | hukou home = home_and_hukou
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
property_certificate  e_certificate        property.owns_home                owed    offline  open    -
hukou_book            government_issued    hukou.child_registered            owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -

有户无房（第一类）：共同居住人的产权
{PUBLIC} | hukou_shared_home | hukou shared_home = hukou_shared_home
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
hukou_book            government_issued    hukou.child_registered            owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
shared_home_proof     verified_by_sharing  property.co_resident_owns_home    owed    offline  open    -
shared_home_proof     verified_by_sharing  kinship.same_household            owed    offline  open    -

有户无房（第一类）：单位自管产权房、直管公房或保障性住房
{PUBLIC} | hukou_shared_home | hukou public_housing = hukou_shared_home
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
hukou_book            government_issued    hukou.child_registered            owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
shared_home_proof     verified_by_sharing  housing.public_housing            owed    offline  open    -

有户无房（第一类）：两者兼有，任选其一
{PUBLIC} | hukou_shared_home | hukou shared_home public_housing = hukou_shared_home
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
hukou_book            government_issued    hukou.child_registered            owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
shared_home_proof     verified_by_sharing  property.co_resident_owns_home    exempt  exempt   exempt  hukou_shared_home
shared_home_proof     verified_by_sharing  kinship.same_household            exempt  exempt   exempt  hukou_shared_home
shared_home_proof     verified_by_sharing  housing.public_housing            exempt  exempt   exempt  hukou_shared_home

有房无户
{PUBLIC} | home_without_hukou | home = home_without_hukou
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
property_certificate  e_certificate        property.owns_home                owed    offline  open    -
hukou_book_elsewhere  government_issued    hukou.child_registered_elsewhere  owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -

有户无房（第二类）
{PUBLIC} | hukou_with_lease | hukou lease = hukou_with_lease
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
hukou_book            government_issued    hukou.child_registered            owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
lease                 verified_by_sharing  housing.lease_on_file             owed    offline  open    -

无房无户
{PUBLIC} | neither | lease permit = neither
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
hukou_book_elsewhere  government_issued    hukou.child_registered_elsewhere  owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
residence_permit      government_issued    residence.permit_valid            owed    offline  open    -
lease                 verified_by_sharing  housing.lease_on_file             owed    offline  open    -

有房有户，另有租房合同
{PUBLIC} | home_and_hukou | hukou home lease = home_and_hukou hukou_with_lease
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
property_certificate  e_certificate        property.owns_home                owed    offline  open    hukou_with_lease
hukou_book            government_issued    hukou.child_registered            owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -

民办：城区（县城）户籍
{PRIVATE} | private_urban | hukou = private_urban
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
urban_hukou_or_home   government_issued    hukou.child_registered            owed    offline  open    -

民办：城区（县城）房产
{PRIVATE} | private_urban | home = private_urban
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
urban_hukou_or_home   government_issued    property.owns_home                owed    offline  open    -

民办：户籍、房产兼有
{PRIVATE} | private_urban | hukou home = private_urban
school_age            verified_by_sharing  enrolment.of_school_age           owed    offline  open    -
guardian_identity     government_issued    identity.valid                    owed    offline  open    -
guardian_identity     government_issued    guardianship.guardian_of          owed    offline  open    -
urban_hukou_or_home   government_issued    hukou.child_registered            exempt  exempt   exempt  private_urban
urban_hukou_or_home   government_issued    property.owns_home                exempt  exempt   exempt  private_urban
"""

CIRCUMSTANCES = """
home_and_hukou     | hukou home           | hukou_elsewhere       | hukou_book           | home_without_hukou
home_and_hukou     | hukou home           | no_hukou              | hukou_book           | -
home_and_hukou     | hukou home           | no_home               | property_certificate | -
home_and_hukou     | hukou home           | home_elsewhere        | property_certificate | -
home_and_hukou     | hukou home           | home_sold             | property_certificate | -
home_and_hukou     | hukou home           | home_is_a_shop        | property_certificate | -
home_and_hukou     | hukou home           | card_cancelled        | guardian_identity    | -
home_and_hukou     | hukou home           | card_expired          | guardian_identity    | -
home_and_hukou     | hukou home           | not_guardian          | guardian_identity    | -
home_and_hukou     | hukou home           | wrong_age             | school_age           | -
hukou_shared_home  | hukou shared_home    | hukou_elsewhere       | hukou_book           | -
hukou_shared_home  | hukou shared_home    | no_hukou              | hukou_book shared_home_proof | -
hukou_shared_home  | hukou shared_home    | co_resident_owns_none | shared_home_proof    | -
hukou_shared_home  | hukou shared_home    | other_household       | shared_home_proof    | -
hukou_shared_home  | hukou shared_home    | card_cancelled        | guardian_identity    | -
hukou_shared_home  | hukou shared_home    | card_expired          | guardian_identity    | -
hukou_shared_home  | hukou shared_home    | not_guardian          | guardian_identity    | -
hukou_shared_home  | hukou shared_home    | wrong_age             | school_age           | -
hukou_shared_home  | hukou public_housing | hukou_elsewhere       | hukou_book           | -
hukou_shared_home  | hukou public_housing | no_hukou              | hukou_book           | -
hukou_shared_home  | hukou public_housing | public_housing_ended  | shared_home_proof    | -
hukou_shared_home  | hukou public_housing | card_cancelled        | guardian_identity    | -
hukou_shared_home  | hukou public_housing | card_expired          | guardian_identity    | -
hukou_shared_home  | hukou public_housing | not_guardian          | guardian_identity    | -
hukou_shared_home  | hukou public_housing | wrong_age             | school_age           | -
home_without_hukou | home                 | hukou_inside          | hukou_book_elsewhere | home_and_hukou
home_without_hukou | home                 | no_hukou              | hukou_book_elsewhere | -
home_without_hukou | home                 | no_home               | property_certificate | -
home_without_hukou | home                 | home_elsewhere        | property_certificate | -
home_without_hukou | home                 | home_sold             | property_certificate | -
home_without_hukou | home                 | home_is_a_shop        | property_certificate | -
home_without_hukou | home                 | card_cancelled        | guardian_identity    | -
home_without_hukou | home                 | card_expired          | guardian_identity    | -
home_without_hukou | home                 | not_guardian          | guardian_identity    | -
home_without_hukou | home                 | wrong_age             | school_age           | -
hukou_with_lease   | hukou lease          | hukou_elsewhere       | hukou_book           | -
hukou_with_lease   | hukou lease          | no_hukou              | hukou_book           | -
hukou_with_lease   | hukou lease          | lease_expired         | lease                | -
hukou_with_lease   | hukou lease          | lease_elsewhere       | lease                | -
hukou_with_lease   | hukou lease          | no_lease              | lease                | -
hukou_with_lease   | hukou lease          | card_cancelled        | guardian_identity    | -
hukou_with_lease   | hukou lease          | card_expired          | guardian_identity    | -
hukou_with_lease   | hukou lease          | not_guardian          | guardian_identity    | -
hukou_with_lease   | hukou lease          | wrong_age             | school_age           | -
neither            | lease permit         | hukou_inside          | hukou_book_elsewhere | hukou_with_lease
neither            | lease permit         | no_hukou              | hukou_book_elsewhere | -
neither            | lease permit         | lease_expired         | lease                | -
neither            | lease permit         | lease_elsewhere       | lease                | -
neither            | lease permit         | no_lease              | lease                | -
neither            | lease permit         | permit_expired        | residence_permit     | -
neither            | lease permit         | permit_elsewhere      | residence_permit     | -
neither            | lease permit         | card_cancelled        | guardian_identity    | -
neither            | lease permit         | card_expired          | guardian_identity    | -
neither            | lease permit         | not_guardian          | guardian_identity    | -
neither            | lease permit         | wrong_age             | school_age           | -
private_urban      | hukou                | hukou_elsewhere       | urban_hukou_or_home  | -
private_urban      | hukou                | no_hukou              | urban_hukou_or_home  | -
private_urban      | hukou                | card_cancelled        | guardian_identity    | -
private_urban      | hukou                | card_expired          | guardian_identity    | -
private_urban      | hukou                | not_guardian          | guardian_identity    | -
private_urban      | hukou                | wrong_age             | school_age           | -
private_urban      | home                 | no_home               | urban_hukou_or_home  | -
private_urban      | home                 | home_elsewhere        | urban_hukou_or_home  | -
private_urban      | home                 | home_sold             | urban_hukou_or_home  | -
private_urban      | home                 | home_is_a_shop        | urban_hukou_or_home  | -
private_urban      | home                 | card_cancelled        | guardian_identity    | -
private_urban      | home                 | card_expired          | guardian_identity    | -
private_urban      | home                 | not_guardian          | guardian_identity    | -
private_urban      | home                 | wrong_age             | school_age           | -
"""
"""Of a family of each row: what happens to it, the materials that it then owes, the groups that it is supported in."""

RECORDS = """
home_and_hukou     | hukou home           | police    | child       | hukou_book guardian_identity
home_and_hukou     | hukou home           | police    | guardian    | guardian_identity
home_and_hukou     | hukou home           | education | child       | school_age
home_and_hukou     | hukou home           | land      | guardian    | property_certificate
home_and_hukou     | hukou home           | housing   | guardian    | -
hukou_shared_home  | hukou shared_home    | police    | child       | hukou_book guardian_identity shared_home_proof
hukou_shared_home  | hukou shared_home    | police    | guardian    | guardian_identity
hukou_shared_home  | hukou shared_home    | education | child       | school_age
hukou_shared_home  | hukou shared_home    | land      | guardian    | -
hukou_shared_home  | hukou shared_home    | housing   | guardian    | -
hukou_shared_home  | hukou shared_home    | police    | co_resident | shared_home_proof
hukou_shared_home  | hukou shared_home    | land      | co_resident | shared_home_proof
hukou_shared_home  | hukou public_housing | police    | child       | hukou_book guardian_identity
hukou_shared_home  | hukou public_housing | police    | guardian    | guardian_identity
hukou_shared_home  | hukou public_housing | education | child       | school_age
hukou_shared_home  | hukou public_housing | land      | guardian    | -
hukou_shared_home  | hukou public_housing | housing   | guardian    | shared_home_proof
home_without_hukou | home                 | police    | child       | hukou_book_elsewhere guardian_identity
home_without_hukou | home                 | police    | guardian    | guardian_identity
home_without_hukou | home                 | education | child       | school_age
home_without_hukou | home                 | land      | guardian    | property_certificate
home_without_hukou | home                 | housing   | guardian    | -
hukou_with_lease   | hukou lease          | police    | child       | hukou_book guardian_identity
hukou_with_lease   | hukou lease          | police    | guardian    | guardian_identity
hukou_with_lease   | hukou lease          | education | child       | school_age
hukou_with_lease   | hukou lease          | land      | guardian    | -
hukou_with_lease   | hukou lease          | housing   | guardian    | lease
neither            | lease permit         | police    | child       | hukou_book_elsewhere guardian_identity
neither            | lease permit         | police    | guardian    | guardian_identity residence_permit
neither            | lease permit         | education | child       | school_age
neither            | lease permit         | land      | guardian    | -
neither            | lease permit         | housing   | guardian    | lease
private_urban      | hukou                | police    | child       | guardian_identity urban_hukou_or_home
private_urban      | hukou                | police    | guardian    | guardian_identity
private_urban      | hukou                | education | child       | school_age
private_urban      | hukou                | land      | guardian    | -
private_urban      | hukou                | housing   | guardian    | -
private_urban      | home                 | police    | child       | guardian_identity
private_urban      | home                 | police    | guardian    | guardian_identity
private_urban      | home                 | education | child       | school_age
private_urban      | home                 | land      | guardian    | urban_hukou_or_home
private_urban      | home                 | housing   | guardian    | -
"""
"""Of a family of each row: the department and the person whose record there is missing, double, another's, protected or
stale; and the materials that staff then look at. If there are none, the family rests on another department's answer."""


@dataclass(frozen=True)
class Line:
    """One question of a family: what a YES makes exempt, and what becomes of it otherwise."""

    material: str
    exemption: str
    claim: str
    standings: dict[str, str]
    supported: list[str]


@dataclass(frozen=True)
class Section:
    """One family of annex 2 at one kind of school."""

    school: str
    group: str
    bases: str
    supported: list[str]
    lines: list[Line]

    @property
    def name(self) -> str:
        return f"{self.school}-{self.group}-{self.bases.replace(' ', '+')}"

    @property
    def yes(self) -> set[str]:
        """The claims that are answered with YES: those of its lines, and of what it rests on besides."""
        return {line.claim for line in self.lines} | ({LEASE} if "lease" in self.bases else set())


LEASE = "housing.lease_on_file@1"


def sections() -> list[Section]:
    """The table, each section once for each of its schools."""
    found = []
    for block in TABLE.strip().split("\n\n"):
        _, head, *rows = block.splitlines()
        schools, group, rests = cells(head)
        bases, _, supported = rests.partition(" = ")
        lines = [line_of(row) for row in rows]
        found += [Section(school, group, bases, supported.split(), lines) for school in schools.split()]
    return found


def line_of(row: str) -> Line:
    material, exemption, claim, no, undetermined, unavailable, supported = row.split()
    standings = {"NO": no, "UNDETERMINED": undetermined, "UNAVAILABLE": unavailable}
    return Line(material, exemption, f"{claim}@1", standings, [] if supported == "-" else [supported])


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")]


def names(cell: str) -> list[str]:
    return [] if cell == "-" else cell.split()


def circumstances() -> list[tuple[str, str, str, list[str], list[str]]]:
    """(group, what the family rests on, circumstance, materials owed, groups supported)."""
    rows = map(cells, CIRCUMSTANCES.strip().splitlines())
    return [(group, bases, happens, names(owed), names(supported)) for group, bases, happens, owed, supported in rows]


def records() -> list[tuple[str, str, str, str, list[str]]]:
    """(group, what the family rests on, department, role, materials that staff look at)."""
    rows = map(cells, RECORDS.strip().splitlines())
    return [(group, bases, department, role, names(offline)) for group, bases, department, role, offline in rows]
