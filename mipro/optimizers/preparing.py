"""Step 1 of every method with demonstrations: bootstrap the sets, and say how it went."""

from __future__ import annotations

import time
from dataclasses import replace

from mipro.bootstrapping import Bootstrap, bootstrap
from mipro.optimizers.task import BOOTSTRAP, Options, Task


def bootstrapped(task: Task, *, demos: bool) -> Bootstrap:
    """The demonstration sets of a run; without `demos` only the empty ones, and no teacher."""
    options, started = task.options, time.perf_counter()
    options = options if demos else replace(options, demo_sets=1)
    with task.ledger.phase(BOOTSTRAP):
        made = task.imagined(options) if task.imagined is not None else _made(task, options)
    if demos:
        task.emit(
            {
                "event": "bootstrap",
                "attempted": made.attempted,
                "passed": made.passed,
                "demo_sets": {
                    module: [
                        [{"values": dict(d.values), "bootstrapped": d.bootstrapped} for d in chosen]
                        for chosen in sets
                    ]
                    for module, sets in made.demo_sets.items()
                },
                "seconds": round(time.perf_counter() - started, 6),
            }
        )
    for note in made.notes:
        task.emit({"event": "note", "text": note})
    if demos and task.prepared is not None:
        task.prepared(made)
    return made


def _made(task: Task, options: Options) -> Bootstrap:
    return bootstrap(
        task.program,
        task.train,
        task.metric,
        lm=task.teacher.lm_or(task.lm),
        teacher=task.teacher,
        sets=options.demo_sets,
        max_bootstrapped=options.max_bootstrapped,
        max_labelled=options.max_labelled,
        threshold=options.threshold,
        seed=options.seed,
        adapter=task.adapter,
        executor=task.executor,
        threads=options.threads,
    )
