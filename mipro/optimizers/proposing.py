"""Instructions for the slots: drafts under given settings, and waves of them.

In a wave the proposer's settings are drawn from a TPE over them. Before anything is scored its
draws fill the space of settings evenly. An instruction's credit is the mean score of the trials
that used it, with the examples behind them; told to the TPE, later draws go to the settings that
paid. A draft whose settings say `reuse` takes the best that was proposed before on the same
grounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mipro.bootstrapping import DemoSets
from mipro.optimizers.slots import INSTRUCTION, Slots, slot
from mipro.optimizers.task import PROPOSALS, SUMMARIES, Task, Trial
from mipro.proposers.grounded import GroundedProposer, Proposal
from mipro.proposers.history import Tried
from mipro.proposers.settings import Evidence, Settings, from_config, settings_space
from mipro.proposers.summaries import Written
from mipro.proposers.tips import TIPS
from mipro.seeds import sequence
from mipro.tpe import TPE, Space
from mipro.workers import in_order


@dataclass(frozen=True)
class Draft:
    """A proposal to be made: for which module, under which settings, which draw of them."""

    module: str
    settings: Settings
    rollout: int


class Proposing:
    """Proposes instructions, and in waves credits the settings they came from.

    `tips` are those that settings may name, `evidence` settings of your own.
    """

    def __init__(
        self,
        task: Task,
        demo_sets: DemoSets,
        *,
        tips: Mapping[str, str] = TIPS,
        evidence: Sequence[Evidence] = (),
    ) -> None:
        self.task, self.tips, self.evidence = task, tips, evidence
        self.proposer = GroundedProposer(
            task.program,
            task.train,
            task.prompt_lm,
            demo_sets=demo_sets,
            tokens=task.options.evidence_tokens,
            note=self._note,
            tips=tips,
            evidence=evidence,
        )
        self.shown = max(len(sets) for sets in demo_sets.values())
        self.space = self.settings_space()
        self.later_space = self.settings_space(history=True)
        # module → the settings that each choice came from; None: it was there before
        modules = task.program.modules()
        self.sources: dict[str, list[Settings | None]] = {module: [None] for module in modules}
        # module, evidence and tip → the choices that were proposed on these grounds
        self.proposed_under: dict[tuple[str, Settings], list[int]] = {}
        self.rollouts = 0
        self.waves = 0

    def settings_space(self, *, history: bool = False, reuse: bool = False) -> Space:
        """The settings there are to choose from in this run."""
        return settings_space(
            self.shown, history=history, reuse=reuse, tips=self.tips, evidence=self.evidence
        )

    def first(self, slots: Slots, count: int) -> Slots:
        """`slots` with up to `count` new instructions a module, settings spread evenly."""
        return self._wave(slots, count, self.space, ())

    def further(self, slots: Slots, count: int, trials: Sequence[Trial]) -> Slots:
        """The same, the settings drawn knowing the credit of those used so far."""
        return self._wave(slots, count, self.later_space, trials)

    def _wave(self, slots: Slots, count: int, space: Space, trials: Sequence[Trial]) -> Slots:
        modules = list(slots.instructions)
        seed = sequence(self.task.options.seed, f"proposer/{self.waves}")
        self.waves += 1
        sampler = TPE(space, seed, trials=count * len(modules))
        credits = {module: credited(slots, module, trials) for module in modules}
        self._credit(sampler, space, credits)
        drafts = [
            self.draft(module, from_config(sampler.ask()))
            for _ in range(count)
            for module in modules
        ]
        tried = {m: [t for t in given if t is not None] for m, given in credits.items()}
        return self.proposed(slots, drafts, tried)[0]

    def draft(self, module: str, settings: Settings) -> Draft:
        """A proposal to be made; each is another draw, whatever the settings but `reuse`."""
        if settings.reuse:
            return Draft(module, settings, 0)
        self.rollouts += 1
        return Draft(module, settings, self.rollouts - 1)

    def proposed(
        self,
        slots: Slots,
        drafts: Sequence[Draft],
        tried: Mapping[str, Sequence[Tried]],
    ) -> tuple[Slots, list[int | None]]:
        """Make the drafts, side by side: the slots grown by what is new, and each draft's choice.

        A text that a module has already is that choice; a proposal that failed has None. `tried`
        is what was tried of each module: the history that settings may show, and that by which
        one of several proposals is reused.
        """
        found = [self._reused(slots, draft, tried.get(draft.module, ())) for draft in drafts]
        new = [draft for draft, choice in zip(drafts, found, strict=True) if choice is None]
        slots, made = self._made(slots, new, tried)
        rest = iter(made)
        return slots, [next(rest) if choice is None else choice for choice in found]

    def _reused(self, slots: Slots, draft: Draft, tried: Sequence[Tried]) -> int | None:
        """The choice to reuse: the best mean, then the earliest; None where there is none."""
        if not draft.settings.reuse:
            return None
        choices = self.proposed_under.get((draft.module, draft.settings.shown), [])
        texts = slots.instructions[draft.module]
        means = {known.instruction: known.score for known in tried}
        return max(choices, key=lambda c: means.get(texts[c], float("-inf")), default=None)

    def _made(
        self, slots: Slots, drafts: Sequence[Draft], tried: Mapping[str, Sequence[Tried]]
    ) -> tuple[Slots, list[int | None]]:
        with self.task.ledger.phase(SUMMARIES):
            for draft in drafts:  # texts shared by proposals are written before these go out
                self.proposer.prepare(draft.module, draft.settings)
        with self.task.ledger.phase(PROPOSALS):
            proposals = in_order(
                lambda _, draft: self.proposer.propose(
                    draft.module,
                    draft.settings,
                    current=slots.instructions[draft.module][0],
                    history=tried.get(draft.module, ()),
                    rollout=draft.rollout,
                ),
                drafts,
                threads=self.task.options.threads,
            )
        choices: list[int | None] = []
        for proposal in proposals:
            slots, choice = self.taken(slots, proposal)
            choices.append(choice)
        self._say_failed(proposals)
        return slots, choices

    def _say_failed(self, proposals: Sequence[Proposal]) -> None:
        failed = [proposal for proposal in proposals if proposal.error is not None]
        if failed:
            text = f"{len(failed)} of {len(proposals)} proposals failed; the first: "
            self.task.emit({"event": "note", "text": f"{text}{failed[0].error}"})

    def _credit(self, sampler: TPE, space: Space, tried: dict[str, list[Tried | None]]) -> None:
        for module, credits in tried.items():
            for settings, credit in zip(self.sources[module], credits, strict=True):
                if settings is not None and credit is not None:
                    sampler.tell(settings.to_config(space), credit.score, credit.n)

    def taken(self, slots: Slots, proposal: Proposal) -> tuple[Slots, int | None]:
        """The slots with the proposal as a new choice, unless it failed or is there already."""
        known = slots.instructions[proposal.module]
        index: int | None = None
        choice: int | None = None
        if proposal.instruction is not None:
            new = proposal.instruction not in known
            choice = len(known) if new else known.index(proposal.instruction)
            if new:
                index = choice
                slots = slots.with_instructions(proposal.module, [proposal.instruction])
                self.sources[proposal.module].append(proposal.settings)
            alike = self.proposed_under.setdefault((proposal.module, proposal.settings.shown), [])
            alike += [choice] * (choice not in alike)
        self.task.emit(
            {
                "event": "proposal",
                "module": proposal.module,
                "index": index,
                "instruction": proposal.instruction,
                "settings": proposal.settings.to_json(),
                "evidence": list(proposal.evidence),
                "missing": list(proposal.missing),
                "error": proposal.error,
            }
        )
        return slots, choice

    def _note(self, kind: str, written: Written) -> None:
        self.task.emit({"event": "text", "kind": kind, "text": written.text})
        if written.error:
            self.task.emit({"event": "note", "text": written.error})


def credited(slots: Slots, module: str, trials: Sequence[Trial]) -> list[Tried | None]:
    """Each instruction's credit: the mean over the examples of all trials that used it, and n."""
    credits: list[Tried | None] = []
    for index, text in enumerate(slots.instructions[module]):
        used = [t for t in trials if t.config.get(slot(module, INSTRUCTION), 0) == index]
        n = sum(t.n for t in used)
        mean = sum(t.score * t.n for t in used) / n if n else 0.0
        credits.append(Tried(text, mean, n) if n else None)
    return credits
