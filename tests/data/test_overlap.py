"""Examples in two parts: found for any type, and refused beyond coincidence."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import DataCard, Dataset
from jaxresearch.data.overlap import require_disjoint, row_hashes


def dataset(train, test, **card):
    parts = [{"inputs": part, "targets": np.zeros(len(part), np.int32)} for part in (train, test)]
    return Dataset(*parts, None, DataCard(name="mine", source="memory", **card))


NUMBERS = np.random.default_rng(0).normal(size=(100, 3))


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        NUMBERS.astype(np.float32),
        (100 * NUMBERS).astype(np.int16),
        (100 * np.abs(NUMBERS)).astype(np.uint8),
        (100 * np.abs(NUMBERS)).astype(np.uint16),
        np.where(NUMBERS > 1, np.nan, NUMBERS),
    ],
)
def test_row_hashes_are_equal_where_rows_are(values):
    part = {"inputs": values, "targets": np.arange(100) % 2}
    hashes = row_hashes(part)
    rows = np.concatenate([np.nan_to_num(values.astype(float), nan=99.0), part["targets"][:, None]], axis=1)
    assert len(np.unique(hashes)) == len(np.unique(rows, axis=0))
    assert np.array_equal(row_hashes(data.take(part, np.arange(9))), hashes[:9])


def test_row_hashes_tell_small_whole_numbers_apart():
    grid = np.stack(np.meshgrid(np.arange(300.0), np.arange(300.0)), axis=-1).reshape(-1, 2)
    assert len(np.unique(row_hashes({"inputs": grid, "targets": np.zeros(90_000)}))) == 90_000


def test_row_hashes_take_words_and_columns_and_leave_groups_out():
    words = np.array(["a", "b", "a"], np.dtypes.StringDType())
    part = {"inputs": {"word": words, "x": np.zeros(3)}, "targets": np.zeros(3), "groups": np.arange(3)}
    hashes = row_hashes(part)
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.raises
def test_testing_on_training_examples_has_to_be_declared():
    with pytest.raises(
        ValueError, match="parts of mine must not overlap, got 60 of 60 test examples in the training part"
    ):
        require_disjoint(dataset(NUMBERS, NUMBERS[:60]))
    assert require_disjoint(dataset(NUMBERS, NUMBERS[:60], in_sample=True)).card.notes == ()


def test_fewer_repeated_examples_are_noted():
    test = np.concatenate([NUMBERS[:3], NUMBERS[:7] + 1])
    assert require_disjoint(dataset(NUMBERS, test)).card.notes == (
        "3 of 10 test examples occur in the training part as well",
    )
    assert require_disjoint(dataset(NUMBERS, NUMBERS + 1)).card.notes == ()
    assert require_disjoint(dataset(NUMBERS, NUMBERS[:9]), is_drawn=True).card.notes


def test_examples_that_repeat_in_training_are_no_sign_of_a_leak():
    bits = NUMBERS[:, :2] > 0
    assert len(require_disjoint(dataset(bits[:60], bits[60:])).card.notes) == 1


def test_a_validation_part_is_looked_at_as_well():
    whole = dataset(NUMBERS, NUMBERS + 1)
    with pytest.raises(ValueError, match="got 100 of 100 validation examples in the training part"):
        require_disjoint(whole._replace(validation=whole.train))
