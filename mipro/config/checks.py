"""A config's TOML read within bounds, and the checks of its keys and values."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from mipro.errors import ConfigError

LARGEST = 2**20  # bytes of a config
# the standard library's reader takes a time that is quadratic in the parts of a key
_LONG_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){50}""")

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises `ConfigError` for what cannot be read, or not in bounded time."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    except ValueError as error:  # a name that no file can have: a NUL in it, say
        raise ConfigError(f"{str(path)!r}: cannot be read: {error}") from error
    if len(text) > LARGEST:
        raise ConfigError(f"{path}: has {len(text)} characters; a config has {LARGEST} at most")
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise ConfigError(f"{path}, line {line}: a key of 50 parts and more is none of a config")
    try:
        body = tomllib.loads(text)
        # the interpreter reads hexadecimal numbers of any length, which it then cannot show
        repr(body)
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    except ValueError as error:  # of which a `TOMLDecodeError` is one; a number of 5000 digits
        raise ConfigError(f"{path}: is not TOML that can be used: {error}") from error
    return body


def below(table: str, key: str, path: Any, here: Path) -> Path:
    """A path that a run writes to: below the config's folder. Raises `ConfigError`."""
    typed(table, key, path, str, "a path")
    try:
        inside = here in (here / path).resolve().parents
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it, links in a circle
        raise ConfigError(f"[{table}] {key} = {short(path)}: {error}") from error
    if not inside or Path(path).is_absolute():
        elsewhere = ", or give --run-dir on the command line" if key == "run_dir" else ""
        raise ConfigError(
            f"[{table}] {key} = {short(path)}: a path below the folder of the config is wanted "
            f"({here}){elsewhere}"
        )
    found: Path = here / path
    return found


def typed(table: str, key: str, value: Any, wanted: type | UnionType, what: str) -> Any:
    """The value, if it is of the type wanted; else `ConfigError` with what that is."""
    if not isinstance(value, wanted) or isinstance(value, bool):  # which is an int to Python
        raise ConfigError(f"[{table}] {key} = {short(value)}: {what} is wanted")
    return value


def known_keys(table: str, body: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise `ConfigError` for a key that the table does not have."""
    for key in body:
        if key not in known:
            raise ConfigError(f"[{table}]: no key is called '{key}': there are {listed(known)}")


def known_arguments(table: str, make: Any, given: Mapping[str, Any], of: str = "") -> None:
    """Raise `ConfigError` for a key that `make` does not take, and for one that it lacks.

    What has no signature, or takes any name, is let pass.
    """
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # a class of C code, say
        return
    kinds = {p.kind for p in parameters.values()}
    keys = [name for name in parameters if name != "api_key"]  # no file holds a key
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for key in given:
            if key not in keys:
                raise ConfigError(
                    f"[{table}]: no key {of}is called '{key}': there are {listed(keys)}"
                )
    for key in keys:
        required = parameters[key].default is inspect.Parameter.empty
        if required and parameters[key].kind not in _VARIABLE and key not in given:
            raise ConfigError(f"[{table}]: the key '{key}' {of}is missing")


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def listed(names: Iterable[str]) -> str:
    """Names as a message lists them."""
    return ", ".join(names)
