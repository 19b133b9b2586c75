"""Demonstrations of modules that are called a varying number of times in a run."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from doubles import CountingLM, EchoLM, asked, chat, echo, examples

import mipro
from mipro import Example, Predict, Prediction, Program, metrics
from mipro.errors import ParseError

EXACT = metrics.exact_match("answer")
UNLABELLED = [Example({"question": f"q{i}"}, ("question",)) for i in range(12)]
ALWAYS = mipro.Metric.of(lambda example, prediction: 1.0)


class Looping(Program):
    """Calls `step` 20 times on q0 and q1, once on the others; `check` on q3 alone."""

    def __init__(self) -> None:
        self.step = Predict("question, number: int -> answer")
        self.check = Predict("question -> answer")

    def forward(self, question):
        for number in range(20 if question in ("q0", "q1") else 1):
            made = self.step(question=question, number=number)
        return self.check(question=question) if question == "q3" else made


def made_of(program, data=UNLABELLED, metric=ALWAYS, lm=None, **settings):
    settings = {"sets": 30, "max_labelled": 0, **settings}
    return mipro.bootstrap(program, data, metric, lm=lm or EchoLM(), **settings)


def test_the_demonstrations_of_a_set_come_from_runs_that_differ():
    sets = made_of(Looping()).demo_sets["step"]
    assert len(sets) == 30
    for chosen in sets:
        questions = Counter(demo.values["question"] for demo in chosen)
        assert set(questions.values()) <= {1}


def test_any_of_the_calls_of_a_run_may_be_shown():
    """Uniform over 20 calls: of 100 draws and more, 10 or fewer different ones have p < 1e-15."""
    sets = made_of(Looping(), sets=400, max_bootstrapped=3).demo_sets["step"]
    numbers = [d.values["number"] for s in sets for d in s if d.values["question"] == "q0"]
    assert len(numbers) > 60
    assert len(set(numbers)) > 10


def test_a_module_called_in_one_run_alone_has_sets_of_that_one():
    made = made_of(Looping())
    assert [[d.values["question"] for d in s] for s in made.demo_sets["check"]] == [[], ["q3"]]
    assert made.notes == ()


def test_a_module_that_no_passing_run_called_has_the_empty_set_or_labelled_ones_and_a_note():
    data = [e for e in UNLABELLED if e["question"] != "q3"]
    made = made_of(Looping(), data)
    assert made.demo_sets["check"] == ((),)
    assert made.notes == (
        "no trace that passed gives a demonstration of 'check'",
        "there are no demonstrations of 'check' at all: its only set is empty",
    )
    labelled = made_of(Looping(), examples(3), EXACT, max_labelled=2)
    assert labelled.notes == ("no trace that passed gives a demonstration of 'check'",)
    assert all(not d.bootstrapped for s in labelled.demo_sets["check"] for d in s)
    assert len(labelled.demo_sets["check"]) > 1


class Retrying(Program):
    """Asks up to three times."""

    def __init__(self) -> None:
        self.answer = Predict("question -> answer")

    def forward(self, question):
        for _ in range(3):
            try:
                return self.answer(question=question)
            except ParseError:
                continue
        return Prediction(answer=question)


def test_a_call_that_failed_is_no_demonstration_though_the_run_passed():
    before = Counter()

    def reply(request):
        question = asked(request, "question")
        before[question] += 1
        if question == "q0":
            return "never a reply"
        return "no reply yet" if before[question] == 1 else echo(request)

    made = made_of(Retrying(), examples(6), EXACT, CountingLM(reply), max_bootstrapped=2)
    assert (made.attempted, made.passed) == (6, 6)
    shown = {d for s in made.demo_sets["answer"] for d in s}
    assert {d.values["question"] for d in shown} == {f"q{i}" for i in range(1, 6)}
    assert all(d.values["answer"] == d.values["question"] for d in shown)


class Planning(Program):
    """`plan` is given the same in every run."""

    def __init__(self) -> None:
        self.plan = Predict("task -> plan")
        self.answer = Predict("question, plan -> answer")

    def forward(self, question):
        plan = self.plan(task="answer questions").plan
        return self.answer(question=question, plan=plan)


def test_no_demonstration_stands_twice_in_a_set_though_every_run_has_it():
    made = made_of(Planning())
    assert [len(chosen) for chosen in made.demo_sets["plan"]] == [0, 1]
    assert max(len(chosen) for chosen in made.demo_sets["answer"]) == 4


class Parallel(Program):
    """Five calls at once, on threads of its own."""

    def __init__(self) -> None:
        self.look = Predict("question, part: int -> answer")

    def forward(self, question):
        with ThreadPoolExecutor(5) as pool:
            jobs = [
                pool.submit(copy_context().run, lambda i=i: self.look(question=question, part=i))
                for i in range(5)
            ]
        return jobs[0].result()


def test_threads_of_the_program_s_own_do_not_make_the_sets_chance():
    def slow(request):
        time.sleep(random.random() / 500)
        return chat(answer=asked(request, "question"))

    first, *others = (made_of(Parallel(), lm=CountingLM(slow), sets=8) for _ in range(3))
    for other in others:
        assert other.demo_sets == first.demo_sets


@pytest.mark.parametrize("threads", [1, 8])
def test_the_sets_are_the_same_at_any_number_of_threads(threads):
    assert made_of(Looping(), threads=threads) == made_of(Looping())
