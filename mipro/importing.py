"""What `file.py:name` or `package.module:name` stands for: the user's own code, by its path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from mipro.errors import ConfigError


def named(target: Any, here: Path, table: str, key: str = "path") -> Any:
    """What `file.py:name`, or `package.module:name`, stands for.

    Raises `ConfigError`, which says the `table` and `key` of a config where it is named.
    """
    where = f"[{table}] {key}"
    if not isinstance(target, str) or ":" not in target:
        raise ConfigError(
            f"{where} = {repr(target)[:80]}: 'file.py:name' or 'package.module:name' is wanted"
        )
    module, _, name = target.rpartition(":")
    loaded = _file(here / module, where) if module.endswith(".py") else _import(module, where)
    if not hasattr(loaded, name):
        raise ConfigError(f"{where} = '{target}': {module} has no '{name}'")
    return getattr(loaded, name)


def _file(path: Path, where: str) -> Any:
    """The module in a file: known to `sys.modules`, so that its source and classes are found."""
    try:
        found = path.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ConfigError(f"{where}: {str(path)[:200]!r}: {error}") from error
    if not found:
        raise ConfigError(f"{where}: there is no file {path}")
    name = f"mipro_user_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{where}: {path} is no Python file")
    if str(path.parent) not in sys.path:  # the file may import others beside it
        sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own file may raise anything
        del sys.modules[name]
        raise ConfigError(
            f"{where}: {path}, {_line(error, path)}: {type(error).__name__}: {error}"
        ) from error
    return module


def _line(error: Exception, path: Path) -> str:
    """Where in the file an error came up."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"line {lines[-1]}" if lines else "while it was imported"


def _import(module: str, where: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:  # the user's own module may raise anything
        what = f"cannot be imported: {type(error).__name__}: {error}"
        raise ConfigError(f"{where}: {module[:80]!r} {what}") from error
