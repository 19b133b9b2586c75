"""The objectives of `experiments/surrogates.py`: optimum and mean against enumeration."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

from surrogates_families import BLOCKS, FAMILIES, Chain, Product, make

families = st.sampled_from(list(FAMILIES))
seeds = st.integers(0, 2**31)
blocks = st.sampled_from(list(BLOCKS))


def every(sizes: tuple[int, ...]) -> np.ndarray:
    """All codes of a grid. (prod sizes, D)."""
    return np.stack([axis.ravel() for axis in np.indices(sizes)], axis=1)


@given(families, st.integers(2, 4), st.integers(2, 6), seeds, blocks)
def test_optimum_and_mean_are_those_of_enumeration(family, slots, choices, seed, block):
    objective = make(family, slots, choices, seed, block)
    assume(np.prod(objective.sizes) < 20_000)  # those of "mixed" are its own
    values = objective.values(every(objective.sizes))
    assert objective.optimum == pytest.approx(values.max(), rel=1e-12)
    assert objective.mean == pytest.approx(values.mean(), rel=1e-9)
    assert objective.values(objective.argmax[None])[0] == objective.optimum


@pytest.mark.parametrize("family", FAMILIES)
def test_at_2_to_4_slots_of_full_width_too(family):
    for slots, choices in ((2, 18), (3, 17), (4, 12)):
        objective = make(family, slots, choices, 0)
        values = objective.values(every(objective.sizes))
        assert objective.optimum == pytest.approx(values.max(), rel=1e-12)
        assert objective.mean == pytest.approx(values.mean(), rel=1e-9)


@settings(max_examples=60)
@given(families, st.integers(2, 10), st.integers(6, 18), seeds, blocks)
def test_at_any_size_p_is_a_probability_and_no_move_leads_above_the_optimum(
    family, slots, choices, seed, block
):
    objective = make(family, slots, choices, seed, block)
    rng = np.random.default_rng(seed)
    values = objective.values(objective.space.sample_codes(rng, 500))
    assert values.min() > 0.02
    assert values.max() <= objective.optimum + 1e-12 <= 0.9 + 1e-9
    assert objective.optimum - objective.mean > 0.02
    # a wrong optimum would have a better neighbour: change two slots of it at a time
    near = np.repeat(objective.argmax[None], 500, axis=0)
    for _ in range(2):
        d = rng.integers(0, slots, size=len(near))
        near[np.arange(len(near)), d] = rng.integers(0, np.array(objective.sizes)[d])
    assert objective.values(near).max() <= objective.optimum + 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_of_a_large_instance_is_that_of_a_sample(family):
    objective = make(family, 10, 18, 3)
    values = objective.values(objective.space.sample_codes(np.random.default_rng(0), 200_000))
    assert abs(values.mean() - objective.mean) < 6 * values.std() / np.sqrt(len(values))


@given(families, st.integers(2, 10), st.integers(6, 18), seeds)
def test_true_is_values_of_the_configuration(family, slots, choices, seed):
    objective = make(family, slots, choices, seed)
    codes = objective.space.sample_codes(np.random.default_rng(seed), 5)
    configs = [objective.space.decode(row) for row in codes]
    assert [objective.true(config) for config in configs] == pytest.approx(
        objective.values(codes).tolist(), rel=1e-12
    )


@given(families, st.integers(2, 10), st.integers(6, 18), seeds)
def test_an_instance_is_a_function_of_its_name_and_the_blocks_do_not_meet(
    family, slots, choices, seed
):
    first, again = (make(family, slots, choices, seed, "tune") for _ in range(2))
    other = make(family, slots, choices, seed, "report")
    assert first.sizes == again.sizes
    assert (first.optimum, first.mean) == (again.optimum, again.mean)
    assert (first.optimum, first.mean) != (other.optimum, other.mean)


def test_regret_is_0_at_the_optimum_and_1_at_the_mean():
    objective = make("pairwise", 6, 10, 0)
    assert objective.regret(objective.optimum) == 0
    assert objective.regret(objective.mean) == pytest.approx(1)


@given(st.integers(3, 10), st.integers(6, 18), seeds)
def test_sparse_has_one_or_two_slots_that_matter(slots, choices, seed):
    objective = make("sparse", slots, choices, seed)
    assert 1 <= len(slots_that_matter(objective)) <= 2


def slots_that_matter(objective) -> list[int]:
    matter = []
    for d, size in enumerate(objective.sizes):
        row = np.repeat(objective.argmax[None], size, axis=0)
        row[:, d] = np.arange(size)
        if np.ptp(objective.values(row)) > 0:
            matter.append(d)
    return matter


@given(st.integers(2, 10), st.integers(6, 18), seeds, blocks)
def test_the_conjunction_is_best_and_looks_poor_from_all_sides(slots, choices, seed, block):
    objective = make("deceptive", slots, choices, seed, block)
    chain = objective.latent
    assert all(objective.argmax[d] == v for d, v in chain.key.items())
    without = Chain(chain.own, chain.order)
    assert objective.latent.values(objective.argmax[None]) > without.values(without.top()[None])
    for d, v in chain.key.items():  # alone, without the others, it is below the slot's median
        assert chain.own[d][v] <= np.median(chain.own[d])


def test_mixed_has_2_to_50_choices_and_the_others_as_many_as_asked():
    sizes = [c for seed in range(300) for c in make("mixed", 6, 9, seed).sizes]
    assert min(sizes) == 2
    assert max(sizes) == 50
    assert all(make(family, 6, 9, 0).sizes == (9,) * 6 for family in FAMILIES if family != "mixed")


def test_a_chain_by_hand():
    own = (np.array([0.0, 1.0]), np.array([0.0, 2.0]), np.array([0.0, -1.0]))
    links = (np.array([[0.0, 0.0], [0.0, -5.0]]), np.zeros((2, 2)))  # slots 2-0 and 0-1
    chain = Chain(own, (2, 0, 1), links, key={0: 0, 1: 0}, bonus=4.0)
    assert chain.top().tolist() == [0, 0, 0]
    assert chain.values(np.array([[0, 0, 0], [1, 1, 0], [1, 1, 1]])).tolist() == [4.0, 3.0, -3.0]
    assert chain.average() == 0.5 + 1 - 0.5 - 1.25 + 1
    assert chain.floor() == -5.0  # at (1, 0, 1): 1 + 0 - 1 - 5


def test_a_product_by_hand():
    product = Product(((2, 0), (1,)), (np.array([[0.1, 0.2], [0.9, 0.4]]), np.array([0.5, 1.0])))
    assert product.top().tolist() == [0, 1, 1]
    assert product.values(np.array([[0, 1, 1], [1, 0, 0]])).tolist() == [0.9, 0.1]
    assert product.average() == pytest.approx(0.4 * 0.75)
    assert product.floor() == pytest.approx(0.05)


@pytest.mark.parametrize(("family", "block"), [("nested", "tune"), ("sparse", "test")])
def test_an_unknown_family_or_block_is_refused(family, block):
    with pytest.raises(ValueError, match="one of"):
        make(family, 3, 6, 0, block)
