"""What is searched: named categorical variables, some of them active only under a condition.

This is where the *tree* of the Tree-structured Parzen Estimator is declared. A variable may hang
from one value (or several) of another:

    {"a": 6, "b": ("x", "y"), "c": Choice(4, when=("b", "y"))}

`resolved` checks such a declaration, and replaces names and values by columns and codes: the
column of a variable is its place in the declaration, the code of a choice its place among them. A
parent is declared before what hangs from it, so whoever goes through them in order has met it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np


@final
@dataclass(frozen=True)
class Choice:
    """A variable under a condition: ``choices`` as in `Space`, ``when=(name, value)`` or a set.

    ``when=("b", "y")`` makes the variable active where ``b`` is ``"y"``, and
    ``when=("b", {"y", "z"})`` where it is either. ``None``: always active.
    """

    choices: int | Sequence[Hashable]
    when: tuple[str, Any] | None = None


Spec: TypeAlias = int | Sequence[Hashable] | Choice


@final
@dataclass(frozen=True)
class Variable:
    """One variable, resolved: its choices, and the column and codes of its parent it hangs from."""

    name: str
    choices: tuple[Hashable, ...]
    parent: int | None = None  # column of the parent
    on: tuple[int, ...] = ()  # codes of the parent under which this variable is active
    when: tuple[str, set[Hashable]] | None = field(default=None, hash=False)  # by name and values

    @cached_property
    def codes(self) -> Mapping[Hashable, int]:
        """The code of each choice."""
        return {value: code for code, value in enumerate(self.choices)}

    def code(self, value: Any) -> int:
        """The code of a value; the one place where a value is refused. ValueError."""
        try:
            return self.codes[value]
        except (KeyError, TypeError):  # TypeError: not hashable, so no choice either
            known = some(self.choices)
            raise ValueError(f"{self.name!r} cannot be {value!r}: it is one of {known}") from None


def resolved(specs: Iterable[tuple[str, Spec]]) -> tuple[Variable, ...]:
    """The variables declared, in their order. ValueError for what is wrong (see `Space`)."""
    found: dict[str, Variable] = {}
    for name, spec in specs:
        if name in found:
            raise ValueError(f"a variable is named twice: {name!r}")
        choice = spec if isinstance(spec, Choice) else Choice(spec)
        hung = () if choice.when is None else _condition(name, choice.when, found)
        found[name] = Variable(name, _choices(name, choice.choices), *hung)
    return tuple(found.values())


def _condition(
    name: str, when: tuple[str, Any], before: Mapping[str, Variable]
) -> tuple[int, tuple[int, ...], tuple[str, set[Hashable]]]:
    """`Variable`'s parent, on and when: the parent has the value, or one of a set. ValueError."""
    if len(when) != 2:
        raise ValueError(f"{name!r} depends on a name and a value, not on {when!r}")
    on, value = when
    if on not in before:
        known = some(list(before)) or "nothing"
        raise ValueError(f"{name!r} depends on {on!r}, but what is declared before it is {known}")
    # a frozenset may itself be a choice of the parent: then it is one value, not several
    several = isinstance(value, set) or (
        isinstance(value, frozenset) and value not in before[on].codes
    )
    values = value if several else [value]
    codes = tuple(sorted(before[on].code(each) for each in values))
    if not codes:
        raise ValueError(f"{name!r} depends on no value of {on!r}: it is never active")
    return list(before).index(on), codes, (on, set(values))


def _choices(name: str, choices: int | Sequence[Hashable]) -> tuple[Hashable, ...]:
    """The choices, checked. ValueError."""
    if isinstance(choices, (int, np.integer)) and not isinstance(choices, bool):
        choices = range(int(choices))
    if not isinstance(choices, Sequence) or isinstance(choices, (str, bytes)):
        wrong = f"a number or a sequence of values, not {choices!r}"
        raise ValueError(f"the choices of {name!r} are {wrong}")
    values = tuple(choices)
    if not values:
        raise ValueError(f"{name!r} has no choices")
    if any(value != value for value in values):
        raise ValueError(f"{name!r} has a choice that does not equal itself: {some(values)}")
    try:
        distinct = len(set(values))
    except TypeError as error:
        raise ValueError(f"{name!r} has a choice without a hash: {some(values)}") from error
    if distinct != len(values):
        raise ValueError(f"{name!r} has a choice twice: {some(values)}")
    return values


def some(values: Sequence[Any], most: int = 12) -> str:
    """Values for a message, the first of them where there are many."""
    shown = ", ".join(repr(value) for value in values[:most])
    return f"{shown}, … ({len(values)} in all)" if len(values) > most else shown
