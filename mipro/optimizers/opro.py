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
so by its shrunken mean, and the scores in a history are these.

A trial is of what was proposed, as in Algorithm 1, new or not: a repeated program gets fresh
examples, and is then known better, in the histories too. Only where it is known in full, when its
examples would say nothing more, or where no proposal could be read, the trial is of the best of
those that are not. Where there is none of these either (the minibatch is the whole validation set,
say) nothing is evaluated and the next is proposed: a repeat costs a call or two, and no trial. So
many in a row as a minibatch has examples have cost about what a trial does, and end the search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from mipro.optimizers.leading import Leading
from mipro.optimizers.opro_ways import ByModule, Memory, Way
from mipro.optimizers.preparing import bootstrapped
from mipro.optimizers.task import Extracted, Kind, Step, Task, Trial
from mipro.tpe.space import Key

PATIENCE = 5  # rounds of proposals in a row with nothing to evaluate that are always borne


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
        self.patience = max(PATIENCE, min(options.minibatch, len(task.val)))
        self.idle = 0  # rounds of proposals in a row that gave nothing to evaluate
        self.rounds = 0
        self.again = self.instead = self.left_out = 0  # those of them without a new program

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
        """Step 2: a program that more examples say something of; None: there is none yet."""
        leading = self.leading
        self.rounds += 1
        key = self.way.next(self.memory)
        if key is not None and key not in leading.settled():
            self.again += leading.seen(key)
        elif (key := leading.not_known()) is not None:
            self.instead += 1
        else:
            self.left_out += 1
            self.idle += 1
            leading.ended = self.idle >= self.patience
            return None
        self.idle = 0
        leading.asked += 1
        return key

    def _step(self, key: Key, kind: Kind) -> Step:
        self.leading.out.append((key, kind))
        config = self.memory.config(key)
        return Step(config, self.memory.slots.candidate(config), kind)

    def _say_idle(self) -> None:
        """Say what became of the proposals that were not new."""
        if idle := self.again + self.instead + self.left_out:
            text = (
                f"{idle} of {self.rounds} rounds of proposals brought no new program, they failed "
                f"or repeated: {self.again} were evaluated again, on fresh examples; for "
                f"{self.instead} the best program not known in full was; {self.left_out} left "
                f"nothing to evaluate"
            )
            if self.idle >= self.patience:
                text += (
                    f"; {self.idle} of these in a row ended the search, after "
                    f"{self.leading.asked} of {self.task.options.trials} trials"
                )
            self.task.emit({"event": "note", "text": text})
