"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

FolderOption = Annotated[Path | None, Parameter(name="--dir")]
"""A federation's folder, as `heyan up` made it."""

RequiredFolder = Annotated[Path, Parameter(name="--dir")]

_DESK = Parameter(name="--desk", env_var="HEYAN_DESK", help="The operator's folder.")
DeskOption = Annotated[Path, _DESK]
OptionalDesk = Annotated[Path | None, _DESK]

JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for a program to read.")]


def require_writable(file: Path, option: str) -> None:
    """Refuse a file that could not be written, before anything is asked or spent; MalformedError naming `option`."""
    if file.is_dir():
        raise MalformedError.at(option, f"{file} is a folder: name a file in it", Reason.CONFIGURATION_INVALID)
    if not os.access(file.resolve().parent, os.W_OK):
        raise MalformedError.at(option, f"{file.parent} cannot be written to", Reason.CONFIGURATION_INVALID)
