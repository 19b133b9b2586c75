"""A run rehearsed: the strategy itself, with made-up replies and scores, and no call to any LM.

The strategy, the samplers and the minibatches are those of the run to come; so is what the
proposer asks. Made up are the texts an LM would write, the traces that would pass, and the
scores. Runs of the program are not made but counted, from the calls that a few probed runs made
(`probing`). A request that the run would have made before is sent once, and so counted once:

    low        a call is the same where the example and the module's own prompt are: what was
               called before it in the program has changed nothing
    expected   where, besides, the inputs are taken to be: those of most prompts before it, or
               else of the very same prompts
    high       no two calls are the same
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from mipro.bootstrapping import Bootstrap, DemoSets, imagined
from mipro.lm.base import Completion, Request, Usage
from mipro.lm.meter import Entry, Ledger, Metered, Price
from mipro.optimizers.probing import Probe, estimated_prompt, made_up_reply, scaled
from mipro.optimizers.task import (
    BOOTSTRAP,
    FULL,
    PHASE_OF,
    TEST,
    Options,
    Step,
    Strategy,
    Task,
    Trial,
)
from mipro.optimizers.trials import batch_of
from mipro.programs.prompt import Candidate, Demo, Prompt
from mipro.proposers.summaries import COMPLETE
from mipro.seeds import stream

TEXT_TOKENS = 40  # of a text that a prompt LM writes: an instruction, an observation
OBSERVED = 4  # batches of data that are looked at before nothing new is seen
SPREAD = 0.3  # of what a choice adds to the made-up scores: exponential, so that few stand out
LONGEST = 150  # trials that are rehearsed; more go on as the second half of these did
ALIKE = 0.75  # share of prompts under which a module hands on what most others do


@dataclass(frozen=True)
class Rehearsal:
    """What a run would spend by phase: (low, expected, high); `steps` are those of the loop.

    A step is its phase and its high entry; the first is the original program. `before` is, by
    phase, what the prompt LM is asked before the first step of the search.
    """

    phases: Mapping[str, tuple[Entry, Entry, Entry]]
    steps: Sequence[tuple[str, Entry]]
    before: Mapping[str, Entry]


def rehearsed(
    strategy: Strategy, task: Task, test: int, probe: Probe, made: Bootstrap | None = None
) -> Rehearsal:
    """Go through a run of `strategy` on `task`, with `test` examples at its end.

    `made` is what came of bootstrapping, where the run has come so far; else it is imagined.
    """
    books = _Books(task, probe, made)
    trials = min(task.options.trials, LONGEST)
    stage = replace(
        task,
        prompt_lm=Metered(_Writer(task.prompt_lm.model, probe), books.written, "prompt"),
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
        found = strategy.extract().candidate
        for candidate in (original, found):
            books.run(TEST, range(-test, 0), candidate)
        # with several looks it may end at the first
        books.sums[TEST][0] = scaled(books.sums[TEST][0], 1 / task.options.looks)
    return books.closed()


def _trial(step: Step, task: Task, number: int, books: _Books, scores: _Scores) -> Trial:
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
class _Books:
    """Counts what would be sent."""

    task: Task
    probe: Probe
    made: Bootstrap | None = None

    def __post_init__(self) -> None:
        self.prices = self.task.ledger.prices
        self.written = Ledger(self.prices)  # what the prompt LM is asked
        self.seen: tuple[set[Any], set[Any]] = (set(), set())
        self.sums: dict[str, list[Entry]] = {}
        self.steps: list[tuple[str, Entry]] = []
        self.expected: list[Entry] = []  # of the same steps
        self.asked: list[Mapping[str, Entry]] = []  # of the prompt LM, before each of them
        self.sizes: dict[tuple[Prompt, int, int], int] = {}

    def run(self, phase: str, examples: Sequence[int], candidate: Candidate) -> None:
        """A candidate is run on examples, known by their numbers."""
        low, expected, high = (list[_Size]() for _ in range(3))
        model = self.task.lm.model
        prompts = {name: candidate[name] for name in self.task.program.modules()}
        for example in examples:
            run = example % len(self.probe.runs)
            chain: tuple[Prompt, ...] = ()
            for place, call in enumerate(self.probe.runs[run]):
                prompt = prompts[call.module]
                chain = (*chain, prompt) if prompt not in chain else chain
                size = self._size(prompt, run, place), call.completion_tokens, call.own or model
                high.append(size)
                before = self._before(example, place, chain)
                for seen, key, taken in zip(
                    self.seen,
                    ((example, place, prompt), (example, place, prompt, before)),
                    (low, expected),
                    strict=True,
                ):
                    if key not in seen:
                        seen.add(key)
                        taken.append(size)
        entries = [_entry(sizes, self.prices) for sizes in (low, expected, high)]
        self.add(phase, *entries)
        self.steps.append((phase, entries[2]))
        self.expected.append(entries[1])
        self.asked.append(self.written.phases)

    def go_on(self, times: float) -> None:
        """Add `times` as much search again."""
        half = (1 + len(self.steps)) // 2
        if times <= 0:
            return
        for i, ((phase, high), expected) in enumerate(zip(self.steps, self.expected, strict=True)):
            if i > 0:  # the original program is evaluated once
                later = scaled(expected, 2 * times) if i >= half else Entry()
                self.add(phase, Entry(), later, scaled(high, times))
        for phase, entry in self.written.phases.items():
            early = self.asked[min(half, len(self.asked) - 1)].get(phase, Entry())
            later = scaled(entry - early, 2 * times)
            self.add(phase, Entry(), later, later + later)

    def _before(self, example: int, place: int, chain: tuple[Prompt, ...]) -> object:
        """What stands for a call's inputs: they come out alike under many prompts, or as none."""
        texts = "".join(prompt.digest for prompt in chain)
        drawn = zlib.crc32(f"{example}/{place}/{texts}".encode()) / 2**32  # uniform in [0, 1)
        return chain if place and drawn >= ALIKE else None

    def add(self, phase: str, *entries: Entry) -> None:
        """Add (low, expected, high) to a phase."""
        sums = self.sums.setdefault(phase, [Entry()] * 3)
        self.sums[phase] = [a + b for a, b in zip(sums, entries, strict=True)]

    def _size(self, prompt: Prompt, run: int, place: int) -> int:
        """Prompt tokens of a probed call, were it made with another prompt."""
        key = (prompt, run, place)
        if key not in self.sizes:
            self.sizes[key] = self.probe.prompt_tokens(self.task, prompt, run, place)
        return self.sizes[key]

    def bootstrapped(self, options: Options) -> Bootstrap:
        """What the teacher would be asked, and the sets that would come of it; or as it was."""
        if self.made is not None:
            took = self.task.ledger.phases.get(BOOTSTRAP, Entry())
            self.add(BOOTSTRAP, took, took, took)
            return self.made
        if options.demo_sets == 1 or not (options.max_bootstrapped or options.max_labelled):
            return Bootstrap(dict.fromkeys(self.task.program.modules(), ((),)))
        wanted = options.max_bootstrapped * options.demo_sets
        runs = self.probe.attempts(wanted, len(self.task.train))
        model = (self.task.teacher.lm or self.task.lm).model
        self.add(BOOTSTRAP, *(self.probe.teaching(n, model, self.prices) for n in runs))
        passed = min(round(runs[1] * self.probe.passing), runs[1])
        sets = self._sets(options, passed)
        if self.probe.passed == 0:  # perhaps none will: one set in three is as if it were so
            others = self._sets(options, 0)
            cut = -(-2 * options.demo_sets // 3)
            sets = {
                name: tuple(dict.fromkeys((*some[:cut], *others[name], *some[cut:])))
                for name, some in sets.items()
            }
            sets = {name: some[: options.demo_sets] for name, some in sets.items()}
        return Bootstrap(sets, runs[1], passed)

    def _sets(self, options: Options, passed: int) -> DemoSets:
        return imagined(
            self.task.train,
            self.task.program.signatures(),
            list(self._traces(passed)),
            sets=options.demo_sets,
            max_bootstrapped=options.max_bootstrapped,
            max_labelled=options.max_labelled,
            seed=options.seed,
        )

    def _traces(self, passed: int) -> Iterator[dict[str, list[Demo]]]:
        """So many traces like the probed ones, told apart by a mark."""
        for i in range(passed):
            demos: dict[str, list[Demo]] = {}
            for call in self.probe.runs[i % len(self.probe.runs)]:
                demos.setdefault(call.module, []).append(call.demo(i))
            yield demos

    def closed(self) -> Rehearsal:
        """All of it, the prompt LM's part with it."""
        for phase, entry in self.written.phases.items():
            # at most every batch of data is looked at, and a text is asked for three times
            self.add(phase, entry, entry, entry + entry)
        phases = {phase: (e[0], e[1], e[2]) for phase, e in self.sums.items()}
        before = self.asked[1] if len(self.asked) > 1 else self.written.phases
        return Rehearsal(phases, self.steps, before)


_Size = tuple[int, int, str]  # of a call: prompt tokens, completion tokens, model


def _entry(sizes: Sequence[_Size], prices: Mapping[str, Price]) -> Entry:
    """The sum of calls; `cost` is of those whose model has a price."""
    total = Entry()
    for model in sorted({size[2] for size in sizes}):
        of_it = [size for size in sizes if size[2] == model]
        prompt, completion = sum(size[0] for size in of_it), sum(size[1] for size in of_it)
        price = prices.get(model)
        cost = price.of(prompt, completion) if price else None
        total += Entry(len(of_it), 0, 0, prompt, completion, cost)
    return total


@dataclass
class _Writer:
    """The prompt LM's understudy: texts of the usual length, each another."""

    model: str
    probe: Probe
    asked: int = 0
    observed: int = 0

    @property
    def identity(self) -> str:
        """As an LM has one."""
        return f"rehearsal of {self.model}"

    def __call__(self, request: Request, /) -> Completion:
        """A reply in the layout asked for."""
        self.asked += 1
        text = f"{self.asked} " + "word " * TEXT_TOKENS
        if COMPLETE in request.messages[0].content:
            self.observed += 1
            text = text if self.observed <= OBSERVED else COMPLETE
        reply = made_up_reply(request, text)
        usage = Usage(estimated_prompt(request.messages, self.model), max(1, len(reply) // 4))
        return Completion((reply,), usage, self.model)
