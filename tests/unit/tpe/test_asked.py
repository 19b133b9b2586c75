"""A configuration told as what came of another that was asked, and choices that are barred."""

from __future__ import annotations

import json

import numpy as np
import pytest
from active import active

from mipro.tpe import TPE, Choice, Settings, Space
from mipro.tpe.bound import UpperBound
from mipro.tpe.history import History

SETTINGS = Space({"tip": ("a", "b", "c"), "shown": 2, "which": Choice(3, when=("shown", 1))})


def tree(indices: int) -> Space:
    """The settings as a branch of another space."""
    branch = {
        "new.tip": Choice(SETTINGS.choices("tip"), when=("i", "new")),
        "new.shown": Choice(2, when=("i", "new")),
        "new.which": Choice(3, when=("new.shown", 1)),
    }
    return Space({"i": ("new", *range(indices)), **branch, "demos": 3})


NEW_B = {"i": "new", "new.tip": "b", "new.shown": 0, "demos": 2}


def test_a_space_becomes_a_branch_of_another():
    space = tree(2)
    assert space.names == ("i", "new.tip", "new.shown", "new.which", "demos")
    assert active(space, {"i": 0, "demos": 1}) == ("i", "demos")
    assert set(active(space, {"i": "new", "new.shown": 0})) == {
        "i",
        "new.tip",
        "new.shown",
        "demos",
    }
    assert "new.which" in active(space, {"i": "new", "new.shown": 1})
    assert space.size() == 3 * (2 + SETTINGS.size())
    assert tree(3).is_growth_of(space)


def test_what_came_of_an_asked_configuration_is_told_once():
    history = History(tree(4))
    history.tell({"i": 3, "demos": 2}, 0.5, 35, NEW_B)
    history.tell({"i": 0, "demos": 2}, 0.25, 80)
    assert (len(history), history.pool.examples) == (2, 115)
    pool = history.pool
    assert pool.n.tolist() == [35, 80]
    assert [one.asked for one in history.told] == [history.space.key(NEW_B), history.told[1].key]
    # both sides of the first are counted, and the slot that they share once
    both = history.hot(pool.codes).sum(axis=0)
    choices = {
        (name, value): count
        for (name, value), count in zip(
            [(n, v) for n in history.space.names for v in history.space.choices(n)],
            both,
            strict=True,
        )
    }
    assert sum(choices.values()) == 5 + 2
    assert choices["i", 3] == choices["i", "new"] == choices["new.tip", "b"] == 1
    assert choices["demos", 2] == 2
    assert sum(choices["demos", v] for v in range(3)) == 2


def test_what_was_asked_may_be_said_late_and_the_first_word_holds():
    history, config = History(tree(4)), {"i": 3, "demos": 2}
    for asked in (None, NEW_B, {**NEW_B, "new.tip": "c"}, None):
        history.tell(config, 0.5, 5, asked)
    key, new = history.space.key(config), history.space.key(NEW_B)
    assert [one.asked for one in history.told] == [key, new, new, new]
    sampler = TPE(history.space)
    for asked in (None, NEW_B, {**NEW_B, "new.tip": "c"}, None):
        sampler.tell(config, 0.5, 5, asked=asked)
    again = TPE.from_state(history.space, json.loads(json.dumps(sampler.state())))
    assert again.state() == sampler.state()
    assert again._history.told == sampler._history.told == history.told


def test_told_as_itself_it_is_as_if_nothing_were_asked():
    plain, told = TPE(tree(3), 0, startup=2), TPE(tree(3), 0, startup=2)
    for index, score in enumerate((0.2, 0.8, 0.4)):
        config = {"i": index, "demos": index}
        plain.tell(config, score, 10)
        told.tell(config, score, 10, asked=config)
    assert plain.state() == told.state()
    assert [plain.ask() for _ in range(5)] == [told.ask() for _ in range(5)]


def test_a_centre_is_as_near_as_the_nearer_of_what_it_stands_for():
    space, ratio = tree(4), 0.5
    history = History(space)
    history.tell({"i": 3, "demos": 2}, 0.5, 35, NEW_B)
    hot, nothing = history.hot(history.pool.codes), np.zeros(sum(space.sizes))

    def near(config):
        bound = UpperBound(space, hot, np.ones(1), 0.0, nothing, nothing, ratio, prior=0.0)
        return float(bound.evidence(np.array([space.encode(config)]))[1][0])

    assert near({"i": 3, "demos": 2}) == pytest.approx(1)
    assert near(NEW_B) == pytest.approx(1)
    assert near({**NEW_B, "new.tip": "c"}) == pytest.approx(ratio)
    assert near({**NEW_B, "demos": 0}) == pytest.approx(ratio)
    assert near({"i": 1, "demos": 2}) == pytest.approx(ratio)


def test_an_asked_configuration_is_no_longer_pending_once_what_came_of_it_is_told():
    sampler = TPE(tree(2), 3, startup=40)
    for _ in range(40):
        asked = sampler.ask()
        if asked["i"] == "new":
            break
    assert asked["i"] == "new"
    came = sampler.regrow(tree(3))
    pending = len(came.state()["pending"])
    came.tell({"i": 2, "demos": asked["demos"]}, 0.5, 5, asked=asked)
    assert len(came.state()["pending"]) == pending - 1
    assert came.best().config == {"i": 2, "demos": asked["demos"]}


@pytest.mark.parametrize("grow", [False, True])
def test_what_was_asked_is_not_asked_again_because_it_was_told_as_something_else(grow: bool):
    """A start-up on an asked side that is never told as itself: the design goes on."""
    sampler, asked = TPE(tree(2), 3, startup=12), []
    for index in range(8):
        asked.append(sampler.ask())
        sampler.tell({"i": index % 2, "demos": index % 3}, 0.5, 5, asked=asked[-1])
        sampler = sampler.regrow(tree(3 + index)) if grow else sampler
    new = [tuple(config.items()) for config in asked if config["i"] == "new"]
    assert len(set(new)) == len(new) > 2


def test_state_and_growth_keep_what_was_asked():
    sampler = TPE(tree(2), 1, startup=1)
    sampler.tell({"i": 1, "demos": 2}, 0.9, 20, asked=NEW_B)
    sampler.tell({"i": 0, "demos": 0}, 0.1, 20)
    again = TPE.from_state(sampler.space, sampler.state())
    assert again.state() == sampler.state()
    grown = sampler.regrow(tree(5))
    assert grown.state()["observations"] == sampler.state()["observations"]
    asked = [list(sampler.space.key(config)) for config in (NEW_B, {"i": 0, "demos": 0})]
    assert [row[3] for row in sampler.state()["observations"]] == asked
    assert [again.ask() for _ in range(6)] == [sampler.ask() for _ in range(6)]


@pytest.mark.parametrize("startup", [1, 30])
@pytest.mark.parametrize("limit", [1, 1000])
def test_a_barred_choice_is_not_asked_and_is_there_again_next_time(startup: int, limit: int):
    sampler = TPE(tree(6), 0, startup=startup, settings=Settings(exact_limit=limit))
    sampler.tell({"i": 1, "demos": 1}, 0.9, 10, asked={**NEW_B, "demos": 1})
    for _ in range(12):
        assert sampler.ask(without=[("i", "new")])["i"] != "new"
    assert any(sampler.ask()["i"] == "new" for _ in range(12))
    with pytest.raises(ValueError, match="'i' cannot be"):
        sampler.ask(without=[("i", 99)])


@pytest.mark.parametrize("limit", [1, 1000])
def test_variables_apart_can_be_told_what_was_asked(limit: int):
    settings = Settings(multivariate=False, exact_limit=limit)
    sampler = TPE(tree(4), 0, startup=1, settings=settings)
    sampler.tell({"i": 1, "demos": 1}, 0.9, 10, asked={**NEW_B, "demos": 1})
    sampler.tell({"i": 2, "demos": 0}, 0.1, 10)
    asked = [sampler.ask() for _ in range(5)]
    assert len({sampler.space.key(config) for config in asked}) == 5


def test_the_better_settings_are_asked_under_new():
    """A score told for indices credits the settings they were asked for under."""
    sampler = TPE(tree(1), 5, startup=1, settings=Settings(recheck=0))
    sampler.tell({"i": 0, "demos": 0}, 0.3, 50)
    for index in range(1, 25):
        sampler = sampler.regrow(tree(index + 1))
        tip = "abc"[index % 3]
        asked = {**NEW_B, "new.tip": tip, "demos": index % 2}
        config = {"i": index, "demos": index % 2}
        sampler.tell(config, 0.8 if tip == "b" else 0.3, 50, asked=asked)
    barred = [("i", index) for index in range(25)]
    tips = [sampler.ask(without=barred)["new.tip"] for _ in range(6)]
    assert tips.count("b") >= 5
