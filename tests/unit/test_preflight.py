"""What does not fit is refused by name before a single call is made."""

from __future__ import annotations

import pytest
from doubles import QA, EchoLM, examples

import mipro
from mipro import Example, metrics
from mipro.errors import ConfigError, DataError, MetricError, MiproError

GOOD = examples(3)
EXACT = metrics.exact_match("answer")


def refused(kind: type[MiproError], said: str, *, program=None, data=GOOD, metric=EXACT):
    lm = EchoLM()
    with pytest.raises(kind, match=said):
        mipro.evaluate(program or QA(), data, metric, lm=lm)
    assert lm.calls == 0


def example(inputs=("question",), **fields):
    return Example(fields, inputs=inputs)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "no examples to evaluate on"),
        ([{"question": "1"}], "example 0 is a dict: wrap it"),
        (
            [*GOOD, example(("q",), q="1", answer="2")],
            r"example 3: QA.forward takes 'question', which is not among the example's inputs \(q\)"
            "; its labels are answer",
        ),
        (
            [example(("question", "answer"), question="1", answer="2")],
            "the input 'answer' is not taken by QA.forward .question.; leave it out of `inputs`",
        ),
    ],
)
def test_data_that_does_not_fit_the_program(data, said):
    refused(DataError, said, data=data)


class Loose(QA):
    def forward(self, question, style="plain", **others):
        return self.answer(question=question)


def test_optional_and_other_inputs_are_taken_where_forward_takes_them():
    data = [example(("question", "style", "x"), question="1", style="s", x=1, answer="1")]
    assert mipro.evaluate(Loose(), data, EXACT, lm=EchoLM()).score == 1.0


@pytest.mark.parametrize(
    "metric",
    [
        metrics.exact_match("anwser"),
        metrics.f1("anwser"),
        lambda example, prediction: example.anwser == prediction.answer,
        lambda example, prediction: prediction["reply"] == example["anwser"],
    ],
)
def test_a_label_that_is_not_there(metric):
    refused(MetricError, "cannot be used on this data: .*no field 'anwser'; it has", metric=metric)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "returned None"), (float("nan"), "returned nan"), ("1", "returned '1'"), (-1, "worst")],
)
def test_a_metric_that_returns_no_usable_number(value, said):
    refused(MetricError, f"metric <lambda> .*{said}.*first example", metric=lambda e, p: value)


def test_a_metric_of_the_wrong_shape():
    refused(MetricError, "example, prediction", metric=lambda example: 1.0)


def test_a_metric_that_only_fails_on_the_made_up_prediction_is_given_the_benefit_of_the_doubt():
    def picky(example, prediction, trace):
        assert len(trace) == 1  # on the made-up prediction there is no call
        return prediction["answer"] == example["answer"]

    assert mipro.evaluate(QA(), GOOD, picky, lm=EchoLM()).score == 1.0


def test_what_is_no_program(tmp_path):
    refused(ConfigError, "QA.* is no mipro.Program object", program=QA)
    QA().save(tmp_path / "c.json", {})
    refused(ConfigError, "give `.program`", program=QA().load(tmp_path / "c.json"))


def test_a_program_without_modules():
    class Empty(mipro.Program):
        def forward(self, question):
            return {}

    refused(MiproError, "Empty has no modules", program=Empty())


def test_a_metric_that_forgets_to_return_on_a_wrong_answer_is_refused():
    def none_on_wrong(example, prediction):
        if prediction.answer == example.answer:
            return 1
        return None

    refused(MetricError, r"none_on_wrong returned None.*tried on a wrong one", metric=none_on_wrong)
