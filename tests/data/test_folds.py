"""Folds: disjoint, complete, stratified, preprocessed with their own training part, and run by one program."""

from dataclasses import replace

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import DataCard, Dataset
from jaxresearch.execution import stages
from jaxresearch.fields import dna


def dataset(n=53, n_classes=3):
    generator = np.random.default_rng(0)
    targets = generator.integers(n_classes, size=n).astype(np.int32)
    inputs = {"place": np.arange(n), "name": np.array([f"e{i}" for i in range(n)])}
    whole = {"inputs": inputs, "targets": targets}
    train, test = data.split(whole, fraction=0.2, seed=0)
    return Dataset(train, test, None, DataCard(name="a", source="b", class_names=("x", "y", "z")[:n_classes]))


def test_fold_tests_every_example_once_and_trains_on_all_others():
    folded = [data.fold(dataset(), place, n_folds=10) for place in range(10)]
    tested = np.concatenate([one.test["inputs"]["place"] for one in folded])
    assert sorted(tested) == list(range(53))
    for one in folded:
        both = np.concatenate([one.train["inputs"]["place"], one.test["inputs"]["place"]])
        assert sorted(both) == list(range(53))
        assert one.validation is None


def test_fold_deals_out_each_class_evenly():
    folded = [data.fold(dataset(), place, n_folds=10) for place in range(10)]
    sizes = {len(one.test["targets"]) for one in folded}
    assert max(sizes) - min(sizes) <= 1
    counts = np.array([np.bincount(one.test["targets"], minlength=3) for one in folded])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()


def test_fold_depends_on_its_seed():
    first, again, other = (data.fold(dataset(), 0, n_folds=5, seed=seed).test["inputs"]["place"] for seed in (0, 0, 1))
    assert (first == again).all() and not np.array_equal(first, other)


def test_fold_takes_values_and_tokens_which_have_no_classes():
    for targets in (np.random.default_rng(0).normal(size=(20, 1)), np.arange(40).reshape(20, 2)):
        parts = [{"inputs": np.arange(len(targets)) + start, "targets": targets} for start in (0, 20, 40)]
        made = data.fold(Dataset(*parts, DataCard(name="a", source="b")), 1, n_folds=4)
        assert (len(made.train["targets"]), len(made.test["targets"])) == (
            3 * len(targets) * 3 // 4,
            3 * len(targets) // 4,
        )


@pytest.mark.parametrize(
    ("place", "n_folds", "match"),
    [
        (0, 1, "folds must be from 2 to the 53"),
        (0, 54, "folds must be from 2"),
        (5, 5, "place must be from 0 to 4; got 5"),
    ],
)
def test_fold_refuses_what_is_no_fold(place, n_folds, match):
    with pytest.raises(ValueError, match=match):
        data.fold(dataset(), place, n_folds=n_folds)


def encoded(one):
    return one._replace(**{name: {**part, "inputs": part["inputs"]["place"]} for name, part in one.parts().items()})


def test_folds_of_windows_share_no_content():
    windows = np.arange(40).reshape(10, 4)
    part = {"inputs": windows, "targets": windows}
    assert len(data.fold(Dataset(part, part, None, DataCard(name="a", source="b")), 0, n_folds=2).train["inputs"]) == 5
    overlapping = Dataset(part, part, None, DataCard(name="a", source="b", gap=2))
    for place in range(2):
        made = data.fold(overlapping, place, n_folds=2)
        distance = np.abs(made.train["inputs"][:, None, 0] - made.test["inputs"][None, :, 0])
        assert len(made.train["inputs"]) == 3 and distance.min() == 12  # windows start 4 apart: two are left out


def test_folds_keep_groups_whole_and_of_like_size():
    groups = np.repeat(np.arange(9), [30, 20, 10, 10, 10, 5, 5, 5, 5]).astype(np.int32)
    part = {"inputs": np.arange(100), "targets": np.arange(100) % 2, "groups": groups}
    by_group = DataCard(name="a", source="b", split=data.Split(by="group"))
    dataset = Dataset(part, data.take(part, slice(0, 0)), None, by_group)
    made = [data.fold(dataset, place, n_folds=4) for place in range(4)]
    for one in made:
        assert not {*one.train["groups"].tolist()} & {*one.test["groups"].tolist()}
    assert sorted(i for one in made for i in one.test["inputs"].tolist()) == [*range(100)]
    assert [len(one.test["inputs"]) for one in made] in ([30, 20, 25, 25], [30, 25, 25, 20], [30, 25, 20, 25])


@pytest.mark.raises
def test_fold_refuses_times_and_too_few_groups():
    part = {"inputs": np.arange(6), "targets": np.arange(6) % 2, "groups": np.arange(6) // 3}
    of = {by: DataCard(name="a", source="b", split=data.Split(by=by)) for by in ("time", "group")}
    empty = data.take(part, slice(0, 0))
    with pytest.raises(
        ValueError, match="data of a must not be folded, since it is split by time: all folds but the last"
    ):
        data.fold(Dataset(part, empty, None, of["time"]), 0, n_folds=2)
    with pytest.raises(ValueError, match="folds must be at most the 2 groups, got 3. Pass fewer."):
        data.fold(Dataset(part, empty, None, of["group"]), 0, n_folds=3)


def test_stacked_keeps_each_fold_and_gives_padding_weight_0():
    folded = [encoded(data.fold(dataset(), place, n_folds=10)) for place in range(10)]
    both = data.stacked(folded)
    assert both.n_folds == 10 and both.n_train == 47 and both.axis == 0
    for place, one in enumerate(folded):
        of_run = both.of_run(place)
        assert of_run.n_folds == 0 and of_run.axis is None
        assert (of_run.train["inputs"] == one.train["inputs"][:47]).all()
        counted = of_run.test["weights"] > 0
        assert (of_run.test["inputs"][counted] == one.test["inputs"]).all()


def test_stacked_has_no_weights_where_all_folds_are_of_one_size():
    folded = [encoded(data.fold(dataset(n=50, n_classes=1), place, n_folds=10)) for place in range(10)]
    assert "weights" not in data.stacked(folded).test


def test_folds_have_validation_parts_of_their_own():
    folded = [encoded(data.fold(dataset(), place, n_folds=5)) for place in range(5)]
    both = data.stacked([data.with_validation(one, fraction=0.25) for one in folded])
    with pytest.raises(ValueError, match="validation data must be split off before folds are stacked, got folds"):
        data.with_validation(both, fraction=0.25)
    assert both.n_folds == 5 and both.axis == 0
    n_trained = []
    for place, one in enumerate(folded):
        of_run = both.of_run(place)
        parts = [
            part["inputs"][part.get("weights", np.ones(len(part["inputs"]))) > 0]
            for part in (of_run.train, of_run.validation, of_run.test)
        ]
        trained, looked, tested = (set(part.tolist()) for part in parts)
        assert not trained & looked and not (trained | looked) & tested
        assert tested == set(one.test["inputs"].tolist())
        assert trained | looked <= set(one.train["inputs"].tolist())
        # Side by side, training parts are cut to the shortest, by one example.
        assert len(one.train["targets"]) - len(trained) - len(looked) <= 1
        assert abs(len(looked) - 0.25 * len(one.train["targets"])) < 1
        counts = np.bincount(of_run.train["targets"]), np.bincount(one.train["targets"])
        assert (np.abs(counts[0] - 0.75 * counts[1]) < 2).all()  # stratified, and cut
        n_trained.append(len(trained))
    assert len(set(n_trained)) == 1


def test_stacked_fills_narrower_examples_up_with_zeros():
    one = encoded(data.fold(dataset(), 0, n_folds=10))
    columns = [
        one._replace(**{n: {**p, "inputs": np.ones((len(p["targets"]), k))} for n, p in one.parts().items()})
        for k in (1, 2)
    ]
    names = [replace(made.card, feature_names=tuple("ab"[:k])) for made, k in zip(columns, (1, 2), strict=True)]
    fitted = ({"mean": np.ones(1)}, {"mean": np.ones(2)})
    made = data.stacked([c._replace(card=n, fitted=f) for c, n, f in zip(columns, names, fitted, strict=True)])
    assert made.train["inputs"][0, 0].tolist() == [1, 0] and made.train["inputs"][1, 0].tolist() == [1, 1]
    assert made.card.feature_names == ("a", "b") and made.card.feature_shape == (2,)
    assert made.of_run(0).fitted is fitted[0]
    assert stages.fitted_of(made)["mean"].tolist() == [[1, 0], [1, 1]]


def test_stacked_pads_sequences_as_their_preprocessor_does():
    """Two folds of DNA, whose longest training sequences have two tokens and one; AAA is token 0, NNN token 64."""
    sequences = np.array(["ACGTAC", "ACG", "AAA", "AAA"], np.dtypes.StringDType())
    part = {"inputs": {"sequence": sequences}, "targets": np.zeros(4, np.int32)}
    card = DataCard(name="a", source="b", class_names=("x",), split=data.Split(by="stretch"))
    whole = Dataset(part, data.take(part, slice(0, 0)), None, card)
    folded = [data.prepare(dna.kmer_tokens(3), data.fold(whole, place, n_folds=2)) for place in range(2)]
    assert [one.train["inputs"].shape[1] for one in folded] == [1, 2]
    made = data.stacked(folded)
    assert made.train["inputs"].tolist() == [[[0, 64], [0, 64]], [[6, 49], [6, 64]]]
    assert made.test["inputs"].tolist() == [[[6, 64], [6, 64]], [[0, 64], [0, 64]]]
    assert made.card.vocabulary[64] == "NNN"


def test_stacked_keeps_the_notes_of_all_folds():
    one = encoded(data.fold(dataset(), 0, n_folds=10))
    folded = [one._replace(card=replace(one.card, notes=notes)) for notes in (("same", "first"), ("same",))]
    assert data.stacked(folded).card.notes == ("same", "fold 0: first")


def test_folds_name_the_classes_that_each_of_them_lacks():
    """A class with a single example is tested in the only fold that has not trained on it."""
    part = {"inputs": np.arange(24.0)[:, None], "targets": np.array([2] + [0, 1] * 11 + [0], np.int32)}
    card = DataCard(name="a", source="b", class_names=("x", "y", "z"))
    for test in (data.take(part, slice(0, 12)), data.take(part, slice(12, 24))):
        train = data.take(part, slice(12, 24)) if test["targets"][0] == 2 else data.take(part, slice(0, 12))
        folded = [data.fold(Dataset(train, test, None, card), place, n_folds=4) for place in range(4)]
        (place,) = [place for place, one in enumerate(folded) if 2 in one.test["targets"]]
        made = data.stacked([data.prepare(data.standard, one) for one in folded])
        assert made.card.notes == (f"fold {place}: no training example is of class 'z'",)


@pytest.mark.raises
def test_stacked_refuses_folds_that_differ_in_their_axes():
    one = encoded(data.fold(dataset(), 0, n_folds=10))
    square = one._replace(train={**one.train, "inputs": np.zeros((len(one.train["targets"]), 2, 2))})
    with pytest.raises(ValueError, match="folds must have the same number of axes of an example, got 0 and 2"):
        data.stacked([one, square])


def test_fold_counts_parts_that_are_the_same_examples_once():
    inputs = {"area": np.array([1.0, np.nan, 3.0, 4.0]), "street": np.array(["a", "", "b", "a"])}
    part = {"inputs": inputs, "targets": np.arange(4.0)[:, None]}
    equal = {"inputs": {name: values.copy() for name, values in inputs.items()}, "targets": part["targets"].copy()}
    for test, validation in ((part, None), (equal, None), (equal, part)):
        made = data.fold(Dataset(part, test, validation, DataCard(name="a", source="b")), 0, n_folds=2)
        both = np.concatenate([made.train["targets"], made.test["targets"]])
        assert sorted(both[:, 0]) == [0, 1, 2, 3]
    other = {**equal, "inputs": {**inputs, "street": np.array(["a", "", "b", "b"])}}
    made = data.fold(Dataset(part, other, None, DataCard(name="a", source="b")), 0, n_folds=2)
    assert len(made.train["targets"]) + len(made.test["targets"]) == 8


@pytest.mark.raises
def test_stacked_refuses_folds_of_other_classes():
    folded = [encoded(data.fold(dataset(), place, n_folds=10)) for place in range(2)]
    other = folded[1]._replace(card=replace(folded[1].card, class_names=("x",)))
    with pytest.raises(ValueError, match="folds must have the same classes, got others in one fold"):
        data.stacked([folded[0], other])


def test_sample_draws_the_exact_number_from_small_classes_too():
    for n_all, classes in ((53, 3), (10, 10), (12, 5)):
        part = {"inputs": np.arange(n_all), "targets": np.arange(n_all) % classes}
        for n in range(1, n_all):
            drawn = data.sample(part, n)
            exact = np.bincount(part["targets"]) * n / n_all
            assert len(drawn["targets"]) == n
            assert (np.abs(np.bincount(drawn["targets"], minlength=classes) - exact) < 1).all()
    singles = {"inputs": np.arange(10), "targets": np.arange(10)}
    drawn = [tuple(data.sample(singles, 5, seed=seed)["targets"]) for seed in range(5)]
    assert len(set(drawn)) > 1  # classes beyond the first ones


def test_sample_draws_from_values_as_a_whole():
    part = {"inputs": np.arange(9), "targets": np.arange(9.0)[:, None]}
    assert len(data.sample(part, 8)["targets"]) == 8


def test_sample_draws_so_many_by_class_in_their_order():
    part = dataset().train
    drawn = data.sample(part, 20)
    assert len(drawn["targets"]) == 20 and (np.diff(drawn["inputs"]["place"]) > 0).all()
    shares = np.bincount(part["targets"]) / len(part["targets"]) * 20
    assert (np.abs(np.bincount(drawn["targets"]) - shares) <= 1).all()
    assert data.sample(part, 1000) is part
    with pytest.raises(ValueError, match="number of examples must be 1 or more; got 0"):
        data.sample(part, 0)


@pytest.mark.parametrize("n", [16, 17])
def test_stacked_keeps_the_weights_of_examples(n):
    """Only unequal folds need padding; the original weights are kept with and without it."""
    part = {"inputs": np.zeros((n, 1)), "targets": np.zeros(n), "weights": np.linspace(1, 9, n)}
    whole = Dataset(part, part, None, DataCard(name="a", source="b"))
    folded = [data.fold(whole, place, n_folds=4) for place in range(4)]
    for place, weights in enumerate(data.stacked(folded).test["weights"]):
        np.testing.assert_array_equal(weights[weights > 0], folded[place].test["weights"])


def _of_groups(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    part = {"inputs": np.arange(len(groups)), "targets": np.arange(len(groups)) % 2, "groups": groups}
    card = DataCard(name="a", source="b", class_names=("x", "y"), split=data.Split(by="group", column="g"))
    return Dataset(part, data.take(part, slice(0, 0)), None, card)


def test_in_sample_data_keeps_its_rule_in_folds():
    whole = data.in_sample(_of_groups([10] * 6))
    for place in range(3):
        made = data.fold(whole, place, n_folds=3)
        assert not {*made.train["groups"].tolist()} & {*made.test["groups"].tolist()} and not made.card.in_sample
    chosen = data.development(whole, fraction=0.3)
    assert not {*chosen.train["groups"].tolist()} & {*chosen.test["groups"].tolist()}
    assert not chosen.card.in_sample and chosen.card.split.fraction == 0.3


@pytest.mark.raises
def test_stacked_refuses_training_parts_of_very_different_sizes():
    folded = [data.fold(_of_groups([1000, 20, 20, 20]), place, n_folds=3) for place in range(3)]
    with pytest.raises(ValueError, match="training parts of folds must have similar sizes .* got 60 to 1,0.0 examples"):
        data.stacked(folded)


def test_stacked_leaves_out_random_examples_of_longer_folds():
    folded = [data.fold(_of_groups([52, 50, 48]), place, n_folds=3) for place in range(3)]
    kept = data.stacked(folded).train["inputs"]
    assert kept.shape == (3, 98)
    left_out = {*folded[2].train["inputs"].tolist()} - {*kept[2].tolist()}
    assert len(left_out) == 4 and left_out != {*folded[2].train["inputs"][-4:].tolist()}
