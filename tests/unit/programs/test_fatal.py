"""A systemic failure of the LM ends a run, whatever the user's code makes of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from doubles import QA, CountingLM, EchoLM, asked, chat, examples

import mipro
from mipro.lm.base import Completion, LMError, LMTimeoutError, Request, UnavailableError


class Forgiving(mipro.Program):
    """Answers "unknown" where its part fails; the part may be run in any of the ways there are."""

    def __init__(self, ask=lambda part, **inputs: part(**inputs)) -> None:
        self.part, self.ask = QA(), ask

    def forward(self, question: str) -> mipro.Prediction:
        try:
            return self.ask(self.part, question=question)
        except Exception:  # noqa: BLE001 - what is tested is that it catches too much
            return mipro.Prediction(answer="unknown")


def dead(request):
    return UnavailableError("nobody there")


def late(request):
    return LMTimeoutError("too slow")


def of_its_own_lm(part, **inputs):
    return part(lm=CountingLM(dead), **inputs)


def on_another_thread(part, **inputs):
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(copy_context().run, lambda: part(**inputs)).result()


@pytest.mark.parametrize("ask", [lambda part, **i: part(**i), of_its_own_lm, on_another_thread])
def test_a_program_cannot_hide_that_its_lm_is_gone(ask):
    program, lm = Forgiving(ask), EchoLM() if ask is of_its_own_lm else CountingLM(dead)
    with pytest.raises(UnavailableError, match="nobody there"):
        program(question="q0", lm=lm)
    with pytest.raises(UnavailableError, match="nobody there"):
        mipro.evaluate(program, examples(3), mipro.metrics.exact_match("answer"), lm=lm)


def test_the_error_kept_is_the_first_and_has_the_trace_that_led_to_it():
    replies = iter([chat(answer="q0"), UnavailableError("first"), UnavailableError("second")])

    class Thrice(mipro.Program):
        def __init__(self) -> None:
            self.answer = mipro.Predict("question -> answer")

        def forward(self, question: str) -> mipro.Prediction:
            for _ in range(3):
                try:
                    self.answer(question=question)
                except UnavailableError:
                    continue
            raise ValueError("no answer")

    run = Thrice().run({"question": "q0"}, lm=CountingLM(lambda request: next(replies)))
    assert str(run.error) == "first"
    assert run.prediction is None
    assert [call.error is None for call in run.trace] == [True, False, False]


def test_an_error_of_one_call_may_be_caught():
    assert Forgiving()(question="q0", lm=CountingLM(late)).answer == "unknown"


def test_a_single_call_marked_as_systemic_counts_as_such():
    error = LMTimeoutError("too slow, as are all")
    error.systemic = True
    with pytest.raises(LMTimeoutError):
        Forgiving()(question="q0", lm=CountingLM(lambda request: error))


class Unruly(CountingLM):
    """An LM of a user's own, which leaves it to its client to raise what it likes."""

    def __init__(self) -> None:
        super().__init__(lambda request: chat(answer=asked(request, "question")))

    def __call__(self, request: Request, /) -> Completion:
        if self.calls >= 2:
            raise ConnectionResetError("the line went dead")
        return super().__call__(request)


@pytest.mark.parametrize("program", [QA(), Forgiving()])
def test_an_lm_that_raises_what_no_lm_may_ends_the_run_and_costs_no_example_its_score(program):
    with pytest.raises(LMError, match="counting raised ConnectionResetError: the line") as caught:
        mipro.evaluate(program, examples(5), mipro.metrics.exact_match("answer"), lm=Unruly())
    assert caught.value.systemic
    assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_a_judge_without_an_lm_is_no_score():
    def judged(example, prediction):
        raise UnavailableError("the judge is gone")

    with pytest.raises(UnavailableError, match="judge"):
        mipro.evaluate(QA(), examples(3), judged, lm=EchoLM(), allow_all_failed=True)
