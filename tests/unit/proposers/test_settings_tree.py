"""The settings as a tree: what is active where, and what reusing a proposal takes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from small_runs import counted, small, task_of
from writing import wanted

from mipro.bootstrapping import bootstrap
from mipro.optimizers.proposing import Proposing
from mipro.optimizers.slots import Slots
from mipro.proposers.history import Tried
from mipro.proposers.settings import Settings, from_config, settings_space


@pytest.mark.parametrize(
    ("sets", "history", "reuse"), list(product((1, 2, 4), (False, True), (False, True)))
)
def test_what_hangs_from_what(sets: int, history: bool, reuse: bool):
    space = settings_space(sets, history=history, reuse=reuse)
    configs = list(space.enumerate())
    for config in configs:
        assert ("demo_set" in config) == (sets > 2 and config["demos"])
        assert ("temperature" in config) == (not config.get("reuse", False))
        settings = from_config(config)
        assert (settings.demo_set > 0) == config.get("demos", False)
        assert settings.demo_set < sets
        assert settings.to_config(space) == config
    demos = {1: 1, 2: 2, 4: 4}[sets]
    assert len(configs) == 2 * 2 * 6 * demos * (2 if history else 1) * (4 if reuse else 3)


def test_settings_are_of_one_kind_where_evidence_and_tip_are():
    one = Settings(tip="simple", demo_set=2, temperature=0.3)
    assert one.shown == Settings(tip="simple", demo_set=2, reuse=True).shown
    assert one.shown != Settings(tip="simple", demo_set=3).shown
    assert one.shown != Settings(tip="simple", demo_set=2, own=(("notes", 1),)).shown


def made(lm) -> tuple[Proposing, Slots]:
    world = small("iris")
    sets = bootstrap(world.program, world.train, world.metric, lm=world.lm, sets=3).demo_sets
    proposing = Proposing(replace(task_of(world), prompt_lm=lm), sets)
    originals = {m: (p.instruction,) for m, p in world.program.prompts().items()}
    return proposing, Slots(originals, dict.fromkeys(originals, ((),)), tune_demos=False)


def proposals(lm) -> int:
    return sum(wanted(request) == "proposed_instruction" for request in lm.seen)


WARM = Settings(temperature=1.0)
REUSE = Settings(temperature=1.0, reuse=True)


def test_the_best_proposal_on_the_same_grounds_is_reused_at_no_call():
    lm = counted()
    proposing, slots = made(lm)
    drafts = [proposing.draft("classify", WARM) for _ in range(6)]
    slots, choices = proposing.proposed(slots, drafts, {})
    texts = slots.instructions["classify"]
    assert len(set(choices)) > 2
    best = sorted(set(choices))[1]
    tried = [Tried(texts[c], 0.9 if c == best else 0.5, 7) for c in set(choices)]
    before = len(lm.seen)
    again = [proposing.draft("classify", REUSE)]
    after, reused = proposing.proposed(slots, again, {"classify": tried})
    assert reused == [best]
    assert after == slots
    assert len(lm.seen) == before


def test_nothing_is_reused_of_what_stood_on_other_grounds():
    lm = counted()
    proposing, slots = made(lm)
    slots, _ = proposing.proposed(slots, [proposing.draft("classify", WARM)], {})
    other = Settings(tip="simple", reuse=True)
    _, choices = proposing.proposed(slots, [proposing.draft("classify", other)], {})
    assert choices == [2]
    assert proposals(lm) == 2
    assert lm.seen[-1].temperature == 0.0


def test_where_there_is_none_to_reuse_one_is_written_once_and_is_the_same_ever_after():
    lm = counted()
    proposing, slots = made(lm)
    for _ in range(3):
        slots, choices = proposing.proposed(slots, [proposing.draft("classify", REUSE)], {})
        assert choices == [1]
    assert proposals(lm) == 1
    slots, choices = proposing.proposed(slots, [proposing.draft("classify", WARM)], {})
    assert proposals(lm) == 2  # a new one is written where it is asked for
