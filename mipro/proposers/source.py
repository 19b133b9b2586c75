"""The source of a program as its summary is written from: its classes, and what its tools do.

A class shows that a function is called; what the function does stands in its own docstring. So each
function of the user's that the program holds, or that its methods name, is put before the classes
with its parameters and the first paragraph of that.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import CodeType
from typing import Any

from mipro.programs.program import Program

FUNCTIONS = 20  # at most so many are told of
DOC = 300  # characters of a docstring


def source_of(program: Program) -> tuple[str, str | None]:
    """Its functions, its class and those of programs within it; a note where there is no source.

    What stands there instead are its modules, a line each.
    """
    parts = _parts(program)
    note = None
    try:
        classes = dict.fromkeys(type(part) for _, part in parts if isinstance(part, Program))
        sources = [textwrap.dedent(inspect.getsource(part)) for part in classes]
    except (OSError, TypeError):
        name = type(program).__name__
        note = (
            f"the source of {name} cannot be read (was it typed at a prompt?): the program "
            f"summary is written from its modules alone"
        )
        sources = ["\n".join(outline(program))]
    functions = "\n".join(_functions(parts))
    return "\n\n".join([functions, *sources] if functions else sources), note


def outline(program: Program) -> list[str]:
    """Each module's line."""
    return [module_line(program, name) for name in program.modules()]


def module_line(program: Program, module: str) -> str:
    """A module's name and its fields with their types, so that its choices reach the prompt."""
    return f"{module}: {program.modules()[module].signature}"


def _parts(program: Program) -> list[tuple[str, Any]]:
    """What is within a program, from the outside in, each once, by the attribute that holds it."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", program)]
    while waiting:
        name, part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        found.append((name, part))
        if isinstance(part, Program):
            waiting += ((f"self.{key}", value) for key, value in vars(part).items())
        elif isinstance(part, dict):
            waiting += ((name, value) for value in part.values())
        elif isinstance(part, (list, tuple)):
            waiting += ((name, value) for value in part)
    return found


def _functions(parts: list[tuple[str, Any]]) -> list[str]:
    """A comment for each function that the parts hold or name: what it takes, and what it does."""
    programs = dict.fromkeys(type(part) for _, part in parts if isinstance(part, Program))
    named = [(name, value) for kind in programs for name, value in _named(kind)]
    told: dict[int, str] = {}
    for name, value in (*parts, *named):  # what is held goes by the name of what holds it
        function = value.func if isinstance(value, partial) else value
        if _is_users(function) and (doc := inspect.getdoc(function)):
            first = " ".join(doc.split("\n\n")[0].split())
            own = getattr(function, "__name__", name)
            called = f"{name}: " if name.rpartition(".")[2] != own else ""
            told.setdefault(id(function), f"# {called}{own}{_taken(function)}: {first[:DOC]}")
    return ["# functions it uses:", *list(told.values())[:FUNCTIONS]] if told else []


def _is_users(value: Any) -> bool:
    """Is it a function of neither this package nor Python's own?"""
    if not inspect.isroutine(value):
        return False
    root = str(getattr(value, "__module__", "") or "builtins").partition(".")[0]
    return root != "mipro" and root not in sys.stdlib_module_names


def _taken(function: Any) -> str:
    for evaluated in (True, False):  # types written as texts may name what is not there
        with suppress(Exception):  # evaluating them runs the user's code
            return str(inspect.signature(function, eval_str=evaluated))
    return "(…)"  # some of those written in C do not say


def _named(kind: type) -> Iterator[tuple[str, Any]]:
    """The globals that the methods of a class name."""
    for method in vars(kind).values():
        inner = inspect.unwrap(getattr(method, "__func__", method)) if callable(method) else None
        if inspect.isfunction(inner):
            for name in _names(inner.__code__):
                yield name, inner.__globals__.get(name)


def _names(code: CodeType) -> list[str]:
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return [*code.co_names, *(name for part in inner for name in _names(part))]
