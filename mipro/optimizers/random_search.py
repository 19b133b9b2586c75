"""Bootstrap Random Search: random demonstration sets, full evaluations, keep the best (paper, 4.1).

No credit assignment at all: what the others have to beat.
"""

from __future__ import annotations

from dataclasses import replace

from mipro.optimizers.preparing import bootstrapped
from mipro.optimizers.slots import Slots
from mipro.optimizers.task import Extracted, Step, Task, Trial
from mipro.seeds import sequence
from mipro.tpe import RandomSampler


class RandomSearch:
    """Full evaluations of random configurations, as many as minibatch trials would have cost."""

    def initialize(self, task: Task) -> None:
        """Bootstrap demonstration sets; the instructions stay as they are."""
        self.left = max(1, task.options.examples(len(task.val)) // len(task.val))
        asked = task.options.demo_sets
        # a set of its own for each candidate, as far as the traces give different ones
        options = replace(task.options, demo_sets=max(asked, self.left + 1) if asked > 1 else 1)
        sets = bootstrapped(replace(task, options=options), demos=True).demo_sets
        self.slots = Slots.of(task.program, sets, tune_instructions=False)
        self.sampler = RandomSampler(self.slots.space, sequence(task.options.seed, "sampler"))
        self.trials: list[Trial] = []
        self.out = 0  # asked for and not told

    def propose(self) -> Step | None:
        """A configuration not yet tried; None when the budget or the space is spent."""
        tried = {self.slots.space.key(o.config) for o in self.sampler.observations}
        if self.left == 0 or len(tried) + self.out >= self.slots.space.size():
            return None
        self.left -= 1
        self.out += 1
        config = self.sampler.ask()
        return Step(config, self.slots.candidate(config), "full")

    def update(self, trial: Trial) -> None:
        """Remember the score."""
        self.out = max(0, self.out - 1)  # the first was not asked for
        config = trial.config or self.slots.original
        self.sampler.tell(config, trial.score, trial.n)
        self.trials.append(trial)

    def conclude(self) -> None:
        """Nothing: whatever was tried was evaluated in full."""

    def extract(self) -> Extracted:
        """The best; the earlier of two that are equal."""
        return self.slots.extracted(max(self.trials, key=lambda trial: trial.score))
