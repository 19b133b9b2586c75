"""HotPotQA's questions, which the user supplies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mipro.errors import ConfigError, DataError
from mipro.tasks import PaperTask, load_task
from mipro.tasks.hotpotqa import sizes

pytest.importorskip("bm25s", reason="retrieval stands on bm25s")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"title": "Ada", "text": "a mathematician"}\n', encoding="utf-8")
    return path


def questions(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"question": f"q{i}?", "answer": f"a{i}", "titles": [f"t{i}"]} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def counts(task: PaperTask) -> list[int]:
    return [len(task.train), len(task.val), len(task.test)]


@pytest.mark.parametrize(
    ("total", "cut"),
    [(6, (1, 1, 4)), (60, (10, 10, 40)), (2999, (499, 499, 2001)), (3000, (500, 500, 2000))],
)
def test_fewer_than_the_papers_are_cut_in_its_proportion(total, cut) -> None:
    assert sizes(total) == cut
    assert sizes(9999) == (500, 500, 2000)
    with pytest.raises(ConfigError, match="5 questions cannot be cut"):
        sizes(5)


def test_the_questions_are_a_file_or_in_the_data_folder(tmp_path, corpus) -> None:
    file = questions(tmp_path / "hotpotqa" / "questions.jsonl", 60)
    named = load_task("hotpotqa", file, 3, corpus)
    found = load_task("hotpotqa", tmp_path, 3, corpus)
    assert counts(named) == [10, 10, 40]
    (note,) = named.notes
    assert "10 train, 10 val and 40 test questions, not the paper's 500" in note
    assert (named.train, named.val, named.test) == (found.train, found.val, found.test)
    assert named.train != load_task("hotpotqa", file, 4, corpus).train
    every = [*named.train, *named.val, *named.test]
    assert sorted(row.question for row in every) == sorted(f"q{i}?" for i in range(60))
    assert every[0].inputs.keys() == {"question"}
    assert every[0].labels.keys() == {"answer", "titles"}


@pytest.mark.parametrize("given", [None, "folder", "missing.jsonl", "a\0b", "x" * 5000])
def test_without_questions_it_is_said_what_to_supply(given, tmp_path, corpus, monkeypatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("MIPRO_DATA", str(tmp_path / "folder"))
    place = None if given is None else tmp_path / given
    with pytest.raises(ConfigError, match="the task 'hotpotqa' needs questions") as caught:
        load_task("hotpotqa", place, 0, corpus)
    assert '{"question": "Who wrote it?", "answer": ' in str(caught.value)


BROKEN = {
    '{"question": "q?"}': "'answer' is missing",
    '{"question": "q?", "answer": 5}': "'answer' is no text: 5",
    '{"question": "q?", "answer": " "}': "'answer' is empty",
    '{"question": "q?", "answer": "a", "titles": "t"}': "'titles' is no list of texts: 't'",
    '{"question": "q?", "answer": "a", "titles": [""]}': "'titles' is no list of texts",
    "q?,a": "not",
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_question_of_another_form_is_refused_with_its_line(line, tmp_path, corpus) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(f'{{"question": "q1?", "answer": "a"}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"questions\.jsonl, line 3: ") as caught:
        load_task("hotpotqa", file, 0, corpus)
    assert BROKEN[line] in str(caught.value)


def test_a_question_that_is_there_twice_is_taken_once(tmp_path, corpus) -> None:
    file = questions(tmp_path / "questions.jsonl", 12)
    file.write_text(file.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert sum(counts(load_task("hotpotqa", file, 0, corpus))) == 12
