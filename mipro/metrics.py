"""Metrics: from an example and a prediction to a number, higher being better.

A user's own metric is any function `(example, prediction)` or `(example, prediction, trace)` that
returns a bool or a number. `worst` is what a failed example scores; a metric that goes below 0
declares it: `@mipro.metric(worst=-10.0)`.
"""

from __future__ import annotations

import inspect
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, SupportsFloat

from mipro.data import Example
from mipro.errors import MetricError
from mipro.programs.trace import Prediction, Trace

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Metric:
    """A checked metric. `worst` is the lowest score there is, and a failed example's score."""

    function: Callable[..., Any]
    name: str
    worst: float = 0.0
    wants_trace: bool = False

    @classmethod
    def of(cls, function: Callable[..., Any] | Metric, worst: float = 0.0) -> Metric:
        """Wrap a function of two or three arguments. Raises `MetricError` for another shape."""
        if isinstance(function, Metric):
            return function
        name = getattr(function, "__name__", type(function).__name__)
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError) as error:
            raise MetricError(f"metric {name}: its arguments cannot be read ({error})") from error
        required = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if not 2 <= len(required) <= 3 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise MetricError(f"metric {name}: (example, prediction) or (…, trace) is wanted")
        return cls(function, name, worst, len(required) == 3)

    def __call__(
        self, example: Example, prediction: Prediction, trace: Trace | None = None
    ) -> float:
        """The score. Raises `MetricError` where the function returns no usable number."""
        shown = prediction.trace if trace is None else trace
        arguments = (example, prediction, shown) if self.wants_trace else (example, prediction)
        value = self.function(*arguments)
        if value is None:
            raise MetricError(f"metric {self.name} returned None: does every branch return?")
        if isinstance(value, str) or not isinstance(value, SupportsFloat):
            raise MetricError(f"metric {self.name} returned {value!r}: a bool or a number is due")
        score = float(value)
        if not math.isfinite(score):
            raise MetricError(f"metric {self.name} returned {score}: a finite number is due")
        if score < self.worst:
            raise MetricError(
                f"metric {self.name} returned {score}, below its worst ({self.worst}), which is "
                f"what a failed example scores; declare it: @mipro.metric(worst=…)"
            )
        return score


def metric(*, worst: float) -> Callable[[Callable[..., Any]], Metric]:
    """Declare the lowest score a metric can return, which a failed example is given."""
    return lambda function: Metric.of(function, worst)


def normalize(text: Any) -> str:
    """SQuAD's normalisation: lower case, without punctuation, articles and spare white space."""
    plain = str(text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def _golds(value: Any) -> list[Any]:
    """A label may be one answer, or a list of acceptable ones."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _exact_match(field: str, example: Example, prediction: Prediction) -> bool:
    golds = _golds(getattr(example, field))
    return normalize(getattr(prediction, field)) in [normalize(gold) for gold in golds]


def _same_text(field: str, example: Example, prediction: Prediction) -> bool:
    golds = _golds(getattr(example, field))
    return str(getattr(prediction, field)).strip() in [str(gold).strip() for gold in golds]


def _f1(field: str, example: Example, prediction: Prediction) -> float:
    golds = _golds(getattr(example, field))
    words = normalize(getattr(prediction, field)).split()
    return max(_overlap(words, normalize(gold).split()) for gold in golds)


def _overlap(words: list[str], gold: list[str]) -> float:
    if not words or not gold:
        return float(words == gold)
    common = sum((Counter(words) & Counter(gold)).values())
    return 2 * common / (len(words) + len(gold))


def _numeric_match(field: str, tolerance: float, example: Example, prediction: Prediction) -> bool:
    found, wanted = _last_number(getattr(prediction, field)), _last_number(getattr(example, field))
    if wanted is None:
        raise MetricError(f"the label '{field}' holds no number: {getattr(example, field)!r}")
    return found is not None and math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)


def _last_number(value: Any) -> float | None:
    found = _NUMBER.findall(str(value))
    return float(found[-1].replace(",", "")) if found else None


def _title_recall(field: str, gold: str, example: Example, prediction: Prediction) -> float:
    wanted = {normalize(title) for title in _golds(getattr(example, gold))}
    found: Iterable[Any] = _golds(getattr(prediction, field))
    return len(wanted & {normalize(title) for title in found}) / len(wanted) if wanted else 1.0


def exact_match(field: str) -> Metric:
    """Is the predicted `field` the label, or one of the labels, after SQuAD's normalisation?"""
    return Metric(partial(_exact_match, field), f"exact_match({field})")


def same_text(field: str) -> Metric:
    """Is the predicted `field` the label to the letter, case and punctuation included?"""
    return Metric(partial(_same_text, field), f"same_text({field})")


def f1(field: str) -> Metric:
    """F1 of words against the (best) label, after SQuAD's normalisation."""
    return Metric(partial(_f1, field), f"f1({field})")


def numeric_match(field: str, tolerance: float = 1e-6) -> Metric:
    """Is the last number in the predicted `field` the last number in the label?"""
    return Metric(partial(_numeric_match, field, tolerance), f"numeric_match({field})")


def title_recall(field: str = "titles", gold: str = "titles") -> Metric:
    """The share of the example's `gold` titles found among the predicted `field`."""
    return Metric(partial(_title_recall, field, gold), f"title_recall({field})")
