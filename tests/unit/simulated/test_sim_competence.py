"""The embedded LM's competence, as its documentation has it; every figure here is exact."""

from __future__ import annotations

import pytest
from sim_prompts import (
    ANSWER,
    FESTIVAL,
    FLOWER,
    HOP,
    QUERY,
    SETOSA,
    VERSICOLOR,
    VIRGINICA,
    chances,
    demo,
    flower,
    request,
)

from mipro.lm.simulated import SimulatedLM
from mipro.worlds.iris import iris_rows

RIGHT = [
    demo(flower(SETOSA), species="setosa"),
    demo(flower(VERSICOLOR), species="versicolor"),
    demo(flower(VIRGINICA), species="virginica"),
]
NEAR = (5.5, 1.9, 6.4, 2.9)  # a virginica
BRIDGE = "Once the context holds passages, look up the intermediate entity named in the context."
TALK = "Think about it carefully, take your time and do your very best."
PERSON = "An answer that is a person is written in lower case."


def like(x: float) -> tuple[float, ...]:
    return tuple(round(v * x, 2) for v in VIRGINICA)


def species(demos=(), instruction="", lengths=NEAR, **settings) -> float:
    """The chance of "virginica"."""
    return chances(FLOWER, flower(lengths), instruction, demos, **settings)["virginica"]


# --- demonstrations ------------------------------------------------------------------------------


def test_without_demonstrations_all_labels_are_as_likely():
    assert list(chances(FLOWER, flower(NEAR)).values()) == pytest.approx([1 / 3] * 3)


def test_each_correct_demonstration_of_the_class_helps():
    more = [demo(flower(like(x)), species="virginica") for x in (0.95, 1.05, 1.1)]
    p = [species(RIGHT + more[:n]) for n in range(len(more) + 1)]
    assert p == sorted(p)
    assert species() < 0.34 < 0.6 < p[0] < p[-1]


def test_a_mislabelled_demonstration_hurts():
    wrong = demo(flower(like(0.98)), species="setosa")
    assert species([*RIGHT, wrong]) < species(RIGHT) - 0.1
    assert species([wrong]) < 1 / 3


def test_a_demonstration_far_from_the_input_tells_nothing():
    far = demo(flower((0.2, 9.0, 0.3, 30.0)), species="virginica")
    assert species([far]) == pytest.approx(1 / 3, abs=0.01)


def test_demonstrations_of_another_task_do_not_help():
    irrelevant = [demo(FESTIVAL, answer="orla quill")] * 3
    assert chances(FLOWER, flower(NEAR), demos=[]) == chances(
        FLOWER, flower(NEAR), demos=irrelevant
    )


# --- instructions to one who chooses labels ------------------------------------------------------


def accuracy(instruction: str, demos) -> float:
    rows = iris_rows()[::5]
    p = [chances(FLOWER, row.inputs, instruction, demos)[row.species] for row in rows]
    return sum(p) / len(p)


def test_naming_the_features_that_matter_pays_together_with_demonstrations():
    petals = "Look at petal_length and petal width."
    rows = iris_rows()
    demos = [demo(rows[i].inputs, species=rows[i].species) for i in (0, 60, 110, 130)]
    assert accuracy(petals, []) == pytest.approx(accuracy("Name it.", []))
    assert accuracy(petals, demos) > accuracy("Name it.", demos) + 0.02
    assert accuracy("Look at sepal_width.", demos) < accuracy("Name it.", demos) - 0.02


def test_a_class_described_by_numbers_is_a_weak_demonstration():
    told = "setosa: petal_length about 1.4. virginica: petal_length about 5.6."
    assert 0.4 < species(instruction=told) < species(RIGHT, told)


def test_a_field_is_named_by_its_whole_name_only():
    # `petal` is in every field's name, and `length` is a word of its own
    assert accuracy("Mind the petals.", RIGHT) == accuracy("Name it.", RIGHT)
    short = FLOWER.of("age: float, sex: float -> sick: Literal['no', 'yes']")
    demos = [
        demo({"age": 50.0, "sex": 1.0}, sick="yes"),
        demo({"age": 20.0, "sex": 1.1}, sick="no"),
    ]
    inputs = {"age": 48.0, "sex": 1.2}
    assert chances(short, inputs, "Use plain language.", demos) == chances(
        short, inputs, "Reply.", demos
    )
    assert chances(short, inputs, "Mind the age.", demos) != chances(short, inputs, "Reply.", demos)


# --- queries, answers and their form -------------------------------------------------------------


def bridged(instruction="", demos=(), **settings) -> float:
    options = chances(QUERY, HOP, instruction or "Write a query.", demos, **settings)
    return sum(p for query, p in options.items() if query.startswith("Orla Quill"))


def lower(instruction="", demos=(), **settings) -> float:
    """The chance of the person in lower case."""
    options = chances(ANSWER, FESTIVAL, instruction or "Answer.", demos, **settings)
    return options.get("orla quill", 0.0)


OTHER = {**FESTIVAL, "question": "Who founded the fair?"}
BRIDGING = demo(
    {**HOP, "question": "Where was the author of Silver Road born?"}, search_query="Orla Quill born"
)
REPEATING = demo(HOP, search_query=HOP["question"])


def test_a_cue_helps_and_a_demonstration_helps_and_both_are_more_than_their_sum():
    neither, cue, shown, both = (
        bridged(),
        bridged(BRIDGE),
        bridged(demos=[BRIDGING]),
        bridged(BRIDGE, [BRIDGING]),
    )
    assert neither < cue < both
    assert neither < shown < both
    assert both > 0.7 > 0.5 > neither


def test_demonstrations_that_repeat_the_question_teach_not_to_bridge():
    assert bridged(demos=[REPEATING]) < bridged()


@pytest.mark.parametrize("chance", [bridged, lower, species])
def test_empty_talk_changes_nothing(chance):
    assert chance(instruction=TALK) == pytest.approx(chance(instruction="Reply."))


def test_a_rule_of_form_and_its_demonstration_help_most_together():
    shown = [demo(OTHER, answer="orla quill"), demo(OTHER, answer="venn holm")]
    assert lower() == 0.0
    assert 0.1 < lower(PERSON) < lower(PERSON, shown)
    assert 0.05 < lower(demos=shown) < lower(PERSON, shown)
    against = [*shown, demo(OTHER, answer="Venn Holm"), demo(OTHER, answer="Asta Kray")]
    assert lower(PERSON, against) < lower(PERSON, shown)


def test_a_rule_for_another_kind_of_answer_does_nothing_here():
    assert lower("An answer that is a place is written in lower case.") == 0.0


def test_being_told_to_be_brief_and_grounded_helps_and_a_full_sentence_hurts():
    def plain(instruction: str) -> float:
        return chances(ANSWER, FESTIVAL, instruction)["Orla Quill"]

    base = plain("Answer.")
    assert plain("Give only the name.") > base + 0.1
    assert plain("Take the answer from the passages.") > base + 0.02
    assert plain("Reply in a full sentence.") < base - 0.1
    assert plain("Reply with no full sentence.") > base


@pytest.mark.parametrize("words", [0, 60, 100])
def test_an_instruction_of_ordinary_length_costs_nothing(words: int):
    assert lower(PERSON + " so" * words) == lower(PERSON)


def test_a_very_long_instruction_dilutes_what_it_says():
    p = [lower(PERSON + " so" * words) for words in (0, 200, 400)]
    assert p[0] > p[1] + 0.05 > p[2] + 0.1
    assert bridged(BRIDGE + " so" * 400) < bridged(BRIDGE) - 0.1


# --- temperature ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "best",
    [
        lambda t: species(RIGHT, temperature=t),
        lambda t: bridged(BRIDGE, [BRIDGING, BRIDGING], temperature=t),
    ],
)
def test_temperature_adds_noise(best):
    p = [best(t) for t in (0.0, 0.5, 1.0, 2.0)]
    assert p == sorted(p, reverse=True)
    assert p[0] > p[-1] + 0.1


def test_the_temperature_of_the_lm_is_used_where_a_request_names_none():
    asked = request(FLOWER, flower(NEAR), demos=RIGHT)
    warm = request(FLOWER, flower(NEAR), demos=RIGHT, temperature=1.0)
    assert SimulatedLM(temperature=1.0).distribution(asked) == SimulatedLM().distribution(warm)
