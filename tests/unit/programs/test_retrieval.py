"""BM25 over a corpus: what is found, how files are read, and what is kept of them on disk."""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mipro.errors import ConfigError, DataError
from mipro.programs import kept, retrieval
from mipro.programs.passages import read_passages, title_of
from mipro.programs.retrieval import BM25, best

pytest.importorskip("bm25s", reason="retrieval stands on bm25s")

PASSAGES = [
    ("Karsholm", "Karsholm is a town. Its river is the Tove."),
    ("Orla Varga", "Orla Varga is a cellist. Orla Varga was born in Karsholm."),
    ("Tove", "The Tove is a river, and a long one."),
    ("Ivo Quill", "Ivo Quill is a painter."),
]
QUERIES = ["the river Tove", "Where was Orla Varga born?", "painter", "a", "nothing known", ""]


def corpus(path: Path, passages=PASSAGES) -> Path:
    lines = [json.dumps({"title": title, "text": text}) for title, text in passages]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def naive(passages, query: str, k: int) -> list[str]:
    """BM25 after Lucene, with k1 = 1.5 and b = 0.75, in ten lines."""
    texts = [f"{title} | {text}" for title, text in passages]
    bags = [Counter(retrieval._words(text)) for text in texts]
    mean = sum(bag.total() for bag in bags) / len(bags)
    scores = []
    for bag in bags:
        score = 0.0
        for word in retrieval._words(query):
            has = sum(word in other for other in bags)
            idf = math.log(1 + (len(bags) - has + 0.5) / (has + 0.5))
            score += idf * bag[word] / (bag[word] + 1.5 * (0.25 + 0.75 * bag.total() / mean))
        scores.append(score)
    order = sorted(range(len(texts)), key=lambda i: (-round(scores[i], 5), i))
    return [texts[i] for i in order if scores[i] > 0][:k]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("k", [1, 2, 9])
def test_what_is_found_is_what_the_formula_says(query, k) -> None:
    assert BM25(PASSAGES, k)(query) == naive(PASSAGES, query, k)


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.5]), min_size=1, max_size=30),
    k=st.integers(1, 30),
)
def test_the_best_are_those_a_whole_sort_gives(scores, k) -> None:
    k = min(k, len(scores))
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert best(np.array(scores), k) == [i for i in order[:k] if scores[i] > 0]


def test_a_file_is_searched_as_a_list_is(tmp_path) -> None:
    path = corpus(tmp_path / "corpus.jsonl")
    for query in QUERIES:
        assert BM25.from_jsonl(path, k=3)(query) == BM25(PASSAGES, k=3)(query)


def test_blank_lines_a_byte_order_mark_and_other_fields_do_no_harm(tmp_path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"title": " A ", "text": "one", "id": 7}\r\n\r\n  \n'
        + '{"text": "zwei | drei Ä", "title": "B"}'.encode()  # no newline at the end
    )
    assert [passage for _, passage in read_passages(path)] == [("A", "one"), ("B", "zwei | drei Ä")]
    search = BM25.from_jsonl(path)
    assert search("one") == ["A | one"]
    assert search("drei") == ["B | zwei | drei Ä"]
    assert title_of(search("drei")[0]) == "B"


BROKEN = {
    '{"title": "A"}': "'text' is missing",
    '{"text": "x"}': "'title' is missing",
    '{"title": "A", "text": ["x"]}': "'text' is a list",
    '{"title": 7, "text": "x"}': "'title' is a int",
    '{"title": " ", "text": "x"}': "'title' is empty",
    '{"title": "A", "text": ""}': "'text' is empty",
    '{"title": "A | B", "text": "x"}': "which ends a title",
    '{"title": "A", "title": "B", "text": "x"}': "stands twice",
    '{"title": "A", "text": "x"': "delimiter",
    '["A", "x"]': "a JSON object is wanted, not list",
    "A,x": "Expecting value",
}


@pytest.mark.parametrize("line", BROKEN)
def test_what_is_no_passage_is_refused_with_its_line_and_an_example(line, tmp_path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(f'{{"title": "A", "text": "x"}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 3: ") as caught:
        BM25.from_jsonl(path)
    assert BROKEN[line] in str(caught.value)
    assert '{"title": "Ada Lovelace"' in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no passages"), (b"\n\n", "no passages"), (b'{"title": "\xff", "text": "x"}', "line 1")],
)
def test_a_file_without_passages_is_refused(content, said, tmp_path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=said):
        BM25.from_jsonl(tmp_path / "corpus.jsonl")


@pytest.mark.parametrize("name", ["missing.jsonl", "a\0b", "x" * 5000])
def test_a_file_that_is_not_there_is_refused(name, tmp_path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        BM25.from_jsonl(tmp_path / name)


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_passage_cannot_be_asked_for(k, tmp_path) -> None:
    with pytest.raises(DataError, match="searched for"):
        BM25.from_jsonl(corpus(tmp_path / "corpus.jsonl"), k)
    with pytest.raises(DataError, match="searched for"):
        BM25(PASSAGES, k)


def test_a_corpus_without_a_word_is_refused() -> None:
    with pytest.raises(DataError, match="no word"):
        BM25([("!", "?"), ("…", "—")])


def test_without_bm25s_it_is_said_what_to_install(tmp_path, monkeypatch) -> None:
    path = corpus(tmp_path / "corpus.jsonl")
    monkeypatch.setitem(sys.modules, "bm25s", None)
    for make in (lambda: BM25(PASSAGES), lambda: BM25.from_jsonl(path)):
        with pytest.raises(ConfigError, match=r"mipro\[retrieval\]"):
            make()


def test_a_search_travels_to_another_process(tmp_path) -> None:
    path = corpus(tmp_path / "corpus.jsonl")
    kept_in = tmp_path / "index"
    for search in (BM25(PASSAGES), BM25.from_jsonl(path), BM25.from_jsonl(path, index=kept_in)):
        there = pickle.loads(pickle.dumps(search))
        assert [there(query) for query in QUERIES] == [search(query) for query in QUERIES]


def test_a_file_changed_while_it_is_searched_is_an_error(tmp_path) -> None:
    path = corpus(tmp_path / "corpus.jsonl")
    search = BM25.from_jsonl(path)
    path.write_text('{"title": "A", "text": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="was changed"):
        search("painter")


# ── kept on disk


@pytest.fixture
def unread(monkeypatch) -> None:
    """No corpus is gone through any more."""
    monkeypatch.setattr(
        retrieval, "read_passages", lambda path: pytest.fail(f"{path} was read again")
    )


def answers(search: BM25) -> list[list[str]]:
    return [search(query) for query in QUERIES]


def test_an_index_that_is_kept_is_read_and_not_made_again(tmp_path, request) -> None:
    path, folder = corpus(tmp_path / "corpus.jsonl"), tmp_path / "deep" / "index"
    first = answers(BM25.from_jsonl(path, index=folder))
    request.getfixturevalue("unread")
    assert answers(BM25.from_jsonl(path, index=folder)) == first == answers(BM25(PASSAGES))


def test_a_folder_beside_the_corpus_keeps_its_index_where_there_is_one(tmp_path, request) -> None:
    path = corpus(tmp_path / "corpus.jsonl")
    BM25.from_jsonl(path)
    assert list(tmp_path.iterdir()) == [path]  # nothing is written that was not asked for
    beside = tmp_path / "corpus.jsonl.bm25"
    beside.mkdir()
    first = answers(BM25.from_jsonl(path))
    assert (beside / "index.json").is_file()
    request.getfixturevalue("unread")
    assert answers(BM25.from_jsonl(path)) == first


def test_the_index_of_another_corpus_is_made_anew(tmp_path) -> None:
    path, folder = corpus(tmp_path / "corpus.jsonl"), tmp_path / "index"
    BM25.from_jsonl(path, index=folder)
    corpus(path, [*PASSAGES[::-1], ("New", "A new painter.")])
    search = BM25.from_jsonl(path, index=folder)
    assert search("new painter")[0] == "New | A new painter."
    assert answers(BM25.from_jsonl(path, index=folder)) == answers(search)


FILES = (
    "data.csc.index.npy",
    "indices.csc.index.npy",
    "indptr.csc.index.npy",
    "vocab.index.json",
    "params.index.json",
    "offsets.index.npy",
    "index.json",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "empty"])
def test_a_damaged_index_is_made_anew(name, damage, tmp_path) -> None:
    path, folder = corpus(tmp_path / "corpus.jsonl"), tmp_path / "index"
    first = answers(BM25.from_jsonl(path, index=folder))
    file = folder / name
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        last = bytes([data[-1] ^ 1])
        broken = {"cut": data[: len(data) // 2], "changed": data[:-1] + last, "empty": b""}
        file.write_bytes(broken[damage])
    assert answers(BM25.from_jsonl(path, index=folder)) == first
    assert file.read_bytes() == data


class Bomb:
    """A pickle that leaves a mark where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_in_a_kept_index_is_not_loaded_even_where_its_digest_fits(tmp_path) -> None:
    path, folder = corpus(tmp_path / "corpus.jsonl"), tmp_path / "index"
    first = answers(BM25.from_jsonl(path, index=folder))
    mark = tmp_path / "executed"
    for name in ("data.csc.index.npy", "offsets.index.npy"):
        np.save(folder / name, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
        body = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        body["files"][name] = kept.digest(folder / name)
        (folder / "index.json").write_text(json.dumps(body), encoding="utf-8")
        assert answers(BM25.from_jsonl(path, index=folder)) == first
        assert not mark.exists()


def test_an_index_that_cannot_be_kept_is_an_error(tmp_path) -> None:
    path = corpus(tmp_path / "corpus.jsonl")
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be kept"):
        BM25.from_jsonl(path, index=tmp_path / "taken")
