"""What `--json` prints: one document on standard output, indented, Chinese as it is written."""

from __future__ import annotations

import json
import sys


def print_json(document: object) -> None:
    """Print values of JSON and end the line."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
