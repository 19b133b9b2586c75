"""The tree that `mipro_tree` searches: an instruction slot is an index, or *new* under settings.

    answer.instruction            new │ 0 │ 1 │ 2 …
      answer.new.tip, …           the proposer's settings, active only under new
    answer.demos                  0 │ 1 │ 2 …

*new* comes first, so that a further instruction is a choice appended (`TPE.regrow`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from mipro.optimizers.slots import DEMOS, INSTRUCTION, Slots, slot
from mipro.optimizers.task import Config
from mipro.tpe import Choice, Space

NEW = "new"

New = Mapping[str, Mapping[str, Any]]  # module → the settings of a new instruction


@final
@dataclass(frozen=True)
class Branches:
    """`slots`, with a branch *new* over the space of `settings` for each module in `open`."""

    slots: Slots
    settings: Space
    open: tuple[str, ...]

    @property
    def space(self) -> Space:
        """The variables, module by module."""
        variables: dict[str, int | tuple[Any, ...] | Choice] = {}
        for module, texts in self.slots.instructions.items():
            name = slot(module, INSTRUCTION)
            variables[name] = len(texts)
            if module in self.open:
                variables[name] = (NEW, *range(len(texts)))
                variables |= _under((name, NEW), self.settings, _prefix(module))
            variables[slot(module, DEMOS)] = len(self.slots.demo_sets[module])
        return Space(variables)

    def new(self, config: Config) -> dict[str, dict[str, Any]]:
        """The modules that `config` says *new* of, and under which settings."""
        new: dict[str, dict[str, Any]] = {}
        for module in self.open:
            if config[slot(module, INSTRUCTION)] == NEW:
                start = _prefix(module)
                given = {n: value for n, value in config.items() if n.startswith(start)}
                new[module] = {n.removeprefix(start): value for n, value in given.items()}
        return new

    def asked(self, config: Config, new: New) -> dict[str, Any]:
        """`config`, its indices replaced by *new* for the modules in `new` whose branch is open."""
        asked = dict(config)
        for module, settings in new.items():
            if module in self.open:
                asked[slot(module, INSTRUCTION)] = NEW
                asked |= {_prefix(module) + name: value for name, value in settings.items()}
        return asked

    def made(self, asked: Config, choices: Mapping[str, int]) -> dict[str, Any]:
        """The configuration of slots that came of `asked`: module → index for those *new* in it."""
        made = {name: asked[name] for name in self.slots.original}
        return made | {slot(module, INSTRUCTION): index for module, index in choices.items()}

    def grown(self, slots: Slots) -> Branches:
        """The tree over slots that have grown."""
        return replace(self, slots=slots)

    def cut(self, module: str) -> Branches:
        """The tree without *new* for a module."""
        return replace(self, open=tuple(m for m in self.open if m != module))


def _under(when: tuple[str, str], space: Space, prefix: str) -> dict[str, Choice]:
    """The variables of a space as a branch of another: all of them active only under `when`.

    Names get `prefix`; a variable that has a parent of its own keeps it.
    """
    return {
        prefix + v.name: Choice(v.choices, (prefix + v.when[0], v.when[1]) if v.when else when)
        for v in space.variables
    }


def _prefix(module: str) -> str:
    return f"{slot(module, NEW)}."
