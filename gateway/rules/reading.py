"""Values out of a parsed TOML text, strictly: unknown keys are refused, and every problem of a file is told at once.

A problem names file, line and path, and says in both languages what is expected; it never quotes what came. A reader
gives a stand-in after a problem and goes on; `Source.finish` raises if there was any.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.reasons import Reason, Text
from gateway.rules.lines import Path, line_of, lines_of, path_text

MAX_PACK = 65_536
"""Bytes of a pack; the province's whole annex 2 is about 10,000. Receipts carry the rules that follow from packs."""

MAX_LINE = 4_096
"""Characters of a line: room for a text in both languages. A dotted key costs tomllib the square of its parts, and a
key ends with its line."""

MAX_ITEMS = 64
"""Members of a list; the province's longest has five."""

MAX_PROBLEMS = 100
"""Problems told of one file; beyond it nobody reads on."""

MAX_TEXT = 1_000
"""Characters of one text that a person reads."""

_AT_LINE = re.compile(r"line (\d+)")
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Categories of characters that no text for a person needs: control (of terminals too), format (which turn the reading
order round, or hide), line and paragraph separators."""


class Source:
    """One file's text, parsed: its values, where they stand, and what is wrong with them."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data = name, data
        self.problems: list[FieldViolation] = []
        self._lines: Mapping[Path, int] = {}
        if len(data) > MAX_PACK:
            raise self._unreadable(1, Text(f"文件不得超过 {MAX_PACK} 字节", f"must be at most {MAX_PACK} bytes"))
        try:
            text = data.decode().removeprefix("\ufeff")  # editors of Windows put it there
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self._unreadable(line, Text("应为 UTF-8 文本", "must be UTF-8")) from None
        for number, written in enumerate(text.split("\n"), start=1):
            if len(written) > MAX_LINE:
                expected = Text(f"每行至多 {MAX_LINE} 字", f"must have at most {MAX_LINE} characters in a line")
                raise self._unreadable(number, expected)
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
            self._lines = lines_of(text.replace("\r\n", "\n"))
        except RecursionError:
            raise self._unreadable(1, Text("嵌套过深", "must not nest so deep")) from None
        except ValueError as error:
            found = _AT_LINE.search(str(error))
            line = int(found[1]) if found else text.count("\n") + 1
            raise self._unreadable(line, Text("应为合法的 TOML", f"must be TOML: {error}")) from None

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing above it."""
        return line_of(self._lines, path)

    def fail(self, path: Path, expected: Text) -> None:
        """Note a problem."""
        self.problems.append(self.violation(path, expected))

    def violation(self, path: Path, expected: Text) -> FieldViolation:
        """A problem at `path`, located."""
        return FieldViolation(f"{self.name}:{self.line(path)}: {path_text(path)}", f"{expected.en} / {expected.zh}")

    def finish(self) -> None:
        """Raise MalformedError (RULES_INVALID) with every problem, in the order of the file; nothing if none."""
        if self.problems:
            raise refusal(self.problems)

    def _unreadable(self, line: int, expected: Text) -> MalformedError:
        return refusal([FieldViolation(f"{self.name}:{line}", f"{expected.en} / {expected.zh}")])


def refusal(problems: Collection[FieldViolation]) -> MalformedError:
    """The error that tells `problems`, each once, at most MAX_PROBLEMS."""
    listed = tuple(dict.fromkeys(problems))[:MAX_PROBLEMS]
    return MalformedError(Reason.RULES_INVALID, f"{len(listed)} problem(s)", violations=listed)


class Section:
    """One table of a source. Read its keys by the methods, then `end()` refuses those that nobody asked for."""

    def __init__(self, source: Source, value: object, path: Path) -> None:
        self.source, self.path = source, path
        self._asked: set[str] = set()
        if not isinstance(value, dict):
            source.fail(path, Text("应为表", "must be a table"))
            self._values: dict[str, Any] | None = None
        else:
            self._values = value

    def __contains__(self, key: str) -> bool:
        return bool(self._values) and key in (self._values or {})

    def at(self, key: str) -> Path:
        """The path of `key`."""
        return (*self.path, key)

    def fail(self, key: str, expected: Text) -> None:
        """Note a problem of `key`."""
        self.source.fail(self.at(key), expected)

    def get(self, key: str, *, required: bool = False) -> Any:  # noqa: ANN401 - as TOML has it
        """The value of `key` as it stands, None if it is not there."""
        self._asked.add(key)
        if self._values is None:
            return None
        if required and key not in self._values:
            self.fail(key, Text("必须填写", "must be there"))
        return self._values.get(key)

    def end(self) -> None:
        """Refuse the keys that were not asked for."""
        for key in self._values or ():
            if key not in self._asked:
                known = ", ".join(sorted(self._asked))
                self.fail(key, Text(f"不是已知的键；可用：{known}", f"is no known key; known are {known}"))

    def string(self, key: str, matches: str, expected: Text, *, required: bool = True) -> str | None:
        """A string that matches the whole of a pattern."""
        value = self.get(key, required=required)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(matches, value):
            self.fail(key, expected)
            return None
        return value

    def flag(self, key: str, *, default: bool = False, required: bool = False) -> bool:
        """True or false."""
        value = self.get(key, required=required)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(key, Text("应为 true 或 false", "must be true or false"))
            return default
        return value

    def choice(self, key: str, allowed: Collection[str], *, required: bool = True) -> str | None:
        """One of `allowed`."""
        value = self.get(key, required=required)
        if value is None:
            return None
        if not isinstance(value, str) or value not in allowed:
            self.fail(key, one_of(allowed))
            return None
        return value

    def choices(self, key: str, allowed: Collection[str], *, expected: Text | None = None) -> tuple[str, ...]:
        """A list of some of `allowed`, each once, at least one."""
        found: list[str] = []
        for number, value in enumerate(self.items(key)):
            path = (*self.at(key), number)
            if not isinstance(value, str) or value not in allowed:
                self.source.fail(path, expected or one_of(allowed))
            elif value in found:
                self.source.fail(path, Text("不得重复", "must stand once"))
            else:
                found.append(value)
        return tuple(found)

    def items(self, key: str, *, required: bool = True) -> list[Any]:
        """A list with at least one element; empty after a problem, or if it is absent and may be."""
        value = self.get(key, required=required)
        if value is None:
            return []
        if not isinstance(value, list) or not 0 < len(value) <= MAX_ITEMS:
            self.fail(key, Text(f"应为 1 至 {MAX_ITEMS} 项的列表", f"must be a list of 1 to {MAX_ITEMS} members"))
            return []
        return value

    def text(self, key: str, *, required: bool = True) -> Text | None:
        """A text in both languages: `{ zh = "…", en = "…" }`."""
        value = self.get(key, required=required)
        if value is None:
            return None
        section = Section(self.source, value, self.at(key))
        zh, en = section.words("zh"), section.words("en")
        section.end()
        return Text(zh, en) if zh and en else None

    def words(self, key: str) -> str | None:
        """One line for a person."""
        value = self.get(key, required=self._values is not None)
        if value is None:
            return None
        if (
            not isinstance(value, str)
            or not value.strip()
            or len(value) > MAX_TEXT
            or any(unicodedata.category(character) in _UNSEEN for character in value)
        ):
            self.fail(
                key, Text(f"应为一行文字，至多 {MAX_TEXT} 字", f"must be one line of at most {MAX_TEXT} characters")
            )
            return None
        return value.strip()

    def tables(self, key: str, read: Callable[[str, Section], None], names: str, expected: Text) -> None:
        """Each table of the table `key`, whose names match the pattern `names`."""
        value = self.get(key)
        if value is None:
            return
        if not isinstance(value, dict):
            self.fail(key, Text("应为表", "must be a table"))
            return
        for name, table in value.items():
            path = (*self.at(key), name)
            if re.fullmatch(names, name):
                read(name, Section(self.source, table, path))
            else:
                self.source.fail(path, expected)


def one_of(allowed: Collection[str]) -> Text:
    """What is expected of a choice: written as TOML has it, since 6 is not "6"."""
    listed = ", ".join(f'"{each}"' for each in allowed)
    return Text(f"应为其中之一：{listed}", f"must be one of {listed}")
