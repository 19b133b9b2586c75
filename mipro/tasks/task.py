"""What a task is made of, and the list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from mipro.data import Example
from mipro.errors import ConfigError
from mipro.metrics import Metric
from mipro.programs.program import Program


@dataclass(frozen=True)
class PaperTask:
    """A task of the paper with all that a run needs but the LM.

    `train`, `val` and `test` share no row of the files, and have the paper's sizes; where there are
    not data enough (HoVer, HotPotQA), `notes` says what is not as in the paper, and what to supply.
    `val` is empty where the paper has none (Iris, Heart Disease): `mipro.optimize(…, val=task.val
    or None)` then scores candidates on one half of `train` and bootstraps from the other.
    """

    name: str
    program: Program
    metric: Metric
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Its name, its sizes and its notes."""
        sizes = f"{len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test"
        return "\n".join((f"{self.name}: {sizes}", *(f"note: {note}" for note in self.notes)))


# name → where it is made, by a function of (data, seed, corpus); a module is imported when its
# task is asked for (Iris needs scikit-learn, the multi-hop tasks bm25s)
TASKS: Mapping[str, str] = {
    "scone": "mipro.tasks.scone:scone",
    "hotpotqa": "mipro.tasks.hotpotqa:hotpotqa",
    "hotpotqa_conditional": "mipro.tasks.hotpotqa_conditional:hotpotqa_conditional",
    "hover": "mipro.tasks.hover:hover",
    "iris": "mipro.tasks.iris:iris",
    "iris_typo": "mipro.tasks.iris:iris_typo",
    "heart": "mipro.tasks.heart:heart",
    "gsm8k": "mipro.tasks.gsm8k:gsm8k",
}
WITH_CORPUS = ("hotpotqa", "hotpotqa_conditional", "hover")

Make = Callable[[str | Path | None, int, str | Path | None], PaperTask]


def load_task(
    name: str,
    data: str | Path | None = None,
    seed: int = 0,
    corpus: str | Path | None = None,
) -> PaperTask:
    """The task called `name`, with its splits drawn by `seed`.

    `data` is the folder of the real files (see `data_folder`; Iris' rows come with scikit-learn
    and need none). `corpus` is a JSONL file of `title` and `text`, for the multi-hop tasks to
    search. Raises `ConfigError` for a name that is not in `TASKS`, a missing folder or corpus, or
    a corpus given to a task that searches none; `DataError`, with file and line, for a file that
    is not the one published.
    """
    if name not in TASKS:
        raise ConfigError(f"no task is called {name!r:.80}: there are {', '.join(TASKS)}")
    if corpus is not None and name not in WITH_CORPUS:
        raise ConfigError(
            f"the task '{name}' searches no corpus: leave it out ({', '.join(WITH_CORPUS)} do)"
        )
    module, _, function = TASKS[name].partition(":")
    make: Make = getattr(import_module(module), function)
    return make(data, seed, corpus)
