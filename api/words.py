"""Figures in words, for pages and for /health."""

from __future__ import annotations


def number(value: float) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time span in its largest unit: 42 s, 7 min, 5 h, 3 days."""
    seconds = max(0, seconds)
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)}\u2009{unit}"
    return f"{int(seconds // 86400)} days"
