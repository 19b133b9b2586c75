"""The program's own code run without an LM: on made-up replies, no call paid for.

Its retriever, its loops and branches run as they are; a reply is the example's label where an
output is called like one, its length assumed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal, get_args, get_origin

from mipro.data import Example
from mipro.lm.base import LM, Completion, Message, Request, UnavailableError, Usage
from mipro.lm.meter import Entry, Price
from mipro.lm.tokens import count_tokens
from mipro.optimizers.task import Task
from mipro.programs.adapter import END, Adapter, ChatAdapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate, Demo, Prompt
from mipro.programs.signature import Signature
from mipro.programs.trace import Trace

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


def dry_run(
    task: Task, program: Program, example: Example, candidate: Candidate | None
) -> tuple[ProbedCall, ...]:
    """The calls that one run would make; of a module it did not come to, one."""
    adapter, lm = _Understudy(task.adapter or ChatAdapter(), dict(example.labels)), _Silent.of(task)
    run = program.run(example.inputs, lm=lm, adapter=adapter, candidate=candidate)
    made = Trace(tuple(call for call in run.trace if call.error is None))
    if len(made) >= ENDLESS:  # nobody knows how long it goes on: one round
        made = Trace(tuple({call.module: call for call in reversed(made.calls)}.values())[::-1])
    calls = probed_calls(task, program, made, paid=False)
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


def probed_calls(
    task: Task, program: Program, trace: Trace, *, paid: bool
) -> tuple[ProbedCall, ...]:
    """The calls of a trace; those not `paid` for with replies as long as is assumed."""
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
