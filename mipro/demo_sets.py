"""Demonstration sets drawn: of the traces that passed, and of labelled examples.

The last part of bootstrapping (paper, section 4; MIPRO step 1), for one module at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from mipro.data import Example
from mipro.errors import CandidateError
from mipro.programs import types
from mipro.programs.prompt import Demo, check_demo
from mipro.programs.signature import Signature
from mipro.seeds import stream

DemoSet = tuple[Demo, ...]
DemoSets = Mapping[str, tuple[DemoSet, ...]]
Pool = list[tuple[int, list[Demo]]]  # (training example, the module's demonstrations in its trace)


@dataclass(frozen=True)
class Draw:
    """Draws a module's sets; one generator serves all modules in their order."""

    sets: int
    max_bootstrapped: int
    max_labelled: int
    rng: Generator

    def drawn(
        self,
        pools: Mapping[str, Pool],
        train: Sequence[Example],
        signatures: Mapping[str, Signature],
    ) -> DemoSets:
        """The sets of every module, from its pool and the labels of `train`."""
        return {
            name: self._sets_of(pools[name], _labelled(train, signature))
            for name, signature in signatures.items()
        }

    def _sets_of(self, pool: Pool, labelled: list[tuple[int, Demo]]) -> tuple[DemoSet, ...]:
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
    pools = {
        name: [(i, list(demos[name])) for i, demos in enumerate(passed) if demos.get(name)]
        for name in signatures
    }
    draw = Draw(sets, max_bootstrapped, max_labelled, stream(seed, "bootstrap"))
    return draw.drawn(pools, train, signatures)
