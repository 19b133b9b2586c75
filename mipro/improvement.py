"""Was the candidate shown better than the original, and how far did selecting it flatter it?

Only examples that the search never saw can tell. On the validation set no p-value is offered: the
search chose what to try by the scores it saw there, so the correction would have to be for every
candidate that it might have come to, not for those it evaluated. Several looks at the test set are
accounted for in two ways: portions of it within a run (`looks`), and several candidates on it
(`improvements`). A test set that an earlier run's result has guided is a validation set by now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mipro.errors import ConfigError
from mipro.looks import PairedLooks
from mipro.stats import difference_interval

Verdict = Literal["better", "not shown", "unchanged", "not tested"]


@dataclass(frozen=True, slots=True)
class Improvement:
    """Was the candidate shown better than the original, on examples it was not selected on?

    `verdict` is "better", "not shown", "unchanged" (the candidate is the original) or "not tested".
    `p_value` is one-sided and adjusted for `looks`, the looks taken of those `planned`, and for
    `family`, the candidates tested on the same examples; None where nothing was tested. A test that
    was ended because the level could not be reached any more has 1. `n` pairs were used, of `most`.
    `why` says what there is to say beside.
    """

    verdict: Verdict = "not tested"
    level: float = 0.05
    p_value: float | None = None
    n: int = 0
    most: int = 0
    looks: int = 0
    planned: int = 1
    family: int = 1
    why: str = ""

    @property
    def shown(self) -> bool:
        """Is the candidate shown better at the level asked?"""
        return self.verdict == "better"

    @property
    def text(self) -> str:
        """One sentence for a person."""
        if self.verdict in ("unchanged", "not tested"):
            return f"Not shown better than the original: {self.verdict}. {self.why}"
        begin = "Shown" if self.shown else "Not shown"
        looks = f"{self.looks} look{'s' * (self.looks > 1)}"
        looks += f" of {self.planned} planned" if self.planned > 1 else ""
        family = f", {self.family} candidates tested" if self.family > 1 else ""
        text = (
            f"{begin} better than the original: one-sided p = {self.p_value:.2g} on {self.n} "
            f"held-out examples (level {self.level:g}, {looks}{family})."
        )
        return f"{text} {self.why}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "shown_better": self.shown,
            "verdict": self.verdict,
            "p_value": self.p_value,
            "level": self.level,
            "sided": "one",
            "n": self.n,
            "most": self.most,
            "looks": self.looks,
            "planned_looks": self.planned,
            "family": self.family,
            "why": self.why,
        }


def improvement(
    before: Sequence[float], after: Sequence[float], level: float = 0.05
) -> Improvement:
    """Is `after` shown better than `before`, scores of the same examples in the same order?

    One look. Raises `ConfigError` when the lengths differ or are 0, and for a level outside (0, 1).
    """
    a, b = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ConfigError(f"pairs are wanted: {a.size} scores before, {b.size} after")
    found = PairedLooks([a.size], level).look(b - a)
    verdict: Verdict = "better" if found.better else "not shown"
    return Improvement(verdict, level, found.p_value, a.size, a.size, looks=1)


def improvements(
    before: Sequence[float], after: Mapping[str, Sequence[float]], level: float = 0.05
) -> dict[str, Improvement]:
    """The same for several candidates on one test set: the p-values are Holm's.

    At most once in 1/level is any candidate that is no better called better, however the candidates
    hang together. They must all be given, those that did badly too, and none may have been made or
    chosen knowing a score on this test set: after that it is no test set any more.
    """
    found = {name: improvement(before, scores, level) for name, scores in after.items()}
    adjusted = holm([made.p_value or 0.0 for made in found.values()])
    return {
        name: replace(
            made,
            verdict="better" if p_value <= level else "not shown",
            p_value=p_value,
            family=len(found),
        )
        for (name, made), p_value in zip(found.items(), adjusted, strict=True)
    }


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values, in the order given (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of m is multiplied by m − i + 1, and none is below a smaller one's.
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for i, place in enumerate(sorted(range(len(p_values)), key=lambda j: p_values[j])):
        least = max(least, min(1.0, (len(p_values) - i) * p_values[place]))
        adjusted[place] = least
    return tuple(adjusted)


@dataclass(frozen=True, slots=True)
class Optimism:
    """How far the score that a candidate was selected by flatters it.

    `value` is `selected` − `held_out`, the means of the same candidate's scores on the whole
    validation set and on the test set. The two sets may differ in difficulty: `original` is the
    same difference of the original program, which nobody selected, and `net` is `value` −
    `original`: how much of the gain on the validation set was not there on the test set. Intervals
    are 95%, from two independent samples (`stats.difference_interval`); they say where the expected
    difference lies, both sets drawn anew. A test that was ended early because the candidate did
    well flatters `held_out` too, and makes the optimism look smaller.
    """

    selected: float
    held_out: float
    value: float
    interval: tuple[float, float]
    original: float
    original_interval: tuple[float, float]
    net: float
    net_interval: tuple[float, float]

    @classmethod
    def of(
        cls,
        selected: tuple[Sequence[float], Sequence[float]],
        held_out: tuple[Sequence[float], Sequence[float]],
    ) -> Optimism:
        """From (original's, candidate's) scores on each set, examples in the same order."""
        (before, after), (test_before, test_after) = (
            (np.asarray(a, dtype=float), np.asarray(b, dtype=float))
            for a, b in (selected, held_out)
        )
        pairs = (
            (after, test_after),
            (before, test_before),
            (after - before, test_after - test_before),
        )
        value, original, net = (float(a.mean() - b.mean()) for a, b in pairs)
        of_value, of_original, of_net = (difference_interval(a, b) for a, b in pairs)
        return cls(
            float(after.mean()),
            float(test_after.mean()),
            value,
            of_value,
            original,
            of_original,
            net,
            of_net,
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "selected": self.selected,
            "held_out": self.held_out,
            "optimism": self.value,
            "interval": list(self.interval),
            "original": self.original,
            "original_interval": list(self.original_interval),
            "net": self.net,
            "net_interval": list(self.net_interval),
        }
