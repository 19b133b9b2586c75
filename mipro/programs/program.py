"""Programs: ordinary code that calls modules.

A program is never copied and never changed. What is tuned is a candidate, passed into a run as
parameters are: `program(question="…", lm=lm, candidate=candidate)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mipro.errors import CandidateError, RunError
from mipro.lm.base import LM, through
from mipro.programs import prompt as prompts
from mipro.programs.adapter import Adapter, ChatAdapter
from mipro.programs.module import Predict
from mipro.programs.prompt import Candidate, Prompt
from mipro.programs.signature import Signature
from mipro.programs.trace import CURRENT, Over, Prediction, Run, RunContext


class Program:
    """Subclass it, put modules in attributes, lists or dicts, and write `forward`.

    Modules are named by where they stand: `answer`, `opinions[0]`, `hops['second']`, and
    `sub.answer` in a nested program. One module that stands in two places has the first name.
    """

    def forward(self, *args: Any, **inputs: Any) -> Prediction | Mapping[str, Any]:
        """The program itself, in the subclass: call modules, return a prediction."""
        raise RunError(f"{type(self).__name__} has no `forward` method: write one")

    def __call__(
        self,
        *,
        lm: LM | None = None,
        candidate: Candidate | None = None,
        adapter: Adapter | None = None,
        rollout: int = 0,
        **inputs: Any,
    ) -> Prediction:
        """Run the program; the prediction's `trace` has every module call.

        Inside another program's `forward` it runs as a part of that one, its modules asking `lm`
        where that is given. With a candidate, adapter or rollout besides, or if its modules are not
        among the other's, it is a run of its own, whose calls are not in the other's trace. Either
        way its calls go through the books of the run in flight. Raises what `forward` raises;
        `RunError` without an LM, `CandidateError` where the candidate names a module the program
        lacks.
        """
        outer = CURRENT.get()
        own = candidate is not None or adapter is not None or bool(rollout)
        if outer is not None and lm is None:
            if own:
                raise RunError(
                    f"{type(self).__name__} was called as a part of another program with a "
                    f"candidate, adapter or rollout of its own: it takes the other's, unless it "
                    f"is given its own lm=… as well"
                )
            return _as_prediction(self, self.forward(**inputs))
        if outer is not None and callable(lm) and not own and self._is_part_of(outer):
            with outer.asking(through(outer.lm, lm)):
                return _as_prediction(self, self.forward(**inputs))
        run = self.run(inputs, lm=lm, candidate=candidate, adapter=adapter, rollout=rollout)
        if run.error is not None:
            raise run.error
        assert run.prediction is not None  # a run has a prediction or an error
        return run.prediction

    def _is_part_of(self, run: RunContext) -> bool:
        return all(id(module) in run.names for module in self.modules().values())

    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        lm: LM | None,
        candidate: Candidate | None = None,
        adapter: Adapter | None = None,
        rollout: int = 0,
    ) -> Run:
        """Run the program; an error on the way is returned with the trace that led to it.

        A systemic `LMError` is the run's error even where `forward` caught it and went on: what it
        returned without an LM is no prediction. Raises only what is wrong with the call itself: no
        LM, a candidate that does not fit.
        """
        if not callable(lm):
            given = "" if lm is None else f", not {lm!r}"
            raise RunError(
                f"no language model: call {type(self).__name__} with lm=…{given} "
                f"(an LM is called with a Request)"
            )
        names, outer = self.modules(), CURRENT.get()
        context = RunContext(
            lm=lm if outer is None else through(outer.lm, lm),
            candidate=self.checked(candidate or {}, names),
            adapter=adapter or ChatAdapter(),
            names={id(module): name for name, module in names.items()},
            rollout=rollout,
        )
        if outer is not None:  # this program is a part of one that may catch what it raises
            context.fatal, context.in_vain = outer.fatal, outer.in_vain
        token = CURRENT.set(context)
        try:
            prediction = _as_prediction(self, self.forward(**inputs))
        except Exception as error:  # noqa: BLE001 - `forward` is the user's code; nothing is lost
            return Run(None, context.trace, context.fatal or error)
        except Over:
            if outer is not None:
                raise
            return Run(None, context.trace, context.fatal)
        finally:
            CURRENT.reset(token)
            if outer is not None:
                outer.fatal, outer.in_vain = outer.fatal or context.fatal, context.in_vain
        if context.fatal is not None:
            return Run(None, context.trace, context.fatal)
        prediction.trace = context.trace
        return Run(prediction, prediction.trace)

    def modules(self) -> dict[str, Predict]:
        """Every module by name, in the order they are found. Raises `RunError` if there is none."""
        found = dict(_walk(self, "", set()))
        if not found:
            raise RunError(
                f"{type(self).__name__} has no modules: put a Predict or ChainOfThought in an "
                f"attribute, in __init__ (or in a list or dict held by one)"
            )
        return found

    def own_lms(self) -> dict[str, LM]:
        """Module name → LM, for the modules that have one of their own."""
        return {name: m.lm for name, m in self.modules().items() if m.lm is not None}

    def signatures(self) -> dict[str, Signature]:
        """Module name → signature."""
        return {name: module.signature for name, module in self.modules().items()}

    def prompts(self) -> dict[str, Prompt]:
        """The candidate the program starts from."""
        return {name: module.prompt for name, module in self.modules().items()}

    def checked(
        self, candidate: Candidate, modules: Mapping[str, Predict] | None = None
    ) -> Candidate:
        """The candidate, if it fits the program, demonstrations too; else `CandidateError`."""
        known = modules if modules is not None else self.modules()
        for name, prompt in candidate.items():
            if name not in known:
                raise CandidateError(
                    f"{type(self).__name__} has no module '{name}'; it has {', '.join(known)}"
                )
            prompts.check_prompt(prompt, known[name].signature, name)
        return candidate

    def input_names(self) -> tuple[list[str], list[str], bool]:
        """What `forward` takes: required names, optional names, and whether any other as well."""
        required: list[str] = []
        optional: list[str] = []
        others = False
        for name, parameter in inspect.signature(self.forward).parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                others = True
            elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                (required if parameter.default is inspect.Parameter.empty else optional).append(
                    name
                )
        return required, optional, others

    def load(self, path: str | Path) -> Tuned:
        """The program bound to a saved candidate. Raises `CandidateError` if it does not fit."""
        return Tuned(self, prompts.load(path, self.signatures()))

    def save(self, path: str | Path, candidate: Candidate) -> None:
        """Write `candidate`, completed by the program's own prompts, as readable JSON."""
        complete = {**self.prompts(), **self.checked(candidate)}
        prompts.save(path, complete, self.signatures())


@dataclass(frozen=True)
class Tuned:
    """A program and the candidate to run it with; neither is changed."""

    program: Program
    candidate: Candidate

    def __call__(self, *, lm: LM | None = None, **inputs: Any) -> Prediction:
        """Run the program with the candidate."""
        return self.program(lm=lm, candidate=self.candidate, **inputs)


def _as_prediction(program: Program, value: Any) -> Prediction:
    if isinstance(value, Prediction):
        # a module's own prediction may be returned by many runs' code: each gets its own trace
        return Prediction(value)
    if isinstance(value, Mapping):
        return Prediction(value)
    raise RunError(
        f"{type(program).__name__}.forward returned {type(value).__name__}: return a module's "
        f"prediction, or mipro.Prediction(name=value, …)"
    )


def _walk(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Predict]]:
    """Modules below `value`, depth first; `seen` keeps a cycle from running for ever."""
    if not isinstance(value, (Predict, Program, list, tuple, dict)) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Predict):
        yield name, value
    elif isinstance(value, Program):
        for key, part in vars(value).items():
            yield from _walk(part, f"{name}.{key}" if name else key, seen)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _walk(part, f"{name}[{key!r}]", seen)
    else:
        for i, part in enumerate(value):
            yield from _walk(part, f"{name}[{i}]", seen)
