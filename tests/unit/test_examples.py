"""Examples, files and splits: what comes in, and what is refused with its file and line."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from doubles import examples

from mipro import Example, load_csv, load_jsonl, split
from mipro.errors import ConfigError, DataError, MissingFieldError


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / "data"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


# --- Example


def test_fields_are_read_as_attributes_and_items():
    one = Example({"q": "1", "a": None, "values": 3}, inputs=("q",))
    assert (one.q, one["q"], one.a) == ("1", "1", None)
    assert (one.inputs, one.labels) == ({"q": "1"}, {"a": None, "values": 3})
    assert one["values"] == 3
    assert len(one) == 3


def test_a_missing_field_is_named_with_those_there_are():
    one = Example({"q": "1", "a": "2"}, inputs=("q",))
    for ask in (lambda: one.answer, lambda: one["answer"]):
        with pytest.raises(MissingFieldError) as caught:
            ask()
        assert str(caught.value) == "the example has no field 'answer'; it has 'q', 'a'"
    assert getattr(one, "answer", "x") == one.get("answer", "x") == "x"
    assert "answer" not in one


@pytest.mark.parametrize("fields", [{}, {"q": None}])
def test_an_example_lacking_an_input_is_refused(fields):
    with pytest.raises(DataError, match="the input field 'q' is missing"):
        Example(fields, inputs=("q",))


def test_one_name_in_place_of_a_tuple_of_names_is_refused(file):
    said = r"inputs='question': a sequence of names is wanted, say \('question',\)"
    with pytest.raises(DataError, match=said):
        Example({"question": "1"}, inputs=("question"))
    with pytest.raises(DataError, match=said):
        load_jsonl(file('{"question": "1"}'), inputs="question")
    with pytest.raises(DataError, match=said):
        load_csv(file("question\n1"), inputs="question")


def test_an_example_cannot_be_changed():
    fields = {"q": "1", "passages": ["a", {"b": ["c"]}]}
    one = Example(fields, inputs=("q", "passages"))
    with pytest.raises(AttributeError, match="immutable"):
        one.q = "2"
    with pytest.raises(TypeError):
        one["q"] = "2"
    with pytest.raises(AttributeError):
        del one.q
    fields["q"] = "2"
    # a program may well extend a list it is called with
    one.inputs["passages"].append("late")
    one.inputs["passages"][1]["b"].append("late")
    assert one.inputs == {"q": "1", "passages": ["a", {"b": ["c"]}]}


def test_an_example_is_pickled_and_copied_whole():
    one = Example({"q": "1", "a": ["2"]}, inputs=("q",))
    for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert (other, other.inputs) == (one, one.inputs)
    assert repr(one) == "Example({'q': '1', 'a': ['2']}, inputs=('q',))"


# --- JSONL


def test_jsonl_is_read_with_a_byte_order_mark_blank_lines_and_crlf(file):
    path = file(b'\xef\xbb\xbf{"q": "1", "n": 2.5}\r\n\r\n  \n{"q": "\xc3\xa9\xe2\x80\xa8"}')
    assert load_jsonl(path, ("q",)) == [{"q": "1", "n": 2.5}, {"q": "é\u2028"}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "invalid json"),
        ("[1]", "a JSON object is wanted, not list"),
        ("null", "a JSON object is wanted, not NoneType"),
        ('"text"', "a JSON object is wanted, not str"),
        ('{"a": "1"}', "the input field 'q' is missing or empty; it has 'a'"),
        ('{"q": null}', "the input field 'q' is missing or empty"),
        ('{"q": ""}', "the input field 'q' is missing or empty"),
        (b'{"q": "\xff"}', "not valid utf-8"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_of_jsonl_is_refused_with_file_and_line(file, line, said):
    line = line if isinstance(line, bytes) else line.encode()
    path = file(b'{"q": "1"}\n\n' + line + b'\n{"q": "2"}\n')
    with pytest.raises(DataError) as caught:
        load_jsonl(path, ("q",))
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("load", [load_jsonl, load_csv])
def test_a_file_that_is_empty_or_cannot_be_read_is_refused(load, file, tmp_path):
    with pytest.raises(DataError, match="data: holds no examples"):
        load(file(""), ("q",))
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        load(tmp_path / "nowhere", ("q",))
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        load(tmp_path, ("q",))


# --- CSV


def test_csv_is_read_with_types_quotes_and_all_line_ends(file):
    path = file(b'\xef\xbb\xbf\r\nq,n,\r\n"a, ""b""\nc",3,\r\n\r\n\xc3\xa9,4, \r\n')
    assert load_csv(path, ("q",), types={"n": int}) == [
        {"q": 'a, "b"\nc', "n": 3},
        {"q": "é", "n": 4},
    ]


@pytest.mark.parametrize(
    ("rows", "line", "said"),
    [
        ("a,b", 3, "2 values for 3 columns"),
        ("a,b,,d", 3, "4 values for 3 columns"),
        (",1,", 3, "the input field 'q' is missing or empty"),
        ("a,1,x", 3, "the value 'x' stands in a column without a name"),
        ("a,one,", 3, "column 'n': 'one' is refused (ValueError"),
        ('"a\nb",one,', 4, "column 'n': 'one' is refused"),
        ('"a', 3, "unexpected end of data"),
        (b"\xff,1,", 3, "not UTF-8 text"),
    ],
)
def test_a_bad_row_of_csv_is_refused_with_file_and_line(file, rows, line, said):
    path = file(b"q,n,\nx,1,\n" + (rows if isinstance(rows, bytes) else rows.encode()))
    with pytest.raises(DataError) as caught:
        load_csv(path, ("q",), types={"n": int})
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert said in str(caught.value)


def test_a_conversion_of_the_user_s_own_may_fail_in_any_way(file):
    with pytest.raises(DataError, match=r"line 3: column 'n': '2' is refused \(KeyError: '2'\)"):
        load_csv(file("q,n\na,1\nb,2\n"), ("q",), types={"n": {"1": "one"}.__getitem__})


def test_two_columns_of_one_name_are_refused(file):
    with pytest.raises(DataError, match="line 1: two columns are called 'n'"):
        load_csv(file("q,n,n\na,1,2\n"), ("q",))


def test_a_type_for_a_column_that_is_not_there_is_refused(file):
    with pytest.raises(DataError, match="names a column 'm'; there are 'q', 'n'"):
        load_csv(file("q,n\na,1\n"), ("q",), types={"m": int})


# --- splits


def test_a_split_is_disjoint_and_whole():
    data = examples(10)
    parts = split(data, train=0.5, val=3, test=0.2)
    assert [len(part) for part in parts] == [5, 3, 2]
    assert sorted(e.question for part in parts for e in part) == sorted(e.question for e in data)


def test_a_seed_is_a_seed_and_0_is_one():
    data = examples(30)
    assert split(data, train=30, seed=0) == split(data, train=30, seed=0)
    assert split(data, train=30) == split(data, train=30, seed=0)
    orders = {tuple(e.question for e in split(data, train=30, seed=s).train) for s in range(5)}
    assert len(orders) == 5


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"train": 8, "val": 3}, "train 8 [+] val 3 [+] test 0 examples are asked of 10"),
        ({"train": -1}, "train=-1"),
        ({"train": 1.5}, "train=1.5: a count, or a share"),
        ({"train": 1, "val": float("nan")}, "val=nan"),
    ],
)
def test_sizes_that_cannot_be_had_are_refused(sizes, said):
    with pytest.raises(DataError, match=said):
        split(examples(10), **sizes)


def test_numpy_sizes_are_counts_and_a_bad_seed_is_refused():
    assert len(split(examples(10), train=np.int64(4)).train) == 4
    with pytest.raises(ConfigError, match="seed=-1"):
        split(examples(10), train=4, seed=-1)
