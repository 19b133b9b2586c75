"""Metrics: from an example and a prediction to a number, higher being better.

A user's own metric is any function `(example, prediction)` or `(example, prediction, trace)` that
returns a bool or a number (a third argument with a default is given the trace only if it is called
`trace`). `worst` is what a failed example scores; a metric that goes below 0
declares it: `@mipro.metric(worst=-10.0)`.
"""

from __future__ import annotations

import inspect
import math
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any, SupportsFloat

from mipro.data import Example
from mipro.errors import MetricError, MissingFieldError
from mipro.programs.trace import Prediction, Trace

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# a sign after a digit or a letter is a minus or a hyphen: "3-5", "COVID-19"
_NUMBER = re.compile(r"(?:(?<!\w)[-+])?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Metric:
    """A checked metric. `worst` is the lowest score there is, and a failed example's score."""

    function: Callable[..., Any]
    name: str
    worst: float = 0.0
    wants_trace: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.worst):
            raise MetricError(f"metric {self.name}: worst={self.worst}: a finite number is wanted")

    @classmethod
    def of(cls, function: Callable[..., Any] | Metric, worst: float = 0.0) -> Metric:
        """Wrap a function of two or three arguments. Raises `MetricError` for another shape."""
        if isinstance(function, Metric):
            return function
        name = getattr(function, "__name__", type(function).__name__)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise MetricError(f"metric {name}: its arguments cannot be read ({error})") from error
        third = [
            p
            for p in list(signature.parameters.values())[2:3]
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        wants_trace = any(p.name == "trace" or p.default is p.empty for p in third)
        try:
            signature.bind(*[None] * (3 if wants_trace else 2))
        except TypeError as error:
            raise MetricError(
                f"metric {name}{signature}: (example, prediction) or (…, trace) is wanted ({error})"
            ) from error
        return cls(function, name, worst, wants_trace)

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
        try:
            score = float(value)
        except (TypeError, ValueError) as error:  # an array of more than one number, say
            raise MetricError(f"metric {self.name} returned {value!r}: {error}") from error
        if not math.isfinite(score):
            raise MetricError(f"metric {self.name} returned {score}: a finite number is due")
        if score < self.worst:
            raise MetricError(
                f"metric {self.name} returned {score}, below its worst ({self.worst}), which is "
                f"what a failed example scores; declare it: @mipro.metric(worst=…)"
            )
        return score

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """A decorated function's name stands for the metric now: it travels by that name."""
        home = getattr(self.function, "__module__", "")
        if getattr(sys.modules.get(home), self.name, None) is self:
            return _found, (home, self.name)
        return Metric, (self.function, self.name, self.worst, self.wants_trace)


def _found(home: str, name: str) -> Any:
    return getattr(import_module(home), name)


def metric(*, worst: float) -> Callable[[Callable[..., Any] | Metric], Metric]:
    """Declare the lowest score a metric can return, which a failed example is given."""
    return lambda function: replace(Metric.of(function), worst=worst)


def normalize(text: Any) -> str:
    """SQuAD's normalisation: lower case, without punctuation, articles and spare white space."""
    plain = str(text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def _label(example: Mapping[str, Any], field: str) -> Any:
    if example[field] is None:
        raise MissingFieldError(f"the example's field '{field}' is empty (null)")
    return example[field]


def _golds(value: Any) -> list[Any]:
    """A label may be one answer, or a list of acceptable ones."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _exact_match(field: str, example: Example, prediction: Prediction) -> bool:
    golds = _golds(_label(example, field))
    return normalize(prediction[field]) in [normalize(gold) for gold in golds]


def _same_text(field: str, example: Example, prediction: Prediction) -> bool:
    golds = _golds(_label(example, field))
    return str(prediction[field]).strip() in [str(gold).strip() for gold in golds]


def _f1(field: str, example: Example, prediction: Prediction) -> float:
    golds = _golds(_label(example, field))
    words = normalize(prediction[field]).split()
    return max((_overlap(words, normalize(gold).split()) for gold in golds), default=0.0)


def _overlap(words: list[str], gold: list[str]) -> float:
    if not words or not gold:
        return float(words == gold)
    common = sum((Counter(words) & Counter(gold)).values())
    return 2 * common / (len(words) + len(gold))


def _numeric_match(field: str, tolerance: float, example: Example, prediction: Prediction) -> bool:
    found, wanted = _last_number(prediction[field]), _last_number(_label(example, field))
    if wanted is None:
        raise MetricError(f"the label '{field}' holds no number: {example[field]!r}")
    return found is not None and math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)


def _last_number(value: Any) -> float | None:
    found = _NUMBER.findall(str(value).replace("−", "-"))
    return float(found[-1].replace(",", "")) if found else None


def _title_recall(field: str, gold: str, example: Example, prediction: Prediction) -> float:
    wanted = set(map(_title, _golds(_label(example, gold))))
    found: Iterable[Any] = _golds(prediction[field])
    return len(wanted & set(map(_title, found))) / len(wanted) if wanted else 1.0


def _title(title: Any) -> str:
    """Normalized; one of punctuation and articles alone ("!!!", "The The") stays as it is."""
    return normalize(title) or str(title).strip()


def _all_titles(field: str, gold: str, example: Example, prediction: Prediction) -> bool:
    return _title_recall(field, gold, example, prediction) == 1.0


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


def all_titles(field: str = "titles", gold: str = "titles") -> Metric:
    """Are all of the example's `gold` titles among the predicted `field`? (the paper's HoVer)"""
    return Metric(partial(_all_titles, field, gold), f"all_titles({field})")
