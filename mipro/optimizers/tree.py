"""MIPRO on a tree, ours: an instruction slot takes one of those there are, or *new*.

    1. bootstrap demonstration sets
    2. propose half of N instructions a module, the proposer's settings spread evenly
    3. for k = 1..I:
           x ← TPE over the tree (`branches`)
           where x says *new*, propose under its settings; what comes is the slot's next index
           σ ← mean μ over B examples; every S trials the best mean so far in full
    4. return the best that was evaluated in full

What is told. The trial evaluated indices, so those are told, once, with n; and with them that they
were asked for as *new* under such settings (`TPE.tell(…, asked=)`): the score credits both, and
each other slot once. An instruction of step 2 credits its settings in the first trial that has it.
Later trials do not: the best are looked at again and again, and would make *new* as good as the
best that ever came of it.

How often *new* may be drawn. To an upper bound what is unknown is good, and under *new* nearly all
always is: left to itself the sampler proposes in nine trials of ten, whatever came of it
(experiments/tree.md). So in each trial a module's branch is open with the probability that N - 1
more proposals, as many as `mipro` makes, hold an instruction better than the best there is, and
that a trial of it shows that and not luck (`paying`). It is high while little is known, falls where
proposals are all alike or the best is hard to beat. It is never below 1/(1 + K), K the proposals
made: of those and one more the last is the best as often as any, however they are distributed, and
few tell little of settings not tried yet. Where it is open, TPE chooses among all. Where every
configuration of those there are is used up, it is open. Several modules may be new in one trial. A
proposal costs one call, its trial as many as any other.

A proposal that failed leaves the original, one that is there already is that index; its settings
are credited all the same. After `DRY` proposals in a row without a new text the module's branch is
cut; with all cut and every configuration told, the search ends.

With trials in flight, proposals are made knowing what is told by then; the last full evaluation
waits for all that is out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from mipro.optimizers.branches import NEW, Branches, New
from mipro.optimizers.leading import Believed, Leading
from mipro.optimizers.paying import Paying
from mipro.optimizers.preparing import bootstrapped
from mipro.optimizers.proposing import Proposing, credited
from mipro.optimizers.slots import INSTRUCTION, Slots, slot
from mipro.optimizers.task import Config, Extracted, Kind, Step, Task, Trial
from mipro.proposers.settings import Evidence, from_config
from mipro.proposers.tips import TIPS, checked_tips
from mipro.seeds import sequence, stream
from mipro.tpe import TPE, Observation, Settings
from mipro.tpe.space import Key
from mipro.tpe.split import Pool

DRY = 5  # proposals in a row without a new text


@final
@dataclass(frozen=True)
class Told:
    """What the sampler was told; `new`: of which modules that was the instruction's first score."""

    config: Config
    score: float
    n: int
    new: New


class MiproTree:
    """Joint search over instructions and demonstrations, and under *new* the proposer's settings.

    `tips` are those to choose from, `evidence` further settings of your own; with `history` it is
    a setting whether earlier instructions are shown with their scores; without `rationed` the
    sampler alone says how often something is *new*. For other than the defaults give `optimize` a
    `method=functools.partial(MiproTree, …)`.
    """

    def __init__(
        self,
        *,
        tips: Mapping[str, str] = TIPS,
        evidence: Sequence[Evidence] = (),
        history: bool = True,
        rationed: bool = True,
    ) -> None:
        self.tips, self.evidence = checked_tips(tips), evidence
        self.history, self.rationed = history, rationed

    def initialize(self, task: Task) -> None:
        """Steps 1 and 2, and a sampler over the tree."""
        self.task, self.options = task, task.options
        sets = bootstrapped(task, demos=True).demo_sets
        self.proposing = Proposing(task, sets, tips=self.tips, evidence=self.evidence)
        before = Slots.of(task.program, sets)
        slots = self.proposing.first(before, (self.options.instructions - 1) // 2)
        settings = self.proposing.settings_space(history=self.history)
        self.tree = Branches(slots, settings, tuple(before.instructions))
        self.names = slots.space.names
        self.luck = stream(self.options.seed, "sampler/new")
        self.dry = dict.fromkeys(sets, 0)  # proposals since the last new text
        # module → index → settings, of those of step 2 that no trial has had yet
        self.unseen = {
            module: {i: s.to_config(settings) for i, s in enumerate(sources) if s is not None}
            for module, sources in self.proposing.sources.items()
        }
        self.trials: list[Trial] = []
        self.told: list[Told] = []
        self.out: list[tuple[Step, New]] = []  # asked for and not told, in order
        self.sampler = self._sampler()
        self.leading = Leading(self.options, len(task.val), self)
        self._report_space()

    def propose(self) -> Step | None:
        """The next trial, in full where that is due; None: not yet, or at the end."""
        self.leading.ended = not self.tree.open and self._used_up()
        if self.leading.ending and self.out:
            return None
        if (leader := self.leading.due()) is not None:
            return self._full(leader)
        if self.leading.ending:
            return None
        self.leading.asked += 1
        asked = self.sampler.ask([step.config for step, _ in self.out], without=self._closed())
        new = self.tree.new(asked)
        return self._step(self._proposed(asked, new) if new else asked, "minibatch", new)

    def update(self, trial: Trial) -> None:
        """Tell the sampler the score, with n, and what the instructions were asked for as."""
        config = trial.config or self.tree.slots.original
        new = dict(self.out.pop(0)[1]) if self.out else {}
        for module, settings in self.unseen.items():
            index = config[slot(module, INSTRUCTION)]
            if index in settings:
                new[module] = settings.pop(index)
        self.trials.append(trial)
        self.told.append(Told(config, trial.score, trial.n, new))
        self._tell(self.sampler, self.told[-1])
        self.leading.tell(self._key(config), trial)

    def conclude(self) -> Step | None:
        """The leader by the sampler's ranking, if it was not evaluated in full."""
        self.out.clear()
        self.leading.out.clear()
        leader = self.leading.not_known()
        return None if leader is None else self._full(leader)

    def extract(self) -> Extracted:
        """The best of the trials on all of the validation set; the earlier of two equals."""
        self._report_space()
        full = [trial for trial in self.trials if trial.n == len(self.task.val)]
        found = self.tree.slots.extracted(max(full, key=lambda trial: trial.score))
        seen = [Observation(s, t.score, t.n) for t in self.told for s in t.new.values()]
        return replace(found, settings=(self.tree.settings, seen) if seen else None)

    # --- step 3 --------------------------------------------------------------------------------

    def _closed(self) -> list[tuple[str, str]]:
        """The branches that are closed in this trial."""
        if not self.rationed:
            return []
        chances = self._chances()
        closed = [module for module in self.tree.open if self.luck.random() >= chances[module]]
        return [] if self._used_up() else [(slot(module, INSTRUCTION), NEW) for module in closed]

    def _chances(self) -> dict[str, float]:
        """With which probability *new* may be asked of each module."""
        if not self.told:
            return dict.fromkeys(self.tree.open, 1.0)
        keys = [self._key(told.config) for told in self.told]
        pool = Pool.of(keys, [told.score for told in self.told], [told.n for told in self.told])
        sizes = [len(self.tree.slots.space.choices(name)) for name in self.names]
        paying = Paying(pool, sizes, min(self.options.minibatch, len(self.task.val)))
        further = max(self.options.instructions - 1, 1)
        chances = {}
        for module in self.tree.open:
            at = self.names.index(slot(module, INSTRUCTION))
            # sizes[at] = 1 + K, K the proposals made
            chances[module] = max(paying.chance(at, further), 1 / sizes[at])
        return chances

    def _proposed(self, asked: Config, new: New) -> Config:
        """Propose what is *new* in `asked`: the configuration that came of it."""
        tried = {
            module: [known for known in credited(self.tree.slots, module, self.trials) if known]
            for module in new
        }
        drafts = [self.proposing.draft(module, from_config(new[module])) for module in new]
        slots, choices = self.proposing.proposed(self.tree.slots, drafts, tried)
        before, self.tree = self.tree, self.tree.grown(slots)
        made = {module: choice or 0 for module, choice in zip(new, choices, strict=True)}
        for module, index in made.items():
            known = index < len(before.slots.instructions[module])
            self.dry[module] = self.dry[module] + 1 if known else 0
            if self.dry[module] >= DRY:
                self.tree = self.tree.cut(module)
                text = f"{module}: {DRY} proposals in a row brought nothing new: it is not asked on"
                self.task.emit({"event": "note", "text": text})
        cut = self.tree.open != before.open
        self.sampler = self._sampler() if cut else self.sampler.regrow(self.tree.space)
        config = self.tree.made(asked, made)
        number = len(self.trials) + len(self.out)
        event = {"event": "settings", "trial": number, "settings": new, "instructions": config}
        self.task.emit(event)
        return config

    def _sampler(self) -> TPE:
        """A sampler over the tree that knows all that was told."""
        space = self.tree.space
        cut = len(self.dry) - len(self.tree.open)
        sampler = TPE(
            space,
            sequence(self.options.seed, f"sampler/{cut}" if cut else "sampler"),
            trials=self.options.trials,
            settings=Settings(
                # a leader seen on all examples is not seen better by looking again
                recheck=0 if self.options.minibatch >= len(self.task.val) else Settings.recheck
            ),
        )
        for told in self.told:
            self._tell(sampler, told)
        return sampler

    def _tell(self, sampler: TPE, told: Told) -> None:
        asked = self.tree.asked(told.config, told.new)
        sampler.tell(told.config, told.score, told.n, asked=asked)

    def _full(self, leader: Key) -> Step:
        return self._step(dict(zip(self.names, leader, strict=True)), "full", {})

    def _step(self, config: Config, kind: Kind, new: New) -> Step:
        step = Step(config, self.tree.slots.candidate(config), kind)
        self.out.append((step, new))
        self.leading.out.append((self._key(config), kind))
        return step

    # --- what leads ----------------------------------------------------------------------------

    def __contains__(self, key: object) -> bool:
        """Whether a configuration was told."""
        return any(self._key(told.config) == key for told in self.told)

    def believed(self) -> list[Believed]:
        """All configurations told, the best first by the sampler's ranking."""
        return [Believed(self._key(b.config), b.mean, b.n) for b in self.sampler.ranking()]

    def _key(self, config: Config) -> Key:
        """Indices in the order of the slots, which do not change as these grow."""
        return tuple(config[name] for name in self.names)

    def _used_up(self) -> bool:
        """Whether every configuration of the instructions there are was told, or is out."""
        keys = {self._key(told.config) for told in self.told}
        keys |= {self._key(step.config) for step, _ in self.out}
        return len(keys) >= self.tree.slots.space.size()

    def _report_space(self) -> None:
        space = self.tree.space
        event: dict[str, Any] = {
            "event": "space",
            "choices": {name: len(space.choices(name)) for name in space.names},
            "size": space.size(),
            "startup": self.sampler.startup,
            "grown": bool(self.trials),
        }
        self.task.emit(event)
