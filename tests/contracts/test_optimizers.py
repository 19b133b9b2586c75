"""What holds for every optimizer, invariant by invariant; a new method is under it by its name.

1. The same seed is the same run: at any number of threads, in any process.
2. The original program is evaluated first, in full; so is what is returned.
3. A trial's configuration, its candidate and its scores belong together.
4. The ledger is what an independent count says.
5. Nothing is lost: errors are raised with the journal on disk, a directory in use is refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import Dying, candidate_of, counted, journal_of, of, recorded, run, slots_of, small

import mipro
from mipro.errors import ConfigError, DataError, MetricError
from mipro.journal import read_journal
from mipro.lm.base import UnavailableError
from mipro.optimizers.methods import METHODS
from mipro.programs.prompt import candidate_digest

pytestmark = pytest.mark.parametrize("method", METHODS)
# the rest bootstrap to show the proposer demonstrations, and have none in a candidate
WITH_DEMOS = {"random_search", "bayesian_bootstrap", "mipro", "mipro_tree"}
NO_TEACHER = {"mipro_zero_shot", "opro_module_ungrounded"}
NO_PROPOSALS = {"random_search", "bayesian_bootstrap"}

IN_A_PROCESS = """
import sys
from small_runs import run, small
run(small(), sys.argv[1], run_dir=sys.argv[2], threads=4, seed=3)
"""


# --- 1: the same seed is the same run ------------------------------------------------------------


def test_the_same_seed_is_the_same_journal_at_any_number_of_threads(method: str, tmp_path: Path):
    journals = []
    for threads in (1, 8, 32):
        run(small(), method, run_dir=tmp_path / str(threads), threads=threads, seed=3)
        journals.append(journal_of(tmp_path / str(threads)))
    assert journals[0] == journals[1] == journals[2]
    assert [json.dumps(e) for e in journals[0]] == [json.dumps(e) for e in journals[2]]
    assert len(of(journals[0], "trial")) > 3
    run(small(), method, run_dir=tmp_path / "other", seed=4)
    assert journal_of(tmp_path / "other") != journals[0]


def test_the_hash_seed_of_the_process_changes_nothing(method: str, tmp_path: Path):
    env = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, method, str(tmp_path / "there")],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    run(small(), method, run_dir=tmp_path / "here", seed=3)  # with a hash seed of its own
    here, there = (
        [json.dumps(event) for event in journal_of(tmp_path / name)] for name in ("here", "there")
    )
    assert here == there


# --- 2: what is evaluated ------------------------------------------------------------------------


def test_the_original_is_evaluated_first_and_the_winner_in_full(method: str):
    world = small()
    result, events = recorded(world, method, forecasts=True)
    first = of(events, "trial")[0]
    # only the start stands before it, and what is expected
    assert [event["event"] for event in events[:2]] == ["start", "forecast"]
    assert events.index(first) == 2
    assert (first["kind"], first["config"], first["n"]) == ("full", {}, len(world.val))
    original = world.program.prompts()
    assert first["candidate"] == candidate_digest(original)
    assert result.baseline == result.trials[0].score == first["score"]
    assert dict(result.original) == original
    assert result.chosen in result.trials
    assert result.chosen.n == len(world.val)
    assert result.score == result.chosen.score >= result.baseline
    told = [t.score for t in result.trials if t.n == len(world.val)]
    assert result.score == max(told)


def test_the_score_is_what_evaluating_the_candidate_again_gives(method: str):
    world = small()
    result = run(world, method)
    again = mipro.evaluate(
        world.program, world.val, world.metric, lm=world.lm, candidate=result.candidate
    )
    assert again.score == result.score
    assert again.scores == result.chosen.scores


def test_the_budget_is_kept(method: str):
    result = run(small(), method, trials=7, minibatch=5, full_every=3)
    spent = sum(trial.n for trial in result.trials[1:])
    assert spent <= 7 * 5 + 3 * 15


# --- 3: configuration, candidate and scores ------------------------------------------------------


def test_each_trial_evaluated_the_candidate_its_configuration_names(method: str):
    world = small()
    _, events = recorded(world, method)
    instructions, sets = slots_of(world, events)
    for event in of(events, "trial"):
        candidate = candidate_of(event["config"], instructions, sets)
        assert event["candidate"] == candidate_digest(candidate)
        rows = [world.val[i] for i in event["examples"]]
        evaluation = mipro.evaluate(
            world.program,
            rows,
            world.metric,
            lm=world.lm,
            candidate=candidate,
            allow_all_failed=True,
        )
        assert list(evaluation.scores) == event["scores"]
        assert event["n"] == len(set(event["examples"])) == len(event["scores"])
        assert event["score"] == pytest.approx(sum(event["scores"]) / event["n"])


def test_full_trials_have_all_examples_and_minibatches_b_of_them(method: str):
    world = small()
    result = run(world, method)
    for trial in result.trials:
        assert trial.n == (len(world.val) if trial.kind == "full" else 7)
        assert set(trial.examples) <= set(range(len(world.val)))


def test_only_methods_with_demonstrations_have_any(method: str):
    result, events = recorded(small(), method)
    shown = [demos for prompt in result.candidate.values() for demos in prompt.demos]
    assert bool(of(events, "bootstrap")) == (method not in NO_TEACHER)
    if method not in WITH_DEMOS:
        assert shown == []
        assert not any(name.endswith(".demos") for t in result.trials for name in t.config)


# --- 4: the ledger -------------------------------------------------------------------------------


def test_the_ledger_equals_an_independent_count(method: str):
    world = small()
    lm = counted()
    result = run(world, method, lm=lm)
    assert result.calls == lm.calls > 100


def test_each_role_is_booked_for_itself(method: str):
    world = small()
    lms = {role: counted() for role in ("task", "prompt", "teacher")}
    result = run(
        world,
        method,
        lm=lms["task"],
        prompt_lm=lms["prompt"],
        teacher=mipro.Teacher(lm=lms["teacher"]),
    )
    booked = {role: result.usage.get(role, {"calls": 0})["calls"] for role in lms}
    assert booked == {role: lm.calls for role, lm in lms.items()}
    assert (booked["prompt"] > 0) == (method not in NO_PROPOSALS)
    assert (booked["teacher"] > 0) == (method not in NO_TEACHER)


# --- 5: nothing is lost --------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [0, 20, 60, 150, 230])
def test_an_lm_that_dies_stops_the_run_with_the_journal_on_disk(
    method: str, calls: int, tmp_path: Path
):
    with pytest.raises(UnavailableError, match="went away"):
        run(small(), method, lm=Dying(calls), run_dir=tmp_path, threads=1)
    events = read_journal(tmp_path / "journal.jsonl")
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "error"
    assert events[-1]["kind"] == "UnavailableError"
    assert "went away" in events[-1]["text"]
    assert bool(of(events, "trial")) == (calls >= 45)  # 15 examples of 3 calls
    assert not (tmp_path / "result.json").exists()


def test_a_run_directory_holds_all_of_the_run(method: str, tmp_path: Path):
    world = small()
    result = run(world, method, run_dir=tmp_path / "a" / "b")
    directory = tmp_path / "a" / "b"
    assert {path.name for path in directory.iterdir()} == {
        "config.json",
        "journal.jsonl",
        "replies.jsonl",
        "result.json",
        "candidate.json",
    }
    assert result.run_dir == directory
    config = json.loads((directory / "config.json").read_text())
    assert (config["method"], config["program"]) == (method, "MultiHop")
    assert config["data"]["train"]["n"] == 40
    assert json.loads((directory / "result.json").read_text())["score"] == result.score
    assert world.program.load(directory / "candidate.json").candidate == result.candidate
    end = read_journal(directory / "journal.jsonl")[-1]
    assert (end["event"], end["score"]) == ("end", result.score)


def test_a_directory_in_use_is_refused_and_left_as_it_is(method: str, tmp_path: Path):
    run(small(), method, run_dir=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    lm = counted()
    with pytest.raises(ConfigError, match="already holds a run"):
        run(small(), method, lm=lm, run_dir=tmp_path, seed=9)
    assert lm.calls == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_work_is_refused_before_the_first_call(method: str, tmp_path: Path):
    world, lm = small(), counted()
    bad = [mipro.Example({"query": "x", "answer": "y"}, inputs=("query",))]
    with pytest.raises(DataError, match=r"train: .*question"):
        run(world, method, lm=lm, train=bad, run_dir=tmp_path / "r")
    with pytest.raises(DataError, match="val: "):
        run(world, method, lm=lm, val=[])
    with pytest.raises(ConfigError, match="trails"):
        run(world, method, lm=lm, trails=3)
    with pytest.raises(MetricError):
        mipro.optimize(world.program, world.train, lambda e, p: None, lm=lm, method=method)
    assert lm.calls == 0
    assert not (tmp_path / "r").exists()
