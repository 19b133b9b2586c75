"""Metrics: the library's own, and what may and may not be one of a user's."""

from __future__ import annotations

import pickle
from decimal import Decimal

import numpy as np
import pytest
from doubles import minus_length

import mipro
from mipro import Example, Prediction, Trace, metrics
from mipro.errors import MetricError, MissingFieldError
from mipro.metrics import Metric, normalize


def scored(metric, gold, found, field="answer"):
    return metric(Example({"q": 1, field: gold}, ("q",)), Prediction({field: found}))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("a an the", ""),
        ("Another Theatre", "another theatre"),
        ("U.S.A.", "usa"),
        ("well-known", "wellknown"),
        ("\tÉcole\n1 ", "école 1"),
        (1984, "1984"),
    ],
)
def test_squad_normalisation(text, plain):
    assert normalize(text) == plain


@pytest.mark.parametrize(
    ("gold", "found", "score"),
    [
        ("Paris", "the paris.", 1.0),
        ("Paris", "Paris, France", 0.0),
        (["NYC", "New York"], "new york", 1.0),
        (["NYC", "New York"], "York", 0.0),
        ([], "", 0.0),
        (42, "42", 1.0),
    ],
)
def test_exact_match(gold, found, score):
    assert scored(metrics.exact_match("answer"), gold, found) == score


def test_same_text_is_to_the_letter():
    metric = metrics.same_text("answer")
    assert scored(metric, "PARIS", " PARIS\n") == 1.0
    assert scored(metric, "PARIS", "Paris") == 0.0
    assert scored(metric, ["a.", "a"], "a") == 1.0


@pytest.mark.parametrize(
    ("gold", "found", "score"),
    [
        ("cat sat", "the cat sat", 1.0),
        ("a b c d", "b c x", 4 / 6),  # "a" is an article: 3 words of gold, 3 found, 2 in common
        ("x", "y", 0.0),
        ("x", "", 0.0),
        ("", "the", 1.0),
        (["x", "x y"], "y x", 1.0),
        ("x x y", "x", 2 * 1 / 4),
        ([], "x", 0.0),
    ],
)
def test_f1(gold, found, score):
    assert scored(metrics.f1("answer"), gold, found) == pytest.approx(score)


@pytest.mark.parametrize(
    ("gold", "found", "score"),
    [
        ("#### 1,234", "so it is $1234.00.", 1.0),
        (-5, "minus: −5", 1.0),
        (5, "−5", 0.0),
        (0.5, "about .5", 1.0),
        (3, "5-2 = 3", 1.0),
        (2, "pages 1-2", 1.0),
        (19, "COVID-19", 1.0),
        ("1e3", "1000", 1.0),
        (7, "no number", 0.0),
        (7, "7 or 8", 0.0),
    ],
)
def test_numeric_match_takes_the_last_number(gold, found, score):
    assert scored(metrics.numeric_match("answer"), gold, found) == score


def test_numeric_match_within_a_tolerance():
    assert scored(metrics.numeric_match("answer", tolerance=0.01), 100, "100.9") == 1.0
    assert scored(metrics.numeric_match("answer"), 100, "100.9") == 0.0
    with pytest.raises(MetricError, match="the label 'answer' holds no number: 'many'"):
        scored(metrics.numeric_match("answer"), "many", "3")


def test_title_recall():
    metric = metrics.title_recall("found", gold="titles")

    def recall(wanted, found):
        return metric(Example({"q": 1, "titles": wanted}, ("q",)), Prediction(found=found))

    assert recall(["The A Team", "B"], ["b", "c", "a team!"]) == 1.0
    assert recall(["X", "Y", "Y"], ["y"]) == 0.5
    assert recall([], ["y"]) == 1.0


def test_all_titles_is_all_or_nothing():
    metric = metrics.all_titles("found", gold="titles")

    def score(wanted, found):
        return metric(Example({"q": 1, "titles": wanted}, ("q",)), Prediction(found=found))

    assert score(["The A Team", "B", "C"], ["b", "x", "a team!", "c"]) == 1.0
    assert score(["The A Team", "B", "C"], ["b", "x", "a team!"]) == 0.0
    assert score(["B"], []) == 0.0


@pytest.mark.parametrize("make", [metrics.title_recall, metrics.all_titles])
def test_a_title_of_articles_and_punctuation_alone_is_a_title(make):
    example = Example({"q": 1, "titles": ["!!!"]}, ("q",))
    assert make()(example, Prediction(titles=["The The", "A"])) == 0.0
    assert make()(example, Prediction(titles=["!!!"])) == 1.0


BUILT_IN = [metrics.exact_match, metrics.same_text, metrics.f1, metrics.numeric_match]


@pytest.mark.parametrize("make", BUILT_IN)
@pytest.mark.parametrize("field", ["values", "labels", "keys"])
def test_a_field_may_have_the_name_of_a_method(make, field):
    assert scored(make(field), "1", "1", field) == 1.0
    assert scored(make(field), "1", "2", field) == 0.0


@pytest.mark.parametrize("make", BUILT_IN)
def test_a_missing_or_null_label_is_named(make):
    with pytest.raises(MissingFieldError, match="has no field 'answer'"):
        make("answer")(Example({"q": 1}, ("q",)), Prediction(answer="x"))
    with pytest.raises(MissingFieldError, match="'answer' is empty"):
        scored(make("answer"), None, "None")


# --- a user's own

ONE = (Example({"q": 1}, ("q",)), Prediction(a=1))


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (True, 1.0),
        (0, 0.0),
        (0.25, 0.25),
        (np.True_, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(1), 1.0),
        (np.array(1.0), 1.0),
        (Decimal("0.5"), 0.5),
    ],
)
def test_a_bool_or_a_number_of_any_kind_is_a_score(value, score):
    made = Metric.of(lambda example, prediction: value)(*ONE)
    assert made == score
    assert type(made) is float


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "returned None: does every branch return"),
        (float("nan"), "returned nan: a finite number"),
        (float("inf"), "returned inf"),
        ("0.5", "returned '0.5': a bool or a number"),
        ([1.0], "a bool or a number is due"),
        (1j, "a bool or a number is due"),
        (np.array([1.0, 0.0]), r"returned array\(\[1., 0.\]\)"),
        (-0.5, "below its worst .*declare it: @mipro.metric"),
    ],
)
def test_no_usable_number_is_refused_with_the_metric_s_name(value, said):
    def my_metric(example, prediction):
        return value

    with pytest.raises(MetricError, match=f"metric my_metric .*{said}"):
        Metric.of(my_metric)(*ONE)


def test_the_trace_is_given_to_who_asks_for_it():
    trace = Trace()
    saw = {}

    def three(example, prediction, steps):
        saw["three"] = steps
        return 1

    def named(example, prediction, trace=None, weight=1.0):
        saw["named"] = (trace, weight)
        return 1

    def tolerant(example, prediction, tolerance=0.5):
        saw["tolerant"] = tolerance
        return 1

    def rest(*arguments):
        saw["rest"] = len(arguments)
        return 1

    class Callable:
        def __call__(self, example, prediction, trace):
            saw["object"] = trace
            return 1

    for function in (three, named, tolerant, rest, Callable()):
        Metric.of(function)(*ONE, trace)
    assert saw == {
        "three": trace,
        "named": (trace, 1.0),
        "tolerant": 0.5,
        "rest": 2,
        "object": trace,
    }


def test_without_a_trace_it_is_the_prediction_s_own():
    assert Metric.of(lambda e, p, trace: trace is p.trace)(*ONE) == 1.0


@pytest.mark.parametrize(
    "function",
    [
        lambda: 1,
        lambda example: 1,
        lambda a, b, c, d: 1,
        lambda example, prediction, *, field: 1,
        "text",
        None,
    ],
)
def test_a_function_of_another_shape_is_refused_before_it_is_called(function):
    with pytest.raises(MetricError):
        Metric.of(function)


def test_a_metric_below_0_declares_its_worst():
    assert (minus_length.worst, minus_length.name) == (-10.0, "minus_length")
    assert scored(minus_length, "", "abc") == -3.0
    with pytest.raises(MetricError, match="below its worst"):
        scored(minus_length, "", "a" * 11)
    assert mipro.metric(worst=-20.0)(minus_length).worst == -20.0
    for worst in (float("-inf"), float("nan")):
        with pytest.raises(MetricError, match="a finite number is wanted"):
            mipro.metric(worst=worst)(lambda e, p: 1)


@pytest.mark.parametrize("metric", [minus_length, metrics.f1("answer")])
def test_a_metric_travels_to_other_processes(metric):
    again = pickle.loads(pickle.dumps(metric))
    assert (again.name, again.worst) == (metric.name, metric.worst)
    assert scored(again, "a b", "b") == scored(metric, "a b", "b") != 0
