"""OPRO: an LM writes the next instructions from the best of those tried, scores and all.

    1. bootstrap demonstration sets, as evidence alone      (not where ungrounded)
    2. the best so far, with their scores, to the LM → the next instructions
    3. the program with them on a minibatch → a score for the histories; every S trials, the best
       mean so far in full
    4. return the best that was evaluated in full

Step 2 is done in one of three ways (`opro_ways`): module by module from a history each ("-G":
without grounding); all modules in one reply; or one module at a time, by coordinate ascent. Every
trial has a proposal of its own, so a slot has as many choices as there are trials. N counts the
choices that CA-OPRO gives a module at one visit, the one held among them; N = 1 leaves nothing to
propose.

Ours against the paper: what leads, in a history, at a visit's end or before a full evaluation, does
so by its shrunken mean, and the scores in a history are these. A proposal that failed or repeats a
program gets no minibatch: the trial looks again at the leader, on fresh examples, or is left out
where that is known in full; `PATIENCE` such trials in a row end the search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from mipro.optimizers.leading import Leading
from mipro.optimizers.opro_ways import ByModule, Memory, Way
from mipro.optimizers.preparing import bootstrapped
from mipro.optimizers.task import Extracted, Kind, Step, Task, Trial
from mipro.tpe.space import Key

PATIENCE = 5


@final
class Opro:
    """Search by what an LM proposes, knowing what was tried and how it scored."""

    def __init__(self, way: Callable[[], Way] = ByModule, *, grounded: bool = True) -> None:
        self.way, self.grounded = way(), grounded

    def initialize(self, task: Task) -> None:
        """Step 1, and empty histories."""
        self.task, options = task, task.options
        proposes = options.instructions > 1
        sets = bootstrapped(task, demos=self.grounded and proposes).demo_sets
        self.memory = Memory(task, sets, grounded=self.grounded)
        self.leading = Leading(options, len(task.val), self.memory.programs)
        self.leading.ended = not proposes
        self.trials: list[Trial] = []
        self.idle = 0  # trials in a row without a new program
        self.again = self.left_out = 0  # such trials: looks at the leader, and none at all

    def propose(self) -> Step | None:
        """The next trial, in full where that is due; None: not yet, or at the end."""
        leading = self.leading
        while not (leading.ending and leading.out):  # the last is of the leader among all
            if (leader := leading.due()) is not None:
                return self._step(leader, "full")
            if leading.ending or self.way.waits(self.memory, len(leading.out)):
                return None
            if (key := self._next()) is not None:
                return self._step(key, "minibatch")
        return None

    def update(self, trial: Trial) -> None:
        """Add the score to the histories, with the number of examples behind it."""
        key = self.memory.key(trial.config)
        self.trials.append(trial)
        self.memory.tell(key, trial)
        self.leading.tell(key, trial)

    def conclude(self) -> Step | None:
        """The leader, if it was not evaluated in full."""
        self.leading.out.clear()
        leader = self.leading.not_known()
        return None if leader is None else self._step(leader, "full")

    def extract(self) -> Extracted:
        """The best of the trials on all of the validation set; the earlier of two equals."""
        self._say_idle()
        full = [trial for trial in self.trials if trial.n == len(self.task.val)]
        return self.memory.slots.extracted(max(full, key=lambda trial: trial.score))

    def _next(self) -> Key | None:
        """Step 2; None: the trial is left out."""
        leading = self.leading
        key = self.way.next(self.memory)
        leading.asked += 1
        if key is not None and not leading.seen(key):
            self.idle = 0
            return key
        self.idle += 1
        leading.ended = self.idle >= PATIENCE
        leader = self.memory.programs.believed()[0].key
        if leader in leading.known or any(leader == key for key, _ in leading.out):
            self.left_out += 1
            return None
        self.again += 1
        return leader

    def _step(self, key: Key, kind: Kind) -> Step:
        self.leading.out.append((key, kind))
        config = self.memory.config(key)
        return Step(config, self.memory.slots.candidate(config), kind)

    def _say_idle(self) -> None:
        if idle := self.again + self.left_out:
            text = (
                f"{idle} of {self.leading.asked} trials had no new program to try, its proposal "
                f"failed or repeated: {self.again} looked again at the leader, {self.left_out} "
                f"were left out"
            )
            ended = f"; {PATIENCE} in a row ended the search" if self.idle >= PATIENCE else ""
            self.task.emit({"event": "note", "text": text + ended})
