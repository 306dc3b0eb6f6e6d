"""Predictions of several seeds whose last outputs are not values of the target."""

import numpy as np
import pytest

from jaxresearch import execution
from jaxresearch.data import DataCard

CARD = DataCard(name="lengths", source="")


def test_scores_leave_out_what_is_not_the_target():
    outputs = np.array([[[1.0, 0.0, 2.0], [3.0, 1.0, 5.0]], [[2.0, 0.0, 4.0], [2.0, 1.0, 5.0]]])  # value, low, high
    targets = np.array([[1.0], [3.0]])
    limits = execution.predictions(outputs, CARD, seeds=(0, 1), others=("low", "high"))
    alone = execution.predictions(outputs[..., :1], CARD, seeds=(0, 1))
    assert execution.scored(limits, targets, CARD).scores == execution.scored(alone, targets, CARD).scores
    np.testing.assert_array_equal(limits.ensemble, [[1.5, 0.0, 3.0], [2.5, 1.0, 5.0]])


@pytest.mark.parametrize("shape", [(1, 4, 2), (1, 4)])
def test_outputs_must_begin_with_the_value(shape):
    with pytest.raises(ValueError, match="predict must return the target's value and then low, high for each example"):
        execution.predictions(np.zeros(shape), CARD, seeds=(0,), others=("low", "high"))
