"""Faults of released prompt optimizers that this sampler must not have."""

import pytest

from mipro.tpe import TPE, Space
from mipro.tpe.split import Pool, above, shrink, threshold

SPACE = Space({"instruction": 6, "demos": 6})


def test_fault_01_equal_weight():
    """Minibatch and full scores told as equals: a lucky 35 examples outrank a good 500."""
    lucky, known = {"instruction": 1, "demos": 1}, {"instruction": 4, "demos": 4}
    sampler = TPE(SPACE, seed=0)
    keys, scores, ns = [], [], []

    def tell(config, score, n):
        sampler.tell(config, score, n)
        keys.append(SPACE.key(config))
        scores.append(score)
        ns.append(n)

    for i in range(6):
        for demos in (0, 2, 3, 5):
            tell({"instruction": i, "demos": demos}, (13 + (i + demos) % 5) / 35, 35)
    tell(lucky, 22 / 35, 35)  # 0.629
    tell(known, 305 / 500, 500)  # 0.610
    best = sampler.best()
    assert best.config == known
    assert best.n == 500
    assert best.mean == pytest.approx(0.61, abs=0.02)
    posterior = shrink(Pool.of(keys, scores, ns))
    good = above(posterior, threshold(posterior.mean, 3))
    assert good[-1] > good[-2]


@pytest.mark.parametrize("make", [TPE, TPE.classic])
def test_fault_02_seed_zero(make):
    """`seed or default` makes 0 another seed."""

    def asked(seed):
        sampler = make(SPACE, seed)
        out = []
        for i in range(22):  # beyond the start-up
            out.append(sampler.ask())
            sampler.tell(out[-1], i % 4 / 4, 4)
        return out

    assert asked(0) == asked(0)
    assert all(asked(0) != asked(seed) for seed in (1, 9, 10))


@pytest.mark.parametrize("make", [TPE, TPE.classic])
def test_fault_04_small_space(make):
    """A space smaller than the budget must not lose the run."""
    space = Space({"instruction": 2, "demos": 1})
    sampler = make(space, 0)
    for i in range(12):
        config = sampler.ask()
        space.encode(config)
        sampler.tell(config, 0.5, 35)
        assert sampler.exhausted == (
            len({o.config["instruction"] for o in sampler.observations}) == 2
        )
        assert i < 1 or sampler.best().config in list(space.enumerate())
    assert sampler.exhausted


@pytest.mark.parametrize("trials", [10, 12, 20, 30])
def test_fault_05_random_startup_share(trials):
    """Eight or nine of ten trials at random: the model must have most of a small budget."""
    sampler = TPE(SPACE, startup=None, trials=trials)
    assert sampler.startup <= trials / 3
    modelled = 0
    for i in range(trials):
        modelled += not sampler.in_startup
        sampler.tell(sampler.ask(), i % 5 / 5, 5)
    assert modelled >= trials * 2 / 3
