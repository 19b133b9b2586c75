import numpy as np
import pytest

from mipro.tpe import Choice, Observation, Space, importance


def trials(space, value, seed=0, count=150, n=40):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        config = space.sample(rng)
        out.append(Observation(config, rng.binomial(n, value(config)) / n, n))
    return out


def test_the_variable_that_matters_is_found():
    space = Space({"a": 4, "b": 4, "c": 10})
    shares = importance(space, trials(space, lambda c: 0.2 + 0.2 * c["a"]))
    assert shares["a"] > 0.85
    assert shares["b"] < 0.1
    assert shares["c"] < 0.1


def test_shares_of_an_additive_score_are_those_of_its_variances():
    space = Space({"a": 2, "b": 2})
    # variances ∝ 0.3² and 0.15²: 80 % and 20 %
    shares = importance(
        space, trials(space, lambda c: 0.2 + 0.3 * c["a"] + 0.15 * c["b"], count=2000, n=100)
    )
    # configurations are pooled, so 4 rows remain: no noise left to speak of
    assert shares["a"] == pytest.approx(0.8, abs=0.25)
    assert shares["a"] > shares["b"]


def test_noise_alone_makes_nothing_important():
    space = Space({"a": 8, "b": 8, "c": 8})
    shares = importance(space, trials(space, lambda c: 0.5, count=200))
    assert max(shares.values()) < 0.5


def test_a_conditional_variable_has_a_share():
    space = Space({"a": 2, "b": Choice(5, when=("a", 1)), "c": 6})
    shares = importance(space, trials(space, lambda c: 0.1 + 0.15 * c.get("b", 2)))
    assert shares["b"] > 0.5 > shares["c"]


def test_nothing_and_little_told():
    space = Space({"a": 2, "b": 2})
    assert importance(space, []) == {"a": 0.0, "b": 0.0}
    one = [Observation({"a": 0, "b": 0}, 0.5, 10)]
    assert importance(space, one) == {"a": 0.0, "b": 0.0}
    assert importance(space, one * 2) == {"a": 0.0, "b": 0.0}


def test_an_arbitrary_scale_does_not_change_the_shares():
    space = Space({"a": 3, "b": 4, "c": 5})
    told = trials(space, lambda c: 0.3 + 0.1 * c["a"] + 0.03 * c["b"])
    odd = [Observation(o.config, o.score + 0.00123, o.n) for o in told]
    scaled = [Observation(o.config, -50 + 9 * o.score, o.n) for o in odd]
    first, second = importance(space, odd), importance(space, scaled)
    for name in space.names:
        assert first[name] == pytest.approx(second[name])
