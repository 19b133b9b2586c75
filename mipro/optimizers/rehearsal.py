"""A run rehearsed: the strategy itself, with made-up replies and scores, and no call to any LM.

The strategy, the samplers and the minibatches are those of the run to come; so is what the
proposer asks. Made up are the texts an LM would write, the traces that would pass, and the
scores. Runs of the program are not made but counted (`books`), from the calls that a few probed
runs made (`probing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from mipro.bootstrapping import Bootstrap
from mipro.data import Example
from mipro.lm.base import Completion, Request, Usage
from mipro.lm.meter import Entry, Metered, Price
from mipro.optimizers.books import Books, Rehearsal
from mipro.optimizers.dry_runs import estimated_prompt, made_up_reply
from mipro.optimizers.probing import Probe
from mipro.optimizers.task import FULL, PHASE_OF, Step, Strategy, Task, Trial
from mipro.optimizers.trials import batch_of
from mipro.proposers.summaries import COMPLETE, CONDENSE
from mipro.seeds import stream

TEXT_TOKENS = 40  # of a text that a prompt LM writes: an instruction, an observation
OBSERVED = 4  # batches of data that are looked at before nothing new is seen
ENOUGH = 3  # batches in which nothing is seen: then no further one is looked at
SPREAD = 0.3  # of what a choice adds to the made-up scores: exponential, so that few stand out
LONGEST = 150  # trials that are rehearsed; more go on as the second half of these did


def rehearsed(
    strategy: Strategy,
    task: Task,
    test: Sequence[Example],
    probe: Probe,
    made: Bootstrap | None = None,
) -> Rehearsal:
    """Go through a run of `strategy` on `task`, with `test` examples at its end.

    `made` is what came of bootstrapping, where the run has come so far; else it is imagined.
    """
    books = Books(task, probe, made, test)
    writer = _Writer(task.prompt_lm.model, books.prices)
    trials = min(task.options.trials, LONGEST)
    stage = replace(
        task,
        prompt_lm=Metered(writer, books.written, "prompt"),
        emit=lambda event: None,
        ledger=books.written,
        imagined=books.bootstrapped,
        executor=None,
        prepared=None,
        options=replace(task.options, threads=1, trials=trials),
    )
    scores = _Scores(task.options.seed, task.program.modules())
    original = task.program.prompts()
    books.run(FULL, range(len(task.val)), original)
    trial = Trial(0, {}, scores.of({}, len(task.val)), len(task.val), "full")
    strategy.initialize(stage)
    strategy.update(trial)
    for number in count(1):
        step = strategy.propose()
        if step is None:
            break
        strategy.update(_trial(step, stage, number, books, scores))
    books.go_on(task.options.trials / trials - 1)
    if test:
        books.tested(original, strategy.extract().candidate)
    return books.closed(writer.spared)


def _trial(step: Step, task: Task, number: int, books: Books, scores: _Scores) -> Trial:
    batch = batch_of(step, task, number)
    books.run(PHASE_OF[step.kind], batch, step.candidate)
    score = scores.of(step.config, len(batch))
    return Trial(number, step.config, score, len(batch), step.kind)


class _Scores:
    """Made-up scores: what each choice adds is drawn once, and every trial has its own luck.

    The earlier a module, the more its prompt decides: what it gets wrong, no later one repairs.
    """

    def __init__(self, seed: int, modules: Iterable[str]) -> None:
        self.rng = stream(seed, "split/rehearsal")
        self.modules = tuple(modules)
        self.effects: dict[tuple[str, Any], float] = {}

    def of(self, config: Mapping[str, Any], n: int) -> float:
        """The score of a trial of `config` on n examples."""
        total = float(self.rng.normal(0.4, 0.5 / n**0.5))  # a share of n: at most so uncertain
        for item in config.items():
            if item not in self.effects:
                places = (i for i, m in enumerate(self.modules) if item[0].startswith(f"{m}."))
                self.effects[item] = SPREAD / (1 + next(places, 0)) * float(self.rng.exponential())
            total += self.effects[item]
        return total


@dataclass
class _Writer:
    """The prompt LM's understudy: texts of the usual length, each another."""

    model: str
    prices: Mapping[str, Price]
    asked: int = 0
    observed: int = 0
    spared: Entry = field(default_factory=Entry)  # were there nothing to see in the data

    @property
    def identity(self) -> str:
        """As an LM has one."""
        return f"rehearsal of {self.model}"

    def __call__(self, request: Request, /) -> Completion:
        """A reply in the layout asked for."""
        self.asked += 1
        text = f"{self.asked} " + "word " * TEXT_TOKENS
        observing = COMPLETE in request.messages[0].content
        if observing:
            self.observed += 1
            text = text if self.observed <= OBSERVED else COMPLETE
        reply = made_up_reply(request, text)
        usage = Usage(estimated_prompt(request.messages, self.model), max(1, len(reply) // 4))
        if (observing and self.observed > ENOUGH) or CONDENSE.instruction in request.messages[
            0
        ].content:
            price = self.prices.get(self.model)
            tokens = (usage.prompt_tokens, usage.completion_tokens)
            self.spared += Entry(1, 0, 0, *tokens, cost=price.of(*tokens) if price else None)
        return Completion((reply,), usage, self.model)
