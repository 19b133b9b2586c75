"""Slots: the open variables of a program as a `Space`, and its configurations as candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mipro.bootstrapping import DemoSet, DemoSets
from mipro.optimizers.task import Config, Extracted, Trial
from mipro.programs.program import Program
from mipro.programs.prompt import Prompt
from mipro.tpe import Space

INSTRUCTION, DEMOS = "instruction", "demos"


def slot(module: str, what: str) -> str:
    """The name of a slot's variable: `answer.instruction`, `answer.demos`."""
    return f"{module}.{what}"


@dataclass(frozen=True)
class Slots:
    """Choices per module. Index 0 is the original instruction, and the empty demonstration set.

    A side that is not tuned has one choice and no variable.
    """

    instructions: Mapping[str, tuple[str, ...]]
    demo_sets: DemoSets
    tune_instructions: bool = True
    tune_demos: bool = True

    @classmethod
    def of(cls, program: Program, demo_sets: DemoSets, **tuned: bool) -> Slots:
        """Those of a program as it came: its own instructions; ``tuned`` as the last two fields."""
        prompts = program.prompts()
        return cls({m: (prompt.instruction,) for m, prompt in prompts.items()}, demo_sets, **tuned)

    @property
    def space(self) -> Space:
        """One categorical variable a slot, its values indices."""
        variables: dict[str, int] = {}
        for module in self.instructions:
            if self.tune_instructions:
                variables[slot(module, INSTRUCTION)] = len(self.instructions[module])
            if self.tune_demos:
                variables[slot(module, DEMOS)] = len(self.demo_sets[module])
        return Space(variables)

    @property
    def original(self) -> Config:
        """The configuration of the program as it came."""
        return dict.fromkeys(self.space.names, 0)

    def candidate(self, config: Config) -> dict[str, Prompt]:
        """The candidate a configuration stands for."""
        return {
            module: Prompt(
                self.instructions[module][config.get(slot(module, INSTRUCTION), 0)],
                self._demos(module, config),
            )
            for module in self.instructions
        }

    def _demos(self, module: str, config: Config) -> DemoSet:
        return self.demo_sets[module][config.get(slot(module, DEMOS), 0)]

    def with_instructions(self, module: str, texts: Sequence[str]) -> Slots:
        """The same slots with new instructions of a module after those it has."""
        grown = {**self.instructions, module: (*self.instructions[module], *texts)}
        return replace(self, instructions=grown)

    def extracted(self, trial: Trial) -> Extracted:
        """What a strategy returns for `trial`."""
        return Extracted(self.candidate(trial.config), trial, self.space, self.original)
