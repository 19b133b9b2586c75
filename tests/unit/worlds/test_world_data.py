"""The worlds' data: real rows, questions that can be answered, forms, disjoint splits."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from mipro.errors import ConfigError
from mipro.lm.simulated.language import kind_of, style_of
from mipro.worlds import WORLDS, load_world
from mipro.worlds.conditional import FORMS, rows, written
from mipro.worlds.corpus import invent
from mipro.worlds.iris import FEATURES, iris_rows
from mipro.worlds.twohop import QUESTIONS, questions, twohop_world

STYLES = {
    "person": "lower",
    "place": "upper",
    "date": "peace",
    "number": "brackets",
    "organisation": "quotes",
    "work": "hyphens",
}


def test_the_iris_rows_are_fishers():
    found = iris_rows()
    assert Counter(row.species for row in found) == dict.fromkeys(
        ("setosa", "versicolor", "virginica"), 50
    )
    assert [found[0][f] for f in FEATURES] == [5.1, 3.5, 1.4, 0.2]
    assert [found[-1][f] for f in FEATURES] == [5.9, 3.0, 5.1, 1.8]
    means = [sum(row[f] for row in found) / 150 for f in FEATURES]
    assert means == pytest.approx([5.843333, 3.057333, 3.758, 1.199333])


def test_the_corpus_has_hundreds_of_passages_each_title_once():
    passages = invent(0).passages
    assert len(passages) == 280
    assert len({title for title, _ in passages}) == 280
    assert all(title in text for title, text in passages)
    assert invent(0).passages == passages != invent(1).passages


def ideal_queries(question: str) -> tuple[str, str]:
    """What to look up for a question, by the world's own truth: the entity, then its bridge."""
    country = invent(0)
    person = {p.name: p for p in country.people}
    firm = {f.name: f for f in country.companies}
    book = {b.name: b for b in country.books}
    things = {**person, **firm, **book}
    first = next(n for n in sorted(things, key=len, reverse=True) if f" {n}" in f" {question}")
    if first in book or "founder" in question:
        return first, things[first].maker.name
    if first in firm:
        return first, firm[first].seat.name
    town = person[first].studied if "studied" in question else person[first].born
    return first, town.name


def test_ideal_queries_find_the_answer_of_every_question_by_bm25():
    retrieve = twohop_world().program.retrieve
    for example in questions(invent(0)):
        first, bridge = ideal_queries(example.question)
        found = retrieve(first)
        assert any(bridge in passage for passage in found), example.question
        found = found + retrieve(f"{bridge} is")
        assert any(p.startswith(f"{bridge} |") and example.answer in p for p in found), (
            example.question
        )


def test_questions_are_different_and_of_five_kinds():
    found = questions(invent(0))
    assert len({example.question for example in found}) == QUESTIONS == len(found)
    assert Counter(kind_of(e.question) for e in found).keys() >= {"place", "person", "date"}
    kinds = Counter(e.question.split()[0] + e.question.split()[1] for e in found)
    assert len(kinds) == 5
    assert min(kinds.values()) > 20


def test_the_question_alone_does_not_find_the_answer():
    retrieve = twohop_world().program.retrieve
    asked = questions(invent(0))
    direct = sum(any(e.answer in p for p in retrieve(e.question)) for e in asked)
    assert direct < 0.25 * len(asked)


def test_each_kind_of_answer_is_written_in_its_own_form():
    found = rows(invent(0))
    assert Counter(kind_of(row.question) for row in found) == dict.fromkeys(FORMS, 50)
    for row in found:
        assert style_of(row.answer) == STYLES[kind_of(row.question)], row.answer


STATED = {
    "person": r"founded by ([\w ]+)\.",
    "place": r"takes place in (\w+)\.",
    "date": r"started on ([\w ]+)\.",
    "number": r"draws (\d+) visitors",
    "organisation": r"sponsor is ([\w ]+)\.",
    "work": r"anthem is called ([\w ]+)\.",
}


def test_the_answer_is_what_the_passage_states_in_the_form_of_its_kind():
    for row in rows(invent(0)):
        kind = kind_of(row.question)
        stated = re.search(STATED[kind], row.passage)
        assert row.answer == written(kind, stated.group(1)), row.question


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_splits_are_disjoint_and_of_the_sizes_said(name: str, seed: int):
    world = load_world(name, seed)
    parts = {"train": world.train, "val": world.val, "test": world.test}
    sizes = {"iris": (40, 35, 75)}.get(name, (100, 80, 120))
    assert tuple(len(part) for part in parts.values()) == sizes
    texts = [json.dumps(dict(example)) for part in parts.values() for example in part]
    if name == "iris":  # one pair of Fisher's flowers is alike: 149 different rows
        assert len(set(texts)) == 149
        assert len({id(example) for part in parts.values() for example in part}) == 150
    else:
        assert len(set(texts)) == 300


@pytest.mark.parametrize("name", WORLDS)
def test_a_seed_shuffles_the_data_and_is_the_lms(name: str):
    assert load_world(name, 0).train == load_world(name, 0).train
    assert load_world(name, 0).train != load_world(name, 1).train
    assert load_world(name, 7).lm.seed == 7
    assert load_world(name, 0).with_seed(3).lm.seed == 3
    assert load_world(name, 0).with_seed(3).train == load_world(name, 0).train


def test_an_unknown_world_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'mars'.*iris, twohop, conditional"):
        load_world("mars")
