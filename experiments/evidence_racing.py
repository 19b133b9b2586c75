"""Racing: a trial is given up where its candidate is out of the running.

After Maron and Moore's Hoeffding races (1994). Their bounds hold for any distribution and are too
wide to stop anything on 35 examples (at n = 9 a 95% interval is ±0.45), so the rule is Bayesian:
the minibatch is evaluated in chunks, and stopped when

    P(θ_c > θ_leader) < level

under the posterior that ranks candidates anyway (`tpe.split.shrink`).

What is told of a stopped trial is what was seen: the sum of its scores and their number n. Its mean
is biased downwards (it was stopped *because* it was low); but the posterior given sum and n does
not depend on the stopping rule (likelihood principle: Berger and Wolpert 1988), and means pooled
with weights n have no bias to first order, for E[sum − n θ] = 0 (Wald's identity).
"""

from __future__ import annotations

from math import erfc, sqrt

from mipro.tpe.space import Key
from mipro.tpe.split import Pool, shrink

CHUNKS = 4  # of a minibatch
LEAST = 3  # candidates told before any is given up


def chunks(examples: tuple[int, ...], parts: int = CHUNKS) -> list[tuple[int, ...]]:
    """`examples` in order, cut into at most `parts` of equal size, the last the smallest."""
    size = max(1, -(-len(examples) // parts))
    return [examples[i : i + size] for i in range(0, len(examples), size)]


def out_of_the_running(key: Key, pool: Pool, level: float) -> bool:
    """Whether the candidate is better than the leader with a probability below `level`.

    `pool` holds what was seen of every candidate, this one's chunks so far among it.
    """
    if len(pool.n) < LEAST:
        return False
    posterior = shrink(pool)
    lead = int(posterior.mean.argmax())
    me = next(i for i, codes in enumerate(pool.codes.tolist()) if tuple(codes) == key)
    apart = float(posterior.mean[lead] - posterior.mean[me])
    sd = sqrt(float(posterior.sd[lead] ** 2 + posterior.sd[me] ** 2))
    if me == lead or apart == 0:
        return False
    return sd == 0 or 0.5 * erfc(apart / sd / sqrt(2)) < level  # Φ(-apart/sd)
