"""Many rows by one statement: a group's commit makes as few calls of SQLite as it can, however many entries it has.

Each call costs more than a row does, and lets go of the interpreter, which another thread may then hold for a while.
Statements come in few lengths, powers of two, so that they are parsed once and kept by the connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

MOST = 256
"""Rows, or values, of one statement: below SQLite's limit of 32,766 parameters for all tables here."""


def insert(writer: sqlite3.Connection, into: str, rows: Sequence[tuple[object, ...]], otherwise: str = "") -> None:
    """`INSERT INTO {into} VALUES …` of rows of one width, in their order; `otherwise` is an ON CONFLICT clause."""
    at = 0
    while at < len(rows):
        taken = min(MOST, 1 << (len(rows) - at).bit_length() - 1)
        writer.execute(
            _insertion(into, len(rows[at]), taken, otherwise), list(chain.from_iterable(rows[at : at + taken]))
        )
        at += taken


def select(
    connection: sqlite3.Connection, query: str, values: Iterable[object], *before: object
) -> list[tuple[Any, ...]]:
    """The rows of a `query` that ends with "IN", in no order; `before` are its parameters ahead of the values."""
    wanted, found = list(values), list[tuple[Any, ...]]()
    for at in range(0, len(wanted), MOST):
        some = wanted[at : at + MOST]
        length = 1 << (len(some) - 1).bit_length()
        some += some[-1:] * (length - len(some))
        found += connection.execute(_selection(query, length), [*before, *some]).fetchall()
    return found


@cache
def _insertion(into: str, width: int, rows: int, otherwise: str) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)} {otherwise}"  # noqa: S608 - names of tables


@cache
def _selection(query: str, values: int) -> str:
    return f"{query} ({', '.join('?' * values)})"
