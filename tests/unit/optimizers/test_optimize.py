"""`optimize` and its result: data, notes, the test at the end, and what goes wrong on the way."""

from __future__ import annotations

import json

import pytest
from doubles import QA, CountingLM, chat, examples
from small_runs import counted, journal_of, of, recorded, run, small

import mipro
from mipro.errors import ConfigError, DataError, RunError
from mipro.journal import read_journal
from mipro.lm.base import Completion, LMTimeoutError
from mipro.lm.simulated import SimulatedLM

# --- results -------------------------------------------------------------------------------------


def test_a_result_is_saved_and_loaded_as_it_was(tmp_path):
    world = small()
    result = run(world)
    result.save(tmp_path / "best.json")
    tuned = world.program.load(tmp_path / "best.json")
    assert tuned.candidate == result.candidate
    example = world.test[0]
    direct = world.program(lm=world.lm, candidate=result.candidate, **example.inputs)
    assert dict(tuned(lm=world.lm, **example.inputs)) == dict(direct)


def test_a_result_is_json():
    result = run(small())
    body = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert body["score"] == result.score
    assert body["interval"] == pytest.approx(list(result.interval))
    assert body["usage"]["task"]["calls"] == result.usage["task"]["calls"]
    assert body["candidate"]["modules"].keys() == {"write_query", "answer"}
    slots = [f"{m}.{what}" for m in ("write_query", "answer") for what in ("instruction", "demos")]
    importances = body["importances"]
    assert sorted(importances["main"]) == sorted(slots) == sorted(importances["choices"])
    assert len(importances["pairs"]) == 6
    for effect in [*importances["main"].values(), *importances["pairs"]]:
        assert 0 <= effect["low"] <= effect["share"] <= effect["high"] <= 1
    assert body["test"]["n"] == 12


def test_the_search_finds_something_and_the_test_says_how_sure_one_may_be():
    world = small("conditional", train=100, val=60, test=120)
    result = run(world, trials=20, minibatch=20, full_every=5, instructions=8)
    assert result.improved
    assert result.test.after > result.test.before + 0.1
    assert result.test.paired.p_value < 0.01
    low, high = result.test.after_interval
    assert low < result.test.after < high


def test_the_test_set_is_touched_by_the_comparison_alone():
    world, lm = small(), counted()
    result = run(world, lm=lm)
    asked = [e.question for e in world.test]
    first = next(
        i for i, r in enumerate(lm.seen) if any(q in r.messages[-1].content for q in asked)
    )
    assert len(lm.seen) - first == 2 * len(world.test) * 3
    assert result.test.paired.n == len(world.test)


def test_without_a_test_set_there_is_no_comparison():
    result = run(small(), test=None)
    assert result.test is None
    assert result.to_json()["test"] is None


def test_a_winner_that_is_the_original_is_run_once_and_reported_with_p_1():
    world, lm = small(), counted()
    with_test = run(
        world, "random_search", lm=lm, demo_sets=1, trials=1, max_bootstrapped=0, max_labelled=0
    )
    assert not with_test.improved
    assert with_test.test.before == with_test.test.after
    assert with_test.test.paired.p_value == 1.0
    assert lm.calls == 3 * (len(world.val) + len(world.test))


# --- data ----------------------------------------------------------------------------------------


def test_without_validation_data_half_of_a_shuffled_training_set_is_it():
    world = small("iris", train=40)
    result, events = recorded(world, val=None, test=None)
    start = of(events, "start")[0]
    assert (start["data"]["train"]["n"], start["data"]["val"]["n"]) == (20, 20)
    assert result.notes == tuple(n for n in result.notes if "stand in" not in n)
    halves = {recorded(world, val=None, seed=s)[1][0]["data"]["val"]["digest"] for s in range(3)}
    assert len(halves) == 3
    with pytest.raises(DataError, match="3 examples cannot be split"):
        run(world, train=world.train[:3], val=None)


def test_examples_that_stand_in_two_parts_are_said():
    world = small("iris")
    result = run(world, val=world.train[:15], test=[*world.train[:2], *world.test])
    assert "15 examples of val stand in train as well" in result.notes
    assert "2 examples of test stand in train as well" in result.notes
    assert "2 examples of test stand in val as well" in result.notes


def test_a_run_in_which_no_trace_passes_says_so():
    result = run(small("conditional"))  # the untuned program never gets the form right
    assert any(note.startswith("no trace passed: of 40 runs") for note in result.notes)
    assert result.notes == tuple(dict.fromkeys(result.notes))


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'mipro3'.*random_search.*mipro"):
        run(small(), "mipro3")


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_task_on_which_the_original_fails_everywhere_stops_before_more_is_spent(tmp_path):
    lm = CountingLM(lambda request: "nothing that can be read")
    with pytest.raises(RunError, match="every one of 5 examples failed"):
        mipro.optimize(
            QA(),
            examples(9),
            mipro.metrics.exact_match("answer"),
            lm=lm,
            val=examples(5),
            run_dir=tmp_path,
        )
    assert lm.calls == 5
    assert read_journal(tmp_path / "journal.jsonl")[-1]["kind"] == "RunError"


def test_an_error_of_the_users_own_code_is_in_the_journal_too(tmp_path):
    def listener(event):
        if event["event"] == "trial":
            raise ZeroDivisionError("in the listener")

    with pytest.raises(ZeroDivisionError):
        run(small(), run_dir=tmp_path, on_event=listener, forecasts=True)
    events = read_journal(tmp_path / "journal.jsonl")
    assert [e["event"] for e in events] == ["start", "forecast", "trial", "error"]
    assert events[-1]["text"] == "in the listener"


def test_a_listener_that_always_fails_leaves_no_file_open(tmp_path):
    def listener(event):
        raise ZeroDivisionError("always")

    with pytest.raises(ZeroDivisionError):
        run(small(), run_dir=tmp_path, on_event=listener)
    assert [e["event"] for e in read_journal(tmp_path / "journal.jsonl")] == ["start", "error"]


def test_single_timeouts_cost_their_examples_and_are_in_the_journal(tmp_path):
    simulated = SimulatedLM()

    def reply(request):
        slow = "Where was the founder" in request.messages[-1].content
        return LMTimeoutError("slow") if slow else simulated(request).text

    world = small()
    result = run(world, lm=CountingLM(reply), run_dir=tmp_path)
    failures = of(journal_of(tmp_path), "trial")[0]["failures"]
    asked = [i for i, e in enumerate(world.val) if "Where was the founder" in e.question]
    assert [f["example"] for f in failures] == asked
    assert failures[0]["why"] == "LMTimeoutError: slow"
    assert result.trials[0].failures == len(asked) > 0
    assert result.usage["task"]["failed"] > 0


def test_an_lm_that_is_falsy_is_an_lm_all_the_same():
    class Empty(CountingLM):
        def __len__(self) -> int:
            return 0

    world, simulated = small(), SimulatedLM()
    prompt, teacher = (Empty(lambda r: simulated(r).text) for _ in range(2))
    run(world, prompt_lm=prompt, teacher=mipro.Teacher(lm=teacher))
    assert prompt.calls > 0
    assert teacher.calls > 0


def test_a_prompt_lm_with_a_small_window_is_shown_less():
    narrow = SimulatedLM(context_window=1_000)
    world = small("conditional", train=100)
    too_much = run(world, prompt_lm=narrow, instructions=6)
    assert any("summary: the prompt has about" in note for note in too_much.notes)
    cut = run(world, prompt_lm=narrow, instructions=6, evidence_tokens=600)
    assert not any("the prompt has about" in note for note in cut.notes)
    assert cut.usage["prompt"]["failed"] == 0


def test_a_program_whose_source_cannot_be_read_is_tuned_and_that_is_said():
    scope: dict = {"QA": QA}
    exec("class Typed(QA):\n    pass", scope)
    result = mipro.optimize(
        scope["Typed"](),
        examples(12),
        mipro.metrics.exact_match("answer"),
        lm=SimulatedLM(),
        method="mipro_zero_shot",
        trials=2,
    )
    assert any("source of Typed cannot be read" in note for note in result.notes)


def test_a_run_directory_that_cannot_be_made_is_refused_before_the_first_call(tmp_path):
    (tmp_path / "file").write_text("in the way")
    lm = counted()
    with pytest.raises(ConfigError, match="file"):
        run(small(), lm=lm, run_dir=tmp_path / "file")
    assert lm.calls == 0


def test_the_events_come_in_the_order_of_the_method():
    _, events = recorded(small(), forecasts=True)
    kinds = list(dict.fromkeys(e["event"] for e in events if e["event"] != "note"))
    assert kinds == [
        "start", "forecast", "trial", "bootstrap", "text", "proposal", "space", "end"
    ]  # fmt: skip
    told = [e["event"] for e in events if e["event"] in ("forecast", "trial", "bootstrap", "text")]
    # what is to be expected is said first, and again when the demonstrations are known
    assert told[:5] == ["forecast", "trial", "bootstrap", "forecast", "text"]
    assert all("usage" in e for e in events if e["event"] in ("trial", "end"))


def test_prices_become_costs():
    prices = {"simulated": mipro.Price(prompt=1.0, completion=2.0)}
    usage = run(small(), prices=prices).usage["task"]
    dollars = (usage["prompt_tokens"] * 1.0 + usage["completion_tokens"] * 2.0) / 1e6
    assert usage["cost_usd"] == pytest.approx(dollars)


@pytest.mark.parametrize("adapter", [mipro.ChatAdapter(), mipro.JSONAdapter()])
def test_either_adapter_carries_a_run(adapter):
    result, events = recorded(small(), adapter=adapter)
    assert of(events, "start")[0]["adapter"] == type(adapter).__name__
    assert all(trial.failures == 0 for trial in result.trials)
    assert result.score > result.baseline


def test_a_reply_from_a_cache_costs_nothing_in_the_ledger():
    class Remembering:
        model = identity = "remembering"

        def __call__(self, request):
            return Completion((chat(answer="q1"),), cached=True)

    result = mipro.optimize(
        QA(),
        examples(8),
        mipro.metrics.exact_match("answer"),
        lm=Remembering(),
        method="random_search",
        trials=2,
    )
    assert result.calls == 0
    assert result.usage["task"]["cached"] > 0
