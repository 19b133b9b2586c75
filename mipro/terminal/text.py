"""Text fit for a screen."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # but for tab and newline
SIMULATED = "The language model is simulated: so is every score."


def plain(text: str) -> str:
    """Text from data or a model, fit for a screen.

    What would move the cursor or change colours, and half a surrogate pair, which no screen can be
    sent, are spelled out.
    """
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def clock(seconds: float) -> str:
    """A time to read at a glance."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
