"""The grounded proposer: an instruction written by an LM that is shown the task.

One call writes one instruction. What it is shown (data summary, program summary, demonstrations,
history), the tip it is given and its temperature are the proposer's settings. Texts that do not
depend on the proposal are written once, when first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mipro.bootstrapping import DemoSet, DemoSets
from mipro.data import Example
from mipro.errors import ConfigError
from mipro.lm.base import LM
from mipro.programs.program import Program
from mipro.programs.signature import Field, Signature
from mipro.proposers.ask import ask, fitted, fitted_list
from mipro.proposers.history import Tried, best_last
from mipro.proposers.settings import Evidence, Settings
from mipro.proposers.source import module_line
from mipro.proposers.summaries import (
    Written,
    describe_module,
    describe_program,
    field_lines,
    position,
    row,
    summarize_dataset,
)
from mipro.proposers.tips import TIPS, checked_tips

INSTRUCTION = (
    "Write an instruction for one module of a language-model program. The module will be given "
    "your instruction and its input fields, and must produce its output fields; its layout is "
    "taken care of elsewhere. Use whatever you are told below about the task, and state plainly "
    "what the module has to do, what to look at, and what form its output must have."
)

PARTS = 7  # texts that share the room in a prompt: the instruction there is, and the evidence

_EVIDENCE: Mapping[str, Field] = {
    "dataset_summary": Field("dataset_summary", str, "what the task's data look like"),
    "program_description": Field("program_description", str, "what the program does"),
    "module_role": Field("module_role", str, "the module's part in it"),
    "demos": Field("demos", list[str], "examples of the module's inputs and outputs"),
    "history": Field("history", list[str], "earlier instructions with their scores, best last"),
    "tip": Field("tip", str, "advice on how to write"),
}


@dataclass(frozen=True)
class Proposal:
    """An instruction for `module`, with what it came from; or why there is none.

    `evidence` names what the proposer was shown; `missing` what the settings asked for and could
    not be had.
    """

    module: str
    instruction: str | None
    settings: Settings
    evidence: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    error: str | None = None


class GroundedProposer:
    """Proposes instructions for the modules of one program.

    `train` is what the data summary looks at, `demo_sets` what `Settings.demo_set` points into;
    about `tokens` tokens of evidence go into one prompt; `note` is called with each text written,
    and with each thing that did not go as asked. `tips` are those that settings may name, and
    `evidence` settings of your own.
    """

    def __init__(
        self,
        program: Program,
        train: Sequence[Example],
        lm: LM,
        *,
        demo_sets: DemoSets | None = None,
        tokens: int = 8_000,
        note: Callable[[str, Written], None] = lambda kind, written: None,
        tips: Mapping[str, str] = TIPS,
        evidence: Sequence[Evidence] = (),
    ) -> None:
        self.program, self.train, self.lm = program, train, lm
        self.demo_sets: DemoSets = demo_sets or {}
        self.tokens = tokens
        self.tips = checked_tips(tips)
        self.part = tokens // (PARTS + len(evidence))  # of one text among those in a prompt
        self._note = note
        self._roles: dict[str, Written] = {}
        self._own = {own.name: own for own in evidence}
        self._own_texts: dict[tuple[str, Hashable, str], str] = {}

    @cached_property
    def dataset_summary(self) -> Written:
        """The summary of the training data."""
        return self._noted(
            "dataset_summary", summarize_dataset(self.train, self.lm, tokens=self.tokens)
        )

    @cached_property
    def program_description(self) -> Written:
        """The description of the program."""
        return self._noted(
            "program_description", describe_program(self.program, self.lm, tokens=self.tokens)
        )

    def module_role(self, module: str) -> Written:
        """The part of `module` in the program."""
        if module not in self._roles:
            text = self.program_description.text
            written = describe_module(self.program, module, text, self.lm, tokens=self.tokens)
            self._roles[module] = self._noted(f"module_role {module}", written)
        return self._roles[module]

    def own_text(self, name: str, choice: Hashable, module: str) -> str:
        """What a setting of your own shows. Raises `ConfigError` where it is no text."""
        if name not in self._own:
            raise ConfigError(f"no evidence is called '{name}': there is {list(self._own)}")
        key = (name, choice, module)
        if key not in self._own_texts:
            text = self._own[name].text(choice, module, self)
            if not isinstance(text, str):
                raise ConfigError(f"the evidence '{name}' of {choice!r} is {text!r}, and no text")
            self._own_texts[key] = text
        return self._own_texts[key]

    def _noted(self, kind: str, written: Written) -> Written:
        self._note(kind, written)
        return written

    def prepare(self, module: str, settings: Settings) -> None:
        """Write the texts that `settings` call for, so that proposals can go out side by side."""
        self._evidence(module, settings, ())

    def propose(
        self,
        module: str,
        settings: Settings,
        *,
        current: str,
        history: Sequence[Tried] = (),
        rollout: int = 0,
    ) -> Proposal:
        """Write one instruction for `module`. `current` is the one it has now.

        Another `rollout` is another draw under the same settings. With `reuse` it is written at
        temperature 0: what was proposed before is the caller's to know. A reply that cannot be
        read, or a call that fails for a reason of its own, is a proposal without an instruction; an
        error that every call would meet is raised (`LMError`).
        """
        evidence, missing = self._evidence(module, settings, history)
        kinds = {**_EVIDENCE, **{name: own.field for name, own in self._own.items()}}
        signature = Signature(
            (
                Field("module", str, "the module's name, then its inputs -> outputs"),
                Field("fields", list[str], "what its fields hold"),
                Field("position", str, "where it stands among the program's modules"),
                Field("current_instruction", str, "what it is told now"),
                *(kinds[name] for name in evidence),
            ),
            (Field("proposed_instruction", str, "the instruction, and nothing else"),),
            INSTRUCTION,
        )
        run = ask(
            signature,
            self.lm,
            temperature=0.0 if settings.reuse else settings.temperature,
            rollout=rollout,
            module=module_line(self.program, module),
            fields=fitted_list(field_lines(self.program, module), self.part),
            position=position(self.program, module),
            current_instruction=fitted(current, self.part),
            **evidence,
        )
        # the text is taken as it came: what looks like a label may be part of it
        text = str(run.prediction.proposed_instruction) if run.prediction else None
        error = None if run.error is None else f"{type(run.error).__name__}: {run.error}"
        return Proposal(module, text, settings, tuple(evidence), missing, error)

    def _evidence(
        self, module: str, settings: Settings, history: Sequence[Tried]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What the settings ask to be shown, cut to fit, and the names of what is not to be had."""
        part = self.part
        texts: dict[str, Any] = {}
        if settings.dataset_summary:
            texts["dataset_summary"] = fitted(self.dataset_summary.text, part)
        if settings.program_summary:
            texts["program_description"] = fitted(self.program_description.text, part)
            texts["module_role"] = fitted(self.module_role(module).text, part)
        if settings.demo_set:
            demos = self._demo_set(module, settings.demo_set)
            texts["demos"] = fitted_list(self._rows(module, demos, part), part)
        if settings.history:
            # of too long a history the best is kept, which stands last
            texts["history"] = fitted_list(best_last(history)[::-1], part)[::-1]
        missing = tuple(name for name, text in texts.items() if not text)
        for name, choice in settings.own:  # "" is what a choice may show as well
            texts[name] = fitted(self.own_text(name, choice, module), part)
        if settings.tip not in self.tips:
            raise ConfigError(
                f"no tip is called '{settings.tip}': there are {', '.join(self.tips)}"
            )
        texts["tip"] = self.tips[settings.tip]
        return {name: text for name, text in texts.items() if text}, missing

    def _demo_set(self, module: str, index: int) -> DemoSet:
        sets = self.demo_sets.get(module, ())
        return sets[index] if index < len(sets) else ()

    def _rows(self, module: str, demos: DemoSet, tokens: int) -> list[str]:
        signature = self.program.modules()[module].signature
        shown = []
        for demo in demos:
            sides = (signature.inputs, signature.outputs)
            inputs, outputs = (
                {f.name: demo.values[f.name] for f in side if f.name in demo.values}
                for side in sides
            )
            shown.append(row(inputs, outputs, tokens // len(demos)))
        return shown
