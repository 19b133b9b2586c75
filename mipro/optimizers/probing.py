"""A few runs of the original program, to see which calls it makes and how large they are.

Dry, without a paid call: the program's own code (its retriever, say) runs on made-up replies, the
example's label where an output is called like one, and the replies' lengths are assumed. Or paid:
real runs, with the lengths that the endpoint counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from mipro.bootstrapping import CHUNK
from mipro.data import Example
from mipro.evaluation import evaluate
from mipro.lm.base import Completion, Message, Request, Usage
from mipro.lm.meter import Entry
from mipro.lm.tokens import count_tokens
from mipro.optimizers.task import FULL, Task
from mipro.programs.adapter import END, Adapter, ChatAdapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate, Demo, Prompt
from mipro.programs.signature import Signature
from mipro.programs.trace import Trace

DRY = 3  # examples of a dry probe
PAID = 20  # of a paid one at the beginning of a run, whose first evaluation needs them anyway
PASSING = 0.3  # share of traces that pass, assumed where none was seen
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

    def demo(self, mark: int) -> Demo:
        """The call as a demonstration; `mark`, which no prompt shows, makes it another one."""
        return Demo({**self.inputs, **self.outputs, "": mark}, bootstrapped=True)


Runs = tuple[tuple[ProbedCall, ...], ...]


@dataclass(frozen=True)
class Probe:
    """Probed runs of the program and of the teacher; `passed` of them passed, None if unknown.

    `factor` is what the endpoint counts for a token of ours.
    """

    runs: Runs
    teacher: Runs
    passed: int | None = None
    factor: float = 1.0

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

    def teaching(self, examples: int) -> Entry:
        """What running the teacher on so many examples takes."""
        share = examples / len(self.teacher)
        calls = [call for run in self.teacher for call in run]
        prompt = sum(call.prompt_tokens for call in calls)
        completion = sum(call.completion_tokens for call in calls)
        return Entry(
            round(len(calls) * share), 0, 0, round(prompt * share), round(completion * share)
        )

    def prompt_tokens(self, task: Task, prompt: Prompt, run: int, place: int) -> int:
        """Prompt tokens of a probed call, were it made with another prompt."""
        call = self.runs[run][place]
        module = task.program.modules()[call.module]
        adapter = task.adapter or ChatAdapter()
        now, then = (
            estimated_prompt(adapter.render(module.signature, p, call.inputs), task.lm.model)
            for p in (prompt, task.program.prompts()[call.module])
        )
        return round(call.prompt_tokens + self.factor * (now - then))


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
        _calls(task, task.program, outcome.trace, paid=True)
        or _dry(task, task.program, task.val[i], None)  # it failed before its first call
        for i, outcome in enumerate(evaluation.outcomes)
    )
    passed = sum(
        outcome.error is None and outcome.score >= task.options.threshold
        for outcome in evaluation.outcomes
    )
    asked = [call for outcome in evaluation.outcomes for call in outcome.trace]
    ours = sum(estimated_prompt(c.messages, task.lm.model) for c in asked if c.usage.prompt_tokens)
    factor = sum(c.usage.prompt_tokens for c in asked) / ours if ours else 1.0
    return Probe(runs, _teacher(task) or runs, passed, factor)


def _dry(
    task: Task, program: Program, example: Example, candidate: Candidate | None
) -> tuple[ProbedCall, ...]:
    adapter = _Understudy(task.adapter or ChatAdapter(), dict(example.labels))
    run = program.run(
        example.inputs, lm=_Silent(task.lm.model), adapter=adapter, candidate=candidate
    )
    calls = _calls(task, program, run.trace, paid=False)
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
    return ProbedCall(
        name,
        inputs,
        outputs,
        estimated_prompt(messages, task.lm.model),
        _assumed(module.signature),
    )


def _calls(task: Task, program: Program, trace: Trace, *, paid: bool) -> tuple[ProbedCall, ...]:
    signatures = program.signatures()
    return tuple(
        ProbedCall(
            call.module,
            call.inputs,
            call.outputs,
            (call.usage.prompt_tokens if paid else 0)
            or estimated_prompt(call.messages, task.lm.model),
            call.usage.completion_tokens if paid else _assumed(signatures[call.module]),
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


def _made_up(signature: Signature, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a module's outputs, of the right types."""
    return {f.name: labels.get(f.name) or _blank(f.type) for f in signature.outputs}


def _blank(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return get_args(annotation)[0]
    if get_origin(annotation) is list:
        return [_blank(get_args(annotation)[0])]
    return {str: "something made up", int: 1, float: 1.0, bool: True}[annotation]


@dataclass(frozen=True)
class _Silent:
    """The LM of a dry run: it says nothing, and what was said is made up by the adapter."""

    model: str
    identity: str = "dry run"

    def __call__(self, request: Request, /) -> Completion:
        """An empty reply."""
        return Completion(("",), Usage(), self.model)


@dataclass(frozen=True)
class _Understudy:
    """An adapter that renders as the real one does, and reads every reply as made-up values."""

    adapter: Adapter
    labels: Mapping[str, Any]

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
        return _made_up(signature, self.labels)

    def closed(self, reply: str) -> bool:
        """Always."""
        return True
