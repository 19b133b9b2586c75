"""0-Shot MIPRO++: TPE over the proposer's settings; every trial is of instructions fresh from them.

    1. bootstrap demonstration sets, to be shown to the proposer    (not with demo_sets=1)
    2. for k = 1..I:
           θ   ← TPE over the settings                   one draw for all modules
           ι_m ← propose(m, θ) for each module m
           σ   ← mean μ(Φ_ι(x), x') over B examples      without demonstrations
           credit θ with σ and B, and the instructions ι
       every S trials, the best mean so far in full
    3. return the best that was evaluated in full

Ours, for the paper's code was never released: the settings are a tree, in which a proposal may be
reused at no call, and the history of instructions with their scores is one of them; a score is told
with the examples behind it. A module that no instruction could be proposed for runs with its
original one, and its settings take the credit for that too.

With trials in flight, settings are drawn and instructions reused knowing what is told by then; the
last full evaluation waits for all that is out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mipro.optimizers.leading import Leading, Scores
from mipro.optimizers.preparing import bootstrapped
from mipro.optimizers.proposing import Proposing, credited
from mipro.optimizers.slots import INSTRUCTION, Slots, slot
from mipro.optimizers.task import Config, Extracted, Kind, Step, Task, Trial
from mipro.proposers.settings import Evidence, from_config
from mipro.proposers.tips import TIPS, checked_tips
from mipro.seeds import sequence
from mipro.tpe import TPE
from mipro.tpe.space import Key


class MiproPlusPlus:
    """Search over the proposer's settings.

    `tips` are those to choose from, `evidence` further settings of your own; `history` and `reuse`
    are settings only where they are said to be. For other than the defaults give `optimize` a
    `method=functools.partial(MiproPlusPlus, …)`.
    """

    def __init__(
        self,
        *,
        tips: Mapping[str, str] = TIPS,
        evidence: Sequence[Evidence] = (),
        history: bool = True,
        reuse: bool = True,
    ) -> None:
        self.tips, self.evidence = checked_tips(tips), evidence
        self.history, self.reuse = history, reuse

    def initialize(self, task: Task) -> None:
        """Step 1, and a sampler over the settings."""
        self.task, self.options = task, task.options
        sets = bootstrapped(task, demos=self.options.demo_sets > 1).demo_sets
        self.proposing = Proposing(task, sets, tips=self.tips, evidence=self.evidence)
        prompts = task.program.prompts()
        none = dict.fromkeys(prompts, ((),))  # the sets are for the proposer alone
        self.slots = Slots.of(task.program, none, tune_demos=False)
        self.trials: list[Trial] = []
        self.drawn: list[Config] = []  # the settings of what was asked for and not told, in order
        self.origins: dict[Key, Config] = {}  # one instruction a module → the settings they are of
        self.scores = Scores(len(prompts))
        self.leading = Leading(self.options, len(task.val), self.scores)
        self.sampler = TPE(
            self.proposing.settings_space(history=self.history, reuse=self.reuse),
            sequence(self.options.seed, "sampler"),
            trials=self.options.trials,
        )
        self._report_space()

    def propose(self) -> Step | None:
        """Fresh instructions, or where that is due the best in full; None: not yet, or the end."""
        if self.leading.ending and self.leading.out:
            return None
        if (leader := self.leading.due()) is not None:
            return self._step(leader, "full", self.origins[leader])
        if self.leading.ending:
            return None
        self.leading.asked += 1
        return self._fresh()

    def update(self, trial: Trial) -> None:
        """Credit the instructions and the settings they came from, with the examples behind it."""
        key = self._key(trial.config)
        self.trials.append(trial)
        self.scores.add(key, trial)
        self.leading.tell(key, trial)
        if self.drawn:  # the first that is told is the original: no settings led to it
            self.sampler.tell(self.drawn.pop(0), trial.score, trial.n)

    def conclude(self) -> Step | None:
        """The best instructions, if they were not evaluated in full."""
        self.leading.out.clear()
        self.drawn.clear()
        leader = self.leading.not_known()
        return None if leader is None else self._step(leader, "full", self.origins[leader])

    def extract(self) -> Extracted:
        """The best of the trials on all of the validation set; the earlier of two equals."""
        told = self.sampler.observations
        if told:
            best = self.sampler.best()
            event = {"event": "learned", "settings": best.config, "mean": best.mean, "n": best.n}
            self.task.emit(event)
        full = [trial for trial in self.trials if trial.n == len(self.task.val)]
        found = self.slots.extracted(max(full, key=lambda trial: trial.score))
        return replace(found, settings=(self.sampler.space, told))

    # --- step 2 --------------------------------------------------------------------------------

    def _fresh(self) -> Step:
        """A draw of the settings, and instructions from it for all modules."""
        drawn = self.sampler.ask()
        modules = list(self.slots.instructions)
        tried = {
            module: [known for known in credited(self.slots, module, self.trials) if known]
            for module in modules
        }
        drafts = [self.proposing.draft(module, from_config(drawn)) for module in modules]
        self.slots, choices = self.proposing.proposed(self.slots, drafts, tried)
        key = tuple(choice or 0 for choice in choices)  # none proposed: the original
        self.origins.setdefault(key, drawn)
        self.task.emit(
            {
                "event": "settings",
                "trial": len(self.trials) + len(self.drawn),
                "settings": drawn,
                "instructions": self._config(key),
            }
        )
        return self._step(key, "minibatch", drawn)

    def _step(self, key: Key, kind: Kind, drawn: Config) -> Step:
        self.leading.out.append((key, kind))
        self.drawn.append(drawn)
        config = self._config(key)
        return Step(config, self.slots.candidate(config), kind)

    def _key(self, config: Config) -> Key:
        """The instruction of each module; of the program as it came, the originals."""
        return tuple(config.get(slot(m, INSTRUCTION), 0) for m in self.slots.instructions)

    def _config(self, key: Key) -> dict[str, int]:
        modules = self.slots.instructions
        return {slot(m, INSTRUCTION): choice for m, choice in zip(modules, key, strict=True)}

    def _report_space(self) -> None:
        space = self.sampler.space
        self.task.emit(
            {
                "event": "space",
                "choices": {name: len(space.choices(name)) for name in space.names},
                "size": space.size(),
                "startup": self.sampler.startup,
                "grown": False,
            }
        )
