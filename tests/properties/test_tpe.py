"""Invariants of the estimator, on spaces and histories of every small shape."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from active import active
from hamming import hamming
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from mipro.tpe import TPE, Choice, Settings, Space
from mipro.tpe.acquisition import exact
from mipro.tpe.parzen import Mixture, aitchison_aitken, uniform_mixture
from mipro.tpe.split import Pool, shrink

sys.path.insert(0, str(Path(__file__).parent))
from tpe_strategies import all_codes, configs_of, histories, spaces

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pooled(space, history):
    return Pool.of(
        [space.key(c) for c, _, _ in history], [s for _, s, _ in history], [n for *_, n in history]
    )


def told(sampler, history):
    for config, score, n in history:
        sampler.tell(config, score, n)
    return sampler


@few
@given(st.data())
def test_codes_round_trip_and_the_active_set_is_the_configuration(data):
    space = data.draw(spaces())
    configs = list(space.enumerate())
    assert len({space.key(c) for c in configs}) == len(configs) == space.size()
    for config in configs:
        assert space.decode(space.encode(config)) == config
        assert active(space, config) == tuple(config)


@few
@given(st.data(), st.booleans(), st.floats(0.001, 10), st.floats(0.01, 1))
def test_every_pmf_sums_to_one_over_the_tree(data, joint, prior, width):
    space = data.draw(spaces())
    history = data.draw(histories(space))
    codes = np.array([space.encode(c) for c, _, _ in history], dtype=np.int64)
    codes = codes.reshape(len(history), len(space.names))
    weights = np.array([float(n) for *_, n in history])
    for kernel in (
        lambda c: uniform_mixture(c, width),
        lambda c: aitchison_aitken(c, width * (c - 1) / c),
    ):
        kernels = [kernel(c) for c in space.sizes]
        p = Mixture(space, codes, weights, kernels, prior=prior, joint=joint).pmf(all_codes(space))
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-9)


@few
@given(st.data(), st.booleans())
def test_growing_leaves_the_ratios_of_old_densities(data, joint):
    space = data.draw(spaces(max_variables=3))
    history = data.draw(histories(space, min_size=1))
    grown = space.grown(data.draw(st.sampled_from(space.names)), "new")
    codes = np.array([space.encode(c) for c, _, _ in history])
    old = all_codes(space)
    ratios = []
    for s in (space, grown):
        kernels = [hamming(c, 0.2) for c in s.sizes]
        good, bad = (
            Mixture(s, codes[part], np.ones(len(codes[part])), kernels, prior=0.0)
            for part in (slice(0, None, 2), slice(0, None))
        )
        ratios.append(good.log_pmf(old) - bad.log_pmf(old))
    if space.is_flat:  # in a tree an inactive centre spreads over one choice more
        np.testing.assert_allclose(ratios[0], ratios[1], atol=1e-9)
    else:
        assert np.all(np.isfinite(ratios[1]))


def bound_of(space, told, gamma=0.3):
    """The acquisition function of what was told, effects and all."""
    sampler = TPE(space, startup=1, settings=Settings(gamma=gamma, ratio=0.3))
    for config, score, n in told:
        sampler.tell(config, score, n)
    pool = sampler._history.pool
    return sampler._upper_bound(pool, shrink(pool))


@few
@given(st.data())
def test_every_move_scores_as_the_configuration_it_leads_to(data):
    space = data.draw(spaces())
    score = bound_of(space, data.draw(histories(space, min_size=1)))
    seed = data.draw(st.integers(0, 99))
    full = np.random.default_rng(seed).integers(0, space.sizes, size=(3, len(space.sizes)))
    values = score.moves(full)
    for row in range(3):
        for choice, slot in enumerate(space.column_of_choice):
            to = full[row].copy()
            to[slot] = choice - space.offsets[slot]
            np.testing.assert_allclose(values[row, choice], score(space.prune(to[None]))[0])


@few
@given(st.data())
def test_relabelling_choices_and_reordering_variables_permutes_the_densities(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    space = Space({f"v{d}": c for d, c in enumerate(sizes)})
    order = data.draw(st.permutations(range(len(sizes))))
    labels = [data.draw(st.permutations(range(c))) for c in sizes]
    other = Space({f"v{d}": tuple(labels[d]) for d in order})
    history = data.draw(histories(space, min_size=1))
    values = []
    for s in (space, other):
        every = np.array([s.encode(c) for c in space.enumerate()])
        values.append(bound_of(s, history)(every))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


@few
@given(st.data())
def test_exact_acquisition_equals_brute_force(data):
    space = data.draw(spaces())
    history = data.draw(histories(space, min_size=1))
    score = bound_of(space, history, 0.2)
    seen = {space.key(config) for config, _, _ in history}
    left = [x for x in all_codes(space) if tuple(x.tolist()) not in seen]
    found = exact(space, score, seen)
    if not left:
        assert found is None
    else:
        assert found not in seen
        np.testing.assert_allclose(score(np.array([found]))[0], score(np.array(left)).max())


@few
@given(st.data(), st.integers(1, 40), st.integers(0, 40), st.integers(0, 40))
def test_two_trials_of_n_are_one_of_two_n(data, n, first, second):
    space = data.draw(spaces())
    history = data.draw(histories(space))
    config = data.draw(configs_of(space))
    first, second = min(first, n), min(second, n)
    twice = told(TPE(space), [*history, (config, first / n, n), (config, second / n, n)])
    once = told(TPE(space), [*history, (config, (first + second) / (2 * n), 2 * n)])
    assert once.best().config == twice.best().config or np.isclose(
        once.best().mean, twice.best().mean, atol=1e-9
    )
    np.testing.assert_allclose(once.best().mean, twice.best().mean, atol=1e-9)


@few
@given(st.data(), st.integers(2, 20))
def test_a_larger_n_never_counts_for_less(data, times):
    """Of two configurations alike but for n, the larger n is nearer to its scores and surer."""
    space = data.draw(spaces())
    pool = pooled(space, data.draw(histories(space, min_size=2)))
    score = data.draw(st.integers(0, 20)) / 20
    mean, n = np.append(pool.mean, [score, score]), np.append(pool.n, [20, 20 * times])
    keys = [(u,) for u in range(len(n))]  # all apart: one score each
    both = Pool.of(keys, mean, n)
    posterior = shrink(both)
    few, many = np.abs(posterior.mean[-2:] - score)
    assert many <= few + 1e-12
    assert posterior.sd[-1] <= posterior.sd[-2]


@few
@given(st.data(), st.sampled_from(["tpe", "independent", "classic"]))
def test_ask_after_any_history_is_valid(data, kind):
    space = data.draw(spaces())
    scores = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, 0.5]))
    history = data.draw(
        st.lists(st.tuples(configs_of(space), scores, st.integers(1, 1000)), max_size=20)
    )
    sampler = {
        "tpe": lambda: TPE(space, startup=2),
        "independent": lambda: TPE(space, startup=2, multivariate=False),
        "classic": lambda: TPE.classic(space),
    }[kind]()
    told(sampler, history)
    for _ in range(3):
        space.encode(sampler.ask())
    if history:
        assert np.isfinite(sampler.best().mean)


@few
@given(st.data(), st.floats(0.01, 100), st.floats(-100, 100))
def test_a_shifted_and_scaled_score_changes_no_ask(data, scale, shift):
    """True of scores that are not shares of successes, whose noise is not known from theory."""
    space = Space({"a": 3, "b": Choice(3, when=("a", {0, 2})), "c": 2})
    configs = data.draw(st.lists(configs_of(space), min_size=4, max_size=10))
    raw = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=len(configs))
    one, other = TPE(space, startup=1), TPE(space, startup=1)
    for config, x in zip(configs, raw, strict=True):
        one.tell(config, 10 + x, 7)
        other.tell(config, shift + scale * x - 1000, 7)
    np.testing.assert_allclose(
        (one.best().mean - 10) * scale, other.best().mean - shift + 1000, atol=1e-6 * scale + 1e-8
    )


class AskTell(RuleBasedStateMachine):
    """A sampler saved and restored at any moment equals one that never was.

    Invariants: both ask the same; every ask is valid; a ledger kept here agrees with theirs.
    """

    asked = Bundle("asked")

    @initialize(
        space=spaces(),
        seed=st.integers(0, 5),
        startup=st.integers(1, 4),
        multivariate=st.booleans(),
        limit=st.sampled_from([1, 256]),
    )
    def start(self, space, seed, startup, multivariate, limit):
        self.space, settings = space, Settings(multivariate=multivariate, exact_limit=limit)
        self.plain = TPE(space, seed, startup=startup, settings=settings)
        self.saved = TPE(space, seed, startup=startup, settings=settings)
        self.ledger = []

    @rule(target=asked)
    def ask(self):
        config = self.plain.ask()
        assert self.saved.ask() == config
        self.space.encode(config)
        return config

    @rule(config=asked, successes=st.integers(0, 10))
    def tell(self, config, successes):
        for sampler in (self.plain, self.saved):
            sampler.tell(config, successes / 10, 10)
        self.ledger.append((config, successes / 10, 10))

    @rule(asked=asked, data=st.data(), successes=st.integers(0, 10))
    def tell_what_came_of_it(self, asked, data, successes):
        """Often of a configuration that was told before, as itself or of another."""
        config = data.draw(configs_of(self.space))
        for sampler in (self.plain, self.saved):
            sampler.tell(config, successes / 10, 10, asked=asked)
        self.ledger.append((config, successes / 10, 10))

    @rule()
    def save_and_restore(self):
        self.saved = TPE.from_state(self.space, json.loads(json.dumps(self.saved.state())))

    @invariant()
    def agree(self):
        if not hasattr(self, "ledger"):
            return
        for sampler in (self.plain, self.saved):
            assert [(dict(o.config), o.score, o.n) for o in sampler.observations] == self.ledger
        told = {self.space.key(c) for c, _, _ in self.ledger}
        assert self.plain.exhausted == (len(told) == self.space.size())
        if self.ledger:
            assert self.plain.best() == self.saved.best()


TestAskTell = AskTell.TestCase
TestAskTell.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
