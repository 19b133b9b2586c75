"""One kernel for the good and the bad: densities that can be counted, and how wide to make them.

`parzen` gives l(x) and g(x) each its own mixture. Where both share their kernel, the ratio l/g is
an estimate of P(good | x), it is known on how many observations it rests, and the width of the
kernel can be learned: the right one is that with which each observation is foretold by the others.
Symbols as in `parzen`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.space import INACTIVE, Codes, Space


def similarity(
    space: Space, centres: Codes, codes: Codes, ratios: Floats, asked: Codes | None = None
) -> Floats:
    """Product kernel over its height at the centre, Π_d k_d(x_d|x_id) / k_d(x_d|x_d). (n, N).

    A centre that stands for ``asked`` (n, D) as well is, variable by variable, as near as the
    nearer of the two; where only one of them is active, that one speaks.
    """
    blocks = [np.zeros((len(centres), 0))]
    for d, (size, ratio) in enumerate(zip(space.sizes, ratios, strict=True)):
        table = _log_similar(size, float(ratio))
        own = table[centres[:, d], :-1]
        if asked is not None:
            of_asked = table[asked[:, d], :-1]
            active = (centres[:, [d]] != INACTIVE, asked[:, [d]] != INACTIVE)
            own = np.where(active[1] & (~active[0] | (of_asked > own)), of_asked, own)
        blocks.append(own)
    return np.asarray(np.exp(np.hstack(blocks) @ one_hot(space, codes).T))


def _log_similar(size: int, ratio: float) -> Floats:
    """log of one variable's share in `similarity`; the last row and column are *inactive*.

    0 on the diagonal and log λ off it. An inactive centre is uniform, so its height at any choice
    is the mean of a row; where x is inactive there is no factor. (C+1, C+1).
    """
    table = np.zeros((size + 1, size + 1))
    table[:size, :size] = np.log(ratio) * (1 - np.eye(size))
    table[size, :size] = np.log((1 + (size - 1) * ratio) / size)
    return table


def learned_ratios(
    space: Space,
    centres: Codes,
    foretells: Callable[[Floats], float],
    *,
    shared: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9),
    own: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0),
    gain: float = 1.0,
) -> Floats:
    """λ_d by leave-one-out: the kernel with which the others best foretell each one. (D,). Ours.

    ``foretells`` maps the similarities (n, n), zero on the diagonal, to a log-likelihood. First
    one λ for all variables is chosen of ``shared``, then each variable in turn may leave it for
    one of ``own`` (1: it does not matter) if that is likelier by ``gain`` nats.
    """

    def value(log_similar: Floats) -> float:
        similar = np.exp(log_similar)
        np.fill_diagonal(similar, 0.0)  # leave the one out
        return foretells(similar)

    def parts(d: int, ratio: float) -> Floats:
        return _log_similar(space.sizes[d], ratio)[centres[:, d][:, None], centres[:, d]]

    columns = range(len(space.sizes))
    best, total, best_value = shared[0], np.zeros((len(centres),) * 2), -np.inf
    for ratio in shared:
        log_similar = np.log(similarity(space, centres, centres, np.full(len(columns), ratio)))
        if (now := value(log_similar)) > best_value + 1e-9:
            best, total, best_value = ratio, log_similar, now
    ratios = np.full(len(columns), best)
    for d in columns:
        rest = total - parts(d, ratios[d])
        tried = [(value(rest + parts(d, ratio)), ratio) for ratio in own]
        now, ratio = max(tried)
        if now > best_value + gain:
            ratios[d], best_value, total = ratio, now, rest + parts(d, ratio)
    return ratios
