"""What a run found, and how sure one may be of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mipro.evaluation import Evaluation
from mipro.improvement import Improvement, Optimism
from mipro.lines import written
from mipro.optimizers.forecast import Forecast
from mipro.optimizers.task import Trial
from mipro.programs import prompt as prompts
from mipro.programs.prompt import Candidate
from mipro.programs.signature import Signature
from mipro.stats import PairedTest, interval, paired_test
from mipro.tpe import Effect, Importance


@dataclass(frozen=True)
class Comparison:
    """The original program and the candidate on the same examples, none used in the search.

    `before` and `after` are mean scores with their 95% intervals; `paired` tests the difference,
    two-sided; whether the candidate is shown better is `Result.improvement`.
    """

    before: float
    after: float
    before_interval: tuple[float, float]
    after_interval: tuple[float, float]
    paired: PairedTest

    @classmethod
    def of(
        cls, before: Evaluation, after: Evaluation, improvement: Improvement | None = None
    ) -> Comparison:
        """Compare two evaluations of the same examples.

        Where more than one look was planned, the p-value is twice that of `improvement`, which is
        adjusted for them: an upper bound.
        """
        paired = paired_test(before.scores, after.scores)
        if improvement is not None and improvement.planned > 1:
            method = f"{paired.method}; looks {improvement.looks} of {improvement.planned}"
            p_value = min(1.0, 2 * (improvement.p_value or 0.0))
            paired = replace(paired, p_value=p_value, method=method)
        return cls(before.score, after.score, before.interval, after.interval, paired)

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "before": self.before,
            "before_interval": list(self.before_interval),
            "after": self.after,
            "after_interval": list(self.after_interval),
            "difference": self.paired.difference,
            "p_value": self.paired.p_value,
            "n": self.paired.n,
            "method": self.paired.method,
        }


@dataclass(frozen=True)
class Result:
    """What a run found.

    `score` is the candidate's mean on the whole validation set, which it was selected on and which
    flatters it; `test` is the comparison on examples it was not selected on, None without a test
    set. `usage` is role → calls, tokens and cost, `phases` the same by phase of the run, `models`
    by model (several where modules, proposer or teacher have LMs of their own); `forecast` is what
    was expected of it at its start, `reforecast` once its demonstrations were there (None for a
    method without); `importances` is how much each slot, each pair of slots and each choice
    mattered, with 95% intervals (`tpe.Importance`), and `settings_importances` the same of the
    proposer's settings, None for a method that does not learn them; `stopped` names the limit of
    the budget ("calls", "tokens", "usd", "seconds") that ended the run before its time, None where
    none did; `notes` says all that did not go as asked. `improvement` says whether the candidate is
    shown better than the original, at the level asked, on examples that it was not selected on, and
    `optimism` how far `score` flatters it (None without a test).
    """

    method: str
    candidate: Candidate
    original: Candidate
    score: float
    baseline: float
    trials: tuple[Trial, ...]
    chosen: Trial
    usage: Mapping[str, Mapping[str, Any]]
    importances: Importance
    seconds: float
    test: Comparison | None = None
    notes: tuple[str, ...] = ()
    signatures: Mapping[str, Signature] = field(default_factory=dict, repr=False)
    run_dir: Path | None = None
    phases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    forecast: Forecast | None = None
    reforecast: Forecast | None = None
    stopped: str | None = None
    improvement: Improvement = field(default_factory=Improvement)
    optimism: Optimism | None = None
    settings_importances: Importance | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """A 95% interval for `score`."""
        return interval(self.chosen.scores)

    @property
    def calls(self) -> int:
        """LM calls answered and paid for, all roles together."""
        return sum(int(entry["calls"]) for entry in self.usage.values())

    @property
    def improved(self) -> bool:
        """Is the candidate another one than the original?"""
        return dict(self.candidate) != dict(self.original)

    def save(self, path: str | Path) -> None:
        """Write the candidate as JSON; `program.load(path)` reads it back."""
        prompts.save(path, self.candidate, self.signatures)

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "method": self.method,
            "score": self.score,
            "interval": list(self.interval),
            "baseline": self.baseline,
            "test": self.test.to_json() if self.test else None,
            "improvement": self.improvement.to_json(),
            "optimism": self.optimism.to_json() if self.optimism else None,
            "chosen_trial": self.chosen.number,
            "trials": len(self.trials),
            "usage": {role: dict(entry) for role, entry in self.usage.items()},
            "phases": {phase: dict(entry) for phase, entry in self.phases.items()},
            "models": {model: dict(entry) for model, entry in self.models.items()},
            "forecast": self.forecast.to_json() if self.forecast else None,
            "reforecast": self.reforecast.to_json() if self.reforecast else None,
            "stopped_by_budget": self.stopped,
            "importances": importance_json(self.importances),
            "settings_importances": (
                importance_json(self.settings_importances) if self.settings_importances else None
            ),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "candidate": prompts.to_json(self.candidate, self.signatures),
        }

    def write(self, directory: Path) -> None:
        """Write `result.json` and `candidate.json` into the run's directory."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        written(directory / "result.json", text + "\n")
        candidate = prompts.to_json(self.candidate, self.signatures)
        text = json.dumps(candidate, indent=2, ensure_ascii=False)
        written(directory / "candidate.json", text + "\n")


def importance_json(found: Importance) -> dict[str, Any]:
    """Importances as JSON types; a choice that JSON does not know is told by its text."""

    def told(effect: Effect, name: str) -> dict[str, float]:
        return {name: effect.value, "low": effect.low, "high": effect.high}

    return {
        "main": {name: told(effect, "share") for name, effect in found.main.items()},
        "pairs": [
            {"of": list(names), **told(effect, "share")} for names, effect in found.pairs.items()
        ],
        "choices": {
            name: [
                {"choice": c if isinstance(c, (str, int, float)) else repr(c), **told(e, "effect")}
                for c, e in effects.items()
            ]
            for name, effects in found.choices.items()
        },
        "rest": told(found.rest, "share"),
        "spread": None if found.spread is None else told(found.spread, "sd"),
    }
