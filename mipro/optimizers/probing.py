"""A few runs of the original program, to see which calls it makes and how large they are.

Dry, without a paid call: the program's own code (its retriever, say) runs on made-up replies, the
example's label where an output is called like one, and the replies' lengths are assumed. Or paid:
real runs, with the lengths that the endpoint counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal, get_args, get_origin

from mipro.bootstrapping import CHUNK
from mipro.data import Example
from mipro.evaluation import evaluate
from mipro.lm.base import LM, Completion, Message, Request, UnavailableError, Usage
from mipro.lm.meter import Entry, Price
from mipro.lm.tokens import count_tokens
from mipro.optimizers.task import FULL, Task
from mipro.programs.adapter import END, Adapter, ChatAdapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate, Demo, Prompt
from mipro.programs.signature import Signature
from mipro.programs.trace import ModuleCall, Trace

DRY = 3  # examples of a dry probe
PAID = 20  # of a paid one at the beginning of a run, whose first evaluation needs them anyway
PASSING = 0.3  # share of traces that pass, assumed where none was seen
ENDLESS = 100  # calls of a dry run that does not end on made-up replies
PER_MESSAGE = 4  # tokens that the marks of a chat message take, about
REASONING_TOKENS, TEXT_TOKENS, VALUE_TOKENS, HEADER_TOKENS = 40, 12, 3, 8  # of replies, assumed

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\]", re.MULTILINE)


@dataclass(frozen=True)
class ProbedCall:
    """One call of a module in a probed run; tokens as the endpoint counts them, or as assumed."""

    module: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    prompt_tokens: float
    completion_tokens: int
    own: str | None = None  # the model, where it is not that of the run's LM

    def entry(self, model: str, prices: Mapping[str, Price]) -> Entry:
        """What the call takes in a run whose LM is `model`."""
        price = prices.get(self.own or model)
        tokens = (round(self.prompt_tokens), self.completion_tokens)
        return Entry(1, 0, 0, *tokens, cost=price.of(*tokens) if price else None)

    def demo(self, mark: int) -> Demo:
        """The call as a demonstration; `mark`, which no prompt shows, makes it another one."""
        return Demo({**self.inputs, **self.outputs, "": mark}, bootstrapped=True)


Runs = tuple[tuple[ProbedCall, ...], ...]


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
    runs = tuple(_dry(task, task.program, example, None) for example in task.val[:DRY])
    return Probe(runs, _teacher(task) or runs)


def _teacher(task: Task) -> Runs:
    """Dry runs of the teacher's program, where it has one of its own, or its own prompts."""
    program, candidate = task.teacher.program or task.program, task.teacher.candidate
    if program is task.program and candidate is None:
        return ()
    return tuple(_dry(task, program, example, candidate) for example in task.train[:DRY])


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
        _dry(task, task.program, task.val[i], None)
        if outcome.error is not None and not outcome.trace.calls  # failed before its first call
        else _calls(task, task.program, outcome.trace, paid=True)
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


def _dry(
    task: Task, program: Program, example: Example, candidate: Candidate | None
) -> tuple[ProbedCall, ...]:
    adapter, lm = _Understudy(task.adapter or ChatAdapter(), dict(example.labels)), _Silent.of(task)
    run = program.run(example.inputs, lm=lm, adapter=adapter, candidate=candidate)
    made = Trace(tuple(call for call in run.trace if call.error is None))
    if len(made) >= ENDLESS:  # nobody knows how long it goes on: one round
        made = Trace(tuple({call.module: call for call in reversed(made.calls)}.values())[::-1])
    calls = _calls(task, program, made, paid=False)
    called = {call.module for call in calls}
    # code that stops at a made-up reply: what it did not come to is taken to be called once
    missing = [] if run.error is None else [n for n in program.modules() if n not in called]
    return calls + tuple(_unseen(task, program, name, example) for name in missing)


def _unseen(task: Task, program: Program, name: str, example: Example) -> ProbedCall:
    module = program.modules()[name]
    inputs = {f.name: example.get(f.name, "") for f in module.signature.inputs}
    outputs = _made_up(module.signature, dict(example.labels))
    adapter = task.adapter or ChatAdapter()
    messages = adapter.render(module.signature, module.prompt, inputs)
    own = None if module.lm is None else module.lm.model
    tokens = (estimated_prompt(messages, own or task.lm.model), _assumed(module.signature))
    return ProbedCall(name, inputs, outputs, *tokens, own)


def _calls(task: Task, program: Program, trace: Trace, *, paid: bool) -> tuple[ProbedCall, ...]:
    signatures = program.signatures()
    return tuple(
        ProbedCall(
            call.module,
            call.inputs,
            call.outputs,
            (call.usage.prompt_tokens if paid else 0)
            or estimated_prompt(call.messages, call.model),
            call.usage.completion_tokens if paid else _assumed(signatures[call.module]),
            None if call.model == task.lm.model else call.model,
        )
        for call in trace
    )


def estimated_prompt(messages: Sequence[Message], model: str) -> int:
    """The tokens of a request, by our own count."""
    return sum(PER_MESSAGE + count_tokens(message.content, model) for message in messages)


def _assumed(signature: Signature) -> int:
    """Tokens of a reply nobody has seen."""
    tokens = HEADER_TOKENS
    for f in signature.outputs:
        text = REASONING_TOKENS if f.name == "reasoning" else TEXT_TOKENS
        tokens += HEADER_TOKENS + (text if f.type is str else VALUE_TOKENS)
    return tokens


def made_up_reply(request: Request, text: str) -> str:
    """A reply with `text` in every field that the layout of a chat prompt asks for."""
    names = [n for n in _HEADER.findall(request.messages[0].content) if n != "completed"]
    return "\n\n".join([*(f"[[ ## {name} ## ]]\n{text}" for name in names), END])


def _made_up(signature: Signature, labels: Mapping[str, Any], turn: int = 0) -> dict[str, Any]:
    """Values for a module's outputs, of the right types, in its call number `turn` of a run."""
    return {f.name: labels.get(f.name) or _blank(f.type, turn) for f in signature.outputs}


def _blank(annotation: Any, turn: int) -> Any:
    """One choice after the other, so that a loop comes to the one that ends it."""
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return choices[turn % len(choices)]
    if get_origin(annotation) is list:
        return [_blank(get_args(annotation)[0], turn)]
    made_up = {str: "something made up", int: 1, float: 1.0, bool: turn % 2 == 0}
    return made_up[annotation]


@dataclass(frozen=True)
class _Silent:
    """The LM of a dry run: it says nothing, and what was said is made up by the adapter."""

    model: str
    calls: Iterator[int]  # of all that were made in the dry run
    identity: str = "dry run"

    @classmethod
    def of(cls, task: Task) -> _Silent:
        """The LM of one dry run."""
        return cls(task.lm.model, count(1))

    def over(self, own: LM) -> _Silent:
        """A module's own LM is not asked either."""
        return replace(self, model=own.model)

    def __call__(self, request: Request, /) -> Completion:
        """An empty reply; no more than `ENDLESS` of them, whatever the program makes of that."""
        if next(self.calls) > ENDLESS:
            raise UnavailableError(f"a dry run goes on after {ENDLESS} made-up replies")
        return Completion(("",), Usage(), self.model)


@dataclass(frozen=True)
class _Understudy:
    """An adapter that renders as the real one does, and reads every reply as made-up values."""

    adapter: Adapter
    labels: Mapping[str, Any]
    turns: Counter[str] = field(default_factory=Counter)  # of each module

    def render(
        self, signature: Signature, prompt: Prompt, inputs: Mapping[str, Any]
    ) -> tuple[Message, ...]:
        """As the real adapter."""
        return self.adapter.render(signature, prompt, inputs)

    def schema(self, signature: Signature) -> Mapping[str, Any] | None:
        """As the real adapter."""
        return self.adapter.schema(signature)

    def parse(self, signature: Signature, reply: str, module: str) -> dict[str, Any]:
        """Made-up values, whatever the reply."""
        self.turns[module] += 1
        return _made_up(signature, self.labels, self.turns[module] - 1)

    def closed(self, reply: str) -> bool:
        """Always."""
        return True
