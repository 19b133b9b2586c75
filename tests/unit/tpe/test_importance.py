"""Importance from trials: against the exact shares, and what must not change it."""

import json
import time

import numpy as np
import pytest
from exact_anova import exact_importance

from mipro.optimizers.result import importance_json
from mipro.tpe import Choice, Observation, Space, importance


def trials(space, value, seed=0, count=150, n=40):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        config = space.sample(rng)
        out.append(Observation(config, rng.binomial(n, value(config)) / n, n))
    return out


def shares(found):
    return {
        **{k: e.value for k, e in found.main.items()},
        **{k: e.value for k, e in found.pairs.items()},
    }


def test_the_variable_that_matters_is_found():
    space = Space({"a": 4, "b": 4, "c": 10})
    found = importance(space, trials(space, lambda c: 0.2 + 0.2 * c["a"]))
    assert found.main["a"].low > 0.85
    assert found.spread.value == pytest.approx(0.2 * np.sqrt(1.25), abs=0.02)  # 3.5 standard errors
    assert found.main["b"].value < 0.05
    assert found.main["c"].value < 0.05
    assert max(effect.value for effect in found.pairs.values()) < 0.05


def test_a_full_factorial_without_noise_gives_the_exact_shares():
    space = Space({"a": 4, "b": 5})
    table = np.random.default_rng(3).uniform(0.2, 0.8, size=(4, 5)).round(7)
    truth = exact_importance(space, lambda c: table[c["a"], c["b"]])
    told = [Observation(c, table[c["a"], c["b"]], 10**7) for c in space.enumerate()]
    found = importance(space, told)
    assert shares(found) == pytest.approx(shares(truth), abs=0.002)
    for name, effects in truth.choices.items():
        for choice, effect in effects.items():
            assert found.choices[name][choice].value == pytest.approx(effect.value, abs=0.002)


def test_what_only_two_do_together_is_a_pair_and_no_main_effect():
    space = Space({"a": 2, "b": 2, "c": 5, "d": 5})
    found = importance(space, trials(space, lambda c: 0.3 + 0.4 * (c["a"] ^ c["b"]), count=100))
    assert found.pairs["a", "b"].low > 0.8
    assert max(effect.value for effect in found.main.values()) < 0.05


def test_noise_alone_makes_nothing_important():
    space = Space({"a": 8, "b": 8, "c": 8})
    found = importance(space, trials(space, lambda c: 0.5, count=200))
    assert max(effect.value for effect in found.main.values()) < 0.5
    for effect in (*found.main.values(), *found.pairs.values()):
        assert effect.low < 0.01
    # shares of next to nothing: the scores' own noise is 0.08
    assert found.spread.value < 0.03
    effects = [e for values in found.choices.values() for e in values.values()]
    assert np.mean([e.low <= 0 <= e.high for e in effects]) > 0.9


def test_the_effect_of_a_choice_is_in_units_of_the_score():
    space = Space({"a": 3, "b": 4})
    found = importance(space, trials(space, lambda c: 0.3 + 0.2 * c["a"], n=200))
    for choice, effect in found.choices["a"].items():
        assert effect.low <= 0.2 * (choice - 1) <= effect.high
        assert effect.high - effect.low < 0.1


def test_a_choice_never_tried_is_less_sure_than_those_that_were():
    space = Space({"a": 5, "b": 4})
    told = trials(space, lambda c: 0.1 + 0.2 * c["a"])
    found = importance(space, [o for o in told if o.config["a"] != 4])
    width = {choice: e.high - e.low for choice, e in found.choices["a"].items()}
    assert width[4] > 2 * max(width[choice] for choice in range(4))


def test_a_conditional_variable_counts_where_it_is_active():
    space = Space({"a": 2, "b": Choice(5, when=("a", 1)), "c": 6})

    def value(config):
        return 0.1 + 0.15 * config.get("b", 2)

    truth = exact_importance(space, value)
    found = importance(space, trials(space, value))
    for name in space.names:
        assert found.main[name].value == pytest.approx(truth.main[name].value, abs=0.1)
    assert found.main["b"].low > 0.8
    assert found.pairs["a", "b"].high == 0  # b has but one value of a to vary under


@pytest.mark.parametrize("count", [0, 1, 2])
def test_where_little_was_told_anything_is_possible(count):
    space = Space({"a": 2, "b": 2})
    configs = [{"a": 0, "b": 0}, {"a": 1, "b": 0}][:count]
    found = importance(space, [Observation(c, 0.1 + 0.5 * c["a"], 10) for c in configs * 2])
    for effect in (*found.main.values(), *found.pairs.values(), found.rest):
        assert (effect.value, effect.low, effect.high) == (0, 0, 1)
    assert not found.choices
    assert found.spread is None
    assert json.loads(json.dumps(importance_json(found), allow_nan=False))["spread"] is None


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, 0.123])
def test_equal_scores_make_nothing_important(score):
    space = Space({"a": 3, "b": 3})
    found = importance(space, [Observation(c, score, 10) for c in space.enumerate()])
    for effect in (*found.main.values(), *found.pairs.values()):
        assert effect.value < 0.6
        assert effect.low < 0.01


def test_a_space_of_nothing_and_a_variable_of_one_choice():
    assert importance(Space({}), []).main == {}
    space = Space({"a": 3, "b": 1})
    found = importance(space, trials(space, lambda c: 0.2 + 0.2 * c["a"], count=20))
    assert found.main["b"].high == 0
    assert found.choices["b"][0].high == 0


def test_an_arbitrary_scale_does_not_change_the_shares():
    space = Space({"a": 3, "b": 4, "c": 5})
    told = trials(space, lambda c: 0.3 + 0.1 * c["a"] + 0.03 * c["b"])
    odd = [Observation(o.config, o.score + 0.00123, o.n) for o in told]
    scaled = [Observation(o.config, -50 + 9 * o.score, o.n) for o in odd]
    first, second = importance(space, odd), importance(space, scaled)
    assert shares(first) == pytest.approx(shares(second), abs=1e-6)
    for choice, effect in first.choices["a"].items():
        assert second.choices["a"][choice].value == pytest.approx(9 * effect.value, abs=1e-6)


def test_repeated_trials_are_as_one_with_their_examples_together():
    space = Space({"a": 3, "b": 4})
    told = trials(space, lambda c: 0.3 + 0.2 * c["a"], count=40)
    pooled = {}
    for o in told:
        score, n = pooled.get(tuple(o.config.items()), (0.0, 0))
        pooled[tuple(o.config.items())] = (score + o.score * o.n, n + o.n)
    once = [Observation(dict(key), total / n, n) for key, (total, n) in pooled.items()]
    assert shares(importance(space, told)) == pytest.approx(
        shares(importance(space, once)), abs=1e-6
    )


def test_names_and_the_order_of_choices_do_not_matter():
    space = Space({"a": 3, "b": 4, "c": 5})
    turned = Space({"c": (4, 3, 2, 1, 0), "b": (1, 3, 0, 2), "a": (2, 0, 1)})
    told = trials(space, lambda c: 0.2 + 0.15 * c["a"] + 0.1 * (c["b"] == 1), n=100)
    first, second = importance(space, told), importance(turned, told)
    for name in space.names:
        assert first.main[name].value == pytest.approx(second.main[name].value, abs=0.05)
        for choice, effect in first.choices[name].items():
            assert effect.value == pytest.approx(second.choices[name][choice].value, abs=0.02)


def test_the_same_trials_give_the_same_answer():
    space = Space({"a": 3, "b": 4})
    told = trials(space, lambda c: 0.2 + 0.15 * c["a"], count=30)
    assert importance(space, told) == importance(space, told)


def test_shares_sum_to_one_and_are_json():
    space = Space({"a": 3, "b": (None, ("x", 1)), "c": 5})
    found = importance(space, trials(space, lambda c: 0.2 + 0.15 * c["a"], count=60))
    assert sum(shares(found).values()) + found.rest.value == pytest.approx(1)
    body = json.loads(json.dumps(importance_json(found), allow_nan=False))
    assert body["main"]["a"]["low"] <= body["main"]["a"]["share"] <= body["main"]["a"]["high"]
    assert [pair["of"] for pair in body["pairs"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert [entry["choice"] for entry in body["choices"]["b"]] == ["None", "('x', 1)"]


def test_ten_slots_and_a_hundred_trials_take_little_time():
    space = Space({f"v{d}": 10 for d in range(10)})
    told = trials(space, lambda c: 0.2 + 0.05 * c["v0"], count=100)
    before = time.process_time()
    found = importance(space, told)
    assert time.process_time() - before < 10  # about 1 s; the bound is for a busy machine
    assert max(found.main, key=lambda name: found.main[name].value) == "v0"


def test_a_space_with_more_configurations_than_an_integer_counts_has_importances():
    space = Space({f"v{d}": 20 for d in range(15)})
    assert space.size() > 2**63
    found = importance(space, trials(space, lambda c: 0.1 + 0.04 * c["v0"], count=30))
    assert sum(shares(found).values()) + found.rest.value == pytest.approx(1)
