"""What a strategy is given, what it asks to have evaluated, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

from mipro.bootstrapping import Teacher
from mipro.data import Example
from mipro.errors import ConfigError
from mipro.journal import Listener
from mipro.lm.base import LM
from mipro.metrics import Metric
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate
from mipro.tpe import Space

Kind = Literal["minibatch", "full"]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """The settings of a run, with the paper's letters where it has one.

    `trials` (I) minibatch trials of `minibatch` (B) examples, a full evaluation every `full_every`
    (S) of them; a method without minibatches spends the same number of examples. `instructions`
    and `demo_sets` (N) count the choices of a slot, the original instruction and the empty set
    among them; `threshold` (λ) is what a trace must score. `proposal_waves` is ours: 1 proposes
    all instructions before the search, as the paper does; 2 keeps half for when the first have
    been credited, so that the proposer's settings are drawn knowing what paid. `evidence_tokens`
    bounds what one prompt to the proposer shows: less for a model with a small window.
    """

    trials: int = 50
    minibatch: int = 35
    full_every: int = 10
    instructions: int = 10
    demo_sets: int = 10
    max_bootstrapped: int = 4
    max_labelled: int = 4
    threshold: float = 1.0
    proposal_waves: int = 2
    evidence_tokens: int = 8_000
    seed: int = 0
    threads: int = 8

    def __post_init__(self) -> None:
        least = {"max_bootstrapped": 0, "max_labelled": 0, "seed": 0}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "threshold":
                if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                    raise ConfigError(f"threshold={value!r}: a number is wanted")
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{f.name}={value!r}: a whole number is wanted")
            if value < least.get(f.name, 1):
                raise ConfigError(f"{f.name}={value}: at least {least.get(f.name, 1)} is wanted")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Options:
        """Options from names and values. Raises `ConfigError` for a name there is not."""
        known = [f.name for f in fields(cls)]
        for name in settings:
            if name not in known:
                raise ConfigError(f"no setting is called '{name}': there are {', '.join(known)}")
        return cls(**settings)

    def to_json(self) -> dict[str, Any]:
        """Name → value, but for `threads`, which changes nothing but the time."""
        return {name: value for name, value in asdict(self).items() if name != "threads"}

    def examples(self, val: int) -> int:
        """How many examples the search runs, the baseline not counted, with `val` to run on.

        At most: a leader fully evaluated before is not evaluated again.
        """
        if self.minibatch >= val:
            return self.trials * val
        return self.trials * self.minibatch + -(-self.trials // self.full_every) * val


@dataclass(frozen=True)
class Task:
    """Program, data, metric and LMs of one run. `emit` takes events for journal and progress."""

    program: Program
    train: Sequence[Example]
    val: Sequence[Example]
    metric: Metric
    lm: LM
    prompt_lm: LM
    teacher: Teacher
    options: Options
    emit: Listener
    adapter: Adapter | None = None
    executor: Executor | None = None


@dataclass(frozen=True)
class Step:
    """What a strategy asks the loop to evaluate next."""

    config: Config
    candidate: Candidate
    kind: Kind


@dataclass(frozen=True)
class Trial:
    """What came of it: `score` is a mean over `n` examples, `failures` of which failed.

    `examples` are indices into the validation set, `scores` theirs.
    """

    number: int
    config: Config
    score: float
    n: int
    kind: Kind
    failures: int = 0
    examples: tuple[int, ...] = field(default=(), repr=False)
    scores: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Extracted:
    """What a strategy returns: a candidate, its full trial, and the space that was searched.

    `original` is the configuration of the program as it came.
    """

    candidate: Candidate
    trial: Trial
    space: Space
    original: Config


class Strategy(Protocol):
    """An optimizer: the four verbs of Algorithm 1.

    `propose` returns None when the search is over; `extract` is called once, after that. All
    raise only what `evaluate` and the LM raise.
    """

    def initialize(self, task: Task) -> None:
        """Prepare the slots; may call LMs."""
        ...

    def propose(self) -> Step | None:
        """The next assignment to evaluate."""
        ...

    def update(self, trial: Trial) -> None:
        """Take note of a score. The first is the original program's, in full."""
        ...

    def extract(self) -> Extracted:
        """The assignment to return, which was evaluated in full."""
        ...
