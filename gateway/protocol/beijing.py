"""Beijing time, in which all days are counted: of windows, statistics, deadlines of departments, and notices."""

from __future__ import annotations

from datetime import timedelta, timezone

BEIJING = timezone(timedelta(hours=8))
"""China has known no summer time since 1991."""
