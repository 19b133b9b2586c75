"""The three ways of OPRO to its next program: who writes which instruction, knowing what.

    ByModule       each module's next instruction from the best of its own history, all at once
    ByProgram      all modules' from one history of whole programs, in one reply
    ByCoordinate   one module at a time, several proposals, the others held at their best

A module's history credits an instruction with the scores of all programs it was part of; it shows
them shrunk, so that the best, which stands last, is not the luckiest (`leading`).
"""

from __future__ import annotations

from typing import Protocol, final

from mipro.bootstrapping import DemoSets
from mipro.optimizers.leading import Scores
from mipro.optimizers.proposing import Draft, Proposing
from mipro.optimizers.slots import INSTRUCTION, Slots, slot
from mipro.optimizers.task import PROPOSALS, SUMMARIES, Config, Task, Trial
from mipro.proposers.history import Tried, TriedProgram
from mipro.proposers.settings import Settings
from mipro.proposers.whole_program import WholeProgramProposer
from mipro.seeds import stream
from mipro.tpe.space import Key

TEMPERATURE = 0.7


@final
class Memory:
    """What was tried of a program and how it scored: by module, and as a whole.

    `grounded` proposals are shown the data's summary, the program's, and a bootstrapped
    demonstration set; others the history alone. The sets are evidence: no candidate has any.
    """

    def __init__(self, task: Task, sets: DemoSets, *, grounded: bool) -> None:
        self.task, self.sets, self.grounded = task, sets, grounded
        self.slots = Slots.of(task.program, sets, tune_demos=False)
        self.modules = tuple(self.slots.instructions)
        self.proposing = Proposing(task, sets)
        self.by_module = {module: Scores(1) for module in self.modules}
        self.programs = Scores(len(self.modules))
        self._rng = stream(task.options.seed, "proposer/opro")  # which demonstrations are shown

    def tell(self, key: Key, trial: Trial) -> None:
        """Credit a trial's score to each instruction of the program, and to the program."""
        self.programs.add(key, trial)
        for module, choice in zip(self.modules, key, strict=True):
            self.by_module[module].add((choice,), trial)

    def key(self, config: Config) -> Key:
        """The instruction index of each module, in order; those not named are the original's."""
        return tuple(config.get(slot(module, INSTRUCTION), 0) for module in self.modules)

    def config(self, key: Key) -> Config:
        """The configuration of a key."""
        names = (slot(module, INSTRUCTION) for module in self.modules)
        return dict(zip(names, key, strict=True))

    def best(self, module: str) -> int:
        """The instruction of `module` that is believed the best."""
        return self.by_module[module].believed()[0].key[0]

    def history(self, module: str) -> list[Tried]:
        """What was tried of a module."""
        texts = self.slots.instructions[module]
        return [Tried(texts[b.key[0]], b.mean, b.n) for b in self.by_module[module].believed()]

    def program_history(self) -> list[TriedProgram]:
        """What was tried of the program."""
        return [TriedProgram(self.texts(b.key), b.mean, b.n) for b in self.programs.believed()]

    def texts(self, key: Key) -> dict[str, str]:
        """The instructions of a program, by module."""
        named = zip(self.modules, key, strict=True)
        return {module: self.slots.instructions[module][choice] for module, choice in named}

    def settings(self, sets: int) -> Settings:
        """What the next proposal is shown, one of `sets` demonstration sets drawn for it."""
        shown = int(self._rng.integers(1, sets)) if self.grounded and sets > 1 else 0
        return Settings(
            dataset_summary=self.grounded,
            program_summary=self.grounded,
            demo_set=shown,
            temperature=TEMPERATURE,
            history=True,
        )

    def draft(self, module: str) -> Draft:
        """A proposal for a module, to be made."""
        return self.proposing.draft(module, self.settings(len(self.sets[module])))

    def proposed(self, drafts: list[Draft]) -> list[int | None]:
        """Make the drafts, each from its module's history: the choice of each, None: it failed."""
        tried = {draft.module: self.history(draft.module) for draft in drafts}
        self.slots, choices = self.proposing.proposed(self.slots, drafts, tried)
        return choices


class Way(Protocol):
    """How the next program comes about."""

    def waits(self, memory: Memory, out: int) -> bool:
        """Must the trials that are out, so many, be told before the next program is proposed?"""
        ...

    def next(self, memory: Memory) -> Key | None:
        """The next program, tried before or not; None: no proposal could be read."""
        ...


@final
class ByModule:
    """Module-level OPRO: a history and a proposal for each module.

    A module whose proposal failed stays at its best instruction.
    """

    def waits(self, memory: Memory, out: int) -> bool:
        """Never: what is told by then is the history."""
        return False

    def next(self, memory: Memory) -> Key | None:
        """A new instruction for every module."""
        choices = memory.proposed([memory.draft(module) for module in memory.modules])
        if all(choice is None for choice in choices):
            return None
        pairs = zip(memory.modules, choices, strict=True)
        return tuple(memory.best(m) if choice is None else choice for m, choice in pairs)


@final
class ByProgram:
    """Program-level OPRO: one history of whole programs, one reply for all modules."""

    def __init__(self) -> None:
        self.rollout = 0

    def waits(self, memory: Memory, out: int) -> bool:
        """Never: what is told by then is the history."""
        return False

    def next(self, memory: Memory) -> Key | None:
        """All modules' instructions from one call."""
        whole, ledger = WholeProgramProposer(memory.proposing.proposer), memory.task.ledger
        settings = memory.settings(max(map(len, memory.sets.values())))
        with ledger.phase(SUMMARIES):
            whole.prepare(settings)
        with ledger.phase(PROPOSALS):
            proposals = whole.propose(
                settings,
                current=memory.texts(memory.key({})),
                history=memory.program_history(),
                rollout=self.rollout,
            )
        self.rollout += 1
        choices = []
        for proposal in proposals:
            memory.slots, choice = memory.proposing.taken(memory.slots, proposal)
            choices += [] if choice is None else [choice]
        if proposals[0].error is not None:
            text = f"a proposal of the whole program failed: {proposals[0].error}"
            memory.task.emit({"event": "note", "text": text})
        return tuple(choices) if len(choices) == len(proposals) else None


@final
class ByCoordinate:
    """CA-OPRO: coordinate ascent over the modules, N − 1 proposals at each visit.

    A visit begins from the best program there is by then, so whatever a module gained is kept.
    """

    def __init__(self) -> None:
        self.visits = 0
        self.left = 0  # proposals in this visit
        self.held: Key = ()

    def waits(self, memory: Memory, out: int) -> bool:
        """Before the next module: which of this one's is the best has to be known."""
        return self.left == 0 and out > 0

    def next(self, memory: Memory) -> Key | None:
        """The program held, with one module's instruction another one."""
        if self.left == 0:
            self.held = memory.programs.believed()[0].key
            self.left = memory.task.options.instructions - 1
            self.visits += 1
        self.left -= 1
        at = (self.visits - 1) % len(memory.modules)
        (choice,) = memory.proposed([memory.draft(memory.modules[at])])
        return None if choice is None else (*self.held[:at], choice, *self.held[at + 1 :])
