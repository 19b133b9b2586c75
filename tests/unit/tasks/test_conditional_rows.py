"""HotPotQA Conditional's files: the real ones, and broken ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from real_data import real_folder

import mipro
from mipro.errors import ConfigError, DataError
from mipro.tasks import load_task
from mipro.tasks.categories import CATEGORIES, KIND_OF, LITERAL
from mipro.tasks.hotpotqa_conditional import COLUMNS, FILES, conditional_form, rows

HEADER = ",".join(COLUMNS)
ROW = "Who?,Ada,person,who,history"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    pytest.importorskip("bm25s", reason="retrieval stands on bm25s")
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"title": "Ada", "text": "a mathematician"}\n', encoding="utf-8")
    return path


def test_the_real_files_have_the_papers_rows(corpus) -> None:
    task = load_task("hotpotqa_conditional", data=real_folder(), corpus=corpus)
    assert [len(part) for part in (task.train, task.val, task.test)] == [500, 200, 200]
    every = [*task.train, *task.val, *task.test]
    assert len({row.question for row in every}) == 900
    counts: Counter[str] = sum(CATEGORIES.values(), Counter())
    assert Counter(row.category for row in every) == counts  # the table, count by count
    assert all(value == value.strip() != "" for row in every for value in row.values())
    assert task.train[0].inputs == {
        "question": "At My Window was released by which American singer-songwriter?"
    }
    assert task.train[0].labels == {"answer": "John Townes Van Zandt", "category": "person"}


@pytest.mark.parametrize(
    ("part", "kinds"),
    [
        ("train", {"person": 119, "place": 79, "date": 50, "other": 252}),
        ("val", {"person": 40, "place": 26, "date": 15, "other": 119}),
        ("test", {"person": 49, "place": 29, "date": 14, "other": 108}),
    ],
)
def test_every_part_has_rows_of_every_kind(part, kinds) -> None:
    name, count = FILES[part]
    found = rows(real_folder() / "hotpotqa_conditional" / name, count)
    assert Counter(KIND_OF[row.category] for row in found) == kinds


def test_the_piece_pasted_into_the_dev_file_is_no_row() -> None:
    name, count = FILES["val"]
    path = real_folder() / "hotpotqa_conditional" / name
    question = "Where have Ivan Bella and Frank De Winne both traveled?"
    assert path.read_text(encoding="utf-8").count(question) == 2  # one of them in column 22
    assert [row.question for row in rows(path, count)].count(question) == 1


@pytest.mark.parametrize(("kinds", "right"), [(KIND_OF, 23), (LITERAL, 12)])
def test_who_knows_every_answer_and_not_the_rule_is_seldom_right(kinds, right) -> None:
    name, count = FILES["test"]
    metric = conditional_form(kinds)
    found = rows(real_folder() / "hotpotqa_conditional" / name, count)
    assert sum(metric(row, mipro.Prediction(answer=row.answer)) for row in found) == right


def test_the_same_split_for_every_seed(corpus) -> None:
    tasks = [load_task("hotpotqa_conditional", real_folder(), seed, corpus) for seed in (0, 1)]
    assert tasks[0].train == tasks[1].train
    assert tasks[0].test == tasks[1].test


BROKEN = {
    "": "line 0: the columns",
    "question,answer\nWho?,Ada\n": "line 1: the columns",
    f"{HEADER},more\n{ROW},x\n": "line 1: the columns",
    f"{HEADER}\n{ROW},x\n": "line 2: 6 values for 5 columns",
    f"{HEADER}\n{ROW}\nWhen?,1815,year,when\n": "line 3: 4 values for 5 columns",
    f"{HEADER}\n\n{ROW}\n": "line 2: 0 values for 5 columns",
    f"{HEADER}\nWho?,,person,who,history\n": "line 2: the column 'answer' is empty",
    f"{HEADER}\n , Ada,person,who,history\n": "line 2: the column 'question' is empty",
    f"{HEADER}\nWho?,Ada,mathematician,who,x\n": "line 2: no category is called 'mathematician'",
    f"{HEADER}\n{ROW}\n{ROW}\n": "line 3: the question 'Who?' was there before",
    f'{HEADER}\n"Who?,Ada,person,who,history\n': "unexpected end of data",
    f"{HEADER}\n": "0 rows; the published file has 1",
    f"{HEADER}\n{ROW}\nWhen?,1815,year,when,history\n": "2 rows; the published file has 1",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_is_not_the_published_one_is_refused_with_its_line(text, tmp_path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.csv, line \d+: ") as caught:
        rows(path, 1)
    assert BROKEN[text] in str(caught.value)


def test_a_row_is_read_without_the_space_around_its_values(tmp_path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(f'\ufeff{HEADER},,\r\n" Who, Ada? ", Ada ,person,who,x,,pasted\r\n'.encode())
    (row,) = rows(path, 1)
    assert dict(row) == {"question": "Who, Ada?", "answer": "Ada", "category": "person"}


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_an_error(content, tmp_path) -> None:
    if content is not None:
        (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        rows(tmp_path / "rows.csv", 1)


@pytest.mark.parametrize("name", ["hotpotqa", "hotpotqa_conditional", "hover"])
@pytest.mark.parametrize("given", [None, "missing.jsonl", "a\0b", "x" * 5000])
def test_a_task_without_a_corpus_says_what_to_supply(name, given, tmp_path) -> None:
    place = None if given is None else tmp_path / given
    with pytest.raises(ConfigError, match=f"the task '{name}' searches a corpus") as caught:
        load_task(name, data=tmp_path, corpus=place)
    assert '{"title": "Ada Lovelace", "text": ' in str(caught.value)
    assert "JSONL" in str(caught.value)
