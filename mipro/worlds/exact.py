"""The exact expected score of a candidate: every reply the embedded LM might give, followed.

The program itself is run, once for each path of replies: at every call of a module the LM's whole
distribution is known, so a run is a path in a tree, and the expected score is the sum over its
leaves of probability times metric. Nothing about the program is assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from mipro.data import Example
from mipro.lm.base import Completion, Message, OverLM, Request
from mipro.lm.simulated import SimulatedLM
from mipro.lm.simulated.model import beginning
from mipro.metrics import Metric
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate, Demo, Prompt
from mipro.worlds.world import World

Options = tuple[tuple[str, float], ...]
# all that a reply hangs on within one run; `max_tokens` cuts it afterwards
_Put = tuple[tuple[Message, ...], float | None]
_Known = dict[_Put, Options]


@final
@dataclass
class _Path(OverLM):
    """An LM whose turns are prescribed: reply `path[i]` at turn i, beyond it the first.

    A request put twice in a run is one turn: the embedded LM gives it the same reply.
    """

    lm: SimulatedLM
    known: _Known
    path: list[int]
    taken: list[tuple[int, int]] = field(default_factory=list)  # (choice, choices) at each turn
    said: dict[_Put, str] = field(default_factory=dict)  # request → reply
    probability: float = 1.0

    def __call__(self, request: Request, /) -> Completion:
        """The prescribed reply."""
        put = (request.messages, request.temperature)
        if put not in self.said:
            self.said[put] = self._turn(put, request)
        return Completion((beginning(self.said[put], request.max_tokens),))

    def _turn(self, put: _Put, request: Request) -> str:
        if put not in self.known:
            self.known[put] = tuple(self.lm.distribution(request).items())
        options, step = self.known[put], len(self.taken)
        choice = self.path[step] if step < len(self.path) else 0
        self.taken.append((choice, len(options)))
        text, p = options[choice]
        self.probability *= p
        return text


def expected_score(
    program: Program,
    example: Example,
    metric: Metric,
    lm: SimulatedLM,
    candidate: Candidate,
    known: _Known | None = None,
) -> float:
    """The mean score over the LM's luck, exactly. A failed run scores the metric's worst."""
    memory: _Known = {} if known is None else known
    path: list[int] = []
    expected = 0.0
    while True:
        walker = _Path(lm, memory, path)
        run = program.run(example.inputs, lm=walker, candidate=candidate)
        said = run.prediction
        score = metric.worst if said is None else metric(example, said, run.trace)
        expected += walker.probability * score
        following = _next(walker.taken)
        if following is None:
            return expected
        path = following


def _next(taken: list[tuple[int, int]]) -> list[int] | None:
    """The next leaf, depth first: the last call that has another reply takes it."""
    for step in range(len(taken) - 1, -1, -1):
        choice, choices = taken[step]
        if choice + 1 < choices:
            return [c for c, _ in taken[:step]] + [choice + 1]
    return None


def exact_scores(
    world: World, candidate: Candidate, examples: Sequence[Example] | None = None
) -> NDArray[np.float64]:
    """Expected score of each example, shape (n,); of the world's test split unless told."""
    known: _Known = {}
    return np.array(
        [
            expected_score(world.program, example, world.metric, world.lm, candidate, known)
            for example in (world.test if examples is None else examples)
        ]
    )


def optimum(
    world: World,
    instructions: Mapping[str, Sequence[str]],
    demo_sets: Mapping[str, Sequence[tuple[Demo, ...]]],
    examples: Sequence[Example] | None = None,
) -> tuple[dict[str, Prompt], float]:
    """The best candidate of a slot space, by trying every one, and its exact expected score.

    Both mappings hold one sequence of choices per module. The cost grows as the product of their
    lengths: for small spaces.
    """
    slots = [
        [(name, Prompt(i, d)) for i in instructions[name] for d in demo_sets[name]]
        for name in world.program.modules()
    ]
    best: tuple[dict[str, Prompt], float] = ({}, float("-inf"))
    for choice in itertools.product(*slots):
        candidate = dict(choice)
        score = float(exact_scores(world, candidate, examples).mean())
        if score > best[1]:
            best = (candidate, score)
    return best
