"""A small agent: think, act, look, until it finishes; the tools are plain Python functions.

    def search(query: str) -> list[str]:
        \"\"\"Passages about the query, the best first.\"\"\"

    agent = ReAct("question -> answer", [search])
    agent(question="…", lm=lm).answer

After Yao et al., *ReAct: Synergizing Reasoning and Acting in Language Models* (arXiv 2210.03629).
What is different here: an action is one of the tools' names and its arguments a JSON object, both
checked against the function's signature, and nothing a model writes is ever evaluated. A reply that
is no such action, or a tool that raises, is a step whose observation says so, and the agent goes
on. `act` is called once a step, so a varying number of times; `answer` once, at the end.

The embedded LM knows the tasks of the worlds, and no tools: it names actions, but what it gives as
arguments is no JSON, so that its steps come to nothing. Tests use scripted LMs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from mipro import strict
from mipro.errors import ConfigError, ParseError, RunError, SignatureError
from mipro.lm.base import LM, LMError
from mipro.programs import types
from mipro.programs.module import ChainOfThought, Predict
from mipro.programs.program import Program
from mipro.programs.signature import Field, Signature
from mipro.programs.trace import Prediction

FINISH = "finish"
OBSERVED = 2_000  # characters of an observation that the next step is shown
ACT = (
    "Work towards the output fields that are asked of the whole task ({outputs}), one action at a "
    "time. Say what is known and what is missing, then use a tool; when nothing is missing any "
    "more, finish."
)


@dataclass(frozen=True)
class Tool:
    """A function an agent may call; `parameters` is name → type, of which `required` must be given.

    Made by `Tool.of`, which raises `ConfigError` for a function whose signature cannot be shown.
    """

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    required: frozenset[str]
    line: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """A tool from a function with types on its parameters (the kinds a field may have)."""
        name = getattr(function, "__name__", "")
        if not name.isidentifier() or name == FINISH:
            raise ConfigError(f"a tool needs a name of its own, a function's, not {name!r}")
        try:
            hints, found = get_type_hints(function), inspect.signature(function).parameters
            kinds = {n: types.check_type(hints.get(n)) for n in found}
        except (NameError, TypeError, ValueError, SignatureError) as error:
            raise ConfigError(f"tool '{name}': every parameter needs a type: {error}") from error
        if any(p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in found.values()):
            raise ConfigError(f"tool '{name}': its parameters must be such as are given by name")
        required = frozenset(n for n, p in found.items() if p.default is p.empty)
        shown = ", ".join(
            f"{n}: {types.type_name(kind)}{'' if n in required else ' (optional)'}"
            for n, kind in kinds.items()
        )
        doc = inspect.getdoc(function) or ""
        return cls(name, function, kinds, required, f"{name}({shown}): {' '.join(doc.split())}")

    def __call__(self, arguments: str) -> str:
        """What the function returns for a JSON object of arguments, as text.

        Raises `ValueError` for what are not its arguments, and what the function raises.
        """
        try:
            given = strict.loads(arguments)
        except ValueError as error:
            raise ValueError(f"a JSON object of arguments is wanted ({error})") from error
        if not isinstance(given, dict):
            raise ValueError("a JSON object of arguments is wanted")
        wrong = [n for n in given if n not in self.parameters]
        wrong += [n for n in self.parameters if n in self.required and n not in given]
        if wrong:
            what = "unknown" if wrong[0] in given else "missing"
            raise ValueError(f"the argument '{wrong[0]}' is {what}")
        values = {n: types.check(self.parameters[n], value) for n, value in given.items()}
        return types.write(types.snapshot(self.function(**values)))


class ReAct(Program):
    """Uses `tools` for at most `max_steps` steps, then fills the outputs of `signature`.

    `lm` is asked for the actions instead of the run's. Raises `ConfigError` for tools it cannot
    use.
    """

    def __init__(
        self,
        signature: str | type | Signature,
        tools: Sequence[Callable[..., Any]],
        *,
        max_steps: int = 6,
        lm: LM | None = None,
    ) -> None:
        made = [Tool.of(tool) for tool in tools]
        self.tools = {tool.name: tool for tool in made}
        if not made or len(self.tools) < len(made) or max_steps < 1:
            names = ", ".join(tool.name for tool in made) or "none"
            raise ConfigError(
                f"an agent wants tools with different names and a step or more, not {names} and "
                f"{max_steps} steps"
            )
        task = Signature.of(signature)
        steps = Field("steps", list[str], "what was thought, done and observed so far")
        whole = ", ".join(field.name for field in task.outputs)
        self.max_steps = max_steps
        self.act = Predict(
            Signature(
                (*task.inputs, steps),
                self._action(),
                f"{task.instruction} {ACT.format(outputs=whole)}",
            ),
            lm=lm,
        )
        self.answer = ChainOfThought(
            Signature((*task.inputs, steps), task.outputs, task.instruction)
        )

    def _action(self) -> tuple[Field, ...]:
        """The fields of an action: the tools stand where no tuned instruction can lose them."""
        known = "; ".join(tool.line for tool in self.tools.values())
        return (
            Field("thought", str, "what is known and what to do next"),
            Field(
                "action", Literal[(*self.tools, FINISH)], f"{known}; {FINISH}: no more is needed"
            ),
            Field("arguments", str, "a JSON object with the tool's arguments; {} to finish"),
        )

    def forward(self, **inputs: Any) -> Prediction:
        """`act` until it finishes or the steps are used up; then `answer`."""
        steps: list[str] = []
        for _ in range(self.max_steps):
            try:
                chosen = self.act(steps=steps, **inputs)
            except ParseError as error:
                steps.append(f"observation: that was no action ({error.reason})")
                continue
            if chosen.action == FINISH:
                break
            seen = self._observed(chosen.action, chosen.arguments)
            steps.append(
                f"thought: {chosen.thought}\naction: {chosen.action} {chosen.arguments}\n"
                f"observation: {seen}"
            )
        made = self.answer(steps=steps, **inputs)
        return Prediction(made, steps=steps)

    def _observed(self, action: str, arguments: str) -> str:
        """What comes of an action, or why nothing did."""
        try:
            text = self.tools[action](arguments)
        except RunError:
            raise  # a module was called as it cannot be: the program is at fault
        except Exception as error:  # the user's code may raise anything: the agent is told
            if isinstance(error, LMError) and error.systemic:
                raise
            return f"{type(error).__name__}: {error}"[:OBSERVED]
        return text if len(text) <= OBSERVED else f"{text[:OBSERVED]}… (cut)"

    def input_names(self) -> tuple[list[str], list[str], bool]:
        """The inputs of the task's signature, all required."""
        return [field.name for field in self.answer.signature.inputs[:-1]], [], False
