"""Rows stay on disk through slices, splits and folds, and are digested by their content."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import DataCard, Dataset, Rows
from jaxresearch.data.rows import Joined, joined, side_by_side

VALUES = np.arange(60.0, dtype=np.float32).reshape(20, 3)


class Source:
    """A source that reads examples one by one and counts them."""

    def __init__(self, values=VALUES):
        self.values, self.n_read = values, 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, place):
        self.n_read += 1
        return self.values[place]


class Bulk(Source):
    """A source that reads many examples at a time and has its own digest."""

    digest = "of the file"

    def read(self, places):
        self.n_read += len(places)
        return self.values[places]


@pytest.mark.parametrize("source", [Source, Bulk])
@pytest.mark.parametrize(
    "index", [slice(3, 9), np.arange(20) % 3 == 0, np.array([5, 5, -1]), np.array([[1, 2], [3, 4]])]
)
def test_an_index_gives_what_it_gives_of_an_array(source, index):
    rows = Rows(source())[index]
    assert rows.shape == VALUES[index].shape and rows.dtype == VALUES.dtype and rows.ndim == VALUES[index].ndim
    assert rows.source.n_read == 1, "only the form of an example"
    np.testing.assert_array_equal(rows.read(), VALUES[index])


def test_an_index_of_an_index_counts_within_it():
    rows = Rows(Source())[5:15]
    np.testing.assert_array_equal(rows[np.array([9, 0])].read(), VALUES[[14, 5]])
    np.testing.assert_array_equal(rows.read([[2, 3]]), VALUES[[[7, 8]]])
    np.testing.assert_array_equal(rows[2].read(), VALUES[7])


def test_functions_are_applied_when_rows_are_read():
    rows = Rows(Source()).mapped(lambda rows: rows / 2).mapped(lambda rows: rows[:, :2].astype(np.float64))
    assert rows.source.n_read == 1 and rows.shape == (20, 2) and rows.dtype == np.float64
    np.testing.assert_array_equal(rows[3:5].read(), VALUES[3:5, :2] / 2)


def test_pieces_are_all_rows_in_order(monkeypatch):
    monkeypatch.setattr("jaxresearch.data.rows._PIECE_BYTES", 7 * 12)
    pieces = list(Rows(Bulk()).pieces())
    assert [len(piece) for piece in pieces] == [7, 7, 6]
    np.testing.assert_array_equal(np.concatenate(pieces), VALUES)


def test_joined_rows_read_each_of_its_own():
    whole = joined(Rows(Source())[10:], VALUES[:4], Rows(Bulk())[:2])
    expected = np.concatenate([VALUES[10:], VALUES[:4], VALUES[:2]])
    assert whole.shape == (16, 3)
    order = np.random.default_rng(0).permutation(16)
    np.testing.assert_array_equal(whole.read(order), expected[order])
    np.testing.assert_array_equal(joined(VALUES, VALUES), np.concatenate([VALUES, VALUES]))


def test_joined_rows_are_alike():
    with pytest.raises(ValueError, match="joined rows must have one shape and type, got .*Save them in the same form"):
        Joined([Rows(Source()), VALUES[:, :2]])


def test_rows_side_by_side_are_folds():
    both = side_by_side(Rows(Source())[:10], Rows(Bulk())[10:].mapped(lambda rows: -rows))
    assert both.shape == (2, 10, 3)
    np.testing.assert_array_equal(both[1][2:4].read(), -VALUES[12:14])
    np.testing.assert_array_equal(both[:, :2].read(), np.stack([VALUES[:2], -VALUES[10:12]]))


def test_an_array_of_all_is_refused():
    with pytest.raises(ValueError, match="rows on disk must be read in chunks, got a conversion to one array"):
        np.asarray(Rows(Source()))


def test_a_source_without_examples_is_refused():
    with pytest.raises(ValueError, match="a source of rows must hold at least one example, got none"):
        Rows([])


def test_examples_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"examples of a source must be of one shape, got \[\(2,\), \(3,\)\]"):
        Rows([np.zeros(2), np.zeros(3)]).read()


def test_content_decides_the_digest():
    def digest(values, index=slice(None)):
        return data.digest({"inputs": Rows(Source(values))[index]})

    changed = VALUES.copy()
    changed[7, 1] += 1
    assert digest(VALUES) == digest(VALUES.copy()) == digest(VALUES[::-1], slice(None, None, -1))
    assert len({digest(VALUES), digest(changed), digest(VALUES, slice(5, None)), digest(VALUES[::-1])}) == 4


def test_a_source_with_a_digest_is_not_read_for_it():
    rows = Rows(Bulk())
    texts = {rows.digest, rows[:4].digest, rows[4:8].digest}
    assert rows.source.n_read == 1 and len(texts) == 3
    assert rows.mapped(lambda rows: rows + 1).digest != rows.mapped(lambda rows: rows + 2).digest, "content decides"


def dataset(wrap):
    """Returns two parts of one source, with classes."""
    values = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    part = {"inputs": wrap(values), "targets": np.arange(50, dtype=np.int32) % 2}
    card = DataCard(name="a", source="b", class_names=("x", "y"), feature_shape=(4,))
    return Dataset(data.take(part, slice(0, 30)), data.take(part, slice(30, 50)), None, card)


def arrays_of(made):
    """Reads every array of a dataset."""

    def read(entry):
        return entry.read() if isinstance(entry, Rows) else entry

    return {name: data.map_arrays(read, part) for name, part in made.parts().items()}


@pytest.mark.parametrize(
    "fun",
    [
        lambda given: data.with_validation(given, fraction=0.2),
        lambda given: data.development(given),
        lambda given: data.in_sample(given),
        lambda given: given._replace(train=data.sample(given.train, 7)),
        lambda given: data.fold(given, 1, n_folds=3),
        lambda given: data.stacked([data.fold(given, place, n_folds=3) for place in range(3)]),
        lambda given: data.stacked([data.fold(given, place, n_folds=3) for place in range(3)]).of_run(2),
        lambda given: data.stacked(
            [data.with_validation(data.fold(given, place, n_folds=3), fraction=0.2) for place in range(3)]
        ),
    ],
)
def test_parts_of_rows_are_those_of_arrays(fun):
    on_disk, resident = fun(dataset(lambda values: Rows(Source(values)))), fun(dataset(np.asarray))
    assert isinstance(on_disk.train["inputs"], Rows) and on_disk.n_train == resident.n_train
    for name, part in arrays_of(resident).items():
        for one, other in zip(part.values(), arrays_of(on_disk)[name].values(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["inf", "nan"])
def test_check_reads_rows(name):
    given = dataset(lambda values: Rows(Source(values)))
    data.check(given)
    given.train["inputs"].source.values[12, 3] = float(name)
    with pytest.raises(
        ValueError, match=rf"inputs of the train part must be finite. got {name} at example 12 \(1 in all\)"
    ):
        data.check(given)


def test_folds_know_the_same_rows_in_two_parts():
    source = Source(VALUES)
    part = {"inputs": Rows(source), "targets": np.arange(20, dtype=np.int32) % 2}
    again = {"inputs": Rows(Source(VALUES.copy())), "targets": part["targets"]}
    for test in (dict(part), again, {**part, "inputs": VALUES}):
        made = data.fold(Dataset(part, test, None, DataCard(name="a", source="b")), 0, n_folds=4)
        assert len(made.train["targets"]) == 15


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4"])
@pytest.mark.parametrize("shape", [(4,), (5, 3)])
def test_what_is_fitted_to_rows_is_fitted_to_arrays_bit_for_bit(monkeypatch, dtype, shape):
    monkeypatch.setattr("jaxresearch.data.rows._PIECE_BYTES", 1000)
    values = (np.random.default_rng(0).normal(size=(500, *shape)) * 40 + 100).astype(dtype)
    part = {"inputs": values, "targets": np.arange(500, dtype=np.int32) % 2}
    card = DataCard(name="a", source="b", class_names=("x", "y"))
    made, expected = (
        data.prepare(data.standard, Dataset(one, one, None, card))
        for one in ({**part, "inputs": Rows(Bulk(values))}, part)
    )
    for name, fitted in expected.fitted["inputs"].items():
        assert np.asarray(made.fitted["inputs"][name]).tobytes() == np.asarray(fitted).tobytes()
    assert made.train["inputs"].read().tobytes() == expected.train["inputs"].tobytes()
    if "mean" in expected.fitted["inputs"]:
        axis = 0 if values.ndim == 2 and dtype != "u1" else None
        np.testing.assert_allclose(
            np.squeeze(expected.fitted["inputs"]["mean"]), values.mean(axis, np.float64), rtol=1e-13
        )
        np.testing.assert_allclose(
            np.squeeze(expected.fitted["inputs"]["scale"]), values.std(axis, np.float64), rtol=1e-13
        )


def test_rows_of_one_value_and_of_huge_ones_are_fitted():
    part = {"inputs": Rows(Bulk(np.array([[1e300, 3.1], [-1e300, 3.1], [0, 3.1]]))), "targets": np.zeros(3, np.int32)}
    card = DataCard(name="a", source="b", class_names=("x", "y"))
    made = data.prepare(data.standard, Dataset(part, part, None, card)).train["inputs"].read()
    np.testing.assert_allclose(made, [[1.5**0.5, 0], [-(1.5**0.5), 0], [0, 0]], rtol=1e-6, atol=1e-12)


def test_rows_of_lists_are_told_apart():
    one, other = (Rows([np.zeros(2) + shift, np.ones(2)]) for shift in (0, 3))
    assert one.is_same(Rows([np.zeros(2), np.ones(2)])) and not one.is_same(other)
