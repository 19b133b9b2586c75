"""Modules: the steps of a program whose prompts are tuned.

A module holds its signature and its first prompt, and never changes. When it is called, the prompt
it uses is the one the run's candidate has for its name, or else its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mipro.errors import ConfigError, ParseError, RunError, SignatureError
from mipro.lm.base import LM, Completion, LMError, Message, Request, Usage, through
from mipro.programs import types
from mipro.programs.prompt import Prompt
from mipro.programs.signature import Field, Signature
from mipro.programs.trace import CURRENT, ModuleCall, Over, Prediction, RunContext

REASONING = Field("reasoning", str, "the steps that lead to the rest, in a sentence or two")
PATIENCE = 100  # calls after a systemic failure, before a program that retries for ever is ended
ANOTHER = 1_000_000  # rollouts that a call made again, after it failed, is apart from the first


class Predict:
    """One call of a language model, from input fields to output fields.

    `signature` is a string, a class or a `Signature`; `instruction` replaces the signature's own.
    `temperature` and `max_tokens`, where given, hold for this module instead of the LM's own.
    `lm` is asked instead of the run's, whoever runs the program (a teacher as well), and its calls
    are metered, limited by a budget and kept as the run's are. Raises `ConfigError` for what is no
    LM.
    """

    def __init__(
        self,
        signature: str | type | Signature,
        instruction: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        lm: LM | None = None,
    ) -> None:
        if lm is not None and not isinstance(lm, LM):
            what = "mipro.OpenAILM(…), say, or a callable with `model` and `identity`"
            raise ConfigError(f"a module's lm={lm!r} is no language model: {what}")
        self.signature = Signature.of(signature, instruction)
        self.temperature, self.max_tokens, self.lm = temperature, max_tokens, lm

    @property
    def prompt(self) -> Prompt:
        """The prompt the module starts from: its signature's instruction, and no demos."""
        return Prompt(self.signature.instruction)

    def __call__(self, **inputs: Any) -> Prediction:
        """Call the LM of the run in flight and return the output fields.

        Raises `RunError` outside a run, `SignatureError` where the inputs are not the
        signature's, `LMError` where the LM gives no completion and `ParseError` where its reply
        lacks a field. Called again with the same inputs after one of these two, in the same run, it
        asks for another draw (another `rollout`): a reply kept from the first would fail again.
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
    lm: LM | None = None,
) -> Predict:
    """A `Predict` whose first output field is its `reasoning`."""
    full = Signature.of(signature, instruction).with_first_output(REASONING)
    return Predict(full, temperature=temperature, max_tokens=max_tokens, lm=lm)


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
    lm = run.lm if module.lm is None else through(run.lm, module.lm)
    if run.failed:  # is it one that failed before?
        again = run.failed[request.digest(lm.identity)]
        request = replace(request, rollout=run.rollout + again * ANOTHER) if again else request
    run.threaded = run.threaded or threading.get_ident() != run.home
    asked = _Asked(name, lm.model, inputs, messages)
    if run.fatal is not None:  # the run is lost: nothing more is asked
        run.calls.append(asked.record({}, None, run.fatal))
        run.in_vain += 1
        raise Over if run.in_vain > PATIENCE else run.fatal
    completion: Completion | None = None
    try:
        completion = _answered(lm, request)
        outputs = _parsed(run, signature, completion, name)
    except (LMError, ParseError) as error:
        run.calls.append(asked.record({}, completion, error))
        run.failed[replace(request, rollout=run.rollout).digest(lm.identity)] += 1
        if isinstance(error, LMError) and error.systemic:
            run.fatal = run.fatal or error
        raise
    run.calls.append(asked.record(outputs, completion, None))
    return Prediction(types.snapshot(outputs))


def _answered(lm: LM, request: Request) -> Completion:
    """What the LM says. What it may not raise is its own fault, and no example's: systemic."""
    try:
        return lm(request)
    except LMError:
        raise
    except Exception as error:  # a user's own LM may raise anything
        fault = LMError(
            f"the LM {lm.model} raised {type(error).__name__}: {error}. An LM raises `LMError`s "
            "only: one that is not systemic costs its example, anything else ends the run."
        )
        fault.systemic = True
        raise fault from error


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


@dataclass(frozen=True)
class _Asked:
    """A call on its way."""

    module: str
    model: str
    inputs: Mapping[str, Any]
    messages: tuple[Message, ...]
    started: float = field(default_factory=time.perf_counter)

    def record(
        self, outputs: Mapping[str, Any], completion: Completion | None, error: Exception | None
    ) -> ModuleCall:
        """What came of it."""
        return ModuleCall(
            module=self.module,
            inputs=self.inputs,
            outputs=outputs,
            messages=self.messages,
            reply=completion.text if completion else "",
            usage=completion.usage if completion else Usage(),
            seconds=time.perf_counter() - self.started,
            cached=completion.cached if completion else False,
            error=f"{type(error).__name__}: {error}" if error else None,
            model=self.model,
        )
