"""MIPRO with other ways of spending its examples: the arms of `evidence.py`.

Money is counted in examples run: I·B for the search, ⌈I/S⌉·V for full evaluations. Every arm gets
both, and spends no more. One trial at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from evidence_difficulty import Cells, adjusted
from evidence_finalists import Halving, contenders
from evidence_racing import chunks, out_of_the_running

from mipro.optimizers.mipro import Mipro
from mipro.optimizers.task import Config, Kind, Step, Task, Trial
from mipro.seeds import sequence, stream
from mipro.tpe import TPE
from mipro.tpe.split import Pool


@dataclass(frozen=True)
class Look(Step):
    """A step that names its examples, indices into the validation set."""

    examples: tuple[int, ...] = ()


class Spending(Mipro):
    """`unseen`: a candidate's minibatches are of examples it was not seen on, as far as there are.

    `adjusted`: difficulty taken out; the sampler is told each candidate anew, as so many examples
    as the score is worth. `racing`: the level of `out_of_the_running`, 0 for none. `halving`: full
    evaluations are not made every S trials; their examples go to the last choice.
    """

    def __init__(
        self,
        *,
        unseen: bool = True,
        adjusted: bool = False,
        racing: float = 0.0,
        halving: bool = False,
    ) -> None:
        super().__init__()
        self.unseen, self.adjusted, self.racing, self.halving = unseen, adjusted, racing, halving

    def initialize(self, task: Task) -> None:
        super().initialize(task)
        self._begin()
        self.steps = self._steps()

    def take_over(self, made: Mipro) -> None:
        """Stand where the search of `made` ended, its full evaluations not made: choose only."""
        flags = vars(self).copy()
        vars(self).update({**vars(made), **flags})
        self._begin()
        self.left, self.trials = 0, []
        self.sampler = TPE(self.slots.space, sequence(self.options.seed, "sampler"))
        for trial in made.trials:
            if trial.kind == "minibatch" or trial.number == 0:
                self.update(trial)
        self.steps = self._steps()

    def _begin(self) -> None:
        self.every = len(self.task.val)
        self.batch = min(self.options.minibatch, self.every)
        self.cells = Cells(self.every)
        self.left = self.options.trials * self.batch
        rounds = -(-self.options.trials // self.options.full_every)
        self.final_left = rounds * self.every if self.batch < self.every else 0

    def propose(self) -> Step | None:
        return next(self.steps, None)

    def update(self, trial: Trial) -> None:
        self.trials.append(trial)
        config = trial.config or self.slots.original
        self.cells.add(self._key(config), trial.examples, trial.scores)
        if self.adjusted or self.unseen:
            self._tell_anew()
        else:
            self.sampler.tell(config, trial.score, trial.n)

    # --- the order of spending -------------------------------------------------------------------

    def _steps(self) -> Iterator[Step]:
        """The search, a full evaluation whenever its turn has come, and the last choice."""
        search = self.left
        each = self.options.full_every * self.batch
        made = 0
        while self.left > 0 and not self._all_asked():
            if self.withheld and self.left <= search - search // 3:
                self._propose_further()
            yield from self._trial(self.sampler.ask(self._exhausted()))
            while not self.halving and (search - self.left) // each > made:
                made += 1
                yield from self._fully()
        if self.halving:
            yield from self._finals()
        while self.final_left >= self.every and self._best_not_full() is not None:
            yield from self._fully()

    def _trial(self, config: Config) -> Iterator[Step]:
        batch = self._batch(config)
        parts = chunks(batch) if self.racing else [batch]
        for i, part in enumerate(parts):
            if i and out_of_the_running(self._key(config), self._pool(), self.racing):
                return
            yield self._on(config, part)

    def _on(self, config: Config, examples: tuple[int, ...], kind: Kind = "minibatch") -> Step:
        self.left -= len(examples) if kind == "minibatch" else 0
        return Look(config, self.slots.candidate(config), kind, tuple(sorted(examples)))

    def _fully(self) -> Iterator[Step]:
        leader = self._best_not_full()
        if leader is not None and self.final_left >= self.every:
            self.final_left -= self.every
            yield self._on(leader, tuple(range(self.every)), "full")

    def _finals(self) -> Iterator[Step]:
        """Sequential halving; what is left completes further leaders; the best one, in full."""
        money = self.final_left - self.every
        order = [int(i) for i in stream(self.options.seed, "split/finals").permutation(self.every)]
        configs = {self._key(best.config): best.config for best in self.sampler.ranking()}
        leaders = self._ranking()[: contenders(money, self.every, self.batch)]
        halving = Halving(leaders, max(0, money))
        while not halving.over:
            for key, examples in halving.looks(order, self.cells.unseen):
                yield self._on(configs[key], examples)
            halving.cut(self._ranking())
        money = halving.money
        for key in self._ranking():
            new = tuple(self.cells.unseen(key))
            if 0 < len(new) <= money:
                money -= len(new)
                yield self._on(configs[key], new)
        self.final_left = self.every

    # --- what is known ---------------------------------------------------------------------------

    def _key(self, config: Config) -> tuple[int, ...]:
        return self.slots.space.key(config)

    def _ranking(self) -> list[tuple[int, ...]]:
        return [self._key(best.config) for best in self.sampler.ranking()]

    def _exhausted(self) -> list[Config]:
        """Those seen on every example: the sampler is not to look at them again."""
        if not self.unseen:
            return []
        seen = [key for key in self.cells.rows if not self.cells.unseen(key)]
        return [self.slots.space.decode(key) for key in seen]

    def _batch(self, config: Config) -> tuple[int, ...]:
        """Up to B examples, in random order; unseen ones where there are any."""
        rng = stream(self.options.seed, f"minibatch/{len(self.trials)}")
        order = [int(i) for i in rng.permutation(self.every)]
        new = set(self.cells.unseen(self._key(config))) if self.unseen else set()
        chosen = [i for i in order if i in new] or order
        return tuple(chosen[: min(self.batch, self.left)])

    def _told(self) -> tuple[np.ndarray, np.ndarray]:
        table = self.cells.table()
        if self.adjusted:
            return adjusted(table)
        return np.nanmean(table, axis=1), (~np.isnan(table)).sum(axis=1).astype(float)

    def _pool(self) -> Pool:
        mean, n = self._told()
        return Pool.of(list(self.cells.rows), mean, n)

    def _tell_anew(self) -> None:
        """Each candidate once. A share of successes stays one, so that its noise is known."""
        table, (mean, n) = self.cells.table(), self._told()
        known = table[~np.isnan(table)]
        counts = bool(np.isin(known, (0.0, 1.0)).all())
        told = []
        for key, score, worth in zip(self.cells.rows, mean, n, strict=True):
            whole, mean_of = max(1, round(float(worth))), float(score)
            if counts:
                mean_of = min(max(round(mean_of * whole), 0), whole) / whole
            told.append([list(key), mean_of, whole, list(key)])
        state = self.sampler.state()
        state["observations"], state["pending"] = told, []
        self.sampler = TPE.from_state(self.slots.space, state)


# None: `Mipro` itself
ARMS = {
    "paper": None,
    "unseen": {},
    "adjusted": {"adjusted": True},
    "racing": {"racing": 0.1},
    "halving": {"halving": True},
    "adjusted, halving": {"adjusted": True, "halving": True},
}

# the last choice alone, after one and the same search: that of "paper"
CHOICES = {
    "leaders in full": {"unseen": False},
    "leaders in full, distinct": {},
    "leaders in full, adjusted": {"adjusted": True},
    "halving": {"halving": True},
    "halving, adjusted": {"adjusted": True, "halving": True},
}
