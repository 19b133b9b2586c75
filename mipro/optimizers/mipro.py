"""MIPRO, and its halves: Bayesian Bootstrap (demos alone) and 0-Shot MIPRO (instructions alone).

    1. bootstrap demonstration sets           (not for 0-Shot MIPRO)
    2. propose instructions                   (not for Bayesian Bootstrap)
    3. search the slots with TPE on minibatches; every S trials, the best mean so far in full
    4. return the best that was evaluated in full

Ours against the paper: a score is told with the examples behind it; step 2 may keep half of its
proposals for later (`Options.proposal_waves`); a space that is used up ends the search.

With trials in flight, two steps wait until all that is out is told: the second wave of proposals,
which wants the credit of the first, and the last full evaluation. One after every S trials is of
the leader among those told by then, and goes out as any trial does.
"""

from __future__ import annotations

from mipro.bootstrapping import DemoSets
from mipro.optimizers.preparing import bootstrapped
from mipro.optimizers.proposing import Proposing
from mipro.optimizers.slots import Slots
from mipro.optimizers.task import Config, Extracted, Kind, Step, Task, Trial
from mipro.seeds import sequence
from mipro.tpe import TPE, Settings


class Mipro:
    """Joint search over instructions and demonstrations, or over one of them."""

    def __init__(self, *, instructions: bool = True, demos: bool = True) -> None:
        self.tune_instructions, self.tune_demos = instructions, demos

    def initialize(self, task: Task) -> None:
        """Steps 1 and 2, and a sampler over what came of them."""
        self.task, self.options = task, task.options
        sets = bootstrapped(task, demos=self.tune_demos).demo_sets
        prompts = task.program.prompts()
        originals = {module: (prompt.instruction,) for module, prompt in prompts.items()}
        self.slots = Slots(originals, sets, self.tune_instructions, self.tune_demos)
        self.trials: list[Trial] = []
        self.out: list[Step] = []  # asked for and not told, in order
        self.asked = 0  # minibatch trials so far
        self.considered = 0  # full evaluations that were due so far
        self.withheld = 0  # proposals a module kept for the second wave
        if self.tune_instructions:
            self._propose_first(sets)
        self.sampler = TPE(
            self.slots.space,
            sequence(self.options.seed, "sampler"),
            trials=self.options.trials,
            # a leader seen on all examples is not seen better by looking again
            settings=Settings(recheck=0) if self.options.minibatch >= len(task.val) else None,
        )
        self._report_space()

    def propose(self) -> Step | None:
        """The next trial, in full where that is due; None: not yet, or at the end."""
        if self.withheld and (self._all_asked() or self.asked >= self.options.trials // 3):
            if self.out:
                return None
            self._propose_further()
        ending = self.asked == self.options.trials or self._all_asked()
        if ending and self.out:
            return None
        if self._full_due() and (leader := self._leader()) is not None:
            return self._step(leader, "full")
        if ending:
            return None
        self.asked += 1
        return self._step(self.sampler.ask([step.config for step in self.out]), "minibatch")

    def update(self, trial: Trial) -> None:
        """Tell the sampler the score, with the number of examples behind it."""
        config = trial.config or self.slots.original
        self.trials.append(trial)
        del self.out[:1]  # trials are told in the order they were asked for
        self.sampler.tell(config, trial.score, trial.n)

    def conclude(self) -> Step | None:
        """The leader by the sampler's ranking, if it was not evaluated in full."""
        self.out.clear()
        leader = self._best_not_full()
        return None if leader is None else self._step(leader, "full")

    def extract(self) -> Extracted:
        """The best of the trials on all of the validation set; the earlier of two equals."""
        full = [trial for trial in self.trials if trial.n == len(self.task.val)]
        return self.slots.extracted(max(full, key=lambda trial: trial.score))

    # --- step 2 --------------------------------------------------------------------------------

    def _propose_first(self, sets: DemoSets) -> None:
        new = self.options.instructions - 1  # the original is one of them
        self.proposing = Proposing(self.task, sets)
        if self.options.proposal_waves > 1:
            self.withheld = new // 2
        self.slots = self.proposing.first(self.slots, new - self.withheld)

    def _propose_further(self) -> None:
        self.slots = self.proposing.further(self.slots, self.withheld, self.trials)
        self.withheld = 0
        self.sampler = self.sampler.regrow(self.slots.space)
        self._report_space()

    # --- step 3 --------------------------------------------------------------------------------

    def _step(self, config: Config, kind: Kind) -> Step:
        self.out.append(Step(config, self.slots.candidate(config), kind))
        return self.out[-1]

    def _full_due(self) -> bool:
        """After every S minibatch trials and at the end: once each time.

        A space used up early leaves money over: it goes into further leaders.
        """
        every, most = self.options.full_every, self.options.trials
        if self._all_asked():
            return sum(trial.kind == "full" for trial in self.trials[1:]) < -(-most // every)
        at_end = self.asked == most and self.asked % every > 0
        return self.considered < self.asked // every + at_end

    def _leader(self) -> Config | None:
        """What a full evaluation that is due is to be of; one that finds none is left out.

        With none told that is not known in full, and trials out, it stays due.
        """
        leader = self._best_not_full()
        self.considered += leader is not None or not self.out
        return leader

    def _all_asked(self) -> bool:
        """Whether each configuration was told or is out, and none are to come."""
        space = self.slots.space
        configs = [t.config or self.slots.original for t in self.trials]
        configs += [step.config for step in self.out]
        return len({space.key(config) for config in configs}) >= space.size()

    def _best_not_full(self) -> Config | None:
        """The configuration with the best mean among those not evaluated in full, nor about to."""
        space, full = self.slots.space, len(self.task.val)
        known = {space.key(t.config or self.slots.original) for t in self.trials if t.n == full}
        known |= {space.key(step.config) for step in self.out if step.kind == "full"}
        for best in self.sampler.ranking():
            if space.key(best.config) not in known:
                return best.config
        return None

    def _report_space(self) -> None:
        space = self.slots.space
        self.task.emit(
            {
                "event": "space",
                "choices": {name: len(space.choices(name)) for name in space.names},
                "size": space.size(),
                "startup": self.sampler.startup,
                "grown": bool(self.trials),
            }
        )
