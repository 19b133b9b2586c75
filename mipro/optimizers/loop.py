"""Algorithm 1 of the paper: the loop of which every optimizer is an instance.

    initialize(D, θ)
    for k = 1..I:
        candidate ← propose(θ)
        batch     ← B examples drawn from D
        σ         ← mean μ(Φ_candidate(x), x') over batch
        update(candidate, σ)
    return extract_optimized_variables()

One thing is added before the first k: the original program is evaluated in full, so that there is
something to compare with, and a task on which everything fails stops before money is spent on it.
"""

from __future__ import annotations

import time

from mipro.evaluation import evaluate
from mipro.optimizers.task import Extracted, Step, Strategy, Task, Trial
from mipro.programs.prompt import candidate_digest
from mipro.seeds import stream


def run_loop(strategy: Strategy, task: Task) -> tuple[Extracted, list[Trial]]:
    """Run `strategy` on `task`: what it extracts, and all trials in order."""
    trials = [evaluated(Step({}, task.program.prompts(), "full"), task, 0)]
    if trials[0].failures:
        text = f"{trials[0].failures} of {trials[0].n} validation examples failed with the original"
        task.emit({"event": "note", "text": f"{text} program (why is in the journal)"})
    strategy.initialize(task)
    strategy.update(trials[0])
    while (step := strategy.propose()) is not None:
        trial = evaluated(step, task, len(trials))
        strategy.update(trial)
        trials.append(trial)
    return strategy.extract(), trials


def evaluated(step: Step, task: Task, number: int) -> Trial:
    """Evaluate what a step asks for on its batch, and emit the trial."""
    started = time.perf_counter()
    batch = batch_of(step, task, number)
    evaluation = evaluate(
        task.program,
        [task.val[i] for i in batch],
        task.metric,
        lm=task.lm,
        candidate=step.candidate,
        adapter=task.adapter,
        executor=task.executor,
        threads=task.options.threads,
        # a bad candidate may fail everywhere, and that is its score; the original may not
        allow_all_failed=number > 0,
    )
    if number == 0:
        called = {call.module for outcome in evaluation.outcomes for call in outcome.trace}
        for module in task.program.modules():
            if module not in called:
                text = f"the module '{module}' was not called once by the original program"
                task.emit({"event": "note", "text": f"{text}: tuning it may change nothing"})
    trial = Trial(
        number,
        step.config,
        evaluation.score,
        evaluation.n,
        step.kind,
        len(evaluation.failures),
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
            "failures": [{"example": batch[o.index], "why": o.error} for o in evaluation.failures],
            "seconds": round(time.perf_counter() - started, 6),
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
