"""The proposer's settings, the paper's meta-hyperparameters, as a `Space` that TPE can search.

The space is a tree: which demonstrations to show hangs from showing any, and the temperature from
asking for a new instruction, where a proposal made before may be reused.

    dataset_summary, program_summary     yes, no
    tip                                  one of `TIPS`
    demos                                yes → demo_set; no
    history                              yes, no
    reuse                                no → temperature; yes
    … and whatever `Evidence` of your own
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol

from mipro.data import Example
from mipro.errors import ConfigError
from mipro.lm.base import LM
from mipro.programs.program import Program
from mipro.programs.signature import Field
from mipro.proposers.tips import TIPS
from mipro.tpe import Choice, Space

TEMPERATURES = (0.3, 0.7, 1.0)


@dataclass(frozen=True)
class Settings:
    """What one proposal is grounded in, and how it is written.

    `demo_set` is the index of the demonstration set shown (0, the empty one, shows none); `history`
    shows earlier instructions of the module with their scores. `reuse` asks for no new instruction
    where one was proposed under the same evidence and tip: the best of those is taken; where there
    is none, one is written at temperature 0, which is the same whenever it is asked for. `own` are
    the choices of `Evidence` of your own, (name, choice) each.
    """

    dataset_summary: bool = True
    program_summary: bool = True
    tip: str = "none"
    demo_set: int = 0
    temperature: float = 0.7
    history: bool = False
    reuse: bool = False
    own: tuple[tuple[str, Hashable], ...] = ()

    @property
    def shown(self) -> Settings:
        """Evidence and tip alone: equal where the prompts are of one kind."""
        return replace(self, temperature=0.0, reuse=False)

    def to_config(self, space: Space) -> dict[str, Any]:
        """The settings as a configuration of `space`."""
        values = asdict(self) | dict(self.own) | {"demos": self.demo_set > 0}
        if not self.demo_set:
            del values["demo_set"]
        if self.reuse:
            del values["temperature"]
        return {name: value for name, value in values.items() if name in space.names}

    def to_json(self) -> dict[str, Any]:
        """Name → value, those of your own beside the others."""
        body = asdict(self)
        return body | dict(body.pop("own"))


class Grounds(Protocol):
    """What a proposer knows of its task: the program, the training examples, the prompt LM."""

    program: Program
    train: Sequence[Example]
    lm: LM


@dataclass(frozen=True)
class Evidence:
    """A proposer setting of your own: what its choices put before the proposer.

    `text(choice, module, proposer)` is the text shown under the name `name`, "" for none; it is
    asked for once for a choice and a module. `proposer` has the task (`Grounds`); calls of its `lm`
    are counted. `description` tells the LM what the text is. With `when=(setting, value)` there is
    a choice only under that value of a setting before it. Raises `ConfigError` for a name that is
    taken and for no choices, `SignatureError` for what is no name.
    """

    name: str
    choices: Sequence[Hashable]
    text: Callable[[Any, str, Grounds], str]
    description: str = ""
    when: tuple[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.name in TAKEN:
            raise ConfigError(
                f"a setting cannot be called '{self.name}': {', '.join(sorted(TAKEN))} are taken"
            )
        if not self.choices:
            raise ConfigError(f"the setting '{self.name}' has no choices")
        _ = self.field

    @property
    def field(self) -> Field:
        """The field of the proposer's prompt that holds the text."""
        return Field(self.name, str, self.description)


# names of settings, and of the fields that a proposer's prompt has already
TAKEN = frozenset(
    {field.name for field in fields(Settings)}
    | {"demos", "program_description", "module_role", "module", "fields", "position"}
    | {"current_instruction", "proposed_instruction"}
)


def settings_space(
    demo_sets: int = 1,
    *,
    history: bool = False,
    reuse: bool = False,
    tips: Mapping[str, str] = TIPS,
    evidence: Sequence[Evidence] = (),
) -> Space:
    """The space of settings, where `demo_sets` sets can be shown (1: only the empty one).

    `history` and `reuse` are settings only where they are said to be; a setting left out has its
    default in `from_config`. `tips` and `evidence` are those to choose from. Raises `ConfigError`
    where two settings have one name.
    """
    variables: dict[str, Any] = {
        "dataset_summary": (True, False),
        "program_summary": (True, False),
        "tip": tuple(tips),
    }
    if reuse:
        variables["reuse"] = (False, True)
    variables["temperature"] = Choice(TEMPERATURES, when=("reuse", False) if reuse else None)
    if demo_sets > 1:
        variables["demos"] = (True, False)
    if demo_sets > 2:
        variables["demo_set"] = Choice(range(1, demo_sets), when=("demos", True))
    if history:
        variables["history"] = (True, False)
    for own in evidence:
        if own.name in variables:
            raise ConfigError(f"two settings are called '{own.name}'")
        variables[own.name] = Choice(tuple(own.choices), when=own.when)
    return Space(variables)


def from_config(config: Mapping[str, Any]) -> Settings:
    """The settings a configuration of `settings_space` stands for."""
    known = {field.name for field in fields(Settings)} - {"own"}
    given = {name: value for name, value in config.items() if name in known}
    if config.get("demos"):
        given.setdefault("demo_set", 1)
    own = tuple((n, v) for n, v in config.items() if n not in known and n != "demos")
    return Settings(**given, own=own)
