"""Modules: the steps of a program whose prompts are tuned.

A module holds its signature and its first prompt, and never changes. When it is called, the prompt
it uses is the one the run's candidate has for its name, or else its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mipro.errors import ParseError, RunError, SignatureError
from mipro.lm.base import Completion, LMError, Message, Request, Usage
from mipro.programs import types
from mipro.programs.prompt import Prompt
from mipro.programs.signature import Field, Signature
from mipro.programs.trace import CURRENT, ModuleCall, Prediction, RunContext

REASONING = Field("reasoning", str, "the steps that lead to the rest, in a sentence or two")


class Predict:
    """One call of a language model, from input fields to output fields.

    `signature` is a string, a class or a `Signature`; `instruction` replaces the signature's own.
    `temperature` and `max_tokens`, where given, hold for this module instead of the LM's own.
    """

    def __init__(
        self,
        signature: str | type | Signature,
        instruction: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.signature = Signature.of(signature, instruction)
        self.temperature, self.max_tokens = temperature, max_tokens

    @property
    def prompt(self) -> Prompt:
        """The prompt the module starts from: its signature's instruction, and no demos."""
        return Prompt(self.signature.instruction)

    def __call__(self, **inputs: Any) -> Prediction:
        """Call the LM of the run in flight and return the output fields.

        Raises `RunError` outside a run, `SignatureError` where the inputs are not the
        signature's, `LMError` where the LM gives no completion and `ParseError` where its reply
        lacks a field.
        """
        run = CURRENT.get()
        if run is None:
            raise RunError(
                "a module was called outside a run: call the program, program(…, lm=lm), and "
                "its modules inside `forward`. In a thread of your own, run it in a copy of the "
                "context (contextvars.copy_context().run)"
            )
        name = run.names.get(id(self))
        if name is None:
            raise RunError(
                f"the module '{self.signature}' was called, but is not found in an attribute of "
                f"the program object (set in __init__), or in a list or dict held by one; the "
                f"program has {', '.join(run.names.values())}"
            )
        return _call(self, name, run, self._checked(name, inputs))

    def _checked(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs as they are now: a program may go on changing a list it has passed."""
        wanted = [field.name for field in self.signature.inputs]
        missing = [n for n in wanted if n not in inputs]
        unknown = [n for n in inputs if n not in wanted]
        if missing or unknown:
            fault = f"'{missing[0]}' is missing" if missing else f"'{unknown[0]}' is not among them"
            raise SignatureError(f"module '{name}' takes {', '.join(wanted)}: {fault}")
        taken = {}
        for n in wanted:
            try:
                taken[n] = types.snapshot(inputs[n])
            except ValueError as error:
                raise SignatureError(f"module '{name}', input '{n}': {error}") from error
        return taken

    def __repr__(self) -> str:
        return f"Predict({str(self.signature)!r})"


def ChainOfThought(
    signature: str | type | Signature,
    instruction: str | None = None,
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Predict:
    """A `Predict` whose first output field is its `reasoning`."""
    full = Signature.of(signature, instruction).with_first_output(REASONING)
    return Predict(full, temperature=temperature, max_tokens=max_tokens)


def _call(module: Predict, name: str, run: RunContext, inputs: Mapping[str, Any]) -> Prediction:
    signature = module.signature
    prompt = run.candidate.get(name) or module.prompt
    messages = run.adapter.render(signature, prompt, inputs)
    request = Request(
        messages,
        module.temperature,
        module.max_tokens,
        rollout=run.rollout,
        schema=run.adapter.schema(signature),
    )
    started = time.perf_counter()
    completion: Completion | None = None
    try:
        completion = run.lm(request)
        outputs = _parsed(run, signature, completion, name)
    except (LMError, ParseError) as error:
        run.calls.append(_record(name, inputs, {}, messages, completion, started, error))
        if isinstance(error, LMError) and error.systemic:
            run.fatal = run.fatal or error
        raise
    run.calls.append(_record(name, inputs, outputs, messages, completion, started, None))
    return Prediction(types.snapshot(outputs))


def _parsed(
    run: RunContext, signature: Signature, completion: Completion, name: str
) -> dict[str, Any]:
    reply, cut = completion.text, completion.finish_reason == "length"
    try:
        outputs = run.adapter.parse(signature, reply, name)
    except ParseError as error:
        if not cut:
            raise
        reason = f"{error.reason} (the reply was cut off at max_tokens: allow more)"
        raise ParseError(name, error.field, reason, reply) from error
    if cut and not run.adapter.closed(reply):
        reason = "the reply was cut off at max_tokens: allow more"
        raise ParseError(name, signature.outputs[-1].name, reason, reply)
    return outputs


def _record(
    name: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    messages: tuple[Message, ...],
    completion: Completion | None,
    started: float,
    error: Exception | None,
) -> ModuleCall:
    return ModuleCall(
        module=name,
        inputs=inputs,
        outputs=outputs,
        messages=messages,
        reply=completion.text if completion else "",
        usage=completion.usage if completion else Usage(),
        seconds=time.perf_counter() - started,
        cached=completion.cached if completion else False,
        error=f"{type(error).__name__}: {error}" if error else None,
    )
