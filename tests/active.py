"""Which variables of a configuration are active, by their declaration alone: an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mipro.tpe import Space


def active(space: Space, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Their names, in the order of the space: those whose parents are on, up to the root."""

    def is_on(d: int) -> bool:
        v = space.variables[d]
        if v.parent is None:
            return True
        parent = space.variables[v.parent]
        on = [parent.choices[code] for code in v.on]
        return is_on(v.parent) and parent.name in config and config[parent.name] in on

    return tuple(name for d, name in enumerate(space.names) if is_on(d))
