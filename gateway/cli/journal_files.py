"""Journals as files: which ones are named, their lines, and the heads that were noted of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.cli.options import usage_error
from gateway.party.keyfiles import unusable
from gateway.protocol.errors import MalformedError
from gateway.protocol.journal import MAX_LINE, SignedHead, read_signed_head

SUFFIX = ".journal"
"""Files of a folder that are taken for exports; others may lie beside them."""
HEAD_SUFFIX = ".head"
"""Files of a folder that are taken for noted heads."""


def named_files(paths: Iterable[Path], suffixes: tuple[str, ...], option: str) -> list[Path]:
    """Files as named, and of folders those that end so; MalformedError naming `option` if a folder has none."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(each for each in path.iterdir() if each.suffix in suffixes and not each.name.startswith("."))
        if not inside:
            raise usage_error(option, f"{path} has no file that ends in {' or '.join(suffixes)}")
        found += inside
    return list(dict.fromkeys(found))


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, without newlines, one at a time; MalformedError for a file that cannot be read.

    A line longer than any may be is cut, and so will not be taken for one.
    """
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE + 2):
                yield line.removesuffix(b"\n")
    except OSError as error:
        raise unusable(path, f"cannot be read: {error.strerror}") from error


def last_head(path: Path) -> SignedHead:
    """The signed head in the last line of an export, or of a file that holds nothing else; MalformedError."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_LINE))
            *_, line = file.read().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise unusable(path, f"cannot be read: {error.strerror}") from error
    try:
        return read_signed_head(line)
    except MalformedError:
        raise unusable(path, "does not end in a signed head: make it anew with heyan department journal") from None
