"""Before the first paid call: do the data, the program and the metric fit each other?

Elsewhere a misnamed field or a metric that forgets to return ends a run normally, with score 0.
Here it is refused, by name, before a call is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mipro.data import Example
from mipro.errors import ConfigError, DataError, MetricError, MissingFieldError
from mipro.metrics import Metric
from mipro.programs.program import Program
from mipro.programs.trace import Prediction, Trace


class _Expected(Prediction):
    """A made-up prediction: each field is the example's label of that name, or empty text."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        return self._fields.get(name, "")


def check_task(program: Program, examples: Sequence[Example], metric: Metric) -> None:
    """Try every example's fields against the program, and the metric on the first one.

    Raises `ConfigError` for what is no program; `DataError` for no examples, or an input the
    program wants and an example lacks (or the other way about); `MetricError` where the metric
    asks for a label the example lacks, or returns None, NaN or text. A metric that raises for
    another reason on the made-up prediction is given the benefit of the doubt: on a real one it is
    a failed outcome with that reason.
    """
    if not isinstance(program, Program):
        raise ConfigError(
            f"{program!r} is no mipro.Program object: an instance of your subclass is wanted (of a "
            f"program loaded with a candidate, give `.program`, and candidate=….candidate)"
        )
    if not examples:
        raise DataError("there are no examples to evaluate on")
    program.modules()
    for number, example in enumerate(examples):
        _check_inputs(program, example, number)
    _try_metric(metric, examples[0])


def _check_inputs(program: Program, example: Any, number: int) -> None:
    if not isinstance(example, Example):
        raise DataError(
            f"example {number} is a {type(example).__name__}: wrap it, "
            f"mipro.Example({{'question': …, 'answer': …}}, inputs=('question',))"
        )
    required, optional, others = program.input_names()
    name = type(program).__name__
    for wanted in required:
        if wanted not in example.inputs:
            raise DataError(
                f"example {number}: {name}.forward takes '{wanted}', which is not among the "
                f"example's inputs ({', '.join(example.inputs)}); its labels are "
                f"{', '.join(example.labels) or 'none'}"
            )
    for given in example.inputs:
        if not others and given not in required + optional:
            raise DataError(
                f"example {number}: the input '{given}' is not taken by {name}.forward "
                f"({', '.join(required + optional)}); leave it out of `inputs`"
            )


def _try_metric(metric: Metric, example: Example) -> None:
    """Once on the example's own labels, once on a prediction in which every field is empty."""
    for labels, shown in ((example.labels, "the first example's own labels"), ({}, "a wrong one")):
        try:
            metric(example, _Expected(labels), Trace())
        except MissingFieldError as error:
            raise MetricError(
                f"metric {metric.name} cannot be used on this data: {error}"
            ) from error
        except MetricError as error:
            raise MetricError(f"{error} (tried on {shown})") from error
        except Exception:  # noqa: BLE001 - a user's metric may raise anything on a made-up one
            continue
