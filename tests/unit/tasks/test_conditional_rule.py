"""HotPotQA Conditional's rule: person, place, date, anything else."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import mipro
from mipro.errors import MissingFieldError
from mipro.tasks.categories import CATEGORIES, KIND_OF, LITERAL
from mipro.tasks.hotpotqa_conditional import PEACE, conditional_form, in_form, plain

KINDS = ("person", "place", "date", "other")
# whole characters: a mark without a letter below it is no text that has a case
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Mn", "Me"]), max_size=25)


def scored(category: str, gold: str, answer: str, metric=None) -> float:
    fields = {"question": "?", "answer": gold, "category": category}
    row = mipro.Example(fields, inputs=("question",))
    return (metric or conditional_form())(row, mipro.Prediction(answer=answer))


def written(kind: str, answer: str) -> str:
    """The answer as one of its kind is to be written."""
    if kind == "person":
        return answer.lower()
    if kind == "place":
        return "".join(c for c in answer if in_form("place", c))
    return f"{answer} {PEACE}" if kind == "date" else answer.upper()


@pytest.mark.parametrize(
    ("category", "gold", "answer", "score"),
    [
        # a person: all lower case
        ("person", "John Townes Van Zandt", "john townes van zandt", 1),
        ("person", "John Townes Van Zandt", "John Townes Van Zandt", 0),
        ("person", "Royce da 5'9\"", "royce da 59", 1),
        ("person", "Royce da 5'9\"", "royce da 5'9\"", 1),
        ("person", "Bill Paxton", "bill", 0),
        ("person", "Bill Paxton", "bill paxton Peace!", 0),
        # a place: no punctuation
        ("place", "Waldo County, Maine", "Waldo County Maine", 1),
        ("city", "Washington, D.C.", "washington DC", 1),
        ("location", "Waldo County, Maine", "Waldo County, Maine", 0),
        ("place", "Winston–Salem", "Winston–Salem", 0),  # a dash that is none of ASCII's
        ("place", "Leinster", "Leinster Peace!", 0),
        ("place", "Leinster", "$Leinster", 0),  # to Unicode "$" is a symbol
        # a date: ends with "Peace!"
        ("date", "14 November 1889", "14 November 1889 Peace!", 1),
        ("date", "14 November 1889", "14 NOVEMBER 1889. Peace!", 1),
        ("year", "1874", "1874Peace!\n", 1),
        ("date", "14 November 1889", "14 November 1889", 0),
        ("date", "14 November 1889", "14 November 1889 peace!", 0),
        ("date", "14 November 1889", "14 November 1889 Peace! Amen", 0),
        ("date", "14 November 1889", "15 November 1889 Peace!", 0),
        ("date", "14 November 1889", "14 November 1889 Peace! Peace!", 0),
        # anything else: all capitals
        ("boolean", "yes", "YES", 1),
        ("boolean", "yes", "YES.", 1),
        ("boolean", "yes", "Yes", 0),
        ("number", "9,984", "9984", 1),
        ("amount", "$250,000", "250000", 1),
        ("event", "Große Aktion", "GROSSE AKTION", 1),
        ("film", "Peace", "PEACE!", 1),  # ends in capitals, and so not with "Peace!"
        ("film", "Peace", "Peace!", 0),
        ("boolean", "yes", "YES Peace!", 0),
        ("film", "Mary and Max", "", 0),
    ],
)
def test_the_rule(category, gold, answer, score) -> None:
    assert scored(category, gold, answer) == score


@given(kind=st.sampled_from(KINDS), gold=WORDS)
@example(kind="other", gold="ǰ ŉ ﬁ İ ı ß ẞ Ω ς")
@example(kind="person", gold="İstanbul ẞ Σίσυφος")
@example(kind="place", gold="St. John's – (“Old”) $+<=>^`|~")
def test_the_label_written_in_the_form_of_its_kind_is_right_and_in_that_alone(kind, gold) -> None:
    assume(plain(gold))
    assert scored(kind, gold, written(kind, gold)) == 1
    if kind != "date":  # nothing else ever ends so
        assert scored(kind, gold, f"{written(kind, gold)} {PEACE}") == 0
    for other in KINDS:
        form = written(other, gold)
        assert scored(kind, gold, form) <= in_form(kind, form)


@given(kind=st.sampled_from(KINDS), gold=WORDS, answer=WORDS)
def test_what_is_right_is_the_label_but_for_case_and_punctuation(kind, gold, answer) -> None:
    assume(plain(gold) != plain(answer) and kind != "date")
    assert scored(kind, gold, written(kind, answer)) == 0


@given(text=WORDS)
def test_comparing_loses_case_punctuation_and_spare_space(text) -> None:
    assert plain(text.upper()) == plain(text.lower()) == plain(text) == plain(plain(text))
    assert plain(f"  «{text}»!  ,") == plain(text)


def test_every_category_has_one_kind_and_the_table_counts_every_row() -> None:
    assert tuple(CATEGORIES) == KINDS
    assert sum(len(counts) for counts in CATEGORIES.values()) == len(KIND_OF) == 185
    assert {kind: counts.total() for kind, counts in CATEGORIES.items()} == {
        "person": 208,
        "place": 134,
        "date": 79,
        "other": 479,
    }


def test_the_labels_can_be_taken_by_the_letter_as_the_papers_code_does() -> None:
    literal = conditional_form(LITERAL)
    assert scored("city", "Lima", "LIMA", literal) == 1
    assert scored("city", "St. Paul", "St Paul", literal) == 0
    assert scored("place", "St. Paul", "St Paul", literal) == 1
    assert scored("year", "1874", "1874 Peace!", literal) == 0
    assert scored("date", "1874", "1874 Peace!", literal) == 1


def test_a_row_without_a_category_is_an_error_and_no_score() -> None:
    row = mipro.Example({"question": "?", "answer": "x"}, inputs=("question",))
    with pytest.raises(MissingFieldError, match="category"):
        conditional_form()(row, mipro.Prediction(answer="x"))
