"""What `--json` prints: one document on standard output, indented, Chinese as it is written, nothing that is obeyed."""

from __future__ import annotations

import sys

from gateway.cli.printing import json_text


def print_json(document: object) -> None:
    """Print values of JSON and end the line."""
    sys.stdout.write(json_text(document) + "\n")
