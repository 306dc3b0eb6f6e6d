"""Splits: disjoint, complete, stratified to within one example, the same for the same seed."""

import numpy as np
import pytest

from jaxresearch import data


def _part(targets):
    return {"inputs": {"index": np.arange(len(targets))}, "targets": np.asarray(targets)}


@pytest.mark.parametrize("seed", range(20))
def test_split_is_disjoint_complete_and_stratified(seed):
    generator = np.random.default_rng(seed)
    n_classes = int(generator.integers(2, 6))
    targets = np.concatenate([np.full(generator.integers(5, 60), k) for k in range(n_classes)]).astype(np.int32)
    targets = generator.permutation(targets)
    fraction = float(generator.uniform(0.1, 0.6))
    rest, share = data.split(_part(targets), fraction=fraction, seed=seed)
    both = np.concatenate([rest["inputs"]["index"], share["inputs"]["index"]])
    assert np.array_equal(np.sort(both), np.arange(len(targets)))
    assert len(share["targets"]) == round(fraction * len(targets))
    assert np.array_equal(targets[share["inputs"]["index"]], share["targets"])
    counts, drawn = np.bincount(targets), np.bincount(share["targets"], minlength=n_classes)
    assert np.all(np.abs(drawn - fraction * counts) < 1)


def test_split_is_a_function_of_the_seed():
    part = _part(np.arange(100) % 3)
    first, again, other = (data.split(part, fraction=0.3, seed=seed)[1]["inputs"]["index"] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_split_leaves_a_class_of_one_in_the_rest():
    rest, share = data.split(_part([0] * 9 + [1]), fraction=0.5, seed=0)
    assert 1 in rest["targets"] and 1 not in share["targets"]
    assert len(share["targets"]) == 5


def test_split_of_values_is_plain():
    rest, share = data.split(_part(np.linspace(0, 1, 11)), fraction=0.2, seed=0)
    assert len(share["targets"]) == 2 and len(rest["targets"]) == 9


@pytest.mark.parametrize("length", [1, 7])
def test_split_of_token_sequences_is_plain_and_keeps_each_whole(length):
    tokens = np.random.default_rng(0).integers(0, 5, (40, length)).astype(np.int32)
    rest, share = data.split(_part(tokens), fraction=0.25, seed=0)
    assert rest["targets"].shape == (30, length) and share["targets"].shape == (10, length)
    assert np.array_equal(tokens[share["inputs"]["index"]], share["targets"])
    plain = data.split(_part(tokens), fraction=0.25, seed=0, stratify=False)[1]
    assert np.array_equal(plain["targets"], share["targets"])


def test_split_gives_both_parts_an_example():
    rest, share = data.split(_part([0, 0]), fraction=0.01, seed=0)
    assert len(rest["targets"]) == len(share["targets"]) == 1


@pytest.mark.raises
@pytest.mark.parametrize("fraction", [0, 1, -0.1, 20])
def test_split_refuses_a_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=f"fraction must be between 0 and 1; got {fraction}"):
        data.split(_part([0, 1]), fraction=fraction, seed=0)


@pytest.mark.raises
def test_split_refuses_a_single_example():
    with pytest.raises(ValueError, match="data must hold two examples or more to be split; got 1"):
        data.split(_part([0]), fraction=0.5, seed=0)
