"""A few runs of the original program, to see which calls it makes and how large they are.

Dry, without a paid call: the program's own code (its retriever, say) runs on made-up replies, the
example's label where an output is called like one, and the replies' lengths are assumed. Or paid:
real runs, with the lengths that the endpoint counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mipro.bootstrapping import CHUNK
from mipro.evaluation import evaluate
from mipro.lm.meter import Entry, Price
from mipro.optimizers.dry_runs import Runs, dry_run, estimated_prompt, probed_calls
from mipro.optimizers.task import FULL, Task
from mipro.programs.adapter import ChatAdapter
from mipro.programs.prompt import Prompt
from mipro.programs.trace import ModuleCall

DRY = 3  # examples of a dry probe
PAID = 20  # of a paid one at the beginning of a run, whose first evaluation needs them anyway
PASSING = 0.3  # share of traces that pass, assumed where none was seen


@dataclass(frozen=True)
class Probe:
    """Probed runs of the program and of the teacher; `passed` of them passed, None if unknown.

    `factors` has, by model, what its endpoint counts for a token of ours.
    """

    runs: Runs
    teacher: Runs
    passed: int | None = None
    factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def passing(self) -> float:
        """The share of traces expected to pass, by Laplace's rule of succession."""
        return PASSING if self.passed is None else (self.passed + 1) / (len(self.runs) + 2)

    def attempts(self, wanted: int, train: int) -> tuple[int, int, int]:
        """Examples the teacher is run on until `wanted` traces pass: low, expected, high."""
        spread = 2 * (self.passing * (1 - self.passing) / (len(self.runs) + 2)) ** 0.5
        sure = min(1.0, self.passing + spread)
        low, expected = (-(-wanted / p // CHUNK) * CHUNK for p in (sure, self.passing))
        return min(int(low), train), min(int(expected), train), train if wanted else 0

    def teaching(self, examples: int, model: str, prices: Mapping[str, Price]) -> Entry:
        """What running the teacher, whose LM is `model`, on so many examples takes."""
        calls = [call.entry(model, prices) for run in self.teacher for call in run]
        return scaled(sum(calls, Entry()), examples / len(self.teacher))

    def prompt_tokens(self, task: Task, prompt: Prompt, run: int, place: int) -> int:
        """Prompt tokens of a probed call, were it made with another prompt."""
        call = self.runs[run][place]
        module = task.program.modules()[call.module]
        adapter = task.adapter or ChatAdapter()
        model = call.own or task.lm.model
        now, then = (
            estimated_prompt(adapter.render(module.signature, p, call.inputs), model)
            for p in (prompt, task.program.prompts()[call.module])
        )
        return round(call.prompt_tokens + self.factors.get(model, 1.0) * (now - then))


def scaled(entry: Entry, by: float) -> Entry:
    """An entry `by` times as large, in whole calls and tokens."""
    tokens = (round(entry.prompt_tokens * by), round(entry.completion_tokens * by))
    cost = None if entry.cost is None else entry.cost * by
    return Entry(round(entry.calls * by), 0, 0, *tokens, cost=cost)


def dry_probe(task: Task) -> Probe:
    """Run the program on made-up replies for a few examples: no call."""
    runs = tuple(dry_run(task, task.program, example, None) for example in task.val[:DRY])
    return Probe(runs, _teacher(task) or runs)


def _teacher(task: Task) -> Runs:
    """Dry runs of the teacher's program, where it has one of its own, or its own prompts."""
    program, candidate = task.teacher.program or task.program, task.teacher.candidate
    if program is task.program and candidate is None:
        return ()
    return tuple(dry_run(task, program, example, candidate) for example in task.train[:DRY])


def paid_probe(task: Task, examples: int = PAID) -> Probe:
    """Run the program on a few validation examples, which the first evaluation asks for again."""
    with task.ledger.phase(FULL):
        evaluation = evaluate(
            task.program,
            task.val[:examples],
            task.metric,
            lm=task.lm,
            adapter=task.adapter,
            executor=task.executor,
            threads=task.options.threads,
            allow_all_failed=True,
        )
    runs = tuple(
        dry_run(task, task.program, task.val[i], None)
        if outcome.error is not None and not outcome.trace.calls  # failed before its first call
        else probed_calls(task, task.program, outcome.trace, paid=True)
        for i, outcome in enumerate(evaluation.outcomes)
    )
    passed = sum(
        outcome.error is None and outcome.score >= task.options.threshold
        for outcome in evaluation.outcomes
    )
    asked = [call for outcome in evaluation.outcomes for call in outcome.trace]
    return Probe(runs, _teacher(task) or runs, passed, _factors(asked))


def _factors(asked: Sequence[ModuleCall]) -> dict[str, float]:
    """What each model's endpoint counts for a token of ours."""
    ours, theirs = Counter[str](), Counter[str]()
    for call in asked:
        if call.usage.prompt_tokens:
            ours[call.model] += estimated_prompt(call.messages, call.model)
            theirs[call.model] += call.usage.prompt_tokens
    return {model: theirs[model] / count for model, count in ours.items() if count}
