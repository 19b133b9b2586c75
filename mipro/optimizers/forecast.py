"""What a run will take, by phase: calls, tokens and cost, each with a range.

Read off a rehearsal of the run (`rehearsal`) that knows, of the program, a few probed runs
(`probing`). `smallest` is what a budget must reach for one sensible step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mipro.bootstrapping import Bootstrap
from mipro.data import Example
from mipro.errors import ConfigError
from mipro.lm.budget import LIMITS, Amount, Budget
from mipro.lm.meter import Entry
from mipro.lm.price import Price
from mipro.optimizers.books import Rehearsal
from mipro.optimizers.probing import Probe
from mipro.optimizers.rehearsal import rehearsed
from mipro.optimizers.task import (
    BOOTSTRAP,
    FULL,
    MINIBATCHES,
    PHASES,
    PROPOSALS,
    SUMMARIES,
    TEST,
    Strategy,
    Task,
)

# a reply's length and a demonstration's vary: what tokens a call takes may be so much less or more
PROBED, ASSUMED, KNOWN = (0.75, 1.35), (0.5, 2.0), (1.0, 1.0)


class Range(NamedTuple):
    """Low, expected, high."""

    low: float
    expected: float
    high: float

    def __add__(self, other: Any) -> Range:
        return Range(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class PhaseForecast:
    """One phase, or all together; `cost` is None where a model of the phase has no price."""

    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    cost: Range | None

    def __add__(self, other: PhaseForecast) -> PhaseForecast:
        return PhaseForecast(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
        )

    @property
    def tokens(self) -> Range:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> dict[str, Any]:
        """Each range as [low, expected, high]."""
        body: dict[str, Any] = {
            name: [round(v) for v in getattr(self, name)]
            for name in ("calls", "prompt_tokens", "completion_tokens")
        }
        if self.cost is not None:
            body["cost_usd"] = [round(v, 6) for v in self.cost]
        return body


@dataclass(frozen=True)
class Forecast:
    """What a run will take. `probed` examples were run to know it; 0: replies are assumed.

    `smallest` is what the original program in full, bootstrapping, one round of proposals, one
    trial, one full evaluation and the test take; `full` and `test` are the last two of these.
    """

    phases: Mapping[str, PhaseForecast]
    probed: int
    smallest: Amount
    full: Amount
    test: Amount

    @property
    def total(self) -> PhaseForecast:
        """All phases together."""
        first, *others = self.phases.values()
        for other in others:
            first += other
        return first

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "probed": self.probed,
            "phases": {name: phase.to_json() for name, phase in self.phases.items()},
            "total": self.total.to_json(),
        }

    def check(self, budget: Budget) -> None:
        """Raise `ConfigError` where `budget` is too small for one sensible step."""
        short = {
            name: getattr(self.smallest, name)
            for name, most in budget.limits.items()
            if name != "seconds" and most < getattr(self.smallest, name)
        }
        if short:
            enough = ", ".join(f"{name} = {_rounded_up(name, v)}" for name, v in short.items())
            given = ", ".join(f"{name} = {budget.limits[name]:g}" for name in short)
            raise ConfigError(
                f"the budget {given} is too small for one sensible step (the original program "
                f"and one candidate evaluated in full, with what has to come before, and the "
                f"test): the smallest that would do is {enough}; or give fewer examples, fewer "
                f"instructions or smaller minibatches"
            )


def forecast(
    strategy: Strategy,
    task: Task,
    test: Sequence[Example],
    prices: Mapping[str, Price],
    probe: Probe,
    made: Bootstrap | None = None,
) -> Forecast:
    """Forecast a run of `strategy`, a new one, on `task`, with `test` examples at its end.

    With what came of bootstrapping it is made again in the run: how long prompts will be depends
    on the demonstrations, and a few probed runs say little of how many traces pass.
    """
    rehearsal = rehearsed(strategy, task, test, probe, made)
    phases: dict[str, PhaseForecast] = {}
    for name in (*PHASES, *(n for n in rehearsal.phases if n not in PHASES)):
        if name in rehearsal.phases:
            priced = all(model in prices for model in _models(name, task, probe))
            factors = ASSUMED if probe.passed is None else PROBED
            if name == BOOTSTRAP and made is not None:
                factors = KNOWN
            phases[name] = _phase(rehearsal.phases[name], factors, priced)
    costs = _Costs(task)
    return Forecast(
        phases,
        0 if probe.passed is None else len(probe.runs),
        costs.smallest(rehearsal),
        costs.last(rehearsal),
        costs.all(rehearsal, TEST),
    )


def _phase(
    entries: tuple[Entry, Entry, Entry], factors: tuple[float, float], priced: bool
) -> PhaseForecast:
    by = (factors[0], 1.0, factors[1])
    calls = Range(*(float(entry.calls) for entry in entries))
    prompt, completion = (
        Range(*(getattr(e, name) * f for e, f in zip(entries, by, strict=True)))
        for name in ("prompt_tokens", "completion_tokens")
    )
    cost = None
    if priced:
        cost = Range(*((entry.cost or 0.0) * f for entry, f in zip(entries, by, strict=True)))
    return PhaseForecast(calls, prompt, completion, cost)


def _models(phase: str, task: Task, probe: Probe) -> set[str]:
    """The models that are asked in a phase: some modules may have LMs of their own."""
    if phase in (SUMMARIES, PROPOSALS):
        return {task.prompt_lm.model}
    of_teacher = phase == BOOTSTRAP
    lm = task.teacher.lm_or(task.lm) if of_teacher else task.lm
    runs = probe.teacher if of_teacher else probe.runs
    return {call.own or lm.model for run in runs for call in run} or {lm.model}


@dataclass(frozen=True)
class _Costs:
    """Parts of a rehearsal as amounts of a budget."""

    task: Task

    def amount(self, phase: str, entry: Entry) -> Amount:
        return Amount(entry.calls, entry.tokens, entry.cost or 0.0)

    def smallest(self, rehearsal: Rehearsal) -> Amount:
        """What comes before the search, its first step, a full evaluation, and the test."""
        total = self.amount(*rehearsal.steps[0]) + self.all(rehearsal, TEST)
        if BOOTSTRAP in rehearsal.phases:
            total += self.amount(BOOTSTRAP, rehearsal.phases[BOOTSTRAP][1])
        for phase, entry in rehearsal.before.items():  # proposals may go on in the search
            total += self.amount(phase, entry)
        first = [step for step in rehearsal.steps[1:2] if step[0] == MINIBATCHES]
        for step in first:
            total += self.amount(*step)
        return total + (self.last(rehearsal) if first else self.dearest(rehearsal, FULL))

    def last(self, rehearsal: Rehearsal) -> Amount:
        """A full evaluation of the leader, where trials leave one to be made."""
        partial = self.task.options.minibatch < len(self.task.val)
        owed = partial and MINIBATCHES in rehearsal.phases
        return self.dearest(rehearsal, FULL) if owed else Amount()

    def dearest(self, rehearsal: Rehearsal, phase: str) -> Amount:
        """The step of a phase that takes the most."""
        steps = [self.amount(*step) for step in rehearsal.steps if step[0] == phase]
        return Amount(*(max(getattr(s, name) for s in steps) for name in LIMITS))

    def all(self, rehearsal: Rehearsal, phase: str) -> Amount:
        """All steps of a phase, none of which finds its replies there already."""
        steps = (self.amount(*step) for step in rehearsal.steps if step[0] == phase)
        return sum(steps, Amount())


def _rounded_up(name: str, value: float) -> str:
    return f"{value:.4f}" if name == "usd" else f"{math.ceil(value)}"
