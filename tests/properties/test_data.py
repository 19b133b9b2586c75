"""Data comes in as it was written, whatever it holds; splits are partitions."""

from __future__ import annotations

import csv
import io
import json
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import strategies
from hypothesis import given
from hypothesis import strategies as st

from mipro import load_csv, load_jsonl, split
from mipro.errors import DataError


@contextmanager
def written(data: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        path.write_bytes(data.encode())
        yield path


@given(
    st.lists(strategies.examples, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", "\n\n"])
)
def test_jsonl_is_read_as_it_was_written(rows, end):
    with written(end.join(json.dumps(dict(row)) for row in rows)) as path:
        read = load_jsonl(path, inputs=("question",))
    assert read == rows
    assert [r.inputs for r in read] == [r.inputs for r in rows]
    assert pickle.loads(pickle.dumps(read)) == rows


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)


@given(st.lists(st.tuples(cells.filter(bool), cells), min_size=1, max_size=5))
def test_csv_is_read_as_it_was_written(rows):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("question", "b"), *rows])
    with written(text.getvalue()) as path:
        assert load_csv(path, inputs=("question",)) == [{"question": q, "b": b} for q, b in rows]


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 2**70))
def test_a_split_is_a_partition(train, val, test, seed):
    items = list(range(train + val + test))
    parts = split(items, train=train, val=val, test=test, seed=seed)
    assert [len(part) for part in parts] == [train, val, test]
    assert sorted(i for part in parts for i in part) == items


@given(shares=st.lists(st.integers(0, 100), min_size=3, max_size=3), n=st.integers(0, 60))
def test_shares_never_ask_for_more_than_there_is(shares, n):
    total = sum(shares) or 1
    train, val, test = (share / total for share in shares)
    try:
        parts = split(list(range(n)), train=train, val=val, test=test)
    except DataError:  # a share that comes to nothing is refused, not passed on empty
        assert any(share and share * n < 1 for share in (train, val, test))
        return
    for part, share in zip(parts, (train, val, test), strict=True):
        assert share * n - 1 < len(part) <= share * n + 1e-6
