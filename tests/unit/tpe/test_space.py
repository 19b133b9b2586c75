import os
import subprocess
import sys

import numpy as np
import pytest
from active import active

from mipro.tpe import Choice, Space


@pytest.fixture
def tree() -> Space:
    return Space(
        {
            "a": 2,
            "b": ("x", "y", "z"),
            "c": Choice(4, when=("b", {"y", "z"})),
            "d": Choice(("p", None), when=("c", 3)),
        }
    )


def test_kinds_of_choices():
    space = Space([("n", 3), ("s", ["u", ("v", 1), None, frozenset({1})])])
    assert space.names == ("n", "s")
    assert space.choices("n") == (0, 1, 2)
    assert space.choices("s") == ("u", ("v", 1), None, frozenset({1}))


def test_active_follows_conditions_over_several_levels(tree):
    assert active(tree, {"a": 0, "b": "x"}) == ("a", "b")
    assert active(tree, {"a": 0, "b": "y", "c": 0}) == ("a", "b", "c")
    assert active(tree, {"a": 0, "b": "z", "c": 3}) == ("a", "b", "c", "d")


def test_size_is_the_number_enumerated(tree):
    configs = list(tree.enumerate())
    assert tree.size() == len(configs) == 2 * (1 + 2 * (3 + 2))
    assert len({tree.key(c) for c in configs}) == len(configs)
    for config in configs:
        tree.encode(config)
        assert set(active(tree, config)) == set(config)


def test_encode_gives_minus_one_where_inactive(tree):
    assert tree.encode({"a": 1, "b": "x"}).tolist() == [1, 0, -1, -1]
    assert tree.decode([1, 2, 3, 1]) == {"a": 1, "b": "z", "c": 3, "d": None}


def test_size_of_a_large_space_is_exact_and_enumeration_is_lazy():
    space = Space({f"v{i}": 30 for i in range(40)})
    assert space.size() == 30**40
    assert next(space.enumerate()) == {f"v{i}": 0 for i in range(40)}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"a": 5, "b": "x"}, ("'a'", "5")),
        ({"a": [1], "b": "x"}, ("'a'", "[1]")),
        ({"a": 0}, ("'b'", "missing")),
        ({"a": 0, "b": "x", "c": 1}, ("'c'", "'b'", "inactive")),
        ({"a": 0, "b": "y"}, ("'c'", "missing")),
        ({"a": 0, "b": "x", "e": 1}, ("'e'", "not a variable")),
    ],
)
def test_validate_names_the_variable_and_the_value(tree, config, named):
    with pytest.raises(ValueError, match=r".") as error:
        tree.encode(config)
    for part in named:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"a": 0}, "no choices"),
        ({"a": ()}, "no choices"),
        ({"a": "xyz"}, "a number or a sequence"),
        ({"a": True}, "a number or a sequence"),
        ({"a": (1, 1)}, "twice"),
        ({"a": (float("nan"),)}, "does not equal itself"),
        ([("a", 1), ("a", 2)], "named twice"),
        ({"a": Choice(2, when=("q", 0))}, "'a' depends on 'q', but .* is nothing"),
        ({"a": 2, "b": Choice(2, when=("a", 7))}, "7"),
        ({"a": 2, "b": Choice(2, when=("a",))}, "'b' .*a name and a value"),
        ({"a": 2, "b": Choice(2, when=())}, "'b' .*a name and a value"),
        ({"a": 2, "b": Choice(2, when=("a", set()))}, "never active"),
        ({"c": Choice(2, when=("b", 1)), "b": 2}, "'c' depends on 'b', but .* is nothing"),
        ({"a": Choice(2, when=("a", 0))}, "'a' depends on 'a', but .* is nothing"),
        ({"z": 2, "c": Choice(2, when=("b", 1)), "b": 2}, "'c' depends on 'b', but .* is 'z'"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(variables, message):
    with pytest.raises(ValueError, match=message):
        Space(variables)


def test_a_frozenset_that_is_a_choice_is_one_value():
    space = Space({"a": (frozenset({1}), 1, 2), "b": Choice(2, when=("a", frozenset({1})))})
    assert active(space, {"a": frozenset({1})}) == ("a", "b")
    assert active(space, {"a": 1}) == ("a",)


def test_sampling_is_uniform_over_each_active_choice(tree):
    codes = tree.sample_codes(np.random.default_rng(0), 30_000)
    for row in codes[:200]:
        tree.encode(tree.decode(row))
    # each share has sd ≤ √(¼/n), n ≥ 4,900 rows: 5 sd are 0.036, false alarm < 1e-5 in all
    for d in range(4):
        active = codes[codes[:, d] >= 0, d]
        shares = np.bincount(active) / len(active)
        assert np.abs(shares - 1 / tree.sizes[d]).max() < 0.036


def test_growing_keeps_the_old_configurations(tree):
    grown = tree.grown("b", "w")
    assert grown.choices("b") == ("x", "y", "z", "w")
    for config in tree.enumerate():
        assert grown.key(config) == tree.key(config)
    assert grown.is_growth_of(tree)
    assert not tree.is_growth_of(grown)
    twice = tree.grown("c", 9).grown("c", 11)
    assert twice.choices("c") == (0, 1, 2, 3, 9, 11)
    assert twice.size() == 2 * (1 + 2 * (5 + 2))  # where it is active is as before
    with pytest.raises(ValueError, match="twice"):
        tree.grown("b", "x")


def test_equality_and_fingerprint():
    one = Space({"a": 3, "b": Choice(2, when=("a", {0, 2}))})
    same = Space({"a": (0, 1, 2), "b": Choice((0, 1), when=("a", {2, 0}))})
    other = Space({"a": 3, "b": Choice(2, when=("a", {0, 1}))})
    assert one == same
    assert hash(one) == hash(same)
    assert one.fingerprint() == same.fingerprint()
    assert len(one.fingerprint()) == 32
    assert one != other
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(("size", "shown"), [(12, "10, 11"), (13, "10, 11, … (13 in all)")])
def test_a_message_shows_twelve_choices_and_says_how_many_more_there_are(size, shown):
    with pytest.raises(ValueError, match="cannot be 99") as raised:
        Space({"a": size}).encode({"a": 99})
    assert str(raised.value).endswith(f"0, 1, 2, 3, 4, 5, 6, 7, 8, 9, {shown}")


def test_fingerprint_tells_apart_what_differs_in_a_set_or_a_tuple_alone():
    choices = [frozenset("pq"), frozenset("pr"), ("p", "q"), ("p", "r"), (frozenset("pq"),)]
    assert len({Space({"a": ("x", choice)}).fingerprint() for choice in choices}) == 5


def test_fingerprint_does_not_depend_on_the_hash_seed():
    code = (
        "from mipro.tpe import Space, Choice;"
        "print(Space({'a': ('x', frozenset('pqrst'), ('y', frozenset('uvwxyz'))),"
        "'b': Choice(2, when=('a', {'x', frozenset('pqrst')}))}).fingerprint())"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(prints) == 1


def test_no_variables_is_a_space_of_one_configuration():
    space = Space({})
    assert space.size() == 1
    assert list(space.enumerate()) == [{}]
    assert space.sample(np.random.default_rng(0)) == {}


@pytest.mark.parametrize(
    "space",
    [
        Space({"a": 3, "b": 1, "c": 4}),
        Space({"a": 2, "b": Choice(3, when=("a", 1)), "c": Choice(2, when=("b", {0, 2}))}),
        Space({}),
    ],
    ids=repr,
)
def test_all_codes_are_those_enumerated_in_the_same_order(space):
    every = list(space.enumerate_codes())
    assert space.all_codes().tolist() == [codes.tolist() for codes in every]
    assert len(every) == space.size()


@pytest.mark.parametrize("choices", [0, (), "word", ("x", "x"), (float("nan"),)], ids=str)
def test_what_is_wrong_with_choices_is_said_with_the_name(choices):
    with pytest.raises(ValueError, match="'slot7'"):
        Space({"other": 2, "slot7": choices})


def test_growing_a_parent_by_a_set_of_its_values_leaves_the_conditions():
    space = Space({"a": ("x", "y"), "c": Choice(3, when=("a", "x"))})
    grown = space.grown("a", frozenset({"x"}))
    assert grown.is_growth_of(space)
    assert active(grown, {"a": frozenset({"x"})}) == ("a",)


@pytest.mark.parametrize("choices", [([1], [2]), ({}, 1), (("x", [1]), "y")])
def test_choices_that_cannot_be_looked_up_are_refused_by_name(choices):
    with pytest.raises(ValueError, match=r"'a' has a choice .* hash"):
        Space({"a": choices})
