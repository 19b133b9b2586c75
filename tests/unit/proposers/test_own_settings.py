"""A tip, and a proposer setting, of one's own: plain objects, in ten lines, and no registry."""

from __future__ import annotations

from functools import partial

import pytest
from doubles import QA, examples
from doubles import asked as asked_of
from small_runs import counted, of, recorded, small
from writing import Writer, wanted

from mipro.errors import ConfigError, SignatureError
from mipro.optimizers.plus_plus import MiproPlusPlus
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.settings import Evidence, Settings, from_config, settings_space
from mipro.proposers.tips import TIPS
from mipro.tpe import TPE


# --- the example of the docs ---------------------------------------------------------------------
def glossary(choice, module, proposer):
    rows = proposer.train[: {"none": 0, "short": 1, "long": 3}[choice]]
    return " ".join(f"{row.question} → {row.answer}" for row in rows)


method = partial(
    MiproPlusPlus,
    tips={**TIPS, "checklist": "Write it as a checklist of what to look at."},
    evidence=[Evidence("glossary", ("none", "short", "long"), glossary, "questions, answered")],
)
# -------------------------------------------------------------------------------------------------


def test_a_run_chooses_among_ones_own_tip_and_setting_and_shows_them():
    world, lm = small(), counted()
    result, events = recorded(world, method, prompt_lm=lm, trials=14)
    drawn = [event["settings"] for event in of(events, "settings")]
    assert {settings["glossary"] for settings in drawn} == {"none", "short", "long"}
    assert "checklist" in {settings["tip"] for settings in drawn}
    space = of(events, "space")[0]["choices"]
    assert (space["glossary"], space["tip"]) == (3, len(TIPS) + 1)
    prompts = [r.messages[-1].content for r in lm.seen if wanted(r) == "proposed_instruction"]
    shown = [prompt for prompt in prompts if "## glossary ##" in prompt]
    assert 0 < len(shown) < len(prompts)
    assert all(world.train[0].question in prompt for prompt in shown)
    assert any("checklist of what to look at" in prompt for prompt in prompts)
    proposals = of(events, "proposal")
    assert {event["settings"]["glossary"] for event in proposals} >= {"short", "long"}
    assert all(
        ("glossary" in event["evidence"]) == (event["settings"]["glossary"] != "none")
        for event in proposals
    )
    assert "glossary" in result.settings_importances.main
    assert set(settings_space().names) == {
        *("dataset_summary", "program_summary", "tip", "temperature")
    }  # other runs have nothing of it


def test_the_text_is_asked_for_once_for_a_choice_and_a_module():
    asked: list[tuple[object, str]] = []

    def text(choice, module, proposer):
        asked.append((choice, module))
        return "TEXT" if choice else ""

    own = Evidence("notes", (False, True), text, "notes of the author")
    lm = Writer(proposed_instruction="Do it.")
    proposer = GroundedProposer(QA(), examples(4), lm, evidence=[own])
    for choice in (True, False, True):
        settings = Settings(False, False, own=(("notes", choice),))
        made = proposer.propose("answer", settings, current="x")
        assert made.evidence == (("notes",) if choice else ())
        assert made.missing == ()  # nothing is what this choice shows
    assert asked == [(True, "answer"), (False, "answer")]
    assert asked_of(lm.seen[0], "notes") == "TEXT"
    assert "notes of the author" in lm.seen[0].messages[0].content


def test_a_text_too_long_is_cut_as_other_evidence_is():
    lm = Writer(proposed_instruction="Do it.")
    own = Evidence("notes", (True,), lambda *_: "word " * 5_000)
    proposer = GroundedProposer(QA(), examples(4), lm, tokens=800, evidence=[own])
    proposer.propose("answer", Settings(False, False, own=(("notes", True),)), current="x")
    shown = lm.prompts("proposed_instruction", "notes")[0]
    assert shown.endswith("(cut)")
    assert len(shown) <= 4 * 800 / 8


def test_its_choices_may_hang_from_another_setting():
    own = Evidence("rows", (1, 5), lambda *_: "", when=("dataset_summary", True))
    space = settings_space(evidence=[own])
    for config in space.enumerate():
        assert ("rows" in config) == config["dataset_summary"]
        assert from_config(config).to_config(space) == config


def test_configurations_with_it_are_settings_and_back():
    own = Evidence("notes", ("a", "b"), lambda *_: "")
    space = settings_space(4, history=True, reuse=True, evidence=[own])
    sampler = TPE(space, 0)
    for _ in range(20):
        config = sampler.ask()
        settings = from_config(config)
        assert settings.to_config(space) == config
        assert settings.to_json()["notes"] == config["notes"]


@pytest.mark.parametrize("name", ["tip", "demos", "history", "module", "reuse", "own"])
def test_a_name_that_is_taken_is_refused(name: str):
    with pytest.raises(ConfigError, match=f"'{name}'.*taken"):
        Evidence(name, (True, False), lambda *_: "")


def test_what_is_no_setting_is_refused_before_any_call():
    with pytest.raises(SignatureError, match="'two words'"):
        Evidence("two words", (True, False), lambda *_: "")
    with pytest.raises(ConfigError, match="'notes' has no choices"):
        Evidence("notes", (), lambda *_: "")
    twice = [Evidence("notes", (1, 2), lambda *_: "")] * 2
    with pytest.raises(ConfigError, match="two settings are called 'notes'"):
        settings_space(evidence=twice)


def test_what_is_no_text_is_an_error_that_names_the_setting():
    own = Evidence("notes", (True,), lambda *_: 7)
    proposer = GroundedProposer(QA(), examples(4), Writer(), evidence=[own])
    with pytest.raises(ConfigError, match="'notes' of True is 7"):
        proposer.propose("answer", Settings(False, False, own=(("notes", True),)), current="x")
