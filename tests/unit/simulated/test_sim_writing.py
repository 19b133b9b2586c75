"""Asked to write about a task, the embedded LM composes what it was shown."""

from __future__ import annotations

import json

import pytest
from sim_prompts import CHAT, request

from mipro.lm.simulated import SimulatedLM
from mipro.lm.simulated.language import cues_in, rules_in
from mipro.programs.signature import Signature
from mipro.proposers.tips import TIPS

MODULE = "answer: passage, question -> reasoning, answer"
HOPPER = "write_query: context: list[str], question -> reasoning, search_query"
RULES = (
    "An answer that is a person is written in lower case; an answer that is a place is written in "
    "capital letters; an answer that is a number is written in square brackets; an answer that is "
    "a work is written with hyphens for spaces. Answers are a few words, just the name or number."
)


def written(field: str, temperature: float = 0.0, seed: int = 0, **shown: object) -> str:
    types = {name: "list[str]" if isinstance(v, list) else "str" for name, v in shown.items()}
    inputs = ", ".join(f"{name}: {kind}" for name, kind in types.items())
    signature = Signature.of(f"{inputs} -> {field}")
    lm = SimulatedLM(seed)
    reply = lm(request(signature, shown, temperature=temperature)).text
    return str(CHAT.parse(signature, reply, "m")[field])


def instruction(seed: int = 0, temperature: float = 0.0, **shown: object) -> str:
    given = {"module": MODULE, "position": "module 1 of 1", "current_instruction": "Answer."}
    return written("proposed_instruction", temperature, seed, **{**given, **shown})


def rows(*pairs: tuple[dict[str, object], str]) -> list[str]:
    return [json.dumps({"inputs": inputs, "outputs": {"answer": a}}) for inputs, a in pairs]


def cues(texts: list[str]) -> float:
    """How many rules and cues a text holds, on average."""
    return sum(len(rules_in(t)) + len(cues_in(t)) for t in texts) / len(texts)


PEOPLE = rows(
    ({"question": "Who founded it?"}, "orla quill"), ({"question": "Who wrote it?"}, "asta kray")
)


# --- instructions --------------------------------------------------------------------------------


def test_shown_nothing_it_writes_empty_talk():
    texts = [instruction(seed) for seed in range(20)]
    assert cues(texts) == 0
    assert len(set(texts)) > 3


def test_shown_a_summary_it_writes_the_rules_in():
    texts = [instruction(seed, dataset_summary=RULES) for seed in range(20)]
    assert cues(texts) > 3


def test_shown_demonstrations_it_writes_what_they_have_in_common():
    texts = [instruction(seed, demos=PEOPLE) for seed in range(20)]
    assert sum(rules_in(t).get("person") == "lower" for t in texts) > 14
    mixed = rows(
        ({"question": "Who is it?"}, "orla quill"), ({"question": "Who else?"}, "Asta Kray")
    )
    assert not any(rules_in(instruction(seed, demos=mixed)) for seed in range(20))


def test_shown_a_history_it_starts_from_the_best_of_it():
    history = [
        json.dumps({"instruction": "Answer. Reply in a full sentence.", "score": 0.1, "n": 9}),
        json.dumps({"instruction": f"Answer. {RULES}", "score": 0.7, "n": 9}),
    ]
    assert cues([instruction(seed, history=history) for seed in range(20)]) > 3
    assert cues([instruction(seed, history=history[:1]) for seed in range(20)]) < 1.1


@pytest.mark.parametrize(
    "line", ['{"score": null}', '{"score": "high"}', "[1]", "{", '{"score": true}', "none"]
)
def test_a_history_of_any_shape_is_read_without_harm(line: str):
    assert instruction(history=[line, line])


def test_bridging_is_for_the_module_that_queries():
    role = "It writes the query. Look up the intermediate entity named in the context."
    querying = [instruction(s, module=HOPPER, module_role=role) for s in range(20)]
    answering = [instruction(s, module=MODULE, module_role=role) for s in range(20)]
    assert sum("bridge" in cues_in(t) for t in querying) > 14
    assert not any("bridge" in cues_in(t) for t in answering)


def test_every_tip_changes_what_is_written():
    plain = [instruction(s, 0.7, dataset_summary=RULES) for s in range(20)]
    for tip in TIPS.values():
        if tip:
            assert [instruction(s, 0.7, dataset_summary=RULES, tip=tip) for s in range(20)] != plain


def test_tips_do_what_they_say():
    def texts(tip: str) -> list[str]:
        return [instruction(s, 0.5, dataset_summary=RULES, tip=TIPS[tip]) for s in range(60)]

    assert cues(texts("description")) > cues(texts("none")) > cues(texts("creative"))
    assert max(len(t.split(". ")) for t in texts("simple")) <= 4
    assert all("expert" in t for t in texts("persona"))
    assert all("depends on" in t for t in texts("high_stakes"))


def test_temperature_leaves_more_out_and_leads_astray():
    cold = [instruction(s, 0.0, dataset_summary=RULES) for s in range(60)]
    warm = [instruction(s, 1.0, dataset_summary=RULES) for s in range(60)]
    assert sum(len(rules_in(t)) for t in warm) < sum(len(rules_in(t)) for t in cold)
    assert not any("full sentence" in t for t in cold)
    assert any("full sentence" in t for t in warm)


def test_rollouts_are_other_draws_above_temperature_0():
    signature = Signature.of("module, dataset_summary -> proposed_instruction")
    shown = {"module": MODULE, "dataset_summary": RULES}
    texts = {
        SimulatedLM()(request(signature, shown, temperature=0.7, rollout=i)).text for i in range(20)
    }
    assert len(texts) > 5


# --- observations and summaries ------------------------------------------------------------------


def test_what_was_observed_is_not_observed_again():
    first = written("observations", examples=PEOPLE, observations_so_far="(none)")
    assert rules_in(first) == {"person": "lower"}
    assert written("observations", examples=PEOPLE, observations_so_far=first) == "COMPLETE"


def test_features_are_ranked_by_how_well_they_tell_the_labels_apart():
    data = rows(
        *(({"size": x, "noise": n}, y) for x, n, y in [(1, 5, "a"), (2, 1, "a"), (8, 4, "b")]),
        ({"size": 9, "noise": 2}, "b"),
    )
    text = written("observations", examples=data, observations_so_far="(none)")
    assert "The fields size tell the labels apart" in text
    assert "a: size about 1.5" in text
    assert "b: size about 8.5" in text


@pytest.mark.parametrize("odd", [{"noise": 1}, {"size": None}, {"size": "large"}, {}])
def test_rows_that_lack_a_number_are_read_without_harm(odd: dict[str, object]):
    data = rows(*(({"size": x}, y) for x, y in [(1, "a"), (2, "a"), (8, "b")]), (odd, "b"))
    text = written("observations", examples=data, observations_so_far="(none)")
    assert "size about" not in text
    assert instruction(demos=data)


def test_a_list_of_anything_may_be_the_context():
    data = rows(({"context": [1, None, "x"], "question": "Who?"}, "Orla Quill"))
    assert instruction(module=HOPPER, demos=data * 2)


def test_a_summary_keeps_every_rule_in_three_sentences():
    said = [RULES, "The fields a and b tell the labels apart. yes: a about 1.0. no: a about 2.0"]
    text = written("summary", observations=said)
    assert len(rules_in(text)) == 4
    assert "yes: a about 1.0" in text
    assert text.count(". ") <= 2


def test_roles_come_from_the_source():
    code = '"""Look it up."""\nfor _ in range(2):\n    self.retrieve(self.write_query())'
    assert "intermediate" in written("module_role", module=HOPPER, program_code=code)
    assert "intermediate" not in written("module_role", module=HOPPER, program_code="pass")
    described = written("program_description", program_code=code, program_modules=[HOPPER])
    assert "Look it up." in described
    assert "looks passages up" in described
