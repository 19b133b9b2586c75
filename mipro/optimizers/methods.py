"""The methods by name, and how one of your own takes their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mipro.errors import ConfigError
from mipro.optimizers.mipro import Mipro
from mipro.optimizers.random_search import RandomSearch
from mipro.optimizers.task import Strategy

Method = str | Callable[[], Strategy]

METHODS: Mapping[str, Callable[[], Strategy]] = {
    "random_search": RandomSearch,
    "bayesian_bootstrap": lambda: Mipro(instructions=False),
    "mipro_zero_shot": lambda: Mipro(demos=False),
    "mipro": Mipro,
}


def new_strategy(method: Method) -> Strategy:
    """A strategy at its start. Raises `ConfigError` for a name there is not, or no strategy."""
    if isinstance(method, str):
        if method not in METHODS:
            raise ConfigError(
                f"no method is called '{method}': there are {', '.join(METHODS)}; one of your own "
                f"is given as its class, method=…"
            )
        return METHODS[method]()
    verbs = ("initialize", "propose", "update", "conclude", "extract")
    wanted = f"a name ({', '.join(METHODS)}) or what makes a strategy, its class say, is wanted"
    if not callable(method):
        raise ConfigError(f"method={method!r}: {wanted}")
    strategy = method()
    missing = [verb for verb in verbs if not callable(getattr(strategy, verb, None))]
    if missing:
        raise ConfigError(f"method={method!r}: {wanted}; what this makes has no `{missing[0]}`")
    return strategy


def name_of(method: Method) -> str:
    """The name a run is recorded under."""
    if isinstance(method, str):
        return method
    inner = getattr(method, "func", method)  # of a functools.partial
    kind = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{kind.__module__}.{kind.__qualname__}"
