"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

FolderOption = Annotated[Path | None, Parameter(name="--dir")]
"""A federation's folder, as `heyan up` made it."""

RequiredFolder = Annotated[Path, Parameter(name="--dir")]

JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for a program to read.")]
