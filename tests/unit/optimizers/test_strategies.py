"""The strategies step by step: what they tell their samplers, when they evaluate in full."""

from __future__ import annotations

from dataclasses import replace

import pytest
from doubles import CountingLM, chat
from small_runs import of, recorded, small, task_of

from mipro.errors import ConfigError
from mipro.optimizers.loop import run_loop
from mipro.optimizers.mipro import Mipro
from mipro.optimizers.random_search import RandomSearch
from mipro.optimizers.slots import Slots
from mipro.optimizers.task import Options, Step, Trial
from mipro.optimizers.trials import batch_of
from mipro.programs.prompt import Demo, Prompt

DEMO = Demo({"context": [], "question": "q", "search_query": "s"})


@pytest.fixture
def slots() -> Slots:
    demos = {"a": ((), (DEMO,)), "b": ((), (DEMO, DEMO), (DEMO,))}
    return Slots({"a": ("a0", "a1", "a2"), "b": ("b0", "b1")}, demos)


# --- slots ---------------------------------------------------------------------------------------


def test_a_configuration_names_a_candidate(slots: Slots):
    config = {"a.instruction": 2, "a.demos": 1, "b.instruction": 0, "b.demos": 2}
    assert slots.candidate(config) == {"a": Prompt("a2", (DEMO,)), "b": Prompt("b0", (DEMO,))}
    assert slots.candidate({}) == slots.candidate(slots.original)
    assert slots.candidate({}) == {"a": Prompt("a0"), "b": Prompt("b0")}


def test_a_side_that_is_not_tuned_has_no_variable(slots: Slots):
    assert slots.space.size() == 3 * 2 * 2 * 3
    assert set(replace(slots, tune_demos=False).space.names) == {"a.instruction", "b.instruction"}
    assert set(replace(slots, tune_instructions=False).space.names) == {"a.demos", "b.demos"}


def test_new_instructions_come_after_those_there_are(slots: Slots):
    grown = slots.with_instructions("b", ["b2"])
    assert grown.instructions["b"] == ("b0", "b1", "b2")
    assert grown.space.is_growth_of(slots.space)


# --- the loop ------------------------------------------------------------------------------------


def test_minibatches_are_drawn_without_replacement_and_anew_for_each_trial():
    task = task_of(small())
    step = Step({}, {}, "minibatch")
    batches = [batch_of(step, task, number) for number in range(30)]
    assert all(len(set(batch)) == 7 for batch in batches)
    assert len(set(batches)) > 25
    assert {i for batch in batches for i in batch} == set(range(15))
    assert batches == [batch_of(step, task, number) for number in range(30)]
    assert batch_of(replace(step, kind="full"), task, 3) == tuple(range(15))


def test_a_candidate_that_fails_everywhere_scores_the_worst_and_the_run_goes_on():
    world = small("iris")

    class Fragile(RandomSearch):
        def propose(self) -> Step | None:
            step = super().propose()
            return step and Step(step.config, {"classify": Prompt("BREAK")}, "full")

    lm = CountingLM(lambda r: "?" if "BREAK" in r.messages[0].content else world.lm(r).text)
    task = replace(task_of(world), lm=lm)
    _, trials = run_loop(Fragile(), task)
    assert len(trials) > 2
    assert trials[0].failures < 15
    assert {(t.score, t.failures) for t in trials[1:]} == {(0.0, 15)}


# --- MIPRO ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Mipro, RandomSearch])
def test_every_score_is_told_with_the_examples_behind_it(strategy):
    made = strategy()
    _, trials = run_loop(made, task_of(small()))
    told = [(dict(o.config), o.score, o.n) for o in made.sampler.observations]
    original = made.slots.original
    assert told == [(dict(t.config) or dict(original), t.score, t.n) for t in trials]
    if strategy is Mipro:
        assert {n for _, _, n in told} == {7, 15}


def test_a_full_evaluation_comes_after_every_s_minibatches_and_at_the_end():
    _, events = recorded(small(), trials=8, full_every=3)
    kinds = "".join(event["kind"][0] for event in of(events, "trial"))
    assert kinds == "f" + "mmmf" + "mmmf" + "mmf"


def test_a_full_evaluation_is_of_the_best_mean_not_yet_fully_evaluated():
    made = Mipro()
    _, trials = run_loop(made, task_of(small(), proposal_waves=1))
    space = made.slots.space
    for i, trial in enumerate(trials):
        if trial.kind == "full" and i:
            config = space.key(trial.config)
            before = trials[:i]
            known = {space.key(t.config or made.slots.original) for t in before if t.n == 15}
            assert config not in known
            assert config in {space.key(t.config) for t in before[1:]}


def test_all_examples_at_once_need_no_second_evaluation():
    result, events = recorded(small(), minibatch=15, trials=6)
    assert {event["n"] for event in of(events, "trial")} == {15}
    assert len(result.trials) == 7


def test_half_of_the_proposals_wait_for_the_first_scores():
    result, events = recorded(small(), trials=9, instructions=6)
    spaces = of(events, "space")
    assert [space["grown"] for space in spaces] == [False, True]
    assert spaces[0]["choices"]["answer.instruction"] <= 4
    assert spaces[1]["choices"]["answer.instruction"] > spaces[0]["choices"]["answer.instruction"]
    before = [e["event"] for e in events[: events.index(spaces[1])]].count("trial")
    assert before == 1 + 3 + 0  # the original and a third of the trials
    shown = [e for e in of(events, "proposal") if "history" in e["evidence"]]
    assert all(events.index(e) > events.index(spaces[0]) for e in shown)
    assert len(result.trials) > 9


def test_one_wave_proposes_all_before_the_search_as_in_the_paper():
    _, events = recorded(small(), proposal_waves=1, instructions=6)
    assert len(of(events, "space")) == 1
    proposals = of(events, "proposal")
    assert len(proposals) == 2 * 5
    first = of(events, "trial")[1]
    assert events.index(proposals[-1]) < events.index(first)


def test_the_settings_of_the_proposals_are_spread_over_their_space():
    _, events = recorded(small(), proposal_waves=1, instructions=7)
    settings = [event["settings"] for event in of(events, "proposal")]
    assert len({s["tip"] for s in settings}) == 6
    assert len({s["temperature"] for s in settings}) == 3
    assert {s["dataset_summary"] for s in settings} == {True, False}
    assert len({s["demo_set"] for s in settings}) > 2


def test_an_instruction_proposed_twice_is_one_choice():
    world = small()

    def reply(request) -> str:
        if "`proposed_instruction`" in request.messages[0].content:
            return chat(proposed_instruction="Always the same.")
        return world.lm(request).text

    _, events = recorded(world, "mipro_zero_shot", prompt_lm=CountingLM(reply))
    taken = [e for e in of(events, "proposal") if e["index"] is not None]
    assert [(e["module"], e["index"]) for e in taken] == [("write_query", 1), ("answer", 1)]
    assert of(events, "space")[-1]["size"] == 4


def test_of_two_that_are_equal_the_earlier_is_returned():
    made = RandomSearch()
    made.initialize(task_of(small("iris")))
    for number, score in enumerate((0.5, 0.8, 0.8)):
        config = {"classify.demos": number}
        made.update(Trial(number, config, score, 15, "full"))
    assert made.extract().trial.number == 1


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"trials": 0}, "trials = 0"),
        ({"minibatch": 2.5}, "minibatch = 2.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": True}, "seed = True"),
        ({"instructions": 0}, "instructions = 0"),
        ({"threshold": "high"}, "threshold = 'high'"),
        ({"threshold": float("nan")}, "threshold = nan"),
        ({"treads": 3}, "'treads'.*threads"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: dict, why: str):
    with pytest.raises(ConfigError, match=why):
        Options.of(setting)


@pytest.mark.parametrize(
    ("options", "val", "spent"),
    [
        (Options(trials=50, minibatch=35, full_every=10), 100, 50 * 35 + 5 * 100),
        (Options(trials=7, minibatch=5, full_every=3), 15, 7 * 5 + 3 * 15),
        (Options(trials=7, minibatch=35, full_every=3), 15, 7 * 15),
    ],
)
def test_the_examples_a_run_may_spend_are_known_before_it(options, val: int, spent: int):
    assert options.examples(val) == spent
