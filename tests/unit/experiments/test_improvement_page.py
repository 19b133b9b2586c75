"""`experiments/improvement.py`: its test sets have the difference they are said to have."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

import improvement as page

from mipro.improvement import improvement
from mipro.seeds import stream

P, Q = np.linspace(0, 0.6, 40), np.linspace(0.3, 1.0, 40)


@pytest.mark.parametrize("difference", [0.0, 0.05, 0.2])
def test_programs_are_so_far_apart_as_asked_for(difference):
    a, b = page.apart(P, Q, difference)
    assert b.mean() - a.mean() == pytest.approx(difference)
    assert all(x.min() >= 0 and x.max() <= 1 for x in (a, b))


def test_unlike_programs_are_equally_good_but_differ_everywhere():
    a, b = page.unlike(P, Q)
    assert a.mean() == pytest.approx(b.mean())
    assert (np.abs(a - b) > 0.05).all()


def test_drawn_scores_have_the_chances_asked_for_and_share_their_luck():
    # 40,000 draws of each, standard error 0.0025 at most; independent they would correlate by 0
    a, b = page.drawn(stream(0, "split/page"), [np.full(5, 0.3), np.full(5, 0.6)], 400, 100)
    wanted = [0.3, 0.6]
    assert [x.mean() for x in (a, b)] == pytest.approx(wanted, abs=0.015)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.2


def test_one_look_of_the_page_is_the_package_s_test():
    gains = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 20)
    assert page.tested(gains, 1)[:2] == (improvement(np.zeros(31), gains).shown, 31)
    assert page.naive(gains, 1) == page.tested(gains, 1)[0]
