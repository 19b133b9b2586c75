"""Where to look next: the argmax of an acquisition function over configurations not yet seen.

`parzen` says how good a configuration looks; here one is chosen. TPE as published draws 24
configurations from l(x) and keeps the one with the best l(x)/g(x), which rises with the expected
improvement (Bergstra 2011, eq. 7). A categorical space can be searched better than by 24 draws:
by enumeration where it is small, by coordinate ascent from several starts where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np

from mipro.tpe.evidence import Evidence
from mipro.tpe.parzen import Floats, Mixture
from mipro.tpe.space import Codes, Key, Space
from mipro.tpe.split import Pool, Posterior

Acquisition: TypeAlias = Callable[[Codes], Floats]  # (N, D) codes -> (N,), higher is better

EXACT_LIMIT = 20_000  # configurations up to which a space is searched by enumeration


def log_ratio(good: Mixture, bad: Mixture) -> Acquisition:
    """log l(x) - log g(x)."""
    return lambda codes: good.log_pmf(codes) - bad.log_pmf(codes)


def upper_bound(evidence: Evidence, optimism: float) -> Acquisition:
    """Mean + ``optimism`` sd of P(good | x) ~ Beta(a, b), a and b the evidence at x. Ours.

    With ``optimism`` 0 its argmax is that of l/g, where l and g share their kernel.
    """

    def score(codes: Codes) -> Floats:
        a, b = evidence.counts(codes)
        total = a + b
        p = a / total
        return np.asarray(p + optimism * np.sqrt(p * (1 - p) / (total + 1)))

    return score


def keys_of(codes: Codes) -> list[Key]:
    """(N, D) -> the N rows as hashable keys."""
    return [tuple(row) for row in codes.tolist()]


def as_key(codes: Codes | None) -> Key | None:
    """One row of codes (D,) as a hashable key."""
    return None if codes is None else tuple(codes.tolist())


def best_of(codes: Codes, score: Acquisition, seen: Collection[Key]) -> tuple[Codes, float] | None:
    """The unseen row with the highest score, and that score; the first of equals."""
    if not len(codes):
        return None
    return _top_unseen(codes, score(codes), seen, -np.inf)


def draw_and_compare(
    good: Mixture,
    score: Acquisition,
    rng: np.random.Generator,
    seen: Collection[Key],
    draws: int = 24,
) -> Codes | None:
    """TPE as published: ``draws`` configurations from l, the best by ``score``. (D,) or None."""
    found = best_of(good.sample(rng, draws), score, seen)
    return None if found is None else found[0]


def exact(
    space: Space, score: Acquisition, seen: Collection[Key], chunk: int = 4096
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
    score: Acquisition,
    rng: np.random.Generator,
    seen: Collection[Key],
    starts: Codes,
    sweeps: int = 6,
) -> Codes | None:
    """A local optimum among unseen configurations, the best over ``starts`` (R, D).

    One variable at a time, in random order, each start takes its best value with the others
    held; a seen configuration may be passed through, never returned. A variable that is inactive
    keeps a value, so that a parent can be changed and its children are ready.
    """
    full = np.where(starts < 0, rng.integers(0, space.sizes, size=starts.shape), starts)
    best: tuple[Codes, float] | None = None
    for _ in range(sweeps):
        before = full.copy()
        for d in rng.permutation(len(space.sizes)):
            size = space.sizes[d]
            options = np.repeat(full, size, axis=0)  # (R·C_d, D)
            options[:, d] = np.tile(np.arange(size), len(full))
            codes = space.prune(options)
            values = score(codes)
            found = _top_unseen(codes, values, seen, -np.inf if best is None else best[1])
            best = found or best
            full[:, d] = values.reshape(len(full), size).argmax(axis=1)
        if np.array_equal(before, full):
            break
    return None if best is None else best[0]


def _top_unseen(
    codes: Codes, values: Floats, seen: Collection[Key], above: float
) -> tuple[Codes, float] | None:
    """The best unseen row whose value is over ``above``."""
    for row in np.argsort(-values, kind="stable"):
        if values[row] <= above:
            return None
        if tuple(codes[row].tolist()) not in seen:
            return codes[row].copy(), float(values[row])
    return None


def maximise(
    space: Space,
    score: Acquisition,
    rng: np.random.Generator,
    seen: Collection[Key],
    starts: Codes,
    *,
    exact_limit: int = EXACT_LIMIT,
) -> Codes | None:
    """Exact where the space is small, coordinate ascent beyond; None if everything is seen."""
    if space.size() <= exact_limit:
        return exact(space, score, seen)
    found = coordinate_ascent(space, score, rng, seen, starts)
    return any_unseen(space, rng, seen) if found is None else found


def any_unseen(space: Space, rng: np.random.Generator, seen: Collection[Key]) -> Codes | None:
    """An unseen configuration by ancestral sampling, the first in order where draws fail."""
    for _ in range(8):
        for codes in space.sample_codes(rng, 32):
            if tuple(codes.tolist()) not in seen:
                return np.asarray(codes)
    for codes in space.enumerate_codes():  # at most len(seen) steps go in vain
        if tuple(codes.tolist()) not in seen:
            return codes
    return None


def leader_to_recheck(
    pool: Pool, posterior: Posterior, busy: Collection[Key], *, times: int, examples: float
) -> Key | None:
    """The leader by posterior mean, if it leads on too few examples; None if it may stand.

    A leader is a maximum over noisy scores, so it is the likeliest to be flattered, and it is
    what is recommended in the end: a further look at it pays more than a new configuration.
    It may stand with ``1 + times`` trials of ``examples`` each behind it, or while it is ``busy``.
    """
    leader = int(np.argmax(posterior.mean))
    key: Key = tuple(pool.codes[leader].tolist())
    if key in busy or posterior.noise == 0 or pool.n[leader] > (0.5 + times) * examples:
        return None
    return key


def worth_a_second_look(
    pool: Pool, posterior: Posterior, busy: Collection[Key], optimism: float = 1.0
) -> Key | None:
    """Of what has been seen and is not ``busy``, the highest mean + ``optimism`` sd; or None."""
    keys = keys_of(pool.codes)
    for row in np.argsort(-(posterior.mean + optimism * posterior.sd), kind="stable"):
        if keys[row] not in busy:
            return keys[int(row)]
    return None
