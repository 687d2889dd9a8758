"""Exit codes, the same for every command."""

from __future__ import annotations

EXIT_REFUSED = 1
"""Refused, or found wrong."""
EXIT_USAGE = 2
"""Usage or configuration."""
EXIT_UNREACHABLE = 3
"""Unreachable, overloaded or unavailable: try again."""
EXIT_INCONCLUSIVE = 4
"""Measured, but by a machine too slow to measure it."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells report it."""
