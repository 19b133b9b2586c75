"""Every optimizer on programs and spaces of every shape, and under a budget.

1. One module, and many; modules in a list.
2. No demonstrations, no instructions to propose, nothing to tune at all.
3. A budget: kept exactly, the run ends in order.
4. An LM that answers nothing readable: an error, or a failure that costs itself alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from small_runs import counted, of, recorded, run, small

import mipro
from mipro.errors import ConfigError, RunError
from mipro.journal import read_journal
from mipro.lm.base import Completion, Request
from mipro.lm.simulated import SimulatedLM
from mipro.optimizers.methods import METHODS

pytestmark = pytest.mark.parametrize("method", METHODS)


class Panel(mipro.Program):
    """Several opinions on which of two words is longer, and a vote."""

    def __init__(self) -> None:
        self.opinions = [
            mipro.Predict("left, right -> longer: Literal['left', 'right']") for _ in range(3)
        ]
        self.vote = mipro.Predict(
            "left, right, opinions -> longer: Literal['left', 'right']", "Follow the majority."
        )

    def forward(self, left: str, right: str) -> mipro.Prediction:
        said = ", ".join(opinion(left=left, right=right).longer for opinion in self.opinions)
        return self.vote(left=left, right=right, opinions=said)


def words(count: int, start: int = 0) -> list[mipro.Example]:
    pairs = [("a" * (1 + i % 7), "b" * (1 + i * 3 % 8)) for i in range(start, start + count)]
    return [
        mipro.Example(
            {"left": a, "right": b, "longer": "left" if len(a) > len(b) else "right"},
            inputs=("left", "right"),
        )
        for a, b in pairs
    ]


# --- 1: one module, and many ---------------------------------------------------------------------


def test_a_program_of_one_module(method: str):
    result = run(small("iris", val=14), method)
    assert set(result.candidate) == {"classify"}
    assert result.score >= result.baseline


def test_a_program_of_many_modules_some_in_a_list(method: str):
    result = mipro.optimize(
        Panel(),
        words(20),
        mipro.metrics.exact_match("longer"),
        lm=SimulatedLM(),
        val=words(12, 20),
        method=method,
        forecasts=False,
        trials=6,
        minibatch=5,
        full_every=3,
        instructions=3,
        demo_sets=3,
    )
    assert list(result.candidate) == ["opinions[0]", "opinions[1]", "opinions[2]", "vote"]
    assert result.chosen.n == 12
    assert result.score >= result.baseline


# --- 2: little to tune, or nothing ---------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"demo_sets": 1},
        {"max_bootstrapped": 0, "max_labelled": 0},
        {"instructions": 1},
        {"instructions": 2, "demo_sets": 2},
        {"instructions": 1, "demo_sets": 1},
    ],
    ids=lambda settings: ",".join(f"{k}={v}" for k, v in settings.items()),
)
def test_without_demonstrations_or_instructions_the_run_ends_in_order(
    method: str, settings: dict[str, Any]
):
    result, events = recorded(small(), method, **settings)
    shown = [prompt for prompt in result.candidate.values() if prompt.demos]
    if ("demo_sets" in settings and settings["demo_sets"] == 1) or "max_labelled" in settings:
        assert not shown
    assert result.score >= result.baseline
    assert events[-1]["event"] == "end"


# --- 3: a budget ---------------------------------------------------------------------------------


def test_a_budget_in_calls_is_never_overrun_and_the_run_ends_in_order(method: str, tmp_path: Path):
    lm = counted()
    with pytest.raises(ConfigError, match="too small") as refused:
        run(small(), method, lm=counted(), budget=mipro.Budget(calls=1))
    enough = int(str(refused.value).rpartition("calls = ")[2].partition(";")[0])
    most = enough + 40
    result = run(
        small(), method, lm=lm, budget=mipro.Budget(calls=most), trials=60, run_dir=tmp_path
    )
    assert lm.calls == result.calls <= most
    assert result.chosen.n == 15
    assert result.score == max(t.score for t in result.trials if t.n == 15)
    assert result.stopped == "calls"
    assert read_journal(tmp_path / "journal.jsonl")[-1]["event"] == "end"


# --- 4: an LM that answers nothing readable ------------------------------------------------------


class Babbling:
    """The embedded LM, but nothing readable of it where `fails` says so."""

    model = identity = "babbling"

    def __init__(self, fails: Any) -> None:
        self.fails, self.simulated = fails, SimulatedLM()

    def __call__(self, request: Request, /) -> Completion:
        if self.fails(request):
            return Completion(("no field, no mark",), model="babbling")
        return self.simulated(request)


def test_an_lm_of_which_nothing_can_be_read_is_an_error_and_no_score(method: str, tmp_path: Path):
    with pytest.raises(RunError):
        run(small(), method, lm=Babbling(lambda request: True), run_dir=tmp_path)
    events = read_journal(tmp_path / "journal.jsonl")
    assert events[-1]["event"] == "error"
    assert not (tmp_path / "result.json").exists()


def test_a_prompt_lm_of_which_nothing_can_be_read_leaves_the_original_instructions(method: str):
    world = small()
    result, events = recorded(world, method, prompt_lm=Babbling(lambda request: True))
    before = {name: prompt.instruction for name, prompt in world.program.prompts().items()}
    assert {name: prompt.instruction for name, prompt in result.candidate.items()} == before
    assert events[-1]["event"] == "end"
    if of(events, "proposal"):
        assert any(re.search(r"proposals?\b.* failed", e["text"]) for e in of(events, "note"))
