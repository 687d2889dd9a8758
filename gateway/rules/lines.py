"""Where each key of a TOML text stands, so that an error names a line; tomllib tells none after it has parsed.

Reads only texts that tomllib accepts, and so need not judge: it follows brackets, strings and comments. What it does
not know it leaves out, and `line_of` falls back to the nearest key above.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]

MAX_PARTS = 32
"""Parts of a path that are noted; what lies deeper has the line of the thing above it. A pack needs 13."""

MAX_SHOWN_KEY = 60
"""Characters of a key that a path shows."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")

_TOKEN = re.compile(
    r'(?P<string>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\')'
    r"|(?P<comment>\#[^\n]*)|(?P<newline>\n)|(?P<mark>[\[\]{}=,])|(?P<space>[ \t\r]+)|(?P<bare>[^\s\[\]{}=,\#\"']+)",
    re.DOTALL,
)


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, table and array element of `text`, which tomllib has accepted."""
    return _Scan(text).lines


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of `path` or of the nearest thing above it; 1 for the whole text."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def path_text(path: Path) -> str:
    """`path` as a person writes it: `rows[2].materials[0]`; "the pack" for the whole.

    A key that TOML would quote is quoted, in ASCII and cut short: it comes from the file, and goes to a terminal.
    """
    written = "".join(f"[{part}]" if isinstance(part, int) else f".{_key_text(part)}" for part in path)
    return written.removeprefix(".") or "the pack"


def _key_text(key: str) -> str:
    shown = key if len(key) <= MAX_SHOWN_KEY else key[:MAX_SHOWN_KEY] + "…"
    return shown if _PLAIN_KEY.fullmatch(key) else json.dumps(shown)


class _Scan:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._words: list[tuple[str, str, int]] = []
        line = 1
        for found in _TOKEN.finditer(text):
            kind, word = found.lastgroup or "", found[0]
            if kind not in ("space", "comment"):
                self._words.append((kind, word, line))
            line += word.count("\n")
        self._at = 0
        self._elements: dict[Path, int] = {}
        self._statements()

    def _peek(self) -> str:
        return self._words[self._at][1] if self._at < len(self._words) else ""

    def _note(self, path: Path, line: int) -> None:
        if len(path) <= MAX_PARTS:
            self.lines.setdefault(path, line)

    def _statements(self) -> None:
        table: Path = ()
        while self._at < len(self._words):
            kind, word, line = self._words[self._at]
            if kind == "newline":
                self._at += 1
            elif word == "[":
                table = self._header(line)
            else:
                self._pair(table)

    def _header(self, line: int) -> Path:
        self._at += 1
        is_array = self._peek() == "["
        self._at += is_array
        keys = self._keys("]")
        self._at += 1 + is_array
        path: Path = ()
        for number, key in enumerate(keys, start=1):
            path += (key,)
            if is_array and number == len(keys):
                self._elements[path] = self._elements.get(path, -1) + 1
            self._note(path, line)
            if path in self._elements:
                path += (self._elements[path],)
                self._note(path, line)
        return path

    def _keys(self, end: str) -> list[str]:
        """The parts of a dotted key up to `end`, which stays."""
        written = ""
        while self._peek() not in (end, ""):
            written += self._words[self._at][1]
            self._at += 1
        keys: list[str] = []
        node: object = tomllib.loads(f"{written} = 0")
        while isinstance(node, dict):
            (key,) = node
            keys.append(key)
            node = node[key]
        return keys

    def _pair(self, table: Path) -> None:
        line = self._words[self._at][2]
        path = table
        for key in self._keys("="):
            path += (key,)
            self._note(path, line)
        self._at += 1
        self._value(path)

    def _value(self, path: Path) -> None:
        word = self._peek()
        if word == "[":
            self._members(path, "]")
        elif word == "{":
            self._members(path, "}")
        else:
            while self._at < len(self._words) and self._peek() not in (",", "]", "}", "\n"):
                self._at += 1  # a date and its time are two words

    def _members(self, path: Path, end: str) -> None:
        """The members of an array or of an inline table, and the bracket that ends it."""
        self._at += 1
        number = 0
        while self._at < len(self._words) and self._peek() != end:
            kind, word, line = self._words[self._at]
            if kind == "newline" or word == ",":
                self._at += 1
            elif end == "}":
                self._pair(path)
            else:
                self._note((*path, number), line)
                self._value((*path, number))
                number += 1
        self._at += 1
