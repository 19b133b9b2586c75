"""What is shown is cut to size; settings are a space; the history shows the best last."""

from __future__ import annotations

import json

import pytest
from doubles import QA, examples
from hypothesis import given
from hypothesis import strategies as st
from writing import Writer

from mipro.errors import ConfigError
from mipro.lm.simulated import SimulatedLM
from mipro.lm.tokens import estimate_tokens
from mipro.programs.prompt import Demo
from mipro.proposers.ask import CUT, fitted, fitted_list
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.history import Tried, best_last
from mipro.proposers.settings import TEMPERATURES, Settings, from_config, settings_space
from mipro.proposers.summaries import row
from mipro.proposers.tips import TIPS
from mipro.tpe import TPE

# --- cutting -------------------------------------------------------------------------------------


@given(st.text(), st.integers(3, 60))
def test_a_fitted_text_fits_and_is_a_beginning(text: str, tokens: int):
    cut = fitted(text, tokens)
    assert estimate_tokens(cut) <= tokens
    if estimate_tokens(text) <= tokens:
        assert cut == text
    else:
        assert cut.endswith(CUT)
        assert text.startswith(cut.removesuffix(CUT))


def test_most_of_the_room_is_used_in_any_script():
    for text in ("word " * 900, "字" * 3_000, "🙂" * 2_000):
        assert estimate_tokens(fitted(text, 200)) >= 190


@given(st.lists(st.text(max_size=400), max_size=12), st.integers(64, 300))
def test_a_fitted_list_fits_and_is_the_first_of_it(texts: list[str], tokens: int):
    kept = fitted_list(texts, tokens)
    assert sum(map(estimate_tokens, kept)) <= tokens
    assert len(kept) <= len(texts)
    assert bool(kept) == bool(texts)
    for text, cut in zip(texts, kept, strict=False):
        assert text.startswith(cut.removesuffix(CUT))


LONG = "long words go on and on " * 4_000  # 24,000 tokens


@pytest.mark.parametrize("text", [LONG, "字" * 30_000])
def test_a_proposal_on_long_evidence_fits_the_window(text: str):
    settings = Settings(demo_set=1, history=True, tip="description")
    shown = Demo({"question": text, "answer": text})
    train = examples(12, note=text)
    lm = Writer(
        observations=text,
        summary=text,
        program_description=text,
        module_role=text,
        proposed_instruction="Do it.",
    )
    proposer = GroundedProposer(
        QA(), train, lm, demo_sets={"answer": ((), (shown,) * 3)}, tokens=2_000
    )
    tried = [Tried(f"{i} {text}", i / 10, 9) for i in range(5)]
    made = proposer.propose("answer", settings, current=text, history=tried)
    assert made.instruction == "Do it."
    assert len(made.evidence) == 6
    for request in lm.seen:
        # the fixed text of a prompt and the module's own lines come on top
        assert sum(estimate_tokens(m.content) for m in request.messages) < 2_000 + 600


def test_the_default_bound_fits_the_embedded_lms_window():
    train = examples(12, note=LONG)
    demos = {"answer": ((), (Demo({"question": LONG, "answer": LONG}),) * 3)}
    proposer = GroundedProposer(QA(), train, SimulatedLM(), demo_sets=demos)
    made = proposer.propose("answer", Settings(demo_set=1), current=LONG)
    assert made.instruction
    assert made.error is None


def test_of_a_history_too_long_the_best_is_kept():
    lm = Writer(proposed_instruction="Do it.")
    proposer = GroundedProposer(QA(), examples(4), lm, tokens=600)
    tried = [Tried(f"instruction {i} " + "word " * 200, i / 10, 9) for i in range(5)]
    settings = Settings(False, False, history=True)
    proposer.propose("answer", settings, current="x", history=tried)
    shown = lm.prompts("proposed_instruction", "history")[0]
    assert "instruction 4" in shown
    assert "instruction 0" not in shown


# --- settings ------------------------------------------------------------------------------------


def test_the_space_has_the_papers_meta_hyperparameters():
    space = settings_space(5, history=True)
    assert dict(zip(space.names, map(space.choices, space.names), strict=True)) == {
        "dataset_summary": (True, False),
        "program_summary": (True, False),
        "tip": tuple(TIPS),
        "temperature": TEMPERATURES,
        "demos": (True, False),
        "demo_set": (1, 2, 3, 4),
        "history": (True, False),
    }
    assert set(settings_space().names) == {
        "dataset_summary",
        "program_summary",
        "tip",
        "temperature",
    }


@pytest.mark.parametrize("sets", [1, 3])
@pytest.mark.parametrize("history", [False, True])
def test_settings_and_configurations_are_two_forms_of_one_thing(sets: int, history: bool):
    space = settings_space(sets, history=history)
    sampler = TPE(space, 0)
    for _ in range(20):
        config = sampler.ask()
        assert from_config(config).to_config(space) == config


def test_settings_of_one_space_can_be_told_to_a_larger_one():
    config = TPE(settings_space(3), 0).ask()
    later = settings_space(3, history=True)
    assert from_config(config).to_config(later) == {**config, "history": False}


def test_an_unknown_tip_is_refused_with_those_there_are():
    proposer = GroundedProposer(QA(), examples(4), Writer(proposed_instruction="Do it."))
    with pytest.raises(ConfigError, match=r"'witty'.*none, creative, simple"):
        proposer.propose("answer", Settings(False, False, tip="witty"), current="x")


# --- history -------------------------------------------------------------------------------------


def test_the_best_stand_last_with_score_and_n():
    tried = [Tried(str(i), score, 10 + i) for i, score in enumerate((0.2, 0.9, 0.1, 0.5))]
    lines = [json.loads(line) for line in best_last(tried, most=3)]
    assert lines == [
        {"instruction": "0", "score": 0.2, "n": 10},
        {"instruction": "3", "score": 0.5, "n": 13},
        {"instruction": "1", "score": 0.9, "n": 11},
    ]
    assert best_last([]) == []


def test_a_long_row_loses_words_of_its_values_and_none_of_its_fields():
    shown = row({"passage": LONG, "hints": [LONG, LONG], "size": 3}, {"answer": "short"}, 300)
    body = json.loads(shown)
    assert estimate_tokens(shown) <= 300
    assert body["outputs"] == {"answer": "short"}
    assert body["inputs"]["size"] == 3
    assert LONG.startswith(body["inputs"]["passage"].removesuffix(CUT))
    assert len(body["inputs"]["passage"]) > 100
    whole = {"passage": "as it is", "n": None}
    assert json.loads(row(whole, {"answer": "a"}, 300)) == {
        "inputs": whole,
        "outputs": {"answer": "a"},
    }
