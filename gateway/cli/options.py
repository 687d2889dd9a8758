"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole, parse_identity
from gateway.protocol.limits import MAX_REQUEST_ID, MIN_REQUEST_ID
from gateway.protocol.reasons import Reason

FolderOption = Annotated[Path | None, Parameter(name="--dir")]
"""A federation's folder, as `heyan up` made it."""

RequiredFolder = Annotated[Path, Parameter(name="--dir", help="A running federation's folder.")]

_DESK = Parameter(name="--desk", env_var="HEYAN_DESK", help="The operator's folder.")
DeskOption = Annotated[Path, _DESK]
OptionalDesk = Annotated[Path | None, _DESK]

JsonOption = Annotated[
    bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON for a program to read.")
]
Switch = Annotated[bool, Parameter(negative="", show_default=False)]
"""An option that is given or left out: there is no --no-…."""
Several = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
"""An option that may be given again for more."""
SeveralFiles = Annotated[tuple[Path, ...], Parameter(negative="", show_default=False)]
"""The same, of files."""

MOST_WORKERS = 64
"""Processes: the bounds on the whole are divided by them, and each holds a stream to every department."""
Workers = Annotated[int, Parameter(validator=Number(gte=1, lte=MOST_WORKERS))]
"""How many processes serve together as a gateway."""


def usage_error(option: str, description: str) -> MalformedError:
    """What is wrong with an option, as `--option: description`; ends a command with EXIT_USAGE."""
    return MalformedError.at(option, description, Reason.CONFIGURATION_INVALID)


def read_party(name: str, role: PartyRole) -> Identity:
    """The party of an id in a role, or of a SPIFFE ID; MalformedError if it can be neither."""
    return parse_identity(name) if "://" in name else Identity(role, name)


def read_request_id(text: str) -> bytes:
    """The bytes of a request_id as `heyan verify` prints it; MalformedError."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if not MIN_REQUEST_ID <= len(found) <= MAX_REQUEST_ID:
        expected = f"must be {MIN_REQUEST_ID} to {MAX_REQUEST_ID} bytes in hexadecimal"
        raise usage_error("--request-id", expected)
    return found


def require_writable(file: Path | None, option: str) -> None:
    """Refuse a file that could not be written, before anything is asked or spent; MalformedError naming `option`.

    None, for an option that was left out, is fine.
    """
    if file is None:
        return
    if file.is_dir():
        raise usage_error(option, f"{file} is a folder: name a file in it")
    if not os.access(file.resolve().parent, os.W_OK):
        raise usage_error(option, f"{file.parent} cannot be written to")
