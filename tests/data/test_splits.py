"""Splits: disjoint, complete, stratified to within one example, the same for the same seed."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import DataCard, Dataset, Streams


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
    plain = data.split(_part(tokens), fraction=0.25, seed=0, by="random")[1]
    assert np.array_equal(plain["targets"], share["targets"])


def test_split_gives_both_parts_an_example():
    rest, share = data.split(_part([0, 0]), fraction=0.01, seed=0)
    assert len(rest["targets"]) == len(share["targets"]) == 1


@pytest.mark.raises
@pytest.mark.parametrize("fraction", [0, 1, -0.1, 20])
def test_split_refuses_a_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=f"fraction must be between 0 and 1, got {fraction}"):
        data.split(_part([0, 1]), fraction=fraction, seed=0)


@pytest.mark.raises
def test_split_refuses_a_single_example():
    with pytest.raises(ValueError, match="data must hold two examples or more to be split, got 1"):
        data.split(_part([0]), fraction=0.5, seed=0)


@pytest.mark.raises
def test_split_refuses_several_streams():
    streams = Streams(labelled=_part([0, 1, 0]), unlabelled={"inputs": np.arange(9)})
    with pytest.raises(ValueError, match="data of several streams cannot be split, got labelled, unlabelled. Declare"):
        data.split(streams, fraction=0.5, seed=0)


def _dataset(n_all=100, validation=None):
    """Returns training examples 0 to n - 1 of three classes, a fifth of each other part."""
    targets = (np.arange(n_all) % 3).astype(np.int32)
    test = {"inputs": {"index": np.arange(n_all, n_all + 20)}, "targets": targets[:20]}
    return Dataset(_part(targets), test, validation, DataCard(name="a", source="b"))


def _indices(part):
    return part["inputs"]["index"].tolist()


def test_with_validation_is_disjoint_complete_and_stratified():
    dataset = _dataset()
    carved = data.with_validation(dataset, fraction=0.3)
    assert sorted(_indices(carved.train) + _indices(carved.validation)) == [*range(100)]
    assert len(_indices(carved.validation)) == 30 and carved.test is dataset.test and carved.n_train == 70
    counts = np.bincount(carved.validation["targets"])
    assert np.all(np.abs(counts - 0.3 * np.bincount(dataset.train["targets"])) < 1)
    again, other = (data.with_validation(dataset, fraction=0.3, seed=seed) for seed in (1, 2))
    assert _indices(again.validation) == _indices(carved.validation) != _indices(other.validation)


def test_with_validation_is_another_draw_than_development():
    """A study selects on one part and evaluates on another: with the same draw, few examples would be left for the second."""
    dataset = _dataset()
    selected, looked = data.development(dataset, fraction=0.3), data.with_validation(dataset, fraction=0.3)
    assert selected.validation is None and set(_indices(selected.test)) != set(_indices(looked.validation))
    both = data.with_validation(selected, fraction=0.5)
    parts = [_indices(part) for part in (both.train, both.validation, both.test)]
    assert sorted(sum(parts, [])) == [*range(100)] and [len(part) for part in parts] == [35, 35, 30]


def test_with_validation_leaves_the_part_that_was_there_out():
    own = {"inputs": {"index": np.arange(200, 210)}, "targets": np.zeros(10, np.int32)}
    carved = data.with_validation(_dataset(validation=own), fraction=0.1)
    assert sorted(_indices(carved.train) + _indices(carved.validation)) == [*range(100)]


def test_with_validation_carves_unlabelled_data():
    part = {"inputs": np.arange(10)}
    carved = data.with_validation(Dataset(part, part, None, DataCard(name="a", source="b")), fraction=0.2)
    assert sorted([*carved.train["inputs"], *carved.validation["inputs"]]) == [*range(10)]


@pytest.mark.raises
def test_with_validation_refuses_what_cannot_be_carved():
    empty = Dataset({}, {}, {}, DataCard(name="a", source="b"))
    with pytest.raises(ValueError, match="validation must be left out without data, got a fraction"):
        data.with_validation(empty, fraction=0.1)
    with pytest.raises(ValueError, match="fraction must be between 0 and 1, got 1.5"):
        data.with_validation(_dataset(), fraction=1.5)


def test_split_of_classes_of_one_example_each_holds_its_fraction():
    rest, share = data.split({"inputs": np.arange(10), "targets": np.arange(10)}, fraction=0.2, seed=0)
    assert (len(rest["targets"]), len(share["targets"])) == (8, 2)
    assert sorted([*rest["inputs"], *share["inputs"]]) == list(range(10))


def _grouped(n_groups=12, size=10):
    groups = np.repeat(np.arange(n_groups), size).astype(np.int32)
    return {"inputs": np.arange(n_groups * size), "targets": np.arange(n_groups * size) % 2, "groups": groups}


def test_split_by_group_keeps_groups_whole():
    rest, share = data.split(_grouped(), fraction=0.25, seed=3, by="group")
    assert not {*rest["groups"].tolist()} & {*share["groups"].tolist()} and len(share["groups"]) == 30
    assert sorted([*rest["inputs"], *share["inputs"]]) == [*range(120)]
    other = data.split(_grouped(), fraction=0.25, seed=4, by="group")[1]
    assert {*other["groups"].tolist()} != {*share["groups"].tolist()}


def test_split_by_group_holds_out_some_groups_but_never_all():
    for fraction in (0.01, 0.99):
        rest, share = data.split(_grouped(3), fraction=fraction, seed=0, by="group")
        assert len(rest["groups"]) and len(share["groups"])


@pytest.mark.raises
def test_split_by_group_refuses_what_has_none():
    with pytest.raises(ValueError, match="data must have groups to be split by group, got none. Name their column"):
        data.split(_part([0, 1, 0]), fraction=0.5, seed=0, by="group")
    with pytest.raises(ValueError, match="data must hold two groups or more to be split by group, got 1"):
        data.split(_grouped(1), fraction=0.5, seed=0, by="group")


def test_split_by_time_holds_out_the_latest_and_divides_no_time():
    rest, share = data.split(_grouped(), fraction=0.22, seed=0, by="time")
    assert share["inputs"].tolist() == [*range(90, 120)] and rest["groups"].max() < share["groups"].min()


@pytest.mark.parametrize("gap", [0, 2])
def test_split_by_stretch_leaves_out_what_shares_content(gap):
    part = {"inputs": np.arange(100), "targets": np.arange(100) % 2}
    rest, share = data.split(part, fraction=0.1, seed=0, by="stretch", gap=gap)
    assert share["inputs"].tolist() == [*range(90, 100)] and rest["inputs"].tolist() == [*range(90 - gap)]


@pytest.mark.raises
def test_split_by_stretch_refuses_a_gap_that_leaves_nothing():
    part = {"inputs": np.arange(4), "targets": np.arange(4) % 2}
    with pytest.raises(
        ValueError, match="data must hold more examples than the 2 held out and the 2 between the parts"
    ):
        data.split(part, fraction=0.5, seed=0, by="stretch", gap=2)


@pytest.mark.parametrize("by", ["group", "time", "stretch"])
def test_validation_and_selection_data_follow_the_split_rule(by):
    card = DataCard(name="a", source="b", split=data.Split(by=by), gap=2 if by == "stretch" else 0)
    whole = _grouped()
    dataset = Dataset(whole, data.take(whole, slice(0, 1)), None, card)
    chosen = data.development(dataset, fraction=0.2)
    carved = data.with_validation(chosen, fraction=0.2)
    parts = [carved.train, carved.validation, carved.test]
    if by != "stretch":
        groups = [{*part["groups"].tolist()} for part in parts]
        assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
    if by != "group":
        assert (
            parts[0]["inputs"].max() < parts[1]["inputs"].min() <= parts[1]["inputs"].max() < parts[2]["inputs"].min()
        )
    if by == "stretch":
        assert parts[1]["inputs"].min() - parts[0]["inputs"].max() == 3


def test_in_sample_data_is_declared():
    dataset = _dataset()
    whole = data.in_sample(dataset)
    assert whole.card.in_sample and _indices(whole.train) == _indices(whole.test) == [*range(120)]


def test_development_on_a_given_validation_part_has_no_fraction():
    parts = [{"inputs": np.arange(4) + start, "targets": np.zeros(4, np.int32)} for start in (0, 4, 8)]
    card = data.DataCard(name="a", source="b", class_names=("x",), split=data.Split(fraction=0.3))
    made = data.development(data.Dataset(parts[0], parts[1], parts[2], card))
    assert made.test is parts[2] and made.card.split.fraction is None
