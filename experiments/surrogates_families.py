"""Six families of synthetic objectives whose optimum and mean are known exactly.

Each maps a configuration of categorical slots to p, the true share of examples a program would get
right with it. A latent value is built of small tables, so that its maximum and mean follow without
enumeration at any size, and p is affine in it, which keeps both exact.

| family     | latent value                                                         | built of |
| ---------- | -------------------------------------------------------------------- | -------- |
| additive   | a sum of one table a slot                                            | `Chain`  |
| pairwise   | that, and a table for each two neighbours along a chain of the slots | `Chain`  |
| bottleneck | a product over modules of an instruction × demos table               | `Product`|
| deceptive  | additive, but two choices, each poor alone, together are best        | `Chain`  |
| sparse     | one or two slots matter (and go together), the others do not         | `Chain`  |
| mixed      | pairwise with 2 to 50 choices a slot                                 | `Chain`  |

    objective = make("pairwise", slots=6, choices=10, seed=0, block="report")
    objective.optimum, objective.mean, objective.true(objective.space.decode(objective.argmax))

An instance depends on nothing but (family, slots, choices, seed, block). What is tuned is tuned on
the block "tune"; what is published is measured on "report" or, since that has been looked at more
than once, on "check".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mipro.tpe import Space

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BLOCKS = {"tune": 1, "report": 2, "check": 3, "fresh": 4}
LOWEST = 0.03  # no configuration is below, so that binomial noise never vanishes


class Latent(Protocol):
    """A function of codes with a known maximum, minimum and mean over all configurations."""

    def values(self, codes: Codes) -> Floats:
        """(N, D) -> (N,)."""
        ...

    def top(self) -> Codes:
        """Codes (D,) of a maximum."""
        ...

    def floor(self) -> float:
        """A lower bound of the values, reached or not."""
        ...

    def average(self) -> float:
        """The mean over all configurations."""
        ...


@dataclass(frozen=True)
class Chain:
    """Σ_d own_d[x_d] + Σ_i link_i[x_order(i), x_order(i+1)] + bonus · [x_d = v_d for all d in key].

    ``own`` D tables (C_d,), ``order`` a permutation of the slots, ``links`` D-1 tables between
    neighbours in that order (or none), ``key`` the isolated conjunction {d: v_d}.
    """

    own: tuple[Floats, ...]
    order: tuple[int, ...]
    links: tuple[Floats, ...] = ()
    key: Mapping[int, int] = field(default_factory=dict)
    bonus: float = 0.0

    def values(self, codes: Codes) -> Floats:
        total = sum(own[codes[:, d]] for d, own in enumerate(self.own))
        for i, link in enumerate(self.links):
            total = total + link[codes[:, self.order[i]], codes[:, self.order[i + 1]]]
        if self.key:
            total = total + self.bonus * np.all([codes[:, d] == v for d, v in self.key.items()], 0)
        return np.asarray(total)

    def top(self) -> Codes:
        candidates = [self._highest({})]
        if self.key:  # the best with the conjunction; the best of all may or may not hold it
            candidates.append(self._highest(self.key))
        rows = np.array(candidates)
        return np.asarray(rows[int(np.argmax(self.values(rows)))])

    def floor(self) -> float:
        bland = Chain(tuple(-own for own in self.own), self.order, tuple(-t for t in self.links))
        return -float(bland.values(bland._highest({})[None])[0]) + min(self.bonus, 0.0)

    def average(self) -> float:
        held = self.bonus / prod(len(self.own[d]) for d in self.key) if self.key else 0.0
        return float(sum(own.mean() for own in self.own) + sum(t.mean() for t in self.links) + held)

    def _highest(self, fixed: Mapping[int, int]) -> Codes:
        """Codes (D,) of the maximum without the bonus, some held: max-sum along the chain."""
        own = [table.copy() for table in self.own]
        for d, v in fixed.items():
            own[d] = np.where(np.arange(len(own[d])) == v, own[d], -np.inf)
        best, back = own[self.order[0]], []
        for i, d in enumerate(self.order[1:]):
            through = best[:, None] + (self.links[i] if self.links else 0.0) + own[d][None, :]
            back.append(through.argmax(axis=0))
            best = through.max(axis=0)
        codes = np.zeros(len(own), dtype=np.int64)
        codes[self.order[-1]] = best.argmax()
        for i in reversed(range(len(back))):
            codes[self.order[i]] = back[i][codes[self.order[i + 1]]]
        return codes


@dataclass(frozen=True)
class Product:
    """Π_m table_m[x at the slots of module m], every entry positive; each slot in one module."""

    modules: tuple[tuple[int, ...], ...]
    tables: tuple[Floats, ...]

    def values(self, codes: Codes) -> Floats:
        factors = [
            table[tuple(codes[:, d] for d in slots)]
            for slots, table in zip(self.modules, self.tables, strict=True)
        ]
        return np.asarray(np.prod(factors, axis=0))

    def top(self) -> Codes:
        codes = np.zeros(sum(len(slots) for slots in self.modules), dtype=np.int64)
        for slots, table in zip(self.modules, self.tables, strict=True):
            codes[list(slots)] = np.unravel_index(table.argmax(), table.shape)
        return codes

    def floor(self) -> float:
        return float(prod(table.min() for table in self.tables))

    def average(self) -> float:
        return float(prod(table.mean() for table in self.tables))


@dataclass(frozen=True)
class Objective:
    """p(x) = intercept + slope · latent(x), in (0, 1) for every configuration."""

    family: str
    sizes: tuple[int, ...]
    latent: Latent
    intercept: float
    slope: float

    @property
    def space(self) -> Space:
        return Space({f"slot{d}": size for d, size in enumerate(self.sizes)})

    def values(self, codes: Codes) -> Floats:
        """True p of each row. (N, D) -> (N,)."""
        return self.intercept + self.slope * self.latent.values(np.asarray(codes))

    def true(self, config: Mapping[str, Any]) -> float:
        """True p of one configuration of `space`."""
        return float(
            self.values(np.array([[config[f"slot{d}"] for d in range(len(self.sizes))]]))[0]
        )

    @property
    def argmax(self) -> Codes:
        """Codes (D,) of a configuration with the highest p."""
        return self.latent.top()

    @property
    def optimum(self) -> float:
        """The highest p of all configurations."""
        return float(self.values(self.argmax[None])[0])

    @property
    def mean(self) -> float:
        """The mean p over all configurations: what one drawn at random is worth."""
        return self.intercept + self.slope * self.latent.average()

    def regret(self, p: float) -> float:
        """Normalised simple regret (p* - p)/(p* - mean p): 0 at the optimum, 1 for the average."""
        return (self.optimum - p) / (self.optimum - self.mean)


def make(family: str, slots: int, choices: int, seed: int, block: str = "tune") -> Objective:
    """An instance. ``choices`` is of every slot, but of "mixed", which draws 2 to 50 for each."""
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}: one of {list(FAMILIES)}")
    if block not in BLOCKS:
        raise ValueError(f"no block {block!r}: one of {list(BLOCKS)}")
    rng = np.random.default_rng([BLOCKS[block], list(FAMILIES).index(family), slots, choices, seed])
    sizes = (choices,) * slots
    if family == "mixed":  # log-uniform, so that small slots are as common as large
        sizes = tuple(int(c) for c in np.exp(rng.uniform(np.log(2), np.log(51), size=slots)))
    return _scaled(family, sizes, FAMILIES[family](rng, sizes), rng)


def _scaled(
    family: str, sizes: tuple[int, ...], latent: Latent, rng: np.random.Generator
) -> Objective:
    """The latent on the scale of p: a mean and an optimum as programs have, none below `LOWEST`."""
    mean, high = rng.uniform(0.4, 0.5), rng.uniform(0.75, 0.9)
    top, middle = float(latent.values(latent.top()[None])[0]), latent.average()
    slope = (high - mean) / (top - middle)
    if middle > latent.floor():
        slope = min(slope, (mean - LOWEST) / (middle - latent.floor()))
    return Objective(family, sizes, latent, mean - slope * middle, slope)


def _own(rng: np.random.Generator, sizes: tuple[int, ...]) -> tuple[Floats, ...]:
    """A table a slot, N(0, w²), some slots mattering far more than others: log w ~ N(0, 0.75²)."""
    return tuple(rng.lognormal(0, 0.75) * rng.normal(size=c) for c in sizes)


def additive(rng: np.random.Generator, sizes: tuple[int, ...]) -> Latent:
    return Chain(_own(rng, sizes), tuple(range(len(sizes))))


def pairwise(rng: np.random.Generator, sizes: tuple[int, ...]) -> Latent:
    order = tuple(int(d) for d in rng.permutation(len(sizes)))
    links = tuple(
        0.5 * rng.lognormal(0, 0.75) * rng.normal(size=(sizes[a], sizes[b]))
        for a, b in itertools.pairwise(order)
    )
    return Chain(_own(rng, sizes), order, links)


def bottleneck(rng: np.random.Generator, sizes: tuple[int, ...]) -> Latent:
    """Every module must work; two neighbouring slots in a random order are one module's."""
    order = [int(d) for d in rng.permutation(len(sizes))]
    modules = tuple(tuple(order[i : i + 2]) for i in range(0, len(order), 2))
    logits = []
    for slots in modules:
        shape = tuple(sizes[d] for d in slots)
        table = 0.7 * rng.normal(size=shape)  # the interaction
        grid = np.indices(shape)
        table = table + sum(rng.normal(size=c)[grid[axis]] for axis, c in enumerate(shape))
        logits.append(1 + rng.lognormal(-0.5, 0.75) * table)  # most work, some are much of a neck
    return Product(modules, tuple(1 / (1 + np.exp(-table)) for table in logits))


def deceptive(rng: np.random.Generator, sizes: tuple[int, ...]) -> Latent:
    """Additive and in itself misleading: each choice of the conjunction is poor on its own."""
    own = _own(rng, sizes)
    held = rng.choice(len(sizes), size=2, replace=False)
    # one of the lower half of each slot's choices
    key = {int(d): int(rng.choice(np.argsort(own[d])[: max(1, sizes[d] // 2)])) for d in held}
    bland = Chain(own, tuple(range(len(sizes))))
    lost = sum(own[d].max() - own[d][v] for d, v in key.items())
    spread = float(bland.values(bland.top()[None])[0]) - bland.average()
    return Chain(own, bland.order, key=key, bonus=lost + rng.uniform(0.2, 0.4) * spread)


def sparse(rng: np.random.Generator, sizes: tuple[int, ...]) -> Latent:
    order = tuple(int(d) for d in rng.permutation(len(sizes)))
    matter = order[: int(rng.integers(1, 3))]
    own = tuple(rng.normal(size=c) * (d in matter) for d, c in enumerate(sizes))
    links = tuple(
        rng.normal(size=(sizes[a], sizes[b])) * (a in matter and b in matter)
        for a, b in itertools.pairwise(order)
    )
    return Chain(own, order, links)


FAMILIES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Latent]] = {
    "additive": additive,
    "pairwise": pairwise,
    "bottleneck": bottleneck,
    "deceptive": deceptive,
    "sparse": sparse,
    "mixed": pairwise,
}
