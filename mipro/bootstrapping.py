"""Bootstrapping: a teacher's runs → traces that pass the metric → demonstration sets.

The teacher (the program itself unless told) is run over training examples; where the metric passes
its threshold, the whole program's trace is kept, and every module's inputs and outputs in it are
demonstrations. From them N sets per module are drawn (paper, section 4; MIPRO step 1).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from numpy.random import Generator

from mipro.data import Example
from mipro.errors import CandidateError, ConfigError
from mipro.evaluation import Evaluation, Outcome, evaluate
from mipro.lm.base import LM
from mipro.metrics import Metric
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate, Demo, check_demo
from mipro.programs.signature import Signature
from mipro.programs.trace import ModuleCall
from mipro.seeds import stream

CHUNK = 25  # examples the teacher is run on at a time, before it is asked whether that is enough

DemoSet = tuple[Demo, ...]
DemoSets = Mapping[str, tuple[DemoSet, ...]]


@dataclass(frozen=True)
class Teacher:
    """Who writes the demonstrations. What is None is the student's own."""

    program: Program | None = None
    candidate: Candidate | None = None
    lm: LM | None = None


@dataclass(frozen=True)
class Bootstrap:
    """Demonstration sets per module, and how they came about.

    `attempted` examples were run by the teacher, `passed` of them passed the metric; `notes` says
    whatever did not go as asked.
    """

    demo_sets: DemoSets
    attempted: int = 0
    passed: int = 0
    notes: tuple[str, ...] = field(default=())


def bootstrap(
    program: Program,
    train: Sequence[Example],
    metric: Metric,
    *,
    lm: LM,
    teacher: Teacher | None = None,
    sets: int = 10,
    max_bootstrapped: int = 4,
    max_labelled: int = 4,
    threshold: float = 1.0,
    seed: int = 0,
    adapter: Adapter | None = None,
    executor: Executor | None = None,
    threads: int = 1,
) -> Bootstrap:
    """At most `sets` demonstration sets per module, each different.

    The first is empty; the second holds labelled examples only, where they give all of a module's
    outputs; the others up to `max_bootstrapped` bootstrapped demonstrations (first the most, then
    seeded sizes), filled up with labelled ones to the larger of the two limits. Where no trace
    passes, these are labelled sets of seeded sizes too. With both limits at 0, or one set, there
    are no demonstrations anywhere, and the teacher is not called.
    """
    if sets < 1 or max_bootstrapped < 0 or max_labelled < 0:
        raise ConfigError(f"sets={sets}, {max_bootstrapped=}, {max_labelled=}: too small")
    signatures = program.signatures()
    if sets == 1 or max_bootstrapped == max_labelled == 0:
        return Bootstrap(dict.fromkeys(signatures, ((),)))
    rng = stream(seed, "bootstrap")
    taught = teacher or Teacher()
    scored = partial(
        evaluate,
        taught.program or program,
        metric=metric,
        lm=taught.lm or lm,
        candidate=taught.candidate,
        adapter=adapter,
        executor=executor,
        threads=threads,
        allow_all_failed=True,
    )
    wanted = max_bootstrapped * sets
    kept, attempted = _passing(scored, train, wanted, threshold, rng)
    pools, notes = _pools(kept, signatures)
    labelled = {name: _labelled(train, signature) for name, signature in signatures.items()}
    if wanted and not kept:
        notes += (
            f"no trace passed: of {attempted} runs of the teacher none scored {threshold} or more; "
            f"there are no bootstrapped demonstrations",
        )
    draw = _Draw(sets, max_bootstrapped, max_labelled, rng)
    return Bootstrap(
        {name: draw.sets_of(pools[name], labelled[name]) for name in signatures},
        attempted,
        len(kept),
        notes,
    )


def _passing(
    scored: Callable[..., Evaluation],
    train: Sequence[Example],
    wanted: int,
    threshold: float,
    rng: Generator,
) -> tuple[list[tuple[int, Outcome]], int]:
    """Run the teacher, a chunk of shuffled examples at a time, until `wanted` traces pass.

    Returns (index, outcome) of those that passed, and how many were run.
    """
    order = [int(i) for i in rng.permutation(len(train))]
    kept: list[tuple[int, Outcome]] = []
    attempted = 0
    while len(kept) < wanted and attempted < len(order):
        chunk = order[attempted : attempted + CHUNK]
        attempted += len(chunk)
        outcomes = scored(examples=[train[i] for i in chunk]).outcomes
        kept += [
            (i, outcome)
            for i, outcome in zip(chunk, outcomes, strict=True)
            if outcome.error is None and outcome.score >= threshold
        ]
    return kept, attempted


Pool = list[tuple[int, list[Demo]]]  # (training example, the module's demonstrations in its trace)


def _pools(
    kept: list[tuple[int, Outcome]], signatures: Mapping[str, Signature]
) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """The demonstrations of each module, trace by trace, and a note for any that can't be one."""
    pools: dict[str, Pool] = {name: [] for name in signatures}
    faults: Counter[str] = Counter()
    for index, outcome in kept:
        found: dict[str, list[Demo]] = {}
        for call in outcome.trace:
            if call.error is None and call.module in signatures:
                try:
                    demo = _demo(call, signatures[call.module])
                except CandidateError as error:
                    faults[str(error)] += 1
                    continue
                found.setdefault(call.module, []).append(demo)
        for name, demos in found.items():
            pools[name].append((index, demos))
    notes = tuple(f"{count} traced calls are no demonstration: {f}" for f, count in faults.items())
    return pools, notes


def _demo(call: ModuleCall, signature: Signature) -> Demo:
    values = check_demo({**call.inputs, **call.outputs}, signature, f"a call of '{call.module}'")
    try:
        json.dumps(values)
    except (TypeError, ValueError) as error:
        raise CandidateError(f"a call of '{call.module}' cannot be saved: {error}") from error
    return Demo(values, bootstrapped=True)


def _labelled(train: Sequence[Example], signature: Signature) -> list[tuple[int, Demo]]:
    """Examples that hold all of a module's outputs (its reasoning apart) and one input or more."""
    outputs = [f.name for f in signature.outputs if f.name != "reasoning"]
    inputs = [f.name for f in signature.inputs]
    found = []
    for i, example in enumerate(train):
        values = {name: example[name] for name in [*inputs, *outputs] if name in example}
        if all(n in values for n in outputs) and any(n in values for n in inputs):
            try:
                found.append((i, Demo(check_demo(values, signature, f"training example {i}"))))
            except CandidateError:
                continue  # a label of another type than the module's output is no demonstration
    return found


@dataclass(frozen=True)
class _Draw:
    """Draws a module's sets; one generator serves all modules in their order."""

    sets: int
    max_bootstrapped: int
    max_labelled: int
    rng: Generator

    def sets_of(self, pool: Pool, labelled: list[tuple[int, Demo]]) -> tuple[DemoSet, ...]:
        """The module's sets: the empty one first, all different."""
        found: dict[DemoSet, None] = {(): None}
        if self.max_labelled and labelled:
            found[self._filled([], labelled, self.max_labelled)] = None
        most = min(self.max_bootstrapped, len(pool))
        # a draw may repeat a set; a small pool has only so many, hence a bound on the tries
        for attempt in range(20 * self.sets):
            if len(found) >= self.sets:
                break
            if most:
                size = most if attempt == 0 else int(self.rng.integers(1, most + 1))
                found[self._bootstrapped(pool, labelled, size)] = None
            elif labelled and self.max_labelled:  # nothing passed: other labelled sets instead
                size = int(self.rng.integers(1, self.max_labelled + 1))  # uniform 1..max_labelled
                found[self._filled([], labelled, size)] = None
        return tuple(found)[: self.sets]

    def _bootstrapped(self, pool: Pool, labelled: list[tuple[int, Demo]], size: int) -> DemoSet:
        picked = self.rng.choice(len(pool), size=size, replace=False)
        taken: list[tuple[int, Demo]] = []
        for i in picked:
            index, demos = pool[int(i)]
            # a module called several times in a run gives one of its calls, at random
            taken.append((index, demos[int(self.rng.integers(len(demos)))]))
        most = max(self.max_bootstrapped, self.max_labelled) if self.max_labelled else size
        room = min(most - size, self.max_labelled)
        return self._filled(taken, labelled, room)

    def _filled(
        self, taken: list[tuple[int, Demo]], labelled: list[tuple[int, Demo]], room: int
    ) -> DemoSet:
        """`taken` and up to `room` labelled demonstrations of other examples, shuffled."""
        used = {index for index, _ in taken}
        free = [demo for index, demo in labelled if index not in used]
        count = min(room, len(free))
        extra = [free[int(i)] for i in self.rng.choice(len(free), count, False)] if count else []
        demos = [demo for _, demo in taken] + extra
        return tuple(demos[int(i)] for i in self.rng.permutation(len(demos)))
