"""0-Shot MIPRO++: settings drawn, instructions fresh from them, both credited; no demos."""

from __future__ import annotations

import json
from functools import partial

import pytest
from doubles import CountingLM, asked, chat
from small_runs import SHORT, counted, of, recorded, run, small, task_of

import mipro
from mipro.lm.base import Request
from mipro.optimizers.loop import run_loop
from mipro.optimizers.plus_plus import MiproPlusPlus
from mipro.proposers.settings import from_config
from mipro.worlds import World

METHOD = "mipro_plus_plus"


def proposes(request: Request) -> bool:
    return "`proposed_instruction`" in request.messages[0].content


def proposals_between(events: list) -> list[list]:
    """The proposals of each trial, by the `settings` events that follow them."""
    found, waiting = [], []
    for event in events:
        if event["event"] == "proposal":
            waiting.append(event)
        elif event["event"] == "settings":
            found.append(waiting)
            waiting = []
    return found


def test_each_minibatch_trial_draws_one_setting_for_all_modules():
    _, events = recorded(small(), METHOD, trials=10)
    drawn = of(events, "settings")
    trials = {e["number"]: e for e in of(events, "trial")}
    assert len(drawn) == 10
    for event, made in zip(drawn, proposals_between(events), strict=True):
        trial = trials[event["trial"]]
        assert trial["kind"] == "minibatch"
        assert trial["config"] == event["instructions"]
        settings = json.loads(json.dumps(from_config(event["settings"]).to_json()))
        assert all(proposal["settings"] == settings for proposal in made)
        if not event["settings"]["reuse"]:
            assert [proposal["module"] for proposal in made] == ["write_query", "answer"]


def test_the_score_credits_the_settings_and_the_instructions_with_its_n():
    strategy = MiproPlusPlus()
    _, trials = run_loop(strategy, task_of(small(), trials=9))
    told = [(o.score, o.n) for o in strategy.sampler.observations]
    assert told == [(t.score, t.n) for t in trials[1:]]
    assert {n for _, n in told} == {7, 15}  # the best in full speaks for its settings too
    for observation, trial in zip(strategy.sampler.observations, trials[1:], strict=True):
        origin = strategy.origins[strategy._key(trial.config)]
        if trial.kind == "full":
            assert dict(observation.config) == dict(origin)


def test_the_best_so_far_is_evaluated_in_full_every_s_trials_and_at_the_end():
    result, events = recorded(small(), METHOD, trials=8, full_every=3)
    kinds = "".join(event["kind"][0] for event in of(events, "trial"))
    assert kinds == "f" + "mmmf" + "mmmf" + "mmf"
    assert result.chosen.kind == "full"
    for i, trial in enumerate(result.trials):
        if i and trial.kind == "full":
            before = [t.config for t in result.trials[1:i] if t.kind == "minibatch"]
            assert trial.config in before


def test_no_candidate_has_demonstrations_though_the_proposer_is_shown_some():
    result, events = recorded(small(), METHOD, trials=12)
    assert of(events, "bootstrap")
    assert any("demos" in e["evidence"] for e in of(events, "proposal"))
    assert not any(prompt.demos for prompt in result.candidate.values())
    world, lm = small(), counted()
    run(world, METHOD, lm=lm, prompt_lm=counted(), trials=12, max_labelled=0)
    assert all(len(request.messages) == 2 for request in lm.seen)  # system and one user turn


def test_with_one_demo_set_nothing_is_bootstrapped_and_no_demos_can_be_chosen():
    lm = counted()
    _, events = recorded(small(), METHOD, demo_sets=1, teacher=None, lm=lm)
    assert not of(events, "bootstrap")
    assert not {"demos", "demo_set"} & set(of(events, "space")[0]["choices"])


def test_a_proposal_reused_is_no_call_to_the_prompt_lm():
    lm = counted()
    _, events = recorded(small(), METHOD, prompt_lm=lm, trials=20)
    calls = sum(proposes(request) for request in lm.seen)
    drawn = of(events, "settings")
    reused = [e for e in drawn if e["settings"]["reuse"]]
    assert reused
    assert calls == len(of(events, "proposal")) <= 2 * len(drawn)


def test_without_history_and_reuse_the_settings_are_the_papers():
    _, events = recorded(small(), partial(MiproPlusPlus, history=False, reuse=False))
    assert set(of(events, "space")[0]["choices"]) == {
        *("dataset_summary", "program_summary", "tip", "temperature", "demos", "demo_set")
    }
    assert not any("history" in e["evidence"] for e in of(events, "proposal"))
    assert len(of(events, "proposal")) == 2 * SHORT["trials"]


def test_a_module_whose_proposal_fails_keeps_its_original_instruction():
    world = small()

    def reply(request) -> str:
        if proposes(request) and asked(request, "module").startswith("write_query"):
            return chat(nothing="to be read")
        return world.lm(request).text

    result, events = recorded(world, METHOD, prompt_lm=CountingLM(reply))
    assert {t.config.get("write_query.instruction", 0) for t in result.trials} == {0}
    assert len({t.config.get("answer.instruction", 0) for t in result.trials}) > 3
    assert any("proposals failed" in e["text"] for e in of(events, "note"))


def test_importances_and_the_settings_to_recommend_are_told():
    result, events = recorded(small("iris"), METHOD, trials=20)
    found = result.settings_importances
    assert set(found.main) == set(of(events, "space")[0]["choices"])
    assert set(found.choices["dataset_summary"]) == {True, False}
    for effect in found.main.values():
        assert 0 <= effect.low <= effect.value <= effect.high <= 1
    assert result.to_json()["settings_importances"]["main"].keys() == found.main.keys()
    (learned,) = of(events, "learned")
    drawn = [e["settings"] for e in of(events, "settings")]
    assert learned["settings"] in drawn


def test_methods_that_learn_no_settings_say_so():
    result = run(small("iris"), "mipro")
    assert result.settings_importances is None
    assert result.to_json()["settings_importances"] is None


@pytest.fixture(scope="module")
def shifted() -> World:
    return small("misled", train=100, val=20)


def test_all_examples_at_once_need_no_second_evaluation(shifted: World):
    result, _ = recorded(shifted, METHOD, minibatch=20, trials=6)
    assert len(result.trials) == 7
    assert {trial.n for trial in result.trials} == {20}


def test_where_the_budget_ends_the_search_the_leader_is_still_evaluated(shifted: World):
    result = run(shifted, METHOD, trials=40, budget=mipro.Budget(calls=330))
    assert result.stopped == "calls"
    assert result.chosen.n == 20
    assert result.calls <= 330
