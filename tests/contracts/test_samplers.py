"""What every sampler owes, whatever it is."""

import json

import numpy as np
import pytest
from active import active

from mipro.tpe import TPE, Choice, Classic, RandomSampler, Sampler, Space

SPACE = Space(
    {
        "a": 5,
        "b": ("x", "y", None),
        "c": Choice(4, when=("b", {"x", None})),
        "d": Choice((1.5, 2.5), when=("c", 2)),
    }
)
SMALL = Space({"a": 2, "b": Choice(2, when=("a", 1))})  # three configurations
LARGE = Space({f"v{i}": 12 for i in range(8)})

MAKERS = {
    "random": (RandomSampler, RandomSampler),
    "tpe": (lambda space, seed: TPE(space, seed, startup=4), TPE),
    "tpe independent": (lambda space, seed: TPE(space, seed, startup=4, multivariate=False), TPE),
    "tpe classic": (TPE.classic, Classic),
    "tpe classic learned": (lambda space, seed: Classic(space, seed, learned=True), Classic),
    "tpe classic independent": (
        lambda space, seed: TPE.classic(space, seed, multivariate=False),
        Classic,
    ),
}


@pytest.fixture(params=MAKERS)
def maker(request):
    return MAKERS[request.param]


@pytest.fixture
def make(maker):
    return maker[0]


def value(space, config):
    return sum(space.encode(config).tolist()) % 7 / 7


def run(sampler, trials, seed=0):
    rng = np.random.default_rng(seed)
    asked = []
    for _ in range(trials):
        config = sampler.ask()
        asked.append(config)
        sampler.tell(config, rng.binomial(20, value(sampler.space, config)) / 20, 20)
    return asked


@pytest.mark.parametrize("space", [SPACE, SMALL, LARGE, Space({"one": 1}), Space({})])
def test_every_ask_is_a_configuration_of_the_space(make, space):
    sampler: Sampler = make(space, 0)
    for config in run(sampler, 25):
        space.encode(config)
        assert tuple(config) == active(space, config)


def test_the_same_seed_gives_the_same_run_and_another_another(make):
    assert run(make(SPACE, 0), 25) == run(make(SPACE, 0), 25)
    assert run(make(SPACE, 0), 25) != run(make(SPACE, 1), 25)


def test_before_anything_is_told(make):
    sampler: Sampler = make(SPACE, 0)
    assert sampler.observations == ()
    assert not sampler.exhausted
    with pytest.raises(ValueError, match="nothing has been told"):
        sampler.best()


def test_best_is_one_that_was_told(make):
    sampler: Sampler = make(SPACE, 0)
    run(sampler, 30)
    best = sampler.best()
    told = [o for o in sampler.observations if o.config == best.config]
    assert best.n == sum(o.n for o in told) > 0
    assert 0 <= best.mean <= 1


def test_pending_configurations_are_not_asked_again(make):
    sampler: Sampler = make(SPACE, 0)
    run(sampler, 12)
    out = [SPACE.key(sampler.ask()) for _ in range(20)]
    assert len(set(out)) == 20


def test_all_out_at_once_before_anything_comes_back(make):
    sampler: Sampler = make(SPACE, 0)
    out = [SPACE.key(sampler.ask()) for _ in range(SPACE.size())]
    assert len(set(out)) == SPACE.size()
    SPACE.encode(sampler.ask())


def test_excluded_configurations_are_not_asked_while_there_are_others(make):
    sampler: Sampler = make(SPACE, 0)
    run(sampler, 15)
    every = list(SPACE.enumerate())
    for keep in (every[3], every[-1]):
        assert sampler.ask(exclude=[c for c in every if c != keep]) == keep
        sampler.tell(keep, 0.5, 20)
    SPACE.encode(sampler.ask(exclude=every))


def test_excluding_all_of_a_fresh_sampler_still_answers(make):
    sampler: Sampler = make(SMALL, 0)
    SMALL.encode(sampler.ask(exclude=list(SMALL.enumerate())))


def test_an_exhausted_space_goes_on(make):
    sampler: Sampler = make(SMALL, 0)
    for _ in range(3):
        assert not sampler.exhausted
        config = sampler.ask(exclude=[o.config for o in sampler.observations])
        sampler.tell(config, 0.5, 10)
    assert sampler.exhausted
    run(sampler, 10)
    assert sampler.exhausted
    sampler.best()


@pytest.mark.parametrize("score", [-3.5, 0, 1e9, np.float64(0.25), True])
def test_any_finite_score_is_taken(make, score):
    sampler: Sampler = make(SPACE, 0)
    for _ in range(12):
        sampler.tell(sampler.ask(), score)
    sampler.ask()
    assert sampler.best().mean == pytest.approx(float(score))


def test_scores_of_every_kind_mixed(make):
    sampler: Sampler = make(SPACE, 0)
    for i, score in enumerate([0.5, -1e6, 3.0, 0.0, 1e12, 0.1, 0.2, -0.0, 1.0, 7.0, 1e-300] * 3):
        sampler.tell(sampler.ask(), score, 1 + 500 * (i % 2))
    assert np.isfinite(sampler.best().mean)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_and_nothing_is_kept(make, score):
    sampler: Sampler = make(SPACE, 0)
    config = sampler.ask()
    with pytest.raises(ValueError, match="finite") as error:
        sampler.tell(config, score, 35)
    assert repr(config) in str(error.value)
    assert sampler.observations == ()


@pytest.mark.parametrize("n", [0, -1, 1.5, True, None])
def test_n_is_a_whole_number_of_examples(make, n):
    sampler: Sampler = make(SPACE, 0)
    with pytest.raises(ValueError, match="examples"):
        sampler.tell(sampler.ask(), 0.5, n)


def test_unknown_values_are_refused_by_name(make):
    sampler: Sampler = make(SPACE, 0)
    with pytest.raises(ValueError, match="'b' cannot be 'q'"):
        sampler.tell({"a": 0, "b": "q"}, 0.5)
    with pytest.raises(ValueError, match="'e' is not a variable"):
        sampler.tell({"a": 0, "b": "y", "e": 1}, 0.5)
    with pytest.raises(ValueError, match="'c'"):
        sampler.ask(exclude=[{"a": 0, "b": "x"}])


def test_a_configuration_never_asked_may_be_told(make):
    sampler: Sampler = make(SPACE, 0)
    sampler.tell({"a": 4, "b": "y"}, 0.9, 100)
    assert sampler.best().config == {"a": 4, "b": "y"}


def test_what_is_returned_is_the_callers(make):
    sampler: Sampler = make(SPACE, 0)
    config = sampler.ask()
    kept = dict(config)
    config["a"] = "spoilt"
    sampler.tell(kept, 0.5, 10)
    kept["a"] = "spoilt"
    assert sampler.best().config["a"] != "spoilt"
    assert sampler.observations[0].config["a"] != "spoilt"
    with pytest.raises(TypeError):
        sampler.observations[0].config["a"] = 1


@pytest.mark.parametrize("before", [0, 2, 9, 20])
def test_a_restored_sampler_goes_on_identically(maker, before):
    make, kind = maker
    sampler: Sampler = make(SPACE, 3)
    run(sampler, before)
    out = sampler.ask()  # pending across the save
    state = json.loads(json.dumps(sampler.state()))
    copy = kind.from_state(SPACE, state)
    assert copy.observations == sampler.observations
    assert copy.startup == sampler.startup
    for s in (sampler, copy):
        s.tell(out, 0.4, 20)
    assert run(copy, 15) == run(sampler, 15)
    assert copy.state() == sampler.state()


def test_growing_keeps_what_was_told(make):
    sampler: Sampler = make(SPACE, 0)
    run(sampler, 15)
    grown = sampler.regrow(SPACE.grown("b", "z"))
    assert grown.observations == sampler.observations
    run(grown, 15)
    assert len(sampler.observations) == 15  # the old one is left as it was


def test_in_startup_counts_down(make):
    sampler: Sampler = make(LARGE, 0)
    for _ in range(sampler.startup):
        assert sampler.in_startup
        run(sampler, 1)
    assert not sampler.in_startup


def test_barred_choices_are_left_out_also_where_they_are_good_and_where_nearly_all_are(make):
    sampler: Sampler = make(SPACE, 0)
    for b in ("y", "x", None):
        for a in range(5):
            rest = {} if b == "y" else {"c": 0}
            sampler.tell({"a": a, "b": b, **rest}, 0.9 if a == 0 else 0.1, 20)
    for _ in range(10):  # the leader has a = 0, and so does what is drawn from the good
        assert sampler.ask(without=[("a", 0)])["a"] != 0
    sampler = make(Space({f"v{d}": 2 for d in range(24)}), 0)
    assert set(sampler.ask(without=[(f"v{d}", 0) for d in range(24)]).values()) == {1}
    sampler = make(LARGE, 0)
    barred = [(f"v{d}", v) for d in range(6) for v in range(11)]
    asked = [sampler.ask(without=barred) for _ in range(6)]
    assert {config[f"v{d}"] for config in asked for d in range(6)} == {11}
    # what is left is drawn, not gone through in order: v6 would be 0 for the first twelve
    assert len({config["v6"] for config in asked}) > 1


@pytest.mark.parametrize("without", [[("v7", v) for v in range(12)], [("b", v) for v in range(3)]])
def test_where_a_variable_has_no_choice_left_something_is_asked_all_the_same(make, without):
    """Of a child: what its parent has that leaves it out; of one that is always there: anything."""
    space = LARGE
    if without[0][0] == "b":
        space = Space({**{f"v{d}": 9 for d in range(9)}, "a": 2, "b": Choice(3, when=("a", 0))})
    for _ in range(3):
        asked = make(space, 0).ask(without=without)
        space.encode(asked)
        assert "b" not in asked


def test_a_start_up_cut_short_by_a_small_space_goes_on_as_the_space_grows(make):
    space = Space({"a": 1})
    sampler: Sampler = make(space, 0)
    planned = make(LARGE, 0).startup
    assert sampler.startup == min(1, planned)
    run(sampler, 1)
    grown = sampler.regrow(space.grown("a", *range(1, 30)))
    assert grown.startup == planned
    assert len({config["a"] for config in run(grown, max(planned - 1, 1))}) == max(planned - 1, 1)
    assert not grown.in_startup
