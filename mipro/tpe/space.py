"""The configurations of `variables`, as dicts and as integer codes.

A configuration is a plain dict that holds the active variables and nothing else. Everything after
this file works on its *codes*, an integer vector with one entry a variable: the index of its
choice, or -1 where the variable is inactive.

    space = Space({"a": 6, "b": ("x", "y"), "c": Choice(4, when=("b", "y"))})
    space.encode({"a": 2, "b": "x"})          # array([ 2,  0, -1])

| symbol | meaning                                                                      |
| ------ | ---------------------------------------------------------------------------- |
| D      | variables                                                                    |
| C_d    | choices of variable d; C = Σ_d C_d                                           |
| N      | configurations that are looked at together                                   |
| R      | rows of a search; *filled*: variables that are inactive hold a choice, too   |

*Ancestral sampling* draws parents first, then what is active under them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from mipro.tpe.variables import Choice, Spec, Variable, resolved, some

Config: TypeAlias = dict[str, Any]
Codes: TypeAlias = NDArray[np.int64]
Key: TypeAlias = tuple[int, ...]
Held: TypeAlias = tuple[int, int]  # a variable's column, and the code of a choice

INACTIVE = -1


@final
class Space:
    """Named categorical variables whose conditions form a tree.

    ``variables`` is a mapping (or pairs) from a name to an int (choices 0..n-1), a sequence of
    distinct hashable choices, or a `Choice`; a parent comes before its children. Raises ValueError
    for a name twice, no choices, a choice twice, a value or parent that is not known by then.

    Choices are compared with ``==``, as dictionary keys are: 1, 1.0 and True are one choice.
    """

    def __init__(self, variables: Mapping[str, Spec] | Iterable[tuple[str, Spec]]) -> None:
        pairs = variables.items() if isinstance(variables, Mapping) else variables
        self.variables: tuple[Variable, ...] = resolved(pairs)
        self.names: tuple[str, ...] = tuple(v.name for v in self.variables)
        self._column = {name: d for d, name in enumerate(self.names)}
        self.sizes: tuple[int, ...] = tuple(len(v.choices) for v in self.variables)
        self.is_flat: bool = all(v.parent is None for v in self.variables)
        self.widths: Codes = np.array(self.sizes, dtype=np.int64)  # (D,)
        # all choices of all variables side by side, C of them: where each variable's begin (D,),
        # whose each is, and which of them (C,)
        self.offsets: Codes = np.cumsum(self.widths) - self.widths
        self.column_of_choice: Codes = np.repeat(np.arange(len(self.sizes)), self.widths)
        self.code_of_choice = np.arange(self.widths.sum()) - self.offsets[self.column_of_choice]

    # --- one configuration ---------------------------------------------------------------

    def choices(self, name: str) -> tuple[Hashable, ...]:
        """The choices of a variable in the order of their codes."""
        return self.variables[self._column_of(name)].choices

    def choice(self, name: str, value: Any) -> tuple[int, int]:
        """The column of a variable, and the code of one of its values."""
        column = self._column_of(name)
        return column, self.variables[column].code(value)

    def encode(self, config: Mapping[str, Any]) -> Codes:
        """Config -> codes (D,): the index of each choice, -1 where inactive.

        ValueError that names the variable and the value if ``config`` is not of this space.
        """
        for name in config:
            self._column_of(name)
        codes = np.full(len(self.names), INACTIVE)
        for d, v in enumerate(self.variables):
            if v.when and codes[v.parent] not in v.on:
                if v.name in config:
                    raise ValueError(
                        f"{v.name!r} has the value {config[v.name]!r} but is inactive: it needs "
                        f"{v.when[0]!r} in {some(sorted(v.when[1], key=repr))}"
                    )
            elif v.name not in config:
                raise ValueError(f"{v.name!r} is missing: it is active in {dict(config)!r}")
            else:
                codes[d] = v.code(config[v.name])
        return codes

    def decode(self, codes: Sequence[int] | Codes) -> Config:
        """Codes (D,) -> config; the inverse of `encode`."""
        return {
            v.name: v.choices[int(code)]
            for v, code in zip(self.variables, codes, strict=True)
            if code != INACTIVE
        }

    def key(self, config: Mapping[str, Any]) -> Key:
        """A hashable name for a configuration: its codes as a tuple."""
        return tuple(self.encode(config).tolist())

    def _column_of(self, name: str) -> int:
        if name not in self._column:
            raise ValueError(f"{name!r} is not a variable of this space: {some(self.names)}")
        return self._column[name]

    # --- many configurations -------------------------------------------------------------

    def size(self) -> int:
        """How many distinct configurations there are (a Python int: it may be large)."""
        below = [0] * len(self.names)  # configurations of a variable and all that hangs from it
        for d in reversed(range(len(below))):
            children = [c for c, v in enumerate(self.variables) if v.parent == d]
            below[d] = sum(
                prod(below[c] for c in children if code in self.variables[c].on)
                for code in range(self.sizes[d])
            )
        return prod(below[d] for d, v in enumerate(self.variables) if v.parent is None)

    def enumerate(self) -> Iterator[Config]:
        """Every configuration once, lazily, the last variable changing fastest."""
        return (self.decode(codes) for codes in self.enumerate_codes())

    def enumerate_codes(self, without: Collection[Held] = ()) -> Iterator[Codes]:
        """Every configuration's codes (D,) once, lazily, but those that hold one of ``without``.

        Each array is the caller's to keep.
        """
        left = self._left(without)
        rows = iter([np.full(len(self.names), INACTIVE)])
        if any(v.parent is None and not left[d] for d, v in enumerate(self.variables)):
            rows = iter([])
        for d, v in enumerate(self.variables):
            rows = self._with_each(rows, d, v, left[d])
        return rows

    def _with_each(
        self, rows: Iterator[Codes], d: int, v: Variable, left: list[int]
    ) -> Iterator[Codes]:
        """Each row once for every choice left of a variable, or as it is where that is inactive."""
        for row in rows:
            is_active = v.parent is None or row[v.parent] in v.on
            for code in left if is_active else [INACTIVE]:
                row[d] = code
                yield row.copy()

    def _left(self, without: Collection[Held]) -> list[list[int]]:
        """The codes of each variable but ``without``, and but those that leave a child none."""
        left = [
            [c for c in range(size) if (d, c) not in without] for d, size in enumerate(self.sizes)
        ]
        for v, own in zip(reversed(self.variables), reversed(left), strict=True):
            if v.parent is not None and not own:
                left[v.parent] = [code for code in left[v.parent] if code not in v.on]
        return left

    def all_codes(self) -> Codes:
        """The codes of every configuration, (size, D), in the order of `enumerate_codes`."""
        if self.is_flat and self.sizes:  # a grid needs no walk
            return np.stack(np.unravel_index(np.arange(self.size()), self.sizes), axis=1)
        return np.array(list(self.enumerate_codes()))

    def prune(self, codes: Codes) -> Codes:
        """Set to -1 whatever is inactive. (N, D) with every entry filled -> (N, D) codes.

        Lets a search change a parent freely: a child keeps a value for when it is active again.
        """
        if self.is_flat:
            return codes
        codes = codes.copy()
        for d, v in enumerate(self.variables):
            if v.parent is not None:
                codes[~np.isin(codes[:, v.parent], v.on), d] = INACTIVE
        return codes

    def moved(self, full: Codes) -> Codes:
        """All that differ in one variable, pruned. (R, D) with every entry filled -> (R·C, D).

        Of each row the choices of all variables in the order of `offsets`, that of the row too.
        """
        options = np.repeat(full[:, None], len(self.column_of_choice), axis=1)  # (R, C, D)
        each = np.arange(options.shape[1])
        options[:, each, self.column_of_choice] = self.code_of_choice
        return self.prune(options.reshape(-1, full.shape[1]))

    def sample_codes(
        self, rng: np.random.Generator, count: int, without: Collection[Held] = ()
    ) -> Codes:
        """Codes (count, D) drawn by ancestral sampling: each active choice is uniform.

        That is uniform over the configurations only where the space is flat: a branch with many
        variables below it is as likely as a bare one. Of a variable that has others no choice is
        drawn that is one of ``without``.
        """
        full = rng.integers(0, self.sizes, size=(count, len(self.sizes)))  # U{0..C_d-1}
        for d, left in enumerate(self._left(without) if without else []):
            if 0 < len(left) < self.sizes[d]:
                full[:, d] = rng.choice(left, size=count)
        return self.prune(full.astype(np.int64))

    def latin(self, rng: np.random.Generator, count: int) -> Codes:
        """A space-filling design of ``count`` rows (count, D), without regard to repeats.

        Each variable's choices are used equally often, give or take one, in a random order of its
        own (over the rows in which it is active: a child's choices are balanced among those).
        """
        codes = np.full((count, len(self.sizes)), INACTIVE)
        for d, v in enumerate(self.variables):
            rows = np.arange(count)
            if v.parent is not None:
                rows = rows[np.isin(codes[:, v.parent], v.on)]
            rounds = -(-len(rows) // self.sizes[d])
            values = np.array([rng.permutation(self.sizes[d]) for _ in range(rounds)], dtype=int)
            codes[rows, d] = rng.permutation(values.ravel()[: len(rows)])
        return codes

    def sample(self, rng: np.random.Generator) -> Config:
        """One configuration by ancestral sampling (see `sample_codes`)."""
        return self.decode(self.sample_codes(rng, 1)[0])

    # --- the space itself ----------------------------------------------------------------

    def grown(self, name: str, *choices: Hashable) -> Space:
        """A new space in which ``name`` has further choices, after the ones it has.

        Codes and configurations of the old space stay valid and keep their meaning.
        """
        more = {self._column_of(name): choices}
        return Space(
            (v.name, Choice((*v.choices, *more.get(d, ())), v.when))
            for d, v in enumerate(self.variables)
        )

    def is_growth_of(self, old: Space) -> bool:
        """Whether every configuration of ``old`` has the same codes here."""
        return self.names == old.names and all(
            mine.choices[: len(theirs.choices)] == theirs.choices
            and (mine.parent, mine.on) == (theirs.parent, theirs.on)
            for mine, theirs in zip(self.variables, old.variables, strict=True)
        )

    def fingerprint(self) -> str:
        """A 32-digit hex hash of names, choices and conditions, the same in every process.

        Choices enter by their ``repr``, so it is as stable as that is.
        """
        text = repr(
            [(v.name, [_stable(c) for c in v.choices], v.parent, v.on) for v in self.variables]
        )
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.variables == other.variables

    def __hash__(self) -> int:
        return hash(self.variables)

    def __repr__(self) -> str:
        parts = (
            f"{v.name}: {len(v.choices)}" + (f" when {v.when[0]}" if v.when else "")
            for v in self.variables
        )
        return f"Space({', '.join(parts)})"


def _stable(value: Any) -> str:
    """A repr that does not depend on the order in which a set is walked."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(_stable(item) for item in value)})"
    if isinstance(value, tuple):
        return f"({', '.join(_stable(item) for item in value)})"
    return repr(value)
