"""Racing: who is given up, and what its bias is, by enumeration."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

from evidence_racing import chunks, out_of_the_running

from mipro.tpe.split import Pool


def pool(*seen: tuple[float, int]) -> Pool:
    """Candidates (0,), (1,), … with a mean and its n."""
    means, ns = zip(*seen, strict=True)
    return Pool.of([(i,) for i in range(len(seen))], means, ns)


@given(st.integers(1, 40), st.integers(1, 6))
def test_chunks_are_the_minibatch_in_order(size, parts):
    examples = tuple(range(100, 100 + size))
    cut = chunks(examples, parts)
    assert sum(cut, ()) == examples
    assert len(cut) <= parts
    assert {len(part) for part in cut[:-1]} <= {len(cut[0])}
    assert len(cut[-1]) <= len(cut[0])


def test_a_candidate_far_behind_is_given_up_and_a_near_one_is_not():
    seen = pool((0.8, 70), (0.1, 35), (0.0, 9), (0.6, 9))
    assert out_of_the_running((2,), seen, 0.1)
    assert not out_of_the_running((3,), seen, 0.1)
    assert not out_of_the_running((0,), seen, 0.1)  # the leader itself
    assert not out_of_the_running((2,), seen, 0.0)


def test_on_too_little_nobody_is_given_up():
    assert not out_of_the_running((1,), pool((1.0, 80), (0.0, 9)), 0.4)
    even = pool((0.5, 10), (0.5, 10), (0.5, 10))
    assert not any(out_of_the_running((i,), even, 0.49) for i in range(3))
    without_noise = pool((3.0, 1), (3.0, 1), (3.0, 1))
    assert not any(out_of_the_running((i,), without_noise, 0.49) for i in range(3))


@given(st.sampled_from([0.001, 1.0, 500.0]), st.sampled_from([-900.0, 0.3, 40.0]))
def test_unit_and_origin_of_the_metric_do_not_count(unit, origin):
    seen = ((0.83, 70), (0.12, 35), (0.017, 9), (0.612, 9), (0.4, 9))
    for level in (0.02, 0.1, 0.3):
        plain = [out_of_the_running((i,), pool(*seen), level) for i in range(5)]
        moved = pool(*((origin + unit * mean, n) for mean, n in seen))
        assert plain == [out_of_the_running((i,), moved, level) for i in range(5)]
    assert (plain[0], plain[2]) == (False, True)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_the_bias_of_a_stopped_mean_and_that_pooled_with_n_there_is_none(p):
    """All 2^8 minibatches of 8, in four chunks: E[S − n p] = 0, while E[S / n] < p."""
    expected = {"sum": 0.0, "n": 0.0, "mean": 0.0}
    for draws in product((0, 1), repeat=8):
        probability = p ** sum(draws) * (1 - p) ** (8 - sum(draws))
        seen = draws
        for n in (2, 4, 6):
            part = draws[:n]
            told = pool((0.75, 40), (0.5, 40), (0.25, 40), (sum(part) / n, n))
            if out_of_the_running((3,), told, 0.3):
                seen = part
                break
        expected["sum"] += probability * sum(seen)
        expected["n"] += probability * len(seen)
        expected["mean"] += probability * sum(seen) / len(seen)
    assert expected["n"] < 8  # some are given up
    assert expected["sum"] == pytest.approx(p * expected["n"], abs=1e-12)
    assert expected["mean"] < p - 0.005
