"""Bootstrapping: a teacher's runs → traces that pass the metric → demonstration sets.

The teacher (the program itself unless told) is run over training examples; where the metric passes
its threshold, the whole program's trace is kept, and every module's inputs and outputs in it are
demonstrations. From them N sets per module are drawn (paper, section 4; MIPRO step 1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from numpy.random import Generator

from mipro.data import Example
from mipro.demo_sets import DemoSet, DemoSets, Draw, Pool
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
__all__ = ["Bootstrap", "DemoSet", "DemoSets", "Teacher", "bootstrap"]


@dataclass(frozen=True)
class Teacher:
    """Who writes the demonstrations. What is None is the student's own."""

    program: Program | None = None
    candidate: Candidate | None = None
    lm: LM | None = None

    def lm_or(self, lm: LM) -> LM:
        """Its own LM, or `lm`. An LM of a user's may be falsy."""
        return lm if self.lm is None else self.lm


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
    taught, wanted = teacher or Teacher(), max_bootstrapped * sets
    scored = partial(
        evaluate,
        taught.program or program,
        metric=metric,
        lm=taught.lm_or(lm),
        candidate=taught.candidate,
        adapter=adapter,
        executor=executor,
        threads=threads,
        allow_all_failed=True,
    )
    ran = _taught(scored, train, wanted, threshold, rng)
    kept = [(i, outcome) for i, outcome in ran if _passes(outcome, threshold)]
    pools, notes = _pools(kept, signatures)
    if wanted and not kept:
        notes += (_none_passed([outcome for _, outcome in ran], threshold),)
    demo_sets = Draw(sets, max_bootstrapped, max_labelled, rng).drawn(pools, train, signatures)
    notes += tuple(_wanting(pools if kept else {}, demo_sets))
    return Bootstrap(demo_sets, len(ran), len(kept), notes)


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


def _wanting(pools: Mapping[str, Pool], demo_sets: DemoSets) -> Iterator[str]:
    """Of modules without a demonstration: from a trace, where some passed, or of any kind."""
    for name, sets in demo_sets.items():
        if name in pools and not pools[name]:
            yield f"no trace that passed gives a demonstration of '{name}'"
        if sets == ((),):
            yield f"there are no demonstrations of '{name}' at all: its only set is empty"


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
