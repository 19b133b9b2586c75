"""Bootstrapping: a teacher's runs → traces that pass the metric → demonstration sets.

The teacher (the program itself unless told) is run over training examples; where the metric passes
its threshold, the whole program's trace is kept, and every module's inputs and outputs in it are
demonstrations. From them N sets per module are drawn (paper, section 4; MIPRO step 1).
"""

from __future__ import annotations

import json
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
from mipro.programs import types
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
    ran = _taught(scored, train, wanted, threshold, rng)
    kept = [(i, outcome) for i, outcome in ran if _passes(outcome, threshold)]
    pools, notes = _pools(kept, signatures)
    if wanted and not kept:
        notes += (_none_passed([outcome for _, outcome in ran], threshold),)
    labelled = {name: _labelled(train, signature) for name, signature in signatures.items()}
    draw = _Draw(sets, max_bootstrapped, max_labelled, rng)
    demo_sets = {name: draw.sets_of(pools[name], labelled[name]) for name in signatures}
    for name in signatures:
        if kept and not pools[name]:
            notes += (f"no trace that passed gives a demonstration of '{name}'",)
        if demo_sets[name] == ((),):
            notes += (f"there are no demonstrations of '{name}' at all: its only set is empty",)
    return Bootstrap(demo_sets, len(ran), len(kept), notes)


def imagined(
    train: Sequence[Example],
    signatures: Mapping[str, Signature],
    passed: Sequence[Mapping[str, Sequence[Demo]]],
    *,
    sets: int,
    max_bootstrapped: int,
    max_labelled: int,
    seed: int = 0,
) -> DemoSets:
    """The sets that `bootstrap` would draw from traces like these, for a forecast: no call.

    `passed` has a trace's demonstrations by module, for each trace expected to pass.
    """
    if sets == 1 or max_bootstrapped == max_labelled == 0:
        return dict.fromkeys(signatures, ((),))
    draw = _Draw(sets, max_bootstrapped, max_labelled, stream(seed, "bootstrap"))
    drawn: dict[str, tuple[DemoSet, ...]] = {}
    for name, signature in signatures.items():
        pool = [(i, list(demos[name])) for i, demos in enumerate(passed) if demos.get(name)]
        drawn[name] = draw.sets_of(pool, _labelled(train, signature))
    return drawn


def _taught(
    scored: Callable[..., Evaluation],
    train: Sequence[Example],
    wanted: int,
    threshold: float,
    rng: Generator,
) -> list[tuple[int, Outcome]]:
    """Run the teacher, a chunk of shuffled examples at a time, until `wanted` traces pass.

    Returns (index, outcome) of every run.
    """
    order = [int(i) for i in rng.permutation(len(train))]
    ran: list[tuple[int, Outcome]] = []
    passed = 0
    while passed < wanted and len(ran) < len(order):
        chunk = order[len(ran) : len(ran) + CHUNK]
        outcomes = scored(examples=[train[i] for i in chunk]).outcomes
        ran += zip(chunk, outcomes, strict=True)
        passed += sum(_passes(outcome, threshold) for outcome in outcomes)
    return ran


def _passes(outcome: Outcome, threshold: float) -> bool:
    return outcome.error is None and outcome.score >= threshold


def _none_passed(outcomes: Sequence[Outcome], threshold: float) -> str:
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    why = f" ({len(failed)} failed, the first: {failed[0]})" if failed else ""
    return (
        f"no trace passed: of {len(outcomes)} runs of the teacher none scored {threshold} or "
        f"more (the best {max(outcome.score for outcome in outcomes):g}){why}; there are no "
        f"bootstrapped demonstrations; a lower `threshold` lets more pass"
    )


Pool = list[tuple[int, list[Demo]]]  # (training example, the module's demonstrations in its trace)


def _pools(
    kept: list[tuple[int, Outcome]], signatures: Mapping[str, Signature]
) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """The demonstrations of each module, trace by trace, and a note for any that can't be one."""
    pools: dict[str, Pool] = {name: [] for name in signatures}
    faults: dict[str, list[str]] = {}
    for index, outcome in kept:
        found: dict[str, list[Demo]] = {}
        for call in outcome.trace:
            if call.error is None and call.module in signatures:
                try:
                    demo = _demo(call, signatures[call.module])
                except CandidateError as error:
                    faults.setdefault(call.module, []).append(str(error))
                    continue
                found.setdefault(call.module, []).append(demo)
        for name, demos in found.items():
            pools[name].append((index, demos))
    notes = tuple(
        f"{len(found)} traced calls of '{name}' are no demonstration, the first: {found[0]}"
        for name, found in faults.items()
    )
    return pools, notes


def _demo(call: ModuleCall, signature: Signature) -> Demo:
    values = check_demo({**call.inputs, **call.outputs}, signature, f"a call of '{call.module}'")
    try:
        json.dumps(values)
    except (TypeError, ValueError) as error:
        raise CandidateError(f"a call of '{call.module}' cannot be saved: {error}") from error
    return Demo(values, bootstrapped=True)


def _labelled(train: Sequence[Example], signature: Signature) -> list[tuple[int, Demo]]:
    """Examples that hold all of a module's outputs (its reasoning apart) and one input or more.

    A module whose one output is reasoning has no labels.
    """
    outputs = [f.name for f in signature.outputs if f.name != "reasoning"]
    inputs = [f.name for f in signature.inputs]
    found = []
    for i, example in enumerate(train):
        given = {name: example.get(name) for name in [*inputs, *outputs]}
        values = {name: value for name, value in given.items() if value is not None}
        if outputs and all(n in values for n in outputs) and any(n in values for n in inputs):
            try:
                for n in outputs:
                    kind = signature.fields[n].type
                    if isinstance(values[n], str) and kind is not str:  # from a CSV file, say
                        values[n] = types.read(kind, values[n])
                found.append((i, Demo(check_demo(values, signature, f"training example {i}"))))
            except (CandidateError, ValueError):
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
            shown = {demo for _, demo in taken}
            # other runs may have made the very same call
            fresh = [demo for demo in demos if demo not in shown]
            # a module called several times in a run gives one of its calls, uniformly, so that one
            # run of many calls does not fill a set
            if fresh:
                taken.append((index, fresh[int(self.rng.integers(len(fresh)))]))
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
