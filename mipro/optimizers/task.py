"""What a strategy is given, what it asks to have evaluated, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

from mipro.bootstrapping import Bootstrap, Teacher
from mipro.data import Example
from mipro.errors import ConfigError
from mipro.journal import Listener
from mipro.lm.base import LM
from mipro.lm.budget import Amount
from mipro.lm.meter import Ledger
from mipro.metrics import Metric
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate
from mipro.tpe import Observation, Space

Kind = Literal["minibatch", "full"]
BOOTSTRAP, SUMMARIES, PROPOSALS = "bootstrap", "summaries", "proposals"
MINIBATCHES, FULL, TEST = "minibatches", "full evaluations", "test"
PHASES = (BOOTSTRAP, SUMMARIES, PROPOSALS, MINIBATCHES, FULL, TEST)
PHASE_OF: Mapping[Kind, str] = {"minibatch": MINIBATCHES, "full": FULL}
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
    `trials_in_flight` (k) trials are evaluated at once: trial t is proposed knowing those before
    t − k + 1, so that the run is a function of `seed` and k. `threads` examples are run at once, of
    whichever trials. "Better than the original" is said of a candidate that is not so at most at
    the rate `level`; with `looks` above 1 the test set is looked at in so many portions, and the
    test ends once it is decided (`mipro.looks`). Without `forecasts` there is none, nor the seconds
    of rehearsal that it takes: for experiments of many short runs.
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
    trials_in_flight: int = 1
    looks: int = 1
    level: float = 0.05
    forecasts: bool = True

    def __post_init__(self) -> None:
        least = {"max_bootstrapped": 0, "max_labelled": 0, "seed": 0}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "level" and not (isinstance(value, float) and 0 < value < 1):
                raise ConfigError(f"level = {value!r}: a share between 0 and 1 is wanted")
            if f.name == "level":
                continue
            if f.name == "threshold":
                if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                    raise ConfigError(f"threshold = {value!r}: a number is wanted")
                continue
            if f.name == "forecasts":
                if not isinstance(value, bool):
                    raise ConfigError(f"{f.name} = {value!r}: true or false is wanted")
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{f.name} = {value!r}: a whole number is wanted")
            if value < least.get(f.name, 1):
                raise ConfigError(f"{f.name} = {value}: at least {least.get(f.name, 1)} is wanted")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Options:
        """Options from names and values. Raises `ConfigError` for a name there is not."""
        known = [f.name for f in fields(cls)]
        for name in settings:
            if name not in known:
                raise ConfigError(f"no setting is called '{name}': there are {', '.join(known)}")
        return cls(**settings)

    def to_json(self) -> dict[str, Any]:
        """Name → value, but for `threads`, which changes nothing but the time.

        `trials_in_flight` only where it is above 1: one at a time is the paper's loop. Some
        others only where they are not the usual ones.
        """
        body = {name: value for name, value in asdict(self).items() if name != "threads"}
        if self.trials_in_flight == 1:
            del body["trials_in_flight"]
        for name in ("looks", "level", "forecasts"):
            if body[name] == getattr(Options, name):
                del body[name]
        return body

    def examples(self, val: int) -> int:
        """How many examples the search runs, the baseline not counted, with `val` to run on.

        At most: a leader fully evaluated before is not evaluated again.
        """
        if self.minibatch >= val:
            return self.trials * val
        return self.trials * self.minibatch + -(-self.trials // self.full_every) * val


@dataclass(frozen=True)
class Task:
    """Program, data, metric and LMs of one run. `emit` takes events for journal and progress.

    `ledger` is told the phase that a call belongs to; `kept` is what the last full evaluation and
    the test may take of a budget, held back from the search for them. `prepared` is told what came
    of bootstrapping. In the rehearsal of a run, from which its forecast is read, `imagined` takes
    the place of bootstrapping.
    """

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
    ledger: Ledger = field(default_factory=Ledger)
    kept: Mapping[str, Amount] = field(default_factory=dict)
    prepared: Callable[[Bootstrap], None] | None = None
    imagined: Callable[[Options], Bootstrap] | None = None


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

    `original` is the configuration of the program as it came. A method that learns the proposer's
    settings says in `settings` what their space is, and what each that was tried was credited with.
    """

    candidate: Candidate
    trial: Trial
    space: Space
    original: Config
    settings: tuple[Space, Sequence[Observation]] | None = None


class Strategy(Protocol):
    """An optimizer: the four verbs of Algorithm 1, and one for a search cut short.

    With trials in flight `propose` is called again before the last was told; the trials are told in
    the order they were asked for. It returns None where it has to know more before it proposes on;
    with none out, the search is over. `extract` is called once, after that. All
    raise only what `evaluate` and the LM raise. Where the budget ends the search, `conclude` is
    called once before `extract`; if it already ends `initialize`, neither is called.
    """

    def initialize(self, task: Task) -> None:
        """Prepare the slots; may call LMs."""
        ...

    def propose(self) -> Step | None:
        """The next assignment to evaluate; None: not yet, or none any more."""
        ...

    def update(self, trial: Trial) -> None:
        """Take note of a score. The first is the original program's, in full."""
        ...

    def conclude(self) -> Step | None:
        """The full evaluation that is worth the last of the money; what was out is not told."""
        ...

    def extract(self) -> Extracted:
        """The assignment to return, which was evaluated in full."""
        ...
