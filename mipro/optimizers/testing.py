"""The test at the end of a run: the original and the candidate on examples the search never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mipro.data import Example
from mipro.errors import ConfigError
from mipro.evaluation import Evaluation, Outcome, evaluate
from mipro.improvement import Improvement, Optimism
from mipro.lm.budget import BudgetExceeded
from mipro.looks import Look, PairedLooks
from mipro.optimizers.result import Comparison
from mipro.optimizers.task import TEST, Options, Task, Trial
from mipro.programs.prompt import Candidate
from mipro.seeds import stream

Indices = NDArray[np.intp]

NO_TEST = "There is no test set: give `test`, examples that stand in neither `train` nor `val`."
NO_MONEY = "the budget did not reach for the test: there is no comparison"
NOT_FRESH = "Every test example stands in `train` or `val`: give others."
SAME = "The best that was found is the original program itself."
STOPPED = "Ended early, which makes the difference look larger than it is."
HOPELESS = "Ended early: the level could no longer be reached."


@dataclass(frozen=True)
class Tested:
    """What came of the test; without one, only that there was none."""

    improvement: Improvement
    comparison: Comparison | None = None
    optimism: Optimism | None = None


def check_looks(options: Options, test: Sequence[Example] | None) -> None:
    """Raise `ConfigError` for more looks than there are test examples."""
    if options.looks > 1 and options.looks > len(test or ()):
        raise ConfigError(
            f"looks = {options.looks}: the test set has {len(test or ())} examples, and each look "
            f"wants one at least"
        )


def tested(
    task: Task, candidate: Candidate, test: Sequence[Example] | None, trials: tuple[Trial, Trial]
) -> Tested:
    """Test `candidate`; `trials` are the original's and its own on the whole validation set.

    Where the budget does not reach for all of it, nothing is tested. Raises as `evaluate` does.
    """
    level = task.options.level
    if test is None:
        return Tested(Improvement("not tested", level, why=NO_TEST))
    if task.ledger.spending is not None:
        task.ledger.spending.let_go("test")
    try:
        with task.ledger.phase(TEST):
            return _Testing(task, candidate, test, _paired(*trials)).done()
    except BudgetExceeded as error:
        task.emit({"event": "stopped", "by": "budget", "limit": error.limit, "most": error.most})
        task.emit({"event": "note", "text": NO_MONEY})
        return Tested(Improvement("not tested", level, why=f"{NO_MONEY.capitalize()}."))


def _paired(original: Trial, chosen: Trial) -> tuple[list[float], list[float]]:
    """Scores of both on the validation examples, in the same order."""
    a, b = (dict(zip(t.examples, t.scores, strict=True)) for t in (original, chosen))
    both = sorted(a.keys() & b.keys())
    return [a[i] for i in both], [b[i] for i in both]


@dataclass
class _Testing:
    """A test under way. `selected` is (original's, candidate's) scores on the validation set."""

    task: Task
    candidate: Candidate
    test: Sequence[Example]
    selected: tuple[list[float], list[float]]
    before: dict[int, Outcome] = field(default_factory=dict)  # by index into the test set
    after: dict[int, Outcome] = field(default_factory=dict)

    def done(self) -> Tested:
        """Look portion by portion; an unchanged program is looked at once, and run once."""
        options, original = self.task.options, self.task.program.prompts()
        unchanged = dict(self.candidate) == original
        fresh, stale = self._parts()
        if unchanged or not fresh.size:
            self._run(np.arange(len(self.test)), original, unchanged)
            made = Improvement("not tested", options.level, why=NOT_FRESH)
            if unchanged:
                n = len(self.test)
                made = Improvement("unchanged", options.level, 1.0, n, n, looks=1, why=SAME)
            return self._told(made, fresh)
        portions = np.array_split(fresh, min(options.looks, fresh.size))
        looks = PairedLooks([part.size for part in portions], options.level)
        for i, part in enumerate(portions):
            new = part if i else np.concatenate([part, stale])
            self._run(np.sort(new), original, unchanged)
            look = looks.look([self.after[j].score - self.before[j].score for j in part])
            hopeless = not looks.over and looks.hopeless(self._most_gain())
            if options.looks > 1:
                self._emit(look)
            if looks.over or hopeless:
                break
        return self._told(self._improvement(look, portions, hopeless), fresh)

    def _parts(self) -> tuple[Indices, Indices]:
        """Test examples the search never saw, in random order if looks are many; and the others."""
        seen = {_key(example) for example in (*self.task.train, *self.task.val)}
        known = np.array([_key(example) in seen for example in self.test])
        fresh, stale = np.flatnonzero(~known), np.flatnonzero(known)
        if self.task.options.looks > 1:  # a file sorted by kind would make the looks unlike
            fresh = stream(self.task.options.seed, "split/looks").permutation(fresh)
        return fresh, stale

    def _run(self, part: Indices, original: Candidate, unchanged: bool) -> None:
        """Original and candidate on a portion; an unchanged program is run once."""
        for outcomes, prompts in ((self.before, original), (self.after, self.candidate)):
            if unchanged and outcomes is self.after:
                outcomes.update(self.before)
                continue
            task = self.task
            evaluation = evaluate(
                task.program,
                [self.test[i] for i in part],
                task.metric,
                lm=task.lm,
                candidate=prompts,
                adapter=task.adapter,
                executor=task.executor,
                threads=task.options.threads,
                allow_all_failed=True,
            )
            for i, outcome in zip(part, evaluation.outcomes, strict=True):
                outcomes[int(i)] = replace(outcome, index=int(i))

    def _most_gain(self) -> float:
        """The largest gain there can be: 1 where no score has left 0 to 1, else nothing is known.

        Were it wrong, the test would end a little early; the level holds all the same.
        """
        test = (o.score for o in (*self.before.values(), *self.after.values()))
        inside = all(0 <= score <= 1 for score in (*self.selected[0], *self.selected[1], *test))
        return 1.0 if inside and self.task.metric.worst == 0 else float("inf")

    def _emit(self, look: Look) -> None:
        self.task.emit(
            {
                "event": "look",
                "number": look.number,
                "n": look.n,
                "p_value": look.p_value,
                "allowed": look.allowed,
            }
        )

    def _improvement(self, look: Look, portions: Sequence[Indices], hopeless: bool) -> Improvement:
        planned, most = len(portions), sum(part.size for part in portions)
        early = STOPPED if look.better and look.number < planned else ""
        return Improvement(
            "better" if look.better else "not shown",
            self.task.options.level,
            1.0 if hopeless else look.p_value,
            look.n,
            most,
            look.number,
            planned,
            why=HOPELESS if hopeless else early,
        )

    def _told(self, improvement: Improvement, fresh: Indices) -> Tested:
        """With the comparison on all that was run, the optimism on what the search never saw."""
        before, after = (
            Evaluation(tuple(outcomes[i] for i in sorted(outcomes)))
            for outcomes in (self.before, self.after)
        )
        if after.failures:
            first = after.failures[0].error
            text = f"{len(after.failures)} of {after.n} test examples failed with the tuned program"
            self.task.emit({"event": "note", "text": f"{text}, the first: {first}"})
        ran = [int(i) for i in sorted(fresh) if int(i) in self.after]
        optimism = None
        if ran and self.selected[0]:
            scores = [self.before[i].score for i in ran], [self.after[i].score for i in ran]
            optimism = Optimism.of(self.selected, scores)
        return Tested(improvement, Comparison.of(before, after, improvement), optimism)


def _key(example: Example) -> str:
    return json.dumps(dict(example), sort_keys=True, default=str)
