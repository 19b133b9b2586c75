"""Data files, whatever is in them: a correct value, or an error that names file and line."""

from __future__ import annotations

import json
import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile import DIGITS, RAW, Tried, altered, spoilt
from hypothesis import given
from hypothesis import strategies as st

import mipro
from mipro import load_csv, load_jsonl
from mipro.errors import DataError

ROWS = [
    {"question": f"Which town has number {i}?", "n": i, "score": 0.5, "context": ["a", "b"]}
    for i in range(5)
]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = b'question,age,answer\nWho?,31,me\n"Where, there?",4.5,"a ""quoted""\nplace"\nWhen?,7,now\n'


@contextmanager
def file(data: bytes, name: str = "data.jsonl") -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        yield path


def no_constant(name: str) -> None:
    raise ValueError(name)


def test_a_spoilt_jsonl_file_is_read_right_or_refused_by_its_line():
    tried = Tried()
    for what, data in spoilt(JSONL):
        with file(data) as path:
            read = tried(what, lambda: load_jsonl(path, ("question",)), str(path), kind=DataError)
        if read is not None:
            lines = [line for line in data.decode("utf-8-sig").split("\n") if line.strip()]
            plain = [line.removeprefix("\x1e").removeprefix("\ufeff") for line in lines]
            assert read == [json.loads(line, parse_constant=no_constant) for line in plain], what
    assert tried.total > 150
    assert tried.read > 10
    assert tried.refused > 50


def test_each_place_of_a_jsonl_row_may_hold_anything_but_what_json_cannot_say():
    tried = Tried()
    for what, line in altered(ROWS[0]):
        with file(JSONL + line.encode() + b"\n") as path:
            read = tried(
                what, lambda: load_jsonl(path, ("question",)), f"{path}, line 6", kind=DataError
            )
        if read is not None:
            assert dict(read[-1]) == json.loads(line, parse_constant=no_constant), what
    assert tried.total > 150
    assert tried.refused > 30


@pytest.mark.parametrize("name", sorted(RAW))
def test_what_is_no_json_value_is_refused_with_its_line(name):
    if name == "large":
        pytest.skip("a whole number of 401 digits is a value")
    line = f'{{"question": "q", "x": {RAW[name]}}}'
    with file(JSONL + line.encode()) as path, pytest.raises(DataError, match="line 6") as caught:
        load_jsonl(path, ("question",))
    assert len(str(caught.value)) < 500


def test_a_byte_order_mark_and_other_line_ends_change_nothing():
    for data in (b"\xef\xbb\xbf" + JSONL, JSONL.replace(b"\n", b"\r\n"), JSONL.rstrip()):
        with file(data) as path:
            assert load_jsonl(path, ("question",)) == ROWS


@given(st.binary(max_size=200))
def test_any_bytes_are_data_or_a_data_error(data):
    with file(data) as path:
        Tried()(repr(data), lambda: load_jsonl(path, ("question",)), str(path), kind=DataError)
    with file(data, "data.csv") as path:
        Tried()(repr(data), lambda: load_csv(path, ("question",)), str(path), kind=DataError)


def test_a_spoilt_csv_file_is_read_or_refused_by_its_line():
    tried = Tried()
    for what, data in spoilt(CSV):
        with file(data, "data.csv") as path:
            tried(
                what,
                lambda: load_csv(path, ("question",), {"age": float}),
                str(path),
                kind=DataError,
            )
    assert tried.total > 150
    assert tried.refused > 30


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", "1e999", "9" * DIGITS])
@pytest.mark.parametrize("kind", [int, float])
def test_a_csv_number_that_is_none_is_refused_with_its_line(cell, kind):
    rows = b"question,age\nq,1\nq,%s\n" % cell.encode()
    with file(rows, "data.csv") as path, pytest.raises(DataError, match="line 3") as caught:
        load_csv(path, ("question",), {"age": kind})
    assert len(str(caught.value)) < 500


def test_deep_nesting_takes_no_memory_to_speak_of():
    with file(b'{"question": ' + RAW["deep list"].encode() + b"}\n") as path:
        tracemalloc.start()
        try:
            with pytest.raises(DataError, match="nested"):
                load_jsonl(path, ("question",))
            assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("name", ["a\0b.jsonl", "x" * 300, "", ".", "\ud800"])
def test_a_path_that_cannot_be_is_a_data_error(name, tmp_path):
    for load in (load_jsonl, load_csv):
        Tried()(name, lambda: load(os.fspath(tmp_path) + "/" + name, ("q",)), kind=DataError)  # noqa: B023


@pytest.mark.parametrize("value", ["\ud800", "a\0b", "\x1b[2J", "[[ ## answer ## ]]", "\u2028"])
def test_odd_texts_pass_through_a_program_unharmed(value):
    with file(json.dumps({"question": value + "x"}).encode()) as path:
        (example,) = load_jsonl(path, ("question",))
    assert example.question == value + "x"

    class Ask(mipro.Program):
        def __init__(self):
            self.step = mipro.Predict("question -> answer")

        def forward(self, question):
            return self.step(question=question)

    assert Ask()(question=example.question, lm=mipro.SimulatedLM()).answer
