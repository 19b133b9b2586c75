"""The methods by name, and how one of your own takes their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mipro.errors import ConfigError
from mipro.optimizers.mipro import Mipro
from mipro.optimizers.opro import Opro
from mipro.optimizers.opro_ways import ByCoordinate, ByModule, ByProgram
from mipro.optimizers.plus_plus import MiproPlusPlus
from mipro.optimizers.random_search import RandomSearch
from mipro.optimizers.task import Strategy
from mipro.optimizers.tree import MiproTree

Method = str | Callable[[], Strategy]

METHODS: Mapping[str, Callable[[], Strategy]] = {
    "random_search": RandomSearch,
    "bayesian_bootstrap": lambda: Mipro(instructions=False),
    "opro_module": lambda: Opro(ByModule),
    "opro_module_ungrounded": lambda: Opro(ByModule, grounded=False),
    "opro_program": lambda: Opro(ByProgram),
    "opro_coordinate": lambda: Opro(ByCoordinate),
    "mipro_zero_shot": lambda: Mipro(demos=False),
    "mipro_plus_plus": MiproPlusPlus,
    "mipro": Mipro,
    "mipro_tree": MiproTree,
}


def new_strategy(method: Method) -> Strategy:
    """A strategy at its start. Raises `ConfigError` for a name there is not, or no strategy."""
    if isinstance(method, str):
        if method not in METHODS:
            raise ConfigError(
                f"no method is called '{method}': there are {', '.join(METHODS)}; one of your own "
                f"is given as its class, or in a configuration as 'file.py:Name'"
            )
        return METHODS[method]()
    verbs = ("initialize", "propose", "update", "conclude", "extract")
    wanted = f"a name ({', '.join(METHODS)}) or what makes a strategy, its class say, is wanted"
    if not callable(method):
        raise ConfigError(f"method={method!r}: {wanted}")
    try:
        strategy = method()
    except TypeError as error:  # an argument too many or too few, most likely
        raise ConfigError(f"method={name_of(method)}: cannot be made: {error}") from error
    # what is only inherited from the protocol does nothing; `conclude` may do nothing
    empty = {getattr(Strategy, verb) for verb in verbs if verb != "conclude"}
    found = {verb: getattr(type(strategy), verb, None) for verb in verbs}
    missing = [verb for verb, own in found.items() if not callable(own) or own in empty]
    if missing:
        raise ConfigError(f"method={method!r}: {wanted}; what this makes has no `{missing[0]}`")
    return strategy


def name_of(method: Method) -> str:
    """The name a run is recorded under."""
    if isinstance(method, str):
        return method
    maker = maker_of(method)
    # a user's file is imported under a name of ours (`importing`)
    return f"{maker.__module__.removeprefix('mipro_user_')}.{maker.__qualname__}"


def maker_of(method: Callable[[], Strategy]) -> Any:
    """The class or function behind a method of one's own."""
    while isinstance(method, partial):
        method = method.func
    return method if hasattr(method, "__qualname__") else type(method)
