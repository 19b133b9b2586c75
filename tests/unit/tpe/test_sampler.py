import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from mipro.tpe import TPE, Choice, RandomSampler, Space
from mipro.tpe.parzen import forgetting, published_density

SPACE = Space({"a": 6, "b": ("x", "y"), "c": Choice(4, when=("b", "y"))})


def test_the_face_promised():
    sampler = TPE(SPACE, seed=0)
    config = sampler.ask()
    sampler.tell(config, score=0.63, n=35)
    best = sampler.best()
    assert best.config == config
    assert best.n == 35
    assert sampler.observations[0].config == config
    assert sampler.observations[0].score == 0.63


def test_only_numpy_and_scipy_are_imported():
    code = (
        "import sys; before = set(sys.modules); import mipro.tpe;"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    third = {m for m in out.stdout.split() if not m.startswith(("_", "cython"))}
    assert third <= {"mipro", "numpy", "scipy"}
    assert "scipy" not in third  # imported when a model is first fitted: import mipro is cheap


@pytest.mark.parametrize("startup", [1, 4, 12])
def test_startup_is_visible_and_ends_when_it_says(startup):
    sampler = TPE(SPACE, startup=startup)
    assert sampler.startup == startup
    for _ in range(startup):
        assert sampler.in_startup
        sampler.tell(sampler.ask(), 0.5, 10)
    assert not sampler.in_startup
    with pytest.raises(ValueError, match="at least 1"):
        TPE(SPACE, startup=0)


def test_startup_uses_every_choice_equally_often():
    space = Space({"a": 3, "b": 5})
    sampler = TPE(space, startup=15, seed=3)
    asked = [sampler.ask() for _ in range(15)]
    # repeats of the design are replaced, so a few choices may be off by one or two
    assert max(Counter(c["a"] for c in asked).values()) <= 7
    codes = space.latin(np.random.default_rng(0), 15)
    assert Counter(codes[:, 0].tolist()) == dict.fromkeys(range(3), 5)
    assert Counter(codes[:, 1].tolist()) == dict.fromkeys(range(5), 3)


def test_the_design_balances_a_child_over_the_rows_where_it_is_active():
    codes = SPACE.latin(np.random.default_rng(0), 16)
    assert Counter(codes[:, 2].tolist()) == {-1: 8, 0: 2, 1: 2, 2: 2, 3: 2}


def test_configurations_told_from_elsewhere_count_as_startup():
    sampler = TPE(SPACE, startup=2)
    sampler.tell({"a": 0, "b": "x"}, 0.5, 10)
    sampler.tell({"a": 0, "b": "x"}, 0.5, 10)
    assert sampler.in_startup
    sampler.tell({"a": 1, "b": "x"}, 0.5, 10)
    assert not sampler.in_startup


def test_best_weighs_what_neighbours_say():
    """Of two equal scores the one whose neighbours do well is the likelier to be good."""
    space = Space({"a": 2, "b": 8})
    sampler = TPE(space)
    for b in range(6):
        sampler.tell({"a": 0, "b": b}, 0.2, 20)
        sampler.tell({"a": 1, "b": b}, 0.6, 20)
    sampler.tell({"a": 0, "b": 7}, 0.7, 20)
    sampler.tell({"a": 1, "b": 7}, 0.7, 20)
    assert sampler.best().config == {"a": 1, "b": 7}


def test_the_leader_is_asked_again_before_it_is_believed():
    sampler = TPE(SPACE, startup=4)
    for a, score in enumerate((0.2, 0.3, 0.9, 0.1)):
        sampler.tell({"a": a, "b": "x"}, score, 10)
    assert sampler.ask() == {"a": 2, "b": "x"}
    sampler.tell({"a": 2, "b": "x"}, 0.9, 10)
    assert sampler.ask() != {"a": 2, "b": "x"}


def test_a_leader_among_many_is_asked_more_often():
    """The maximum of many noisy scores is flattered more: one further look for each 30 tried."""
    space = Space({"a": 100})
    looks = {}
    for tried in (20, 60, 90):
        sampler = TPE(space, startup=1)
        for a in range(tried):
            sampler.tell({"a": a}, 0.9 if a == 7 else 0.3, 10)
        looks[tried] = 0
        while sampler.ask() == {"a": 7}:
            sampler.tell({"a": 7}, 0.9, 10)
            looks[tried] += 1
    assert looks == {20: 1, 60: 2, 90: 3}


def test_a_growth_keeps_what_is_known_and_can_ask_for_the_new_choice():
    sampler = TPE(SPACE, seed=1, startup=5)
    for i in range(20):
        config = sampler.ask()
        sampler.tell(config, (10 + config["a"] + i % 2) / 20, 20)
    pending = sampler.ask()
    grown = sampler.regrow(SPACE.grown("a", "new"))
    assert grown.observations == sampler.observations
    assert grown.best().config == sampler.best().config
    asked = []
    for _ in range(25):
        config = grown.ask()
        assert config != pending
        asked.append(config)
        grown.tell(config, 0.5, 20)
    assert any(c["a"] == "new" for c in asked)
    with pytest.raises(ValueError, match="choices appended"):
        sampler.regrow(Space({"a": 6}))


@pytest.mark.parametrize(
    "kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]
)
def test_generators_survive_json(kind):
    rng = np.random.Generator(kind(5))
    rng.random(7)
    state = RandomSampler(SPACE, rng).state()
    copy = RandomSampler.from_state(SPACE, json.loads(json.dumps(state)))._rng
    assert type(copy.bit_generator) is kind
    np.testing.assert_array_equal(rng.random(10), copy.random(10))


def test_seeds_of_each_kind():
    asked = [
        TPE(SPACE, seed).ask()
        for seed in (5, np.random.SeedSequence(5), np.random.default_rng(5), np.int64(5))
    ]
    assert asked[0] == asked[1] == asked[2] == asked[3]
    with pytest.raises(ValueError, match="seed"):
        TPE(SPACE, None)


def test_a_state_of_something_else_is_refused():
    state = TPE(SPACE).state()
    with pytest.raises(ValueError, match="another space"):
        TPE.from_state(SPACE.grown("a", 6), state)
    with pytest.raises(ValueError, match="'tpe'"):
        RandomSampler.from_state(SPACE, state)


def test_forgetting_is_a_ramp_then_flat():
    assert forgetting(24).tolist() == [1.0] * 24
    weights = forgetting(30)
    np.testing.assert_allclose(weights[:5], np.linspace(1 / 30, 1, 5))
    assert weights[5:].tolist() == [1.0] * 25


def test_classic_takes_scores_at_their_word_and_may_repeat():
    space = Space({"a": 3, "b": 3})
    sampler = TPE.classic(space, seed=0)
    for _ in range(40):
        config = sampler.ask()
        sampler.tell(config, 1.0 if config == {"a": 1, "b": 2} else 0.0, 1)
    last = [o.config for o in sampler.observations[-20:]]
    assert sum(c == {"a": 1, "b": 2} for c in last) > 5


def test_classic_equals_optuna():
    """log l - log g of the published settings, against the library's own estimator."""
    pytest.importorskip("optuna", minversion="5.0", reason="the oracle is not installed")
    from optuna.distributions import CategoricalDistribution
    from optuna.samplers._tpe.parzen_estimator import (
        _ParzenEstimator,
        _ParzenEstimatorParameters,
    )

    rng = np.random.default_rng(0)
    sizes = (4, 7, 2)
    space = Space({f"v{i}": c for i, c in enumerate(sizes)})
    every = np.array(list(space.enumerate_codes()))
    for count in (0, 1, 9, 40):
        codes = space.sample_codes(rng, count)
        theirs = _ParzenEstimator(
            {f"v{i}": codes[:, i].astype(float) for i in range(3)},
            {f"v{i}": CategoricalDistribution(list(range(c))) for i, c in enumerate(sizes)},
            _ParzenEstimatorParameters(
                prior_weight=1.0,
                consider_magic_clip=True,
                consider_endpoints=False,
                weights=forgetting,
                multivariate=True,
            ),
        )
        expected = theirs.log_pdf({f"v{i}": every[:, i].astype(float) for i in range(3)})
        ours = published_density(space, codes, 1.0, joint=True).log_pmf(every)
        np.testing.assert_allclose(ours, expected, atol=1e-10)
