"""The LMs that a config names, their prices, and what may be spent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mipro.config.checks import below, known_arguments, known_keys, listed, short, typed
from mipro.errors import ConfigError, MiproError
from mipro.importing import named
from mipro.lm.base import LM
from mipro.lm.budget import LIMITS, Budget
from mipro.lm.meter import Price

LM_KEYS = ("kind", "path", "arguments", "cache", "price")


def load_lm(body: Any, table: str, here: Path, prices: dict[str, Price]) -> LM:
    """The LM a table describes, in a cache if it names one; its price goes to `prices`."""
    if not isinstance(body, dict):
        raise ConfigError(f"[{table}]: a table is wanted")
    if _names_key(body):
        raise ConfigError(
            f"[{table}] api_key: keys do not belong in a file; put it in an environment variable "
            f'and name that: api_key_env = "OPENAI_API_KEY"'
        )
    settings = {key: value for key, value in body.items() if key not in LM_KEYS}
    lm = _made(body, table, here, settings)
    if "price" in body:
        prices[lm.model] = _price(table, "price", body["price"])
    if "cache" in body:
        from mipro.lm.cache import Cached

        return Cached(lm, below(table, "cache", body["cache"], here))
    return lm


def _names_key(value: Any) -> bool:
    """Is anything in it, at any depth, called `api_key`?"""
    if isinstance(value, dict):
        return "api_key" in value or any(map(_names_key, value.values()))
    return isinstance(value, list) and any(map(_names_key, value))


def _price(table: str, name: str, price: Any) -> Price:
    if not isinstance(price, dict) or set(price) != {"prompt", "completion"}:
        raise ConfigError(
            f"[{table}] {name} = {short(price)}: {{ prompt = …, completion = … }} is wanted, in "
            f"dollars per million tokens"
        )
    for key, value in price.items():
        typed(table, f"{name}.{key}", value, int | float, "a number of dollars")
        if not 0 <= value < 1e9:
            raise ConfigError(f"[{table}] {name}.{key} = {short(value)}: dollars from 0 up")
    return Price(float(price["prompt"]), float(price["completion"]))


def load_prices(body: Any) -> dict[str, Price]:
    """Model → price; one in an LM's own table goes before it."""
    if not isinstance(body, dict):
        raise ConfigError('[prices]: a table is wanted, "model" = { prompt = …, completion = … }')
    return {model: _price("prices", model, price) for model, price in body.items()}


def load_budget(body: Any) -> Budget | None:
    """The limits that a config sets, if it sets any. Raises `ConfigError`."""
    if body is None:
        return None
    if not isinstance(body, dict):
        raise ConfigError(f"[budget]: a table is wanted, with {listed(LIMITS)}, any of them")
    known_keys("budget", body, LIMITS)
    for key, value in body.items():
        kind = int if key in ("calls", "tokens") else int | float
        what = "a whole number above 0" if kind is int else "a number above 0"
        typed("budget", key, value, kind, what)
        if not 0 < value < 1e18:
            raise ConfigError(f"[budget] {key} = {short(value)}: {what} is wanted")
    return Budget.of(body)


def _made(body: Mapping[str, Any], table: str, here: Path, settings: dict[str, Any]) -> LM:
    kind = "path" if "path" in body else body.get("kind", "openai")
    make: Any
    if kind == "path":
        made = named(body["path"], here, table)
        if not isinstance(made, type):
            return _language_model(made, table, body)
        arguments = typed(table, "arguments", body.get("arguments", {}), dict, "a table")
        make, settings = made, dict(arguments)
    elif kind == "simulated":
        from mipro.lm.simulated import SimulatedLM as make
    elif kind == "openai":
        from mipro.lm.openai import OpenAILM as make
    else:
        raise ConfigError(
            f"[{table}] kind = {short(kind)}: there are openai and simulated; or a `path`"
        )
    known_arguments(table, make, settings)
    try:
        return _language_model(make(**settings), table, body)
    except ConfigError as error:
        raise ConfigError(f"[{table}] {error}") from error
    except MiproError:
        raise
    except Exception as error:  # the user's own class may raise anything
        raise ConfigError(f"[{table}]: {type(error).__name__}: {error}") from error


def _language_model(made: Any, table: str, body: Mapping[str, Any]) -> LM:
    if not callable(made) or not isinstance(getattr(made, "model", None), str):
        raise ConfigError(
            f"[{table}] path = {short(body.get('path'))} is no language model: a callable with a "
            f"`model` (its name) is wanted"
        )
    lm: LM = made
    return lm
