"""Where to look next: the argmax of an acquisition function over configurations not yet seen.

`parzen` says how good a configuration looks; here one is chosen. TPE as published draws 24
configurations from l(x) and keeps the one with the best l(x)/g(x), which rises with the expected
improvement (Bergstra 2011, eq. 7). A categorical space can be searched better than by 24 draws:
by enumeration where it is small, by coordinate ascent from several starts where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np

from mipro.tpe.parzen import Floats, Mixture
from mipro.tpe.space import Codes, Key, Space
from mipro.tpe.split import Pool, Posterior

Acquisition: TypeAlias = Callable[[Codes], Floats]  # (N, D) codes -> (N,), higher is better

EXACT_LIMIT = 256  # configurations up to which a space is searched by enumeration


def log_ratio(good: Mixture, bad: Mixture) -> Acquisition:
    """log l(x) - log g(x)."""
    return lambda codes: good.log_pmf(codes) - bad.log_pmf(codes)


def keys_of(codes: Codes) -> list[Key]:
    """(N, D) -> the N rows as hashable keys."""
    return [tuple(row) for row in codes.tolist()]


def as_key(codes: Codes | None) -> Key | None:
    """One row of codes (D,) as a hashable key."""
    return None if codes is None else tuple(codes.tolist())


def best_of(codes: Codes, score: Acquisition, seen: Container[Key]) -> tuple[Codes, float] | None:
    """The unseen row with the highest score, and that score; the first of equals."""
    if not len(codes):
        return None
    return _top_unseen(codes, score(codes), seen, -np.inf)


def draw_and_compare(
    good: Mixture,
    score: Acquisition,
    rng: np.random.Generator,
    seen: Container[Key],
    draws: int = 24,
) -> Codes | None:
    """TPE as published: ``draws`` configurations from l, the best by ``score``. (D,) or None."""
    found = best_of(good.sample(rng, draws), score, seen)
    return None if found is None else found[0]


def exact(
    space: Space, score: Acquisition, seen: Container[Key], chunk: int = 4096
) -> Codes | None:
    """The best unseen configuration by enumerating all of them. (D,), None if all are seen."""
    best: tuple[Codes, float] | None = None
    for codes in _chunks(space, chunk):
        found = best_of(codes, score, seen)
        if found is not None and (best is None or found[1] > best[1]):
            best = found
    return None if best is None else best[0]


def _chunks(space: Space, chunk: int) -> Iterator[Codes]:
    """All codes of a space in the order of `Space.enumerate_codes`, up to ``chunk`` rows each."""
    size = space.size()
    if space.is_flat and space.sizes:  # a grid needs no walk
        for start in range(0, size, chunk):
            rows = np.arange(start, min(start + chunk, size))
            yield np.stack(np.unravel_index(rows, space.sizes), axis=1)
        return
    every = space.enumerate_codes()
    while block := list(islice(every, chunk)):
        yield np.array(block)


def coordinate_ascent(
    space: Space,
    moves: Callable[[Codes], Floats],
    rng: np.random.Generator,
    seen: Container[Key],
    starts: Codes,
    steps: int = 30,
) -> Codes | None:
    """The best unseen configuration on or next to the tops reached from ``starts`` (R, D), or None.

    ``moves`` scores all that differ in one variable, (R, D) filled -> (R, C); every start takes
    its best, until none gets better. A seen configuration may be passed through, never returned.
    A variable that is inactive keeps a value, so that a parent can be changed and its children
    are ready.
    """
    full = starts.copy()
    if not space.is_flat:
        full = np.where(starts < 0, rng.integers(0, space.sizes, size=starts.shape), starts)
    height, rows = np.full(len(full), -np.inf), np.arange(len(full))
    for step in range(steps):
        values = moves(full)  # (R, C)
        to = values.argmax(axis=1)
        higher = values[rows, to] > height + 1e-12
        if not higher.any() or step == steps - 1:
            break
        height = np.where(higher, values[rows, to], height)
        slot = space.column_of_choice[to]
        full[rows[higher], slot[higher]] = (to - space.offsets[slot])[higher]
    # a row stands among its own moves once a variable: one of them is enough
    values[rows[:, None], (full + space.offsets)[:, 1:]] = -np.inf
    return _best_move(space, full, values, seen)


def _best_move(space: Space, full: Codes, values: Floats, seen: Container[Key]) -> Codes | None:
    """The unseen configuration with the highest value among moves (R, C) from ``full`` (R, D)."""
    left = values.ravel().copy()
    while left[at := int(left.argmax())] > -np.inf:
        row, choice = divmod(at, values.shape[1])
        slot = int(space.column_of_choice[choice])
        codes = full[row].copy()
        codes[slot] = choice - space.offsets[slot]
        codes = codes if space.is_flat else space.prune(codes[None])[0]
        if tuple(codes.tolist()) not in seen:
            return np.asarray(codes)
        left[at] = -np.inf
    return None


def _top_unseen(
    codes: Codes, values: Floats, seen: Container[Key], above: float
) -> tuple[Codes, float] | None:
    """The best unseen row whose value is over ``above``."""
    for row in np.argsort(-values, kind="stable"):
        if values[row] <= above:
            return None
        if tuple(codes[row].tolist()) not in seen:
            return codes[row].copy(), float(values[row])
    return None


def any_unseen(space: Space, rng: np.random.Generator, seen: Container[Key]) -> Codes | None:
    """An unseen configuration by ancestral sampling, the first in order where draws fail."""
    for _ in range(8):
        for codes in space.sample_codes(rng, 32):
            if tuple(codes.tolist()) not in seen:
                return np.asarray(codes)
    for codes in space.enumerate_codes():  # as many steps go in vain as there are seen ones
        if tuple(codes.tolist()) not in seen:
            return codes
    return None


def leader_to_recheck(
    pool: Pool, posterior: Posterior, busy: Container[Key], *, times: float, examples: float
) -> Key | None:
    """The leader by mean score, if it leads on too few examples; None if it may stand.

    A leader is a maximum over noisy scores, so it is the likeliest to be flattered, and it is
    what is recommended in the end: a further look at it pays more than a new configuration.
    It may stand with ``1 + times`` trials of ``examples`` each behind it, or while it is ``busy``.
    """
    leader = int(np.argmax(pool.mean))
    key: Key = tuple(pool.codes[leader].tolist())
    if key in busy or posterior.noise == 0 or pool.n[leader] > (0.5 + times) * examples:
        return None
    return key


def worth_a_second_look(
    pool: Pool, posterior: Posterior, busy: Container[Key], optimism: float = 1.0
) -> Key | None:
    """Of what has been seen and is not ``busy``, the highest mean + ``optimism`` sd; or None."""
    keys = keys_of(pool.codes)
    for row in np.argsort(-(posterior.mean + optimism * posterior.sd), kind="stable"):
        if keys[row] not in busy:
            return keys[int(row)]
    return None
