"""The data of a command: read, split and cut."""

import numpy as np

from jaxresearch import loading
from jaxresearch.cli.loaded import as_trained_on, load_data, shortened
from jaxresearch.cli.parsing import parse


def test_as_trained_on_has_the_examples_of_the_prepared_data():
    experiment = loading.load("mnist")  # whose preparation leaves pixels as they are
    options = shortened(parse(experiment, ["--smoke", "--validation", "0.1"]))
    loaded = load_data(experiment, options, None)
    collected = as_trained_on(options, loaded.collected)
    for name, part in loaded.dataset.parts().items():
        np.testing.assert_array_equal(collected.parts()[name]["inputs"], part["inputs"])
    assert loaded.dataset.n_train < loaded.collected.n_train
