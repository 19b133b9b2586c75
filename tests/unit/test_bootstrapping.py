"""Bootstrapping: what the teacher is asked, which traces are kept, and what the sets hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from doubles import QA, CountingLM, EchoLM, TwoStep, asked, chat, echo, examples
from hypothesis import given
from hypothesis import strategies as st

import mipro
from mipro import Example, Prediction, Prompt, Teacher, metrics
from mipro.errors import ConfigError

EXACT = metrics.exact_match("answer")
UNLABELLED = [Example({"question": f"q{i}"}, ("question",)) for i in range(30)]


def every(metric_value):
    return mipro.Metric.of(lambda example, prediction: metric_value)


def half_right(request):
    """Right on even questions."""
    even = int(asked(request, "question")[1:]) % 2 == 0
    return echo(request) if even else chat(answer="wrong")


def demos(made, module="answer"):
    return [demo for chosen in made.demo_sets[module] for demo in chosen]


@given(
    sets=st.integers(1, 6),
    max_bootstrapped=st.integers(0, 4),
    max_labelled=st.integers(0, 4),
    n=st.integers(1, 30),
    seed=st.integers(0, 99),
    labelled=st.booleans(),
)
def test_never_more_than_asked(sets, max_bootstrapped, max_labelled, n, seed, labelled):
    lm = CountingLM(half_right)
    data = examples(n)
    metric = EXACT if labelled else every(1.0)
    made = mipro.bootstrap(
        QA(),
        data if labelled else UNLABELLED[:n],
        metric,
        lm=lm,
        sets=sets,
        max_bootstrapped=max_bootstrapped,
        max_labelled=max_labelled,
        seed=seed,
    )
    found = made.demo_sets["answer"]
    assert lm.calls == made.attempted <= n
    assert made.passed <= made.attempted
    assert 1 <= len(found) <= sets
    assert found[0] == ()
    assert len(set(found)) == len(found)
    for chosen in found:
        boots = [d for d in chosen if d.bootstrapped]
        assert len(boots) <= max_bootstrapped
        assert len(chosen) - len(boots) <= max_labelled
        assert len(chosen) <= max(max_bootstrapped, max_labelled)
        # no training example is shown twice in one set
        questions = [d.values["question"] for d in chosen]
        assert len(set(questions)) == len(questions)
    if sets == 1 or max_bootstrapped == 0:
        assert lm.calls == 0


def test_demos_come_from_passing_traces_only():
    made = mipro.bootstrap(
        QA(), UNLABELLED, every(1.0), lm=CountingLM(lambda r: half_right(r)), max_labelled=0
    )
    assert made.passed == made.attempted == 30
    made = mipro.bootstrap(
        QA(), examples(30), EXACT, lm=CountingLM(half_right), max_labelled=0, sets=20
    )
    assert (made.attempted, made.passed) == (30, 15)
    shown = demos(made)
    assert shown
    assert all(d.bootstrapped and d.values["question"] == d.values["answer"] for d in shown)
    assert {int(d.values["question"][1:]) % 2 for d in shown} == {0}


def test_the_sets_are_the_empty_one_the_labelled_one_and_bootstrapped_ones():
    made = mipro.bootstrap(QA(), examples(30), EXACT, lm=CountingLM(half_right), sets=6)
    empty, labelled, most, *others = made.demo_sets["answer"]
    assert empty == ()
    assert [d.bootstrapped for d in labelled] == [False] * 4
    assert [d.bootstrapped for d in most] == [True] * 4
    assert len(others) == 3
    assert all(any(d.bootstrapped for d in chosen) for chosen in others)


def test_the_teacher_stops_when_it_has_enough():
    lm = EchoLM()
    made = mipro.bootstrap(QA(), examples(200), EXACT, lm=lm, sets=5, max_bootstrapped=4)
    assert lm.calls == made.attempted == 25  # a chunk; 20 passing traces were wanted


@pytest.mark.parametrize(("threshold", "passed"), [(0.0, 30), (0.5, 15), (1.0, 15), (1.1, 0)])
def test_the_threshold_decides_what_passes(threshold, passed):
    made = mipro.bootstrap(
        QA(), examples(30), EXACT, lm=CountingLM(half_right), threshold=threshold, sets=20
    )
    assert made.passed == passed


def test_a_failed_run_never_passes_whatever_the_threshold():
    lm = CountingLM(lambda r: "unreadable" if asked(r, "question") == "q0" else echo(r))
    made = mipro.bootstrap(QA(), examples(3), EXACT, lm=lm, threshold=-100.0)
    assert (made.attempted, made.passed) == (3, 2)


def test_none_passing_is_said_with_the_reason_and_labelled_sets_remain():
    made = mipro.bootstrap(QA(), examples(10), EXACT, lm=CountingLM(lambda r: "?"), sets=4)
    (note,) = made.notes
    assert "no trace passed: of 10 runs of the teacher none scored 1.0 or more" in note
    assert "10 failed, the first: ParseError" in note
    assert len(made.demo_sets["answer"]) == 4
    assert not any(d.bootstrapped for d in demos(made))


def test_no_demonstrations_at_all_is_said_by_module():
    lm = CountingLM(lambda r: chat(answer="wrong"))
    made = mipro.bootstrap(QA(), UNLABELLED, every(0.0), lm=lm)
    assert made.demo_sets == {"answer": ((),)}
    assert any("no trace passed" in note for note in made.notes)
    assert any("no demonstrations of 'answer' at all" in note for note in made.notes)
    labels = mipro.bootstrap(QA(), UNLABELLED, every(0.0), lm=lm, max_bootstrapped=0)
    assert labels.notes == (
        "there are no demonstrations of 'answer' at all: its only set is empty",
    )


def test_a_module_that_no_passing_trace_calls_is_said():
    class Spare(QA):
        def __init__(self):
            super().__init__()
            self.spare = mipro.Predict("question -> other")

    made = mipro.bootstrap(Spare(), examples(5), EXACT, lm=EchoLM())
    assert "no trace that passed gives a demonstration of 'spare'" in made.notes
    assert demos(made)
    assert made.demo_sets["spare"] == ((),)


# --- the teacher


def test_a_teacher_s_lm_candidate_and_program_write_the_demonstrations():
    student, strong = (
        EchoLM(),
        CountingLM(lambda r: chat(answer=f"by {r.messages[0].content[-4:]}")),
    )
    teacher = Teacher(program=QA("Old."), candidate={"answer": Prompt("New.")}, lm=strong)
    made = mipro.bootstrap(
        QA(), UNLABELLED, every(1.0), lm=student, teacher=teacher, max_labelled=0
    )
    assert (student.calls, strong.calls) == (0, 30)
    assert {d.values["answer"] for d in demos(made)} == {"by New."}


def test_a_teacher_whose_fields_do_not_fit_is_said_once_a_module():
    class Other(mipro.Program):
        def __init__(self):
            self.answer = mipro.Predict("question -> answer, mood")

        def forward(self, question):
            return self.answer(question=question)

    teacher = Teacher(program=Other())
    made = mipro.bootstrap(QA(), examples(5), EXACT, lm=EchoLM(), teacher=teacher)
    assert any(
        n.startswith("5 traced calls of 'answer' are no demonstration") and "'mood'" in n
        for n in made.notes
    )
    assert not any(d.bootstrapped for d in demos(made))


def test_a_module_called_twice_gives_one_of_its_calls_as_it_was():
    lm = CountingLM(
        lambda r: (
            chat(answer="x")
            if "`answer`" in r.messages[0].content
            else chat(query=asked(r, "seen"))
        )
    )
    made = mipro.bootstrap(
        TwoStep(), UNLABELLED, every(1.0), lm=lm, max_bootstrapped=1, max_labelled=0, sets=40
    )
    shown = demos(made, "query")
    # the first call had seen nothing, the second what the first had found; both are drawn
    assert {tuple(d.values["seen"]) for d in shown} == {(), ("(empty)",)}
    assert {d.values["query"] for d in shown if not d.values["seen"]} == {"(empty)"}


def test_an_undeclared_input_may_be_a_list_as_in_the_readme():
    class Loose(mipro.Program):
        def __init__(self):
            self.answer = mipro.ChainOfThought("context, question -> answer")

        def forward(self, question):
            return self.answer(context=["one", "two"], question=question)

    lm = CountingLM(lambda r: chat(reasoning="so", answer=asked(r, "question")))
    made = mipro.bootstrap(Loose(), examples(5), EXACT, lm=lm)
    assert made.notes == ()
    boots = [d for d in demos(made) if d.bootstrapped]
    assert boots
    assert all(d.values["context"] == ["one", "two"] for d in boots)


# --- labelled demonstrations


def test_labelled_demos_hold_all_outputs_but_reasoning_and_some_input():
    class Thinks(QA):
        def __init__(self):
            self.answer = mipro.ChainOfThought("question, context -> answer")
            self.aside = mipro.Predict("question -> reasoning")

        def forward(self, question):
            return Prediction(answer=question)

    made = mipro.bootstrap(Thinks(), examples(5), EXACT, lm=EchoLM(), max_bootstrapped=0)
    shown = demos(made)
    assert all(set(d.values) == {"question", "answer"} for d in shown)
    assert len(shown) > 4
    assert made.demo_sets["aside"] == ((),)  # nothing labels a reasoning


class Rate(mipro.Program):
    def __init__(self):
        self.rate = mipro.Predict("length: float, tags: list[int] -> stars: int")

    def forward(self, length, tags):
        return self.rate(length=length, tags=tags)


@pytest.mark.parametrize("kind", ["text", "numpy"])
def test_values_as_a_csv_file_or_numpy_has_them_become_demonstrations_of_their_types(kind):
    def row(i):
        if kind == "text":
            return {"length": str(i), "tags": f"[{i}]", "stars": str(i)}
        return {"length": np.float64(i), "tags": [np.int64(i)], "stars": np.int64(i)}

    data = [Example(row(i), ("length", "tags")) for i in range(1, 7)]
    lm = CountingLM(lambda r: chat(stars=asked(r, "tags").strip("[]")))
    made = mipro.bootstrap(Rate(), data, metrics.exact_match("stars"), lm=lm, sets=3)
    assert made.notes == ()
    assert {d.bootstrapped for d in demos(made, "rate")} == {True, False}
    for demo in demos(made, "rate"):
        stars = demo.values["stars"]
        assert demo.values == {"length": float(stars), "tags": [stars], "stars": stars}
        assert [type(v) for v in (stars, demo.values["length"])] == [int, float]


def test_null_labels_and_labels_of_another_type_are_no_demonstrations():
    data = [
        Example({"question": "a", "answer": None}, ("question",)),
        Example({"question": "b", "answer": ["x", "y"]}, ("question",)),
        Example({"question": "c", "answer": "z"}, ("question",)),
    ]
    made = mipro.bootstrap(QA(), data, every(1.0), lm=EchoLM(), max_bootstrapped=0)
    assert {d.values["question"] for d in demos(made)} == {"c"}


# --- the same everywhere


def test_the_same_sets_at_any_concurrency(processes):
    data = examples(30)

    def sets(**way):
        made = mipro.bootstrap(QA(), data, EXACT, lm=CountingLM(half_right), sets=8, seed=3, **way)
        return json.dumps(
            {m: [[dict(d.values) for d in s] for s in found] for m, found in made.demo_sets.items()}
        )

    alone = sets()
    assert alone == sets(threads=8) == sets(threads=32) == sets(executor=processes)


def test_another_seed_draws_other_sets():
    made = {
        mipro.bootstrap(QA(), examples(30), EXACT, lm=EchoLM(), seed=s).demo_sets["answer"]
        for s in range(4)
    }
    assert len(made) == 4


@pytest.mark.parametrize(
    "settings", [{"sets": 0}, {"max_bootstrapped": -1}, {"max_labelled": -1}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused_by_name(settings):
    lm = EchoLM()
    name = next(iter(settings))
    with pytest.raises(ConfigError, match=f"{name}={settings[name]}"):
        mipro.bootstrap(QA(), examples(3), EXACT, lm=lm, **settings)
    assert lm.calls == 0
