"""The books of a rehearsal: what a run would send, counted phase by phase.

A request that the run would have made before is sent once, and so counted once. Equal examples
have equal requests; and a call is the same as one before

    low        where the example and the module's own demonstrations are: nothing that is proposed
               is new, what was called before it in the program has changed nothing, and the
               original stays the best; in a full evaluation, where any minibatch had the example
    expected   where the example and the module's own prompt are, and the inputs are taken to be:
               those of most prompts before it, or else of the very same prompts
    high       never

The course of the search is the rehearsed one in all three: a run that looks again where this one
looked at something else takes a minibatch less than its low end.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mipro.bootstrapping import Bootstrap
from mipro.data import Example
from mipro.demo_sets import DemoSets, imagined
from mipro.lm.meter import Entry, Ledger, Price
from mipro.optimizers.probing import Probe, scaled
from mipro.optimizers.task import BOOTSTRAP, FULL, MINIBATCHES, SUMMARIES, TEST, Options, Task
from mipro.programs.prompt import Candidate, Demo, Prompt

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


@dataclass
class Books:
    """Counts what would be sent."""

    task: Task
    probe: Probe
    made: Bootstrap | None = None
    test: Sequence[Example] = ()

    def __post_init__(self) -> None:
        self.prices = self.task.ledger.prices
        self.written = Ledger(self.prices)  # what the prompt LM is asked
        self.likely: set[Any] = set()  # what stands for the requests sent, as expected
        self.surely: set[Any] = set()  # at the least
        self.sums: dict[str, list[Entry]] = {}
        self.steps: list[tuple[str, Entry]] = []
        self.expected: list[Entry] = []  # of the same steps
        self.asked: list[Mapping[str, Entry]] = []  # of the prompt LM, before each of them
        self.sizes: dict[tuple[Prompt, int, int], int] = {}
        # numbers from 0 up are of validation examples, those below of test examples
        self.names = dict(enumerate(map(_inputs, self.task.val)))
        self.batched: set[Any] = set()  # examples that minibatches had
        self.names |= dict(enumerate(map(_inputs, self.test), -len(self.test)))

    def run(self, phase: str, examples: Sequence[int], candidate: Candidate) -> None:
        """A candidate is run on examples, known by their numbers."""
        low, expected, high = (list[_Size]() for _ in range(3))
        for example in examples:
            name = self.names[example]
            known = phase == FULL and name in self.batched
            for place, prompt, chain, size in self._calls(example, candidate):
                high.append(size)
                if _new(self.likely, (name, place, prompt, self._before(example, place, chain))):
                    expected.append(size)
                if _new(self.surely, (name, place, prompt.demos)) and not known:
                    low.append(size)
        if phase == MINIBATCHES:
            self.batched |= {self.names[example] for example in examples}
        entries = [_entry(sizes, self.prices) for sizes in (low, expected, high)]
        self.add(phase, *entries)
        self.steps.append((phase, entries[2]))
        self.expected.append(entries[1])
        self.asked.append(self.written.phases)

    def _calls(
        self, example: int, candidate: Candidate
    ) -> Iterator[tuple[int, Prompt, tuple[Prompt, ...], _Size]]:
        """A run's calls: the place of each, its prompt, the prompts up to it, and its size."""
        run, chain = example % len(self.probe.runs), tuple[Prompt, ...]()
        for place, call in enumerate(self.probe.runs[run]):
            prompt = candidate[call.module]
            chain = (*chain, prompt) if prompt not in chain else chain
            tokens = self._size(prompt, run, place), call.completion_tokens
            yield place, prompt, chain, (*tokens, call.own or self.task.lm.model)

    def tested(self, original: Candidate, found: Candidate) -> None:
        """Both are run on the test examples."""
        everything = range(-len(self.test), 0)
        self.run(TEST, everything, original)
        # an original that stays the best is run once; with several looks it may end at the first
        least = scaled(self.sums[TEST][0], min(1.0, 2 / self.task.options.looks))
        self.run(TEST, everything, found)
        self.sums[TEST][0] = least

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
        twice = len(self.task.train) - len(set(map(_inputs, self.task.train)))
        runs = (max(0, runs[0] - twice), *runs[1:])
        model = self.task.teacher.lm_or(self.task.lm).model
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

    def closed(self, spared: Entry) -> Rehearsal:
        """All of it, the prompt LM's part with it; `spared` is what summaries may do without."""
        before = self.asked[1] if len(self.asked) > 1 else self.written.phases
        for phase, entry in self.written.phases.items():
            early = before.get(phase, Entry())
            # who draws the proposer's settings in the search may draw to propose nothing new
            fewer = early + scaled(entry - early, 0.5)
            low = entry - spared if phase == SUMMARIES else fewer
            # at most every batch of data is looked at, and a text is asked for three times
            self.add(phase, low, entry, entry + entry)
        phases = {phase: (e[0], e[1], e[2]) for phase, e in self.sums.items()}
        return Rehearsal(phases, self.steps, before)


def _inputs(example: Example) -> str:
    """What an example's requests come of: the same of two that differ in labels alone."""
    return json.dumps(dict(example.inputs), sort_keys=True, default=str)


def _new(seen: set[Any], key: object) -> bool:
    """Whether a key is not among those seen; it is from now on."""
    found = key not in seen
    seen.add(key)
    return found


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
