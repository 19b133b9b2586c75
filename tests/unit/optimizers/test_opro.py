"""OPRO's family: what its proposers are shown, who writes which instruction, what is held.

On a ladder whose score is known: two modules, and an instruction of each may say "Level k.". An
example with number i is answered rightly where i is below the sum of both levels. The prompt LM is
scripted: it takes the last entry of the history it is shown, and writes the next level.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from doubles import CountingLM, asked, chat
from small_runs import counted, of, recorded, run, small, task_of

import mipro
from mipro.lm.base import Request
from mipro.optimizers.leading import Scores
from mipro.optimizers.loop import run_loop
from mipro.optimizers.opro import PATIENCE, Opro
from mipro.optimizers.opro_ways import ByCoordinate, ByModule, ByProgram
from mipro.optimizers.task import Trial
from mipro.proposers import grounded, whole_program

FAMILY = ("opro_module", "opro_module_ungrounded", "opro_program", "opro_coordinate")
FULL = 20  # examples
ONE, WHOLE = "`proposed_instruction`", "`instruction_1`"


class Ladder(mipro.Program):
    """Two modules whose names no field may have."""

    def __init__(self) -> None:
        self.steps = [
            mipro.Predict("question -> hint", "Level 0."),
            mipro.Predict("question, hint -> answer", "Level 0."),
        ]

    def forward(self, question: str) -> mipro.Prediction:
        return self.steps[1](question=question, hint=self.steps[0](question=question).hint)


def level(text: str) -> int:
    return int(re.search(r"Level (\d+)", text).group(1))  # type: ignore[union-attr]


def climbing(request: Request) -> str:
    """The task LM: the first module hands its level on."""
    own = level(request.messages[0].content)
    if "`hint`" in request.messages[0].content.partition("Output fields:")[2]:
        return chat(hint=own)
    number = int(asked(request, "question"))
    return chat(answer="yes" if number < own + int(asked(request, "hint")) else "no")


def history_of(request: Request) -> list[dict[str, Any]]:
    lines = re.findall(r"^\[\d+\] (\{.*\})$", asked(request, "history"), re.MULTILINE)
    return [json.loads(line) for line in lines]


def is_proposal(request: Request) -> bool:
    return any(name in request.messages[0].content for name in (ONE, WHOLE))


def next_level(request: Request) -> str:
    """The prompt LM."""
    system = request.messages[0].content.partition("Output fields:")[2]
    if not is_proposal(request):
        return chat(**dict.fromkeys(re.findall(r"^- `(\w+)`", system, re.MULTILINE), "COMPLETE"))
    last = history_of(request)[-1]
    if ONE in system:
        return chat(proposed_instruction=f"Level {level(last['instruction']) + 1}.")
    texts = [f"Level {level(text) + 1}." for text in last["instructions"].values()]
    return chat(**{f"instruction_{i}": text for i, text in enumerate(texts, 1)})


def climb(method: Any, prompt_lm: Any = None, **settings: Any) -> tuple[mipro.Result, list]:
    """A run on the ladder, every score on all of its examples unless told otherwise."""
    rows = [
        mipro.Example({"question": str(i), "answer": "yes"}, inputs=("question",))
        for i in range(FULL)
    ]
    events: list[Any] = []
    short = {"trials": 6, "minibatch": FULL, "full_every": 3, "instructions": 3, "demo_sets": 2}
    result = mipro.optimize(
        Ladder(),
        rows,
        mipro.metrics.exact_match("answer"),
        val=rows,
        lm=CountingLM(climbing),
        prompt_lm=prompt_lm or CountingLM(next_level),
        method=method,
        on_event=events.append,
        **{"forecasts": False, **short, **settings},
    )
    return result, events


def levels(result: mipro.Result) -> list[int]:
    return [level(prompt.instruction) for prompt in result.candidate.values()]


# --- the history ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "reached"),
    [
        ("opro_module", [6, 6]),
        ("opro_module_ungrounded", [6, 6]),
        ("opro_program", [6, 6]),
        (
            "opro_coordinate",
            [4, 2],
        ),  # two proposals a visit: the first module twice, the other once
    ],
)
def test_it_climbs_from_the_best_which_is_shown_last(method: str, reached: list[int]):
    result, _ = climb(method)
    assert levels(result) == reached
    assert result.score == sum(reached) / FULL


@pytest.mark.parametrize("method", FAMILY)
def test_were_the_worst_shown_last_it_would_not(method: str, monkeypatch: pytest.MonkeyPatch):
    one, whole = grounded.best_last, whole_program.best_programs_last
    monkeypatch.setattr(grounded, "best_last", lambda history: one(history, 99)[::-1])
    monkeypatch.setattr(whole_program, "best_programs_last", lambda h, n: whole(h, n, 99)[::-1])
    result, _ = climb(method)
    assert max(levels(result)) == 1


@pytest.mark.parametrize("method", FAMILY)
def test_the_history_is_ascending_and_says_the_examples_behind_each_score(method: str):
    world = small()
    lm = counted()
    result = run(world, method, prompt_lm=lm, trials=9, forecasts=False)
    prompts = [request for request in lm.seen if is_proposal(request)]
    assert len(prompts) >= 9
    trials = [t for t in result.trials if t.kind == "minibatch"]
    for request in prompts:
        shown = history_of(request)
        assert 1 <= len(shown) <= 5
        assert [entry["score"] for entry in shown] == sorted(entry["score"] for entry in shown)
        assert all(entry["n"] >= 7 for entry in shown)
    # the original was seen on all of the examples, so far the only thing that is known
    assert [(e["score"], e["n"]) for e in history_of(prompts[0])] == [(result.baseline, 15)]
    assert len(trials) <= 9
    assert {entry["n"] for entry in history_of(prompts[-1])} <= set(range(7, 15 * 10))


def test_a_score_in_the_history_is_pooled_over_all_trials_of_the_instruction():
    # the second module keeps its instruction while the first one's is tried
    lm = CountingLM(next_level)
    result, _ = climb("opro_coordinate", lm, trials=3)
    other = next(r for r in lm.seen if is_proposal(r) and "steps[1]: " in asked(r, "module"))
    (shown,) = history_of(other)
    assert [t.score for t in result.trials[:3]] == [0.0, 0.05, 0.1]
    assert (shown["score"], shown["n"]) == (0.05, 3 * FULL)


def test_what_leads_on_few_examples_is_shrunk_before_it_leads():
    scores = Scores(1)
    for key, score, n in (((0,), 0.5, 200), ((1,), 0.62, 200), ((2,), 0.8, 5), ((3,), 0.4, 5)):
        scores.add(key, Trial(0, {}, score, n, "minibatch"))
    believed = scores.believed()
    assert [b.key[0] for b in believed[:2]] == [1, 2]
    assert 0.5 < believed[1].mean < 0.62 < 0.8
    assert believed[0].mean == pytest.approx(0.62, abs=0.01)
    scores.add((2,), Trial(0, {}, 0.8, 195, "full"))  # it was merit
    assert scores.believed()[0].key == (2,)
    assert scores.believed()[0].n == 200


def test_of_equals_the_earlier_is_the_better():
    scores = Scores(2)
    for key in ((3, 0), (0, 0), (1, 2)):
        scores.add(key, Trial(0, {}, 0.5, 10, "minibatch"))
    assert [b.key for b in scores.believed()] == [(3, 0), (0, 0), (1, 2)]


# --- who writes what -----------------------------------------------------------------------------


def test_by_module_each_has_a_call_and_a_history_of_its_own():
    lm = CountingLM(next_level)
    result, events = climb("opro_module", lm, trials=3)
    prompts = [r for r in lm.seen if is_proposal(r)]
    names = [asked(r, "module").partition(": ")[0] for r in prompts]
    assert sorted(names) == ["steps[0]"] * 3 + ["steps[1]"] * 3
    assert all(entry.keys() == {"instruction", "score", "n"} for entry in history_of(prompts[0]))
    assert [t.config for t in result.trials[1:]] == [
        {"steps[0].instruction": k, "steps[1].instruction": k} for k in (1, 2, 3)
    ]
    assert len(of(events, "proposal")) == 6


def test_by_program_one_call_writes_all_modules_from_a_history_of_programs():
    lm = CountingLM(next_level)
    result, events = climb("opro_program", lm, trials=3)
    prompts = [r for r in lm.seen if is_proposal(r)]
    assert len(prompts) == 3
    for request in prompts:
        for entry in history_of(request):
            assert entry.keys() == {"instructions", "score", "n"}
            assert entry["instructions"].keys() == {"steps[0]", "steps[1]"}
    assert "instruction of module 2, steps[1]" in prompts[0].messages[0].content
    assert [e["n"] for e in history_of(prompts[2])] == [FULL] * 3
    assert [t.config["steps[1].instruction"] for t in result.trials[1:]] == [1, 2, 3]
    assert [e["module"] for e in of(events, "proposal")] == ["steps[0]", "steps[1]"] * 3


def test_what_is_written_for_a_module_goes_to_that_module():
    def reply(request: Request) -> str:
        if WHOLE in request.messages[0].content:
            return chat(instruction_1="Level 3.", instruction_2="Level 5.")
        return next_level(request)

    result, _ = climb("opro_program", CountingLM(reply), trials=1)
    assert {m: p.instruction for m, p in result.candidate.items()} == {
        "steps[0]": "Level 3.",
        "steps[1]": "Level 5.",
    }


@pytest.mark.parametrize("k", [1, 3])
def test_coordinate_ascent_holds_the_others_at_the_best_there_is(k: int):
    numbers = iter((3, 1, 2, 1, 4, 2, 4, 5, 1))  # the best of a visit is not its last

    def reply(request: Request) -> str:
        if is_proposal(request):
            return chat(proposed_instruction=f"Level {next(numbers)}.")
        return next_level(request)

    lm = CountingLM(reply)
    result, _ = climb("opro_coordinate", lm, trials=9, instructions=4, trials_in_flight=k)
    tried = [tuple(t.config.values()) for t in result.trials[1:] if t.kind == "minibatch"]
    known = {(0, 0): 0.0}
    scores = {tuple(t.config.values()): t.score for t in result.trials[1:]}
    for start, at in ((0, 0), (3, 1), (6, 0)):
        visit = tried[start : start + 3]
        held = max(known, key=lambda key: known[key])
        assert {key[1 - at] for key in visit} == {held[1 - at]}
        known |= {key: scores[key] for key in visit}
    assert levels(result) == [5, 4]


def test_with_one_module_coordinate_ascent_is_the_module_level():
    trials = [
        run(small("iris"), method, seed=3, forecasts=False).trials
        for method in ("opro_module", "opro_coordinate")
    ]
    assert trials[0] == trials[1]
    assert len(trials[0]) > 8


# --- what it is grounded in ----------------------------------------------------------------------


def test_ungrounded_prompts_hold_no_data_and_no_summary():
    world, lm = small(), counted()
    _, events = recorded(world, "opro_module_ungrounded", prompt_lm=lm)
    assert lm.calls == len(of(events, "proposal")) == 2 * 8  # nothing else was asked
    text = "\n".join(message.content for request in lm.seen for message in request.messages)
    for example in (*world.train, *world.val):
        assert example.question not in text
    headers = set(re.findall(r"\[\[ ## (\w+) ## \]\]", text))
    assert headers == {
        *("module", "fields", "position", "current_instruction", "history"),
        *("proposed_instruction", "completed"),
    }


@pytest.mark.parametrize("method", ["opro_module", "opro_program", "opro_coordinate"])
def test_grounded_prompts_show_summaries_and_demonstrations_that_no_candidate_has(method: str):
    lm = counted()
    result, events = recorded(small(), method, prompt_lm=lm)
    for event in of(events, "proposal"):
        assert {"dataset_summary", "program_description", "history"} <= set(event["evidence"])
        assert event["settings"]["demo_set"] in (1, 2, 3)
    shown = [r for r in lm.seen if is_proposal(r) and "[[ ## demos ## ]]" in r.messages[-1].content]
    assert shown
    assert len({asked(r, "demos") for r in shown}) > 1  # one set, then another
    assert not any(prompt.demos for prompt in result.candidate.values())
    texts = [e["kind"] for e in of(events, "text")]
    assert len(texts) == len(set(texts)) == 4  # of the data, the program and each module, once


# --- proposals that come to nothing --------------------------------------------------------------


def parrot(request: Request, text: str = "Level 9.") -> str:
    """A prompt LM that writes one instruction whatever it is shown."""
    if WHOLE in request.messages[0].content:
        return chat(instruction_1=text, instruction_2=text)
    return chat(proposed_instruction=text) if is_proposal(request) else next_level(request)


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize(("minibatch", "rounds"), [(FULL, FULL), (1, PATIENCE)])
def test_with_no_proposal_at_all_it_ends_with_the_original_and_says_why(
    method: str, minibatch: int, rounds: int
):
    lm = CountingLM(lambda r: "I would rather not." if is_proposal(r) else next_level(r))
    result, _ = climb(method, lm, trials=30, minibatch=minibatch)
    assert not result.improved
    assert len(result.trials) == 1
    assert any("ParseError" in note for note in result.notes)
    assert f"{rounds} of these in a row ended the search, after 0 of 30 trials" in result.notes[-1]
    modules = 1 if method in ("opro_program", "opro_coordinate") else 2
    # what these proposals cost is no more than a minibatch, two calls an example, would have
    assert len([r for r in lm.seen if is_proposal(r)]) == modules * rounds


def test_a_module_whose_proposal_failed_stays_at_its_best():
    tries = iter(range(99))

    def reply(request: Request) -> str:
        if is_proposal(request) and "steps[1]: " in asked(request, "module"):
            return next_level(request) if next(tries) < 2 else "I would rather not."
        return next_level(request)

    result, _ = climb("opro_module", CountingLM(reply), trials=4, threads=1)
    assert levels(result) == [4, 2]


@pytest.mark.parametrize("method", ["opro_program", "opro_coordinate"])
def test_a_proposal_that_failed_costs_itself_alone(method: str):
    tries = iter(range(99))

    def reply(request: Request) -> str:
        if is_proposal(request) and next(tries) % 2:
            return "I would rather not."
        return next_level(request)

    result, _ = climb(method, CountingLM(reply), trials=6, threads=1)
    assert len(result.trials) == 1 + 6
    assert "5 of 11 rounds of proposals brought no new program" in result.notes[-1]
    assert "5 left nothing to evaluate" in result.notes[-1]
    assert result.improved


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize("k", [1, 3])
def test_a_repeated_proposal_is_another_observation_and_no_trial_is_lost(method: str, k: int):
    lm = CountingLM(parrot)
    result, _ = climb(method, lm, trials=12, minibatch=5, full_every=12, trials_in_flight=k)
    minibatches = [t for t in result.trials if t.kind == "minibatch"]
    assert len(minibatches) == 12  # as many as it was given, though there is little to try
    assert (result.trials[-1].kind, levels(result)) == ("full", [9, 9])
    programs = {tuple(t.config.values()) for t in minibatches}
    assert programs == ({(1, 0), (1, 1)} if method == "opro_coordinate" else {(1, 1)})
    batches = [t.examples for t in minibatches]
    assert len(set(batches)) == len(batches)  # fresh examples at each
    assert "were evaluated again, on fresh examples" in result.notes[-1]
    assert "ended the search" not in result.notes[-1]


def test_the_evidence_of_a_repeated_program_is_pooled_with_its_n():
    lm = CountingLM(parrot)
    result, _ = climb("opro_module", lm, trials=4, minibatch=5, full_every=9, threads=1)
    prompts = [r for r in lm.seen if is_proposal(r) and "steps[0]: " in asked(r, "module")]
    shown = [{e["instruction"]: e["n"] for e in history_of(r)} for r in prompts]
    assert [seen.get("Level 9.") for seen in shown] == [None, 5, 10, 15]
    assert {seen["Level 0."] for seen in shown} == {FULL}
    assert result.chosen.n == FULL


@pytest.mark.parametrize("method", FAMILY)
def test_what_is_known_in_full_is_not_looked_at_again_the_best_that_is_not_is(method: str):
    numbers = iter((3, 7, *[0] * 90))  # then what the program came with, and no more

    def reply(request: Request) -> str:
        return parrot(request, f"Level {next(numbers)}." if is_proposal(request) else "")

    result, _ = climb(method, CountingLM(reply), trials=9, minibatch=5, full_every=9, threads=1)
    minibatches = [tuple(t.config.values()) for t in result.trials if t.kind == "minibatch"]
    assert len(minibatches) == 9
    assert (0, 0) not in minibatches  # the original: all of its examples were seen at the start


@pytest.mark.parametrize("method", FAMILY)
def test_it_ends_early_only_where_evaluating_again_would_say_nothing(method: str):
    whole, _ = climb(method, CountingLM(parrot), trials=40)
    both = method != "opro_coordinate"
    assert len(whole.trials) == 1 + (1 if both else 2)  # a minibatch is all there is to know
    assert f"{FULL} of these in a row ended the search, after" in whole.notes[-1]
    assert "of 40 trials" in whole.notes[-1]
    part, _ = climb(method, CountingLM(parrot), trials=40, minibatch=5, full_every=9)
    kinds = "".join(t.kind[0] for t in part.trials)
    # the one program, and of coordinate ascent the two, known in full: there is no more to learn
    assert kinds == "f" + "m" * 9 + "f" + ("" if both else "m" * 9 + "f")
    assert "ended the search" in part.notes[-1]


@pytest.mark.parametrize("method", FAMILY)
def test_a_repeat_that_nothing_is_evaluated_for_uses_up_no_trial(method: str):
    tries = iter(range(999))

    def reply(request: Request) -> str:
        if not is_proposal(request) or next(tries) % 7 == 0:  # seldom something new
            return next_level(request)
        return parrot(request, "Level 0.")

    result, _ = climb(method, CountingLM(reply), trials=5, threads=1)
    assert len(result.trials) == 1 + 5


@pytest.mark.parametrize("method", FAMILY)
def test_a_proposer_that_repeats_asks_as_much_as_was_forecast(method: str):
    result, _ = climb(
        method, CountingLM(parrot), trials=12, minibatch=5, full_every=12, forecasts=True
    )
    assert result.forecast is not None
    spent = result.phases["minibatches"]
    foretold = result.forecast.phases["minibatches"].calls.high  # no two requests alike
    assert spent["calls"] + spent["cached"] == foretold == 12 * 5 * 2
    assert spent["calls"] < foretold  # equal requests are sent once


# --- the loop ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [ByModule, ByProgram, ByCoordinate])
def test_a_full_evaluation_comes_after_every_s_and_at_the_end_of_the_leader(way: Any):
    made = Opro(way)
    _, trials = run_loop(made, task_of(small(), trials=8, full_every=3, seed=2))
    kinds = "".join(trial.kind[0] for trial in trials)
    assert kinds == "f" + "mmmf" + "mmmf" + "mmf"
    for i, trial in enumerate(trials[1:], 1):
        if trial.kind == "full":
            known = [t.config for t in trials[:i] if t.n == 15]
            before = Scores(2)
            for t in trials[:i]:
                before.add(made.memory.key(t.config), t)
            ranked = [made.memory.config(b.key) for b in before.believed()]
            assert trial.config == next(c for c in ranked if c not in known and any(c.values()))


@pytest.mark.parametrize("method", FAMILY)
def test_a_budget_ends_it_with_the_leader_in_full(method: str):
    lm = counted()
    free = run(small(), method, lm=lm, trials=12, full_every=12)
    most = free.calls * 4 // 5
    lm = counted()
    result = run(small(), method, lm=lm, budget=mipro.Budget(calls=most), trials=12, full_every=12)
    assert result.stopped == "calls"
    assert result.calls == lm.calls <= most
    assert result.trials[-1].kind == "full"
    assert result.trials[-1].config in [t.config for t in result.trials[:-1]]
    assert result.chosen.n == 15


def test_one_instruction_a_slot_leaves_nothing_to_propose():
    lm = counted()
    result, events = recorded(small(), "opro_module", prompt_lm=lm, instructions=1)
    assert (len(result.trials), lm.calls) == (1, 0)
    assert of(events, "bootstrap") == [] or not result.improved
