"""The faults of the released implementation that concern runs, proposals and optimizers.

Numbered as in the list at the end of our notes on the paper; each test fails where the fault is
made again. Those of the sampler, the LM room and the programs are tested beside them.
"""

from __future__ import annotations

import threading

import pytest
from doubles import QA, CountingLM, chat, examples, minus_length
from small_runs import (
    SHORT,
    Dying,
    candidate_of,
    counted,
    journal_of,
    of,
    recorded,
    run,
    slots_of,
    small,
    task_of,
)

import mipro
from mipro.journal import read_journal
from mipro.lm.base import UnavailableError
from mipro.lm.simulated import SimulatedLM
from mipro.optimizers.loop import run_loop
from mipro.optimizers.methods import METHODS
from mipro.optimizers.mipro import Mipro
from mipro.programs.prompt import candidate_digest

PROPOSED = "`proposed_instruction`"


def writing(text, simulated: SimulatedLM | None = None) -> CountingLM:
    """The embedded LM, but for the instructions it proposes: `text(i)`, None to spoil the reply."""
    lm, proposals = simulated or SimulatedLM(), iter(range(10_000))

    def reply(request) -> str:
        if PROPOSED not in request.messages[0].content:
            return lm(request).text
        said = text(next(proposals))
        return "I would rather not." if said is None else chat(proposed_instruction=said)

    return CountingLM(reply)


def test_fault_01_scores_are_told_with_the_examples_behind_them():
    strategy = Mipro()
    _, trials = run_loop(strategy, task_of(small()))
    told = [(o.score, o.n) for o in strategy.sampler.observations]
    assert told == [(trial.score, trial.n) for trial in trials]
    assert {trial.n for trial in trials} == {7, 15}


def test_fault_02_seed_0_is_a_seed_of_its_own(tmp_path):
    for name, seed in (("0", 0), ("again", 0), ("9", 9)):
        run(small(), run_dir=tmp_path / name, seed=seed)
    zero, again, nine = (journal_of(tmp_path / name) for name in ("0", "again", "9"))
    assert zero[0]["options"]["seed"] == 0
    assert zero == again
    assert [e["examples"] for e in of(zero, "trial")] != [e["examples"] for e in of(nine, "trial")]
    assert of(zero, "bootstrap") != of(nine, "bootstrap")


@pytest.mark.parametrize(
    "changed", [{"instructions": 6}, {"proposal_waves": 1}, {"demo_sets": 2}, {"threshold": 0.5}]
)
def test_fault_02_changing_one_part_leaves_the_minibatches_alone(changed):
    def batches(**settings):
        trials = of(recorded(small(), **settings)[1], "trial")
        return {e["number"]: e["examples"] for e in trials if e["kind"] == "minibatch"}

    before, after = batches(), batches(**changed)
    both = before.keys() & after.keys()
    assert len(both) >= 8
    assert all(before[number] == after[number] for number in both)


def test_fault_02_changing_the_proposals_leaves_the_demonstrations_alone():
    sets = [
        of(recorded(small(), instructions=n)[1], "bootstrap")[0]["demo_sets"] for n in (2, 4, 7)
    ]
    assert sets[0] == sets[1] == sets[2]


def test_fault_03_a_failure_never_wins_under_a_negative_metric():
    def reply(request) -> str:
        if PROPOSED in request.messages[0].content:
            return chat(proposed_instruction="BREAK it.")
        if "BREAK" in request.messages[0].content:
            return "nothing that can be read"
        return chat(answer="four") if "## answer ##" in request.messages[0].content else "?"

    result = mipro.optimize(
        QA(), examples(12), minus_length, lm=CountingLM(reply), method="mipro_zero_shot", **SHORT
    )
    assert result.score == result.baseline == -4.0
    assert not result.improved
    broken = [trial for trial in result.trials if trial.failures]
    assert broken
    assert all(trial.score == -10.0 for trial in broken)


@pytest.mark.parametrize("method", METHODS)
def test_fault_03_a_dead_lm_is_an_error_and_no_score(method: str, tmp_path):
    with pytest.raises(UnavailableError):
        run(small(), method, lm=Dying(100), run_dir=tmp_path, threads=1)
    last = read_journal(tmp_path / "journal.jsonl")[-1]
    assert (last["event"], last["kind"]) == ("error", "UnavailableError")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "space",
    [
        {"instructions": 1, "demo_sets": 1},
        {"instructions": 2, "demo_sets": 2},
        {"instructions": 1, "demo_sets": 3, "proposal_waves": 1},
        {"instructions": 2, "demo_sets": 1, "trials": 30},
        {"instructions": 3, "demo_sets": 1, "trials": 1},
    ],
)
def test_fault_04_a_small_space_ends_gracefully(method: str, space: dict):
    world = small("iris")
    result = run(world, method, **{"trials": 20, **space})
    assert result.chosen.n == len(world.val)
    assert result.score >= result.baseline
    trials = space.get("trials", 20)
    assert 1 <= len(result.trials) <= 1 + trials + -(-trials // 3)
    if method in ("random_search", "bayesian_bootstrap", "mipro_zero_shot", "mipro"):
        assert len(result.trials) <= 1 + 20 + 10  # their space does not grow with the trials


def test_fault_04_what_a_used_up_space_leaves_over_is_spent_on_full_evaluations():
    result = run(small("iris"), "mipro_zero_shot", trials=20, instructions=3, full_every=3)
    configs = {tuple(t.config.values()) for t in result.trials if t.n == 15 and t.config}
    assert len(configs) == 2  # both new instructions, each in full
    assert len(result.trials) < 20


@pytest.mark.parametrize("trials", [6, 10, 30])
def test_fault_05_the_random_start_up_is_a_third_at_most_and_said(trials: int):
    _, events = recorded(small(), "mipro", trials=trials, minibatch=3)
    startup = of(events, "space")[0]["startup"]
    assert 1 <= startup <= max(1, trials // 3)
    assert startup <= 10
    first = [tuple(e["config"].values()) for e in of(events, "trial") if e["kind"] == "minibatch"]
    assert len(set(first[: startup - 1])) == len(first[: startup - 1])


def test_fault_06_an_unparseable_proposal_costs_itself_alone():
    # module by module in turn: every other instruction of each
    lm = writing(lambda i: None if i // 2 % 2 else f"Instruction {i}.")
    settings = {"prompt_lm": lm, "instructions": 7, "threads": 1}
    result, events = recorded(small(), "mipro_zero_shot", **settings)
    proposals = of(events, "proposal")
    failed = [e for e in proposals if e["error"]]
    assert len(proposals) == 2 * 6
    assert len(failed) == 6
    assert all(e["error"].startswith("ParseError") and e["index"] is None for e in failed)
    assert of(events, "space")[-1]["size"] == 4 * 4  # the original and three that could be read
    assert [n for n in result.notes if "of 6 proposals failed" in n]


def test_fault_06_with_no_proposal_at_all_the_run_ends_with_the_original_and_says_why():
    lm = writing(lambda i: None)
    result = run(small(), "mipro_zero_shot", prompt_lm=lm)
    assert not result.improved
    assert result.test.paired.p_value == 1.0
    assert any("proposals failed; the first: ParseError" in note for note in result.notes)


def test_fault_06_a_summary_that_failed_is_said():
    simulated = SimulatedLM()

    def reply(request) -> str:
        spoiled = "`observations` (" in request.messages[0].content.partition("Output")[2]
        return "What data?" if spoiled else simulated(request).text

    result, events = recorded(small(), "mipro_zero_shot", prompt_lm=CountingLM(reply))
    assert any(note.startswith("dataset summary: ") for note in result.notes)
    asked = [e for e in of(events, "proposal") if e["settings"]["dataset_summary"]]
    assert asked
    assert all("dataset_summary" in e["missing"] for e in asked)


def test_fault_07_described_once():
    lm = writing(lambda i: f"Instruction {i}.")
    _, events = recorded(small(), "mipro", prompt_lm=lm, instructions=9, trials=6)
    proposals = len(of(events, "proposal"))
    assert proposals == 2 * 8
    texts = [e["kind"] for e in of(events, "text")]
    assert len(texts) == len(set(texts))  # data, program, and each module's role, once

    def asks(field: str) -> int:
        outputs = [r.messages[0].content.partition("Output fields:\n")[2] for r in lm.seen]
        return sum(text.startswith(f"- `{field}`") for text in outputs)

    assert asks("proposed_instruction") == proposals
    assert asks("program_description") == 1
    assert asks("module_role") == 2
    assert asks("summary") == 1
    written = ("proposed_instruction", "program_description", "module_role", "summary")
    assert lm.calls == sum(map(asks, (*written, "observations")))


def test_fault_07_the_original_is_a_choice_and_the_history_is_shown():
    lm = writing(lambda i: f"Instruction {i}.")
    result, events = recorded(small(), prompt_lm=lm, instructions=9)
    taken = [e for e in of(events, "proposal") if e["module"] == "answer" and e["index"]]
    assert of(events, "space")[-1]["choices"]["answer.instruction"] == 1 + len(taken) == 9
    assert result.trials[0].config == {}
    later = [e for e in of(events, "proposal") if "history" in e["evidence"]]
    shown = [r.messages[-1].content for r in lm.seen if "[[ ## history" in r.messages[-1].content]
    assert len(shown) == len(later) > 0
    assert all('"score": ' in text and '"n": ' in text for text in shown)


@pytest.mark.parametrize("text", ["Label: name the {i}th.", '"{i}"', "Step {i}:\n1. Answer: yes"])
def test_fault_08_prefixes_kept(text: str):
    lm = writing(lambda i: text.replace("{i}", str(i)))
    _, events = recorded(small(), "mipro_zero_shot", prompt_lm=lm, threads=1)
    said = [e["instruction"] for e in of(events, "proposal")]
    assert said == [text.replace("{i}", str(i)) for i in range(len(said))]


@pytest.mark.parametrize("method", METHODS)
def test_fault_09_the_counters_count(method: str):
    lm = counted()
    result = run(small(), method, lm=lm)
    assert result.calls == lm.calls
    tokens = sum(entry["completion_tokens"] for entry in result.usage.values())
    assert tokens > 0


def test_fault_10_instruction_and_demonstration_are_never_mistaken_for_one_another():
    world = small()
    # unequal numbers of choices, so that an index of one is none of the other
    _, events = recorded(world, trials=15, instructions=3, demo_sets=6, proposal_waves=1)
    instructions, sets = slots_of(world, events)
    trials = of(events, "trial")
    assert {e["config"].get("answer.demos", 0) for e in trials} - {0, 1, 2}
    for event in trials:
        candidate = candidate_of(event["config"], instructions, sets)
        assert event["candidate"] == candidate_digest(candidate)


def test_fault_10_the_configuration_told_is_the_one_evaluated():
    strategy = Mipro()
    _, trials = run_loop(strategy, task_of(small(), instructions=3, demo_sets=6))
    told = [dict(o.config) for o in strategy.sampler.observations]
    assert told[1:] == [dict(trial.config) for trial in trials[1:]]
    assert "full" in [trial.kind for trial in trials[1:]]


def test_fault_11_zero_shot_has_no_demonstration_anywhere_and_no_teacher():
    lm, teacher = counted(), counted()
    result, events = recorded(small(), "mipro_zero_shot", lm=lm, teacher=mipro.Teacher(lm=teacher))
    assert teacher.calls == 0
    assert of(events, "bootstrap") == []
    assert "teacher" not in result.usage
    assert {len(request.messages) for request in lm.seen} == {2}  # system and user, no shots
    assert not any("[[ ## demos ## ]]" in r.messages[-1].content for r in lm.seen)
    assert all(prompt.demos == () for prompt in result.candidate.values())


class Twins(mipro.Program):
    """Two opinions with the same fields."""

    def __init__(self) -> None:
        self.first = mipro.Predict("question -> answer")
        self.second = mipro.Predict("question -> answer")
        self.lock = threading.Lock()  # cannot be copied

    def forward(self, question):
        self.first(question=question)
        return self.second(question=question)


def test_fault_12_modules_with_the_same_fields_are_told_apart():
    twins = writing(lambda i: f"Instruction {i}.")
    mipro.optimize(
        Twins(),
        examples(12),
        mipro.metrics.exact_match("answer"),
        lm=CountingLM(lambda r: chat(answer="q1")),
        prompt_lm=twins,
        method="mipro_zero_shot",
        **SHORT,
    )
    prompts = [r.messages[-1].content for r in twins.seen if PROPOSED in r.messages[0].content]
    assert sum("module 1 of 2; the others: second" in p for p in prompts) == 3
    assert sum("module 2 of 2; the others: first" in p for p in prompts) == 3


def test_fault_12_enum_values_reach_the_proposer():
    lm = writing(lambda i: f"Instruction {i}.")
    run(small("iris"), "mipro_zero_shot", prompt_lm=lm)
    prompts = [r.messages[-1].content for r in lm.seen if PROPOSED in r.messages[0].content]
    assert prompts
    assert all("Literal['setosa', 'versicolor', 'virginica']" in prompt for prompt in prompts)


@pytest.mark.parametrize("method", METHODS)
def test_fault_13_a_program_that_cannot_be_copied_is_optimized(method: str):
    result = mipro.optimize(
        Twins(),
        examples(12),
        mipro.metrics.exact_match("answer"),
        lm=CountingLM(lambda r: chat(answer="q1")),
        method=method,
        **SHORT,
    )
    assert result.candidate.keys() == {"first", "second"}


def test_fault_13_long_inputs_fit():
    """Examples of 6,000 tokens each, in a window of 16,000: every proposal is written."""
    long = "a very long passage indeed, and on it goes " * 600
    data = [
        mipro.Example({"question": f"q{i} {long}", "answer": f"q{i}"}, inputs=("question",))
        for i in range(24)
    ]
    window = SimulatedLM()
    fits = CountingLM(lambda request: window(request).text)
    result = mipro.optimize(
        QA(),
        data,
        mipro.metrics.exact_match("answer"),
        lm=CountingLM(lambda r: chat(answer="q1")),
        prompt_lm=fits,
        max_labelled=2,
        max_bootstrapped=0,
        **SHORT,
    )
    assert not [note for note in result.notes if "failed" in note]
    assert result.usage["prompt"]["failed"] == 0
    assert fits.calls > 5
    prompts = [r.messages[-1].content for r in fits.seen]
    rows = " ".join(text for text in prompts if "## examples ##" in text)
    # each of the 12 that are not for validation is seen with its label, however long it is
    assert sum(f'"outputs": {{"answer": "q{i}"}}' in rows for i in range(24)) == 12


def test_fault_14_validation_is_a_shuffled_part_and_the_reported_score_is_on_other_data():
    world = small("iris", train=40)
    ordered = sorted(world.train, key=lambda e: e.species)
    task = counted()
    result, events = recorded(world, train=ordered, val=None, lm=task)
    start = of(events, "start")[0]
    assert (start["data"]["train"]["n"], start["data"]["val"]["n"]) == (20, 20)
    asked = [r.messages[-1].content for r in task.seen[:20]]  # the baseline, on all of it
    seen = {e.species for e in ordered for text in asked if f"\n{e.petal_length}\n" in text}
    assert seen == {"setosa", "versicolor", "virginica"}
    assert result.test.paired.n == len(world.test)
