"""Simulated registers in SQLite: one file per department node, and the adapter that asks it.

A node is one department of one prefecture; its register knows the families who live in that prefecture. A file is
built aside, synced and renamed into place, so that a register is there whole or not at all. It holds the person
key (kind and number of the document) in the clear: it stands for the department's own register.

`SqliteRegister` never writes. Whether a fact is in force is judged as of the register's snapshot date, never by a
clock. For every question it runs one statement per role of the claim and one for the fact, each reading as many rows
and taking as many steps, whoever is or is not found (see `register_facts`).
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import sqlite_utils

from gateway.party.keyfiles import sync_file
from gateway.protocol.claims import CLAIMS, Claim, DepartmentKind, Role, check_parameters, claim_named
from gateway.protocol.divisions import prefecture_of
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import Subject, normalise_name
from sandbox_departments.people import Family, birth_window
from sandbox_departments.register import Finding, Question, Standing
from sandbox_departments.register_facts import CLOSING_KEY, FACTS, PERSON_WINDOW
from sandbox_departments.register_rows import STALE_AFTER_DAYS, RegisterTable, Row, tables_of

REGISTER_FILE = "register.db"
"""The register's file in a node's folder."""

CORRECTIONS = "corrections"
"""The table of what was corrected since (see `corrections`): the name of a case, and the right answer."""

ROWS_PER_STATEMENT = 1000
"""Rows of one INSERT, cut down by sqlite-utils to what SQLite's bound on parameters allows."""

_ORDER = MappingProxyType({standing: place for place, standing in enumerate(Standing)})

_ROLES = MappingProxyType({name: tuple(role for role in Role if role in claim.roles) for name, claim in CLAIMS.items()})
"""The roles of each claim, in the order of `Role`."""

_FIRST = tuple(
    next((standing for place, standing in enumerate(Standing) if applies >> place & 1), Standing.KNOWN)
    for applies in range(1 << (len(Standing) - 1))
)
"""For every set of standings, as bits in the order of `Standing`, the first in it; none is KNOWN."""

NodeKey = tuple[DepartmentKind, str]
"""A department of a prefecture (four digits): whose register it is."""


def node_keys(prefectures: Iterable[str]) -> tuple[NodeKey, ...]:
    """Every department of every prefecture."""
    return tuple((department, prefecture) for prefecture in prefectures for department in DepartmentKind)


def build_registers(
    families: Iterable[Family], folders: Mapping[NodeKey, Path], *, snapshot_date: date
) -> Mapping[NodeKey, Path]:
    """Write the register of each node into its folder (made if missing), replacing one that is there.

    A register holds the families of its prefecture; `snapshot_date` is the `today` that they were generated with.
    Returns the path of each node's file.
    """
    by_prefecture: dict[str, list[Family]] = defaultdict(list)
    for family in families:
        by_prefecture[prefecture_of(family.application.region)].append(family)
    paths = {}
    for (department, prefecture), folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        paths[department, prefecture] = folder / REGISTER_FILE
        _build(folder / REGISTER_FILE, department, prefecture, by_prefecture[prefecture], snapshot_date)
    return MappingProxyType(paths)


class SqliteRegister:
    """A department's register in a SQLite file, opened read-only; implements `sandbox_departments.register.Register`.

    Called from one thread at a time, which need not be the one that opened it. Each call of `find` reads one
    consistent state of the file.
    """

    def __init__(self, path: Path) -> None:
        """Open the register at `path`; UnreachableError if it is not one or cannot be read."""
        with faults_as_unreachable():
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
        try:
            with faults_as_unreachable():
                meta: dict[str, str] = dict(self._connection.execute("SELECT name, value FROM meta"))
            self._department = DepartmentKind(meta["department"])
            self._prefecture = meta["prefecture"]
            self._snapshot_date = date.fromisoformat(meta["snapshot_date"])
            self._as_of = self._snapshot_date.isoformat()
            self._fresh_from = (self._snapshot_date - timedelta(days=int(meta["stale_after_days"]))).isoformat()
            with faults_as_unreachable():
                windows = {table.name: self._window_of(table) for table in tables_of(self._department)}
            self._person = PERSON_WINDOW.substitute(windows)
            self._facts = {
                name: FACTS[name].substitute(windows)
                for name, claim in CLAIMS.items()
                if claim.department is self._department
            }
        except (KeyError, ValueError) as fault:
            self._connection.close()
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "register: its meta table is incomplete") from fault
        except BaseException:
            self._connection.close()
            raise

    @property
    def department(self) -> DepartmentKind:
        """Whose register it is."""
        return self._department

    @property
    def prefecture(self) -> str:
        """The four-digit code of the prefecture whose families it knows."""
        return self._prefecture

    @property
    def snapshot_date(self) -> date:
        """The date as of which the register is current; validity is judged by it."""
        return self._snapshot_date

    def find(self, questions: Sequence[Question]) -> tuple[Finding, ...]:
        """One finding per question, in order.

        Raises MalformedError, before anything is read, if a question is not one of this department's claims or names
        other roles or parameters than the claim; UnreachableError if the file cannot be read.
        """
        claims = [self._claim_of(question) for question in questions]
        with faults_as_unreachable(), self._one_state():
            return tuple(map(self._finding, questions, claims))

    def close(self) -> None:
        """Close the file; the register answers no more."""
        self._connection.close()

    def __enter__(self) -> Self:
        """The register itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _window_of(self, table: RegisterTable) -> int:
        """How many rows a lookup in `table` reads."""
        count: int
        statement = f"SELECT count(*) FROM {table.name} WHERE {table.key[0]} = ?"  # noqa: S608 (names of the schema)
        (count,) = self._connection.execute(statement, (CLOSING_KEY,)).fetchone()
        if count == 0:  # no fact would ever be found: never a "no"
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "register: made by an earlier version; make it anew")
        return count

    def _claim_of(self, question: Question) -> Claim:
        claim = claim_named(question.claim)
        if claim.department is not self._department:
            raise MalformedError.at("claim", "must be a claim of this department", Reason.CLAIM_UNKNOWN)
        if question.subjects.keys() != claim.roles:
            raise MalformedError.at("subjects", "must be the roles of the claim, no more and no fewer")
        check_parameters(claim, question.parameters)
        return claim

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _finding(self, question: Question, claim: Claim) -> Finding:
        standings = [self._standing(question.subjects[role]) for role in _ROLES[claim.name]]
        fact = self._connection.execute(self._facts[claim.name], self._values(question)).fetchone()
        return Finding(min(standings, key=_ORDER.__getitem__), bool(fact[0]))

    def _standing(self, subject: Subject) -> Standing:
        """How the person stands: the first that applies. Everything is computed, whatever is found."""
        key = (subject.id_type.value, subject.id_number)
        rows = self._connection.execute(self._person, key).fetchall()
        count = sum([row[:2] == key for row in rows])
        _, _, name, protected, confirmed_on = rows[0]
        return _first_that_applies(
            count == 0,
            count > 1,
            normalise_name(name) != normalise_name(subject.name),
            protected != 0,
            confirmed_on < self._fresh_from,
        )

    def _values(self, question: Question) -> dict[str, str | int | None]:
        """Every value that a statement of `register_facts.FACTS` may name."""
        parameters = question.parameters
        values: dict[str, str | int | None] = {
            "region": question.region,
            "as_of": self._as_of,
            "level": parameters.get("level"),
            "field": parameters.get("field"),
            "months": int(parameters.get("months", "0")),
        }
        if "year" in parameters:
            first, last = birth_window(parameters["level"], int(parameters["year"]))
            values |= {"first_birth": first.isoformat(), "last_birth": last.isoformat()}
        for role, subject in question.subjects.items():
            values |= {f"{role.value}_type": subject.id_type.value, role.value: subject.id_number}
        return values


def _first_that_applies(*applies: bool) -> Standing:
    """The first standing that applies, KNOWN if none does; with as many steps whichever it is."""
    return _FIRST[sum([whether << place for place, whether in enumerate(applies)])]


@contextmanager
def faults_as_unreachable() -> Iterator[None]:
    """Turn a fault of SQLite into UnreachableError, which never becomes a "no"."""
    try:
        yield
    except sqlite3.Error as fault:
        # The text of a fault may quote what was bound: only its kind is told.
        raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, f"register: {type(fault).__name__}") from None


def _build(path: Path, department: DepartmentKind, prefecture: str, families: Sequence[Family], snapshot: date) -> None:
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with closing(sqlite3.connect(aside, isolation_level=None)) as connection:
        # Nobody reads the file before it is synced and renamed: a crash leaves only rubbish aside.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        database = sqlite_utils.Database(connection)
        with database.atomic():
            meta = {
                "department": department.value,
                "prefecture": prefecture,
                "snapshot_date": snapshot.isoformat(),
                "stale_after_days": str(STALE_AFTER_DAYS),
            }
            database.table("meta").create({"name": str, "value": str}, pk="name", strict=True)
            database.table("meta").insert_all({"name": name, "value": value} for name, value in meta.items())
            database.table(CORRECTIONS).create({"case_name": bytes, "answer": int}, pk="case_name", strict=True)
            for table in tables_of(department):
                database.table(table.name).create(dict(table.columns), strict=True)
                database.table(table.name).insert_all(
                    _with_header(table, department, families, snapshot), batch_size=ROWS_PER_STATEMENT
                )
                database.table(table.name).insert_all(_closing_rows(database, table))
                # Of all columns: whoever is found costs no more pages than nobody does.
                database.table(table.name).create_index(table.columns)
    sync_file(aside)
    aside.replace(path)


def _with_header(
    table: RegisterTable, department: DepartmentKind, families: Sequence[Family], snapshot: date
) -> Iterator[Row]:
    """The table's column names, then its rows: the list form that sqlite-utils reads without making dicts."""
    yield tuple(table.columns)
    for family in families:
        yield from table.rows(department, family, snapshot)


def _closing_rows(database: sqlite_utils.Database, table: RegisterTable) -> list[dict[str, str | int]]:
    """As many rows behind all others as any one person has in `table`, and one at least."""
    key = ", ".join(table.key)
    most = f"SELECT max(rows) FROM (SELECT count(*) AS rows FROM {table.name} GROUP BY {key})"  # noqa: S608 (the schema's)
    ((rows,),) = database.execute(most).fetchall()
    closing = {name: CLOSING_KEY if name in table.key else kind() for name, kind in table.columns.items()}
    return [closing] * max(1, rows or 0)
