"""One trial: the batch it is evaluated on, the evaluation, and the event that tells of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mipro.evaluation import Evaluating, Evaluation
from mipro.lm.base import LM
from mipro.optimizers.task import PHASE_OF, Step, Task, Trial
from mipro.programs.prompt import candidate_digest
from mipro.seeds import stream
from mipro.workers import in_order


def evaluated(step: Step, task: Task, number: int) -> Trial:
    """Evaluate what a step asks for on its batch, and emit the trial."""
    begun = Begun.of(step, task, number, task.lm)
    with task.ledger.phase(PHASE_OF[step.kind]), begun.evaluating as evaluating:
        outcomes = in_order(
            evaluating.job,
            evaluating.items,
            executor=task.executor,
            threads=task.options.threads,
            arrived=evaluating.arrived,
        )
        evaluation = evaluating.finished(outcomes)
    return begun.told(evaluation, task)


@dataclass(frozen=True)
class Begun:
    """A trial that was asked for: its evaluation is under way."""

    step: Step
    number: int
    batch: tuple[int, ...]
    evaluating: Evaluating
    started: float

    @classmethod
    def of(
        cls, step: Step, task: Task, number: int, lm: LM, *, together: int | None = None
    ) -> Begun:
        """Begin what `step` asks for, its calls made by `lm`; `together` as `Evaluating` has it."""
        started = time.perf_counter()
        batch = batch_of(step, task, number)
        evaluating = Evaluating(
            task.program,
            [task.val[i] for i in batch],
            task.metric,
            lm=lm,
            candidate=step.candidate,
            adapter=task.adapter,
            abroad=task.executor is not None,
            # a bad candidate may fail everywhere, and that is its score; the original may not
            allow_all_failed=number > 0,
            together=together,
        )
        return cls(step, number, batch, evaluating, started)

    def told(self, evaluation: Evaluation, task: Task) -> Trial:
        """The trial that came of it, emitted."""
        step, batch, number = self.step, self.batch, self.number
        if number == 0:
            called = {call.module for outcome in evaluation.outcomes for call in outcome.trace}
            for module in task.program.modules():
                if module not in called:
                    text = f"the module '{module}' was not called once by the original program"
                    task.emit({"event": "note", "text": f"{text}: tuning it may change nothing"})
        failures = evaluation.failures
        trial = Trial(
            number,
            step.config,
            evaluation.score,
            evaluation.n,
            step.kind,
            len(failures),
            batch,
            evaluation.scores,
        )
        task.emit(
            {
                "event": "trial",
                "number": number,
                "kind": step.kind,
                "config": dict(step.config),
                "candidate": candidate_digest(step.candidate),
                "score": trial.score,
                "n": trial.n,
                "examples": list(batch),
                "scores": list(trial.scores),
                "failures": [{"example": batch[o.index], "why": o.error} for o in failures],
                "seconds": round(time.perf_counter() - self.started, 6),
            }
        )
        return trial


def batch_of(step: Step, task: Task, number: int) -> tuple[int, ...]:
    """Indices into the validation set: all of it, or B drawn without replacement.

    Each trial number has a stream of its own, so that methods compared on one seed see the same
    minibatches.
    """
    every = len(task.val)
    if step.kind == "full" or task.options.minibatch >= every:
        return tuple(range(every))
    rng = stream(task.options.seed, f"minibatch/{number}")
    return tuple(sorted(int(i) for i in rng.choice(every, task.options.minibatch, replace=False)))
