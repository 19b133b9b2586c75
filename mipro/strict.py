"""JSON, read strictly: what the standard library lets pass in silence is refused.

That is NaN and Infinity, which JSON does not have; a number too large for a float, which would
become infinite; a name that stands twice in one object, of which only the last would be kept; and
nesting deeper than `DEPTH`, which later reading and writing could not follow.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

DEPTH = 100  # levels of lists and objects
_TOO_DEEP = f"it is nested too deeply (more than {DEPTH} levels)"


def loads(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text. Raises `ValueError`, and nothing else, that says what is wrong.

    `finite=False` takes NaN and Infinity: for files that this package has written itself, in which
    a value of the user's own may be one.
    """
    hooks: dict[str, Any] = {"parse_constant": _refuse, "parse_float": _float} if finite else {}
    try:
        value = json.loads(text, object_pairs_hook=_object, **hooks)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        # the interpreter's own limit, whose advice is for programmers
        if "integer string conversion" in str(error):
            raise ValueError("a whole number in it has too many digits") from None
        raise
    if _openers(text) > DEPTH and _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _openers(text: str | bytes) -> int:
    """No value is nested deeper than it has opening brackets."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the name {twice[:80]!r} stands twice in one object")
    return made


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:80]} is too large a number")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _is_deep(value: Any) -> bool:
    """Level by level, since a call for each would meet the limit that is looked for."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
