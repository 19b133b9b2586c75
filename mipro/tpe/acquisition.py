"""Where to look next: the argmax of an acquisition function over configurations not yet seen.

A density, or whatever else, says how good each configuration looks; here one is chosen. TPE as
published takes the best of 24 draws (`classic`). A categorical space can be searched better: by
enumeration where it is small, by coordinate ascent from several starts where it is not. The last
two functions say what is worth a further look of what was seen already, by `split`'s posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from typing import TypeAlias

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Held, Key, Space
from mipro.tpe.split import Pool, Posterior

Keys: TypeAlias = Container[Key]
Acquisition: TypeAlias = Callable[[Codes], Floats]  # (N, D) codes -> (N,), higher is better


def keys_of(codes: Codes) -> list[Key]:
    """(N, D) -> the N rows as hashable keys."""
    return [tuple(row) for row in codes.tolist()]


def best_of(values: Floats, row: Callable[[int], Codes], seen: Keys) -> Key | None:
    """The unseen one of N with the highest of the values (N,) above -∞; the first of equals.

    ``row`` says what codes (D,) the value at a place is of.
    """
    left = values.copy()
    while len(left) and left[at := int(left.argmax())] > -np.inf:
        if (key := tuple(row(at).tolist())) not in seen:
            return key
        left[at] = -np.inf
    return None


def exact(space: Space, score: Acquisition, seen: Keys) -> Key | None:
    """The best unseen configuration by enumerating all of them; None if all are seen."""
    codes = space.all_codes()
    return best_of(score(codes), codes.__getitem__, seen)


def coordinate_ascent(
    space: Space,
    moves: Callable[[Codes], Floats],
    rng: np.random.Generator,
    seen: Keys,
    starts: Codes,
    steps: int = 30,
) -> Key | None:
    """The best unseen configuration on or next to the tops reached from ``starts`` (R, D), or None.

    ``moves`` scores all that differ in one variable, (R, D) filled -> (R, C); every start takes
    its best, ``steps`` - 1 times or until none gets better. A seen configuration may be passed
    through, never returned. A variable that is inactive keeps a value, so that a parent can be
    changed and its children are ready.
    """
    full = starts.copy()
    if not space.is_flat:
        full = np.where(starts < 0, rng.integers(0, space.sizes, size=starts.shape), starts)
    rows, values = np.arange(len(full)), moves(full)  # (R, C)
    for _ in range(steps - 1):
        to = values.argmax(axis=1)
        slot = space.column_of_choice[to]
        choice = space.code_of_choice[to]
        if (full[rows, slot] == choice).all():  # a row is among its own moves
            break
        full[rows, slot] = choice
        values = moves(full)
    # it is there once for every variable: once is enough
    values[rows[:, None], (full + space.offsets)[:, 1:]] = -np.inf

    def row(at: int) -> Codes:
        codes = full[at // values.shape[1]].copy()
        choice = at % values.shape[1]
        codes[space.column_of_choice[choice]] = space.code_of_choice[choice]
        pruned: Codes = space.prune(codes[None])[0]
        return pruned

    return best_of(values.ravel(), row, seen)


def any_unseen(
    space: Space, rng: np.random.Generator, seen: Keys, without: Collection[Held] = ()
) -> Key | None:
    """An unseen configuration by ancestral sampling, the first in order where draws fail."""
    for _ in range(8):
        for key in keys_of(space.sample_codes(rng, 32, without)):
            if key not in seen:
                return key
    # as many steps go in vain as there are seen ones: what is barred is not walked
    every = (tuple(codes.tolist()) for codes in space.enumerate_codes(without))
    return next((key for key in every if key not in seen), None)


def leader_to_recheck(
    pool: Pool, noise: float, busy: Keys, *, every: int, examples: float
) -> Key | None:
    """The leader by mean score, if it leads on too few examples; None if it may stand.

    A leader is a maximum over noisy scores, so it is the likeliest to be flattered, and it is
    what is recommended in the end: a further look at it pays more than a new configuration.
    The more were tried, the more it is flattered. With r = max(1, U/``every``), rounded, it may
    stand with more than (r + ½)·``examples`` examples behind it, and while it is ``busy``. With
    ``every`` = 0, or without ``noise``, σ², it always may.
    """
    leader, looks = int(np.argmax(pool.mean)), max(1, round(len(pool.rows) / max(every, 1)))
    key: Key = tuple(pool.codes[leader].tolist())
    if not every or not noise or key in busy or pool.n[leader] > (0.5 + looks) * examples:
        return None
    return key


def worth_a_second_look(pool: Pool, posterior: Posterior, busy: Keys) -> Key:
    """Of what has been seen the highest mean + sd that is not ``busy``; if all are, of all."""
    values = posterior.mean + posterior.sd
    best: Key = tuple(pool.codes[int(values.argmax())].tolist())
    return best_of(values, pool.codes.__getitem__, busy) or best
