"""Proposals of a whole program: one call to the LM writes the instructions of all its modules.

What it is shown is what `grounded` shows of one module, for every module at once, and its history
is one of whole programs. A module may have any name, `opinions[0]` or `hops['second']`, and a field
of a reply may not: the fields are numbered as the modules are, `instruction_1`, `instruction_2`, ….
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mipro.programs.signature import Field, Signature
from mipro.proposers.ask import ask, fitted, fitted_list
from mipro.proposers.grounded import GroundedProposer, Proposal
from mipro.proposers.history import TriedProgram, best_programs_last
from mipro.proposers.settings import Settings
from mipro.proposers.source import outline
from mipro.proposers.summaries import field_lines, row

INSTRUCTION = (
    "Write the instructions of all modules of a language-model program, which work together. Each "
    "module will be given its instruction and its input fields, and must produce its output "
    "fields; their layout is taken care of elsewhere. Use whatever you are told below about the "
    "task, and state plainly for each module what it has to do, what to look at, and what form its "
    "output must have."
)

PARTS = 7  # texts that share the room in a prompt; the history has two of them

_EVIDENCE: Mapping[str, Field] = {
    "dataset_summary": Field("dataset_summary", str, "what the task's data look like"),
    "program_description": Field("program_description", str, "what the program does"),
    "module_roles": Field("module_roles", list[str], "each module's part in it"),
    "demos": Field("demos", list[str], "examples of the modules' inputs and outputs"),
    "history": Field(
        "history", list[str], "all modules' earlier instructions with their scores, best last"
    ),
}


@dataclass(frozen=True)
class WholeProgramProposer:
    """Writes a whole program's instructions, from the texts that `grounded` has of it."""

    grounded: GroundedProposer

    def prepare(self, settings: Settings) -> None:
        """Write the texts that `settings` call for, before the proposal is asked for."""
        self._evidence(settings, ())

    def propose(
        self,
        settings: Settings,
        *,
        current: Mapping[str, str],
        history: Sequence[TriedProgram] = (),
        rollout: int = 0,
    ) -> list[Proposal]:
        """One proposal for each module, all from one reply. `current`: what each is told now.

        A reply that lacks one of them is a proposal for none. Tips and settings of one's own are
        not shown. Raises as `GroundedProposer.propose`.
        """
        program, part = self.grounded.program, self.grounded.tokens // PARTS
        modules = list(program.modules())
        evidence, missing = self._evidence(settings, history)
        lines = [f"{m} · {line}" for m in modules for line in field_lines(program, m)]
        share = part // len(modules)
        run = ask(
            self._signature(modules, evidence),
            self.grounded.lm,
            temperature=settings.temperature,
            rollout=rollout,
            modules=outline(program),
            fields=fitted_list(lines, part),
            current_instructions=[fitted(current[m], share) for m in modules],
            **evidence,
        )
        error = None if run.error is None else f"{type(run.error).__name__}: {run.error}"
        said = run.prediction
        return [
            Proposal(
                module,
                str(said[_output(i)]) if said else None,
                settings,
                tuple(evidence),
                missing,
                error,
            )
            for i, module in enumerate(modules, 1)
        ]

    def _signature(self, modules: Sequence[str], evidence: Mapping[str, Any]) -> Signature:
        return Signature(
            (
                Field("modules", list[str], "each module's name, then its inputs -> outputs"),
                Field("fields", list[str], "what their fields hold"),
                Field("current_instructions", list[str], "what each module is told now"),
                *(_EVIDENCE[name] for name in evidence),
            ),
            tuple(
                Field(_output(i), str, f"the instruction of module {i}, {module}, and nothing else")
                for i, module in enumerate(modules, 1)
            ),
            INSTRUCTION,
        )

    def _evidence(
        self, settings: Settings, history: Sequence[TriedProgram]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What the settings ask to be shown, cut to fit, and the names of what is not to be had."""
        known, part = self.grounded, self.grounded.tokens // PARTS
        modules = list(known.program.modules())
        texts: dict[str, Any] = {}
        if settings.dataset_summary:
            texts["dataset_summary"] = fitted(known.dataset_summary.text, part)
        if settings.program_summary:
            texts["program_description"] = fitted(known.program_description.text, part)
            roles = [(module, known.module_role(module).text) for module in modules]
            said = [f"{module} · {role}" for module, role in roles if role]
            texts["module_roles"] = fitted_list(said, part)
        if settings.demo_set:
            shown = [line for module in modules for line in self._demos(module, settings, part)]
            texts["demos"] = fitted_list(shown, part)
        if settings.history:
            texts["history"] = best_programs_last(history, 2 * part)
        missing = tuple(name for name, text in texts.items() if not text)
        return {name: text for name, text in texts.items() if text}, missing

    def _demos(self, module: str, settings: Settings, tokens: int) -> list[str]:
        """A module's demonstrations, each a line that begins with its name."""
        signature = self.grounded.program.modules()[module].signature
        sets = self.grounded.demo_sets.get(module, ())
        demos = sets[settings.demo_set] if settings.demo_set < len(sets) else ()
        share = tokens // max(1, len(demos) * len(self.grounded.demo_sets))
        lines = []
        for demo in demos:
            inputs, outputs = (
                {f.name: demo.values[f.name] for f in side if f.name in demo.values}
                for side in (signature.inputs, signature.outputs)
            )
            lines.append(f"{module} · {row(inputs, outputs, share)}")
        return lines


def _output(number: int) -> str:
    return f"instruction_{number}"
