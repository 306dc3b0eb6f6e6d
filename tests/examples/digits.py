"""The 1,797 handwritten digits that scikit-learn carries, 8 x 8 pixels from 0 to 1, as parts without a network."""

import numpy as np
from sklearn.datasets import load_digits

from jaxresearch.data import DataCard, Dataset, Preprocessor


def images():
    """Returns images ``(1797, 8, 8, 1)`` and their classes."""
    digits = load_digits()
    return (digits.images[..., None] / 16).astype(np.float32), digits.target.astype(np.int32)


AS_IT_IS = {"source": "digits", "preprocess": Preprocessor()}


def dataset(part, *, class_names=(), n_test=360):
    """Returns arrays in two parts, the last ones as the test part."""
    train, test = (
        {name: values[rows] for name, values in part.items()} for rows in (slice(-n_test), slice(-n_test, None))
    )
    shape = next(iter(part.values())).shape[1:]
    return Dataset(
        train, test, None, DataCard(name="digits", source="scikit-learn", class_names=class_names, feature_shape=shape)
    )


def unlabelled(source, *, target=None):
    """Returns the images as rows of pixels, without targets: the stage ``collect`` of what learns to draw."""
    return dataset({"inputs": np.reshape(images()[0], (-1, 64))})


UNLABELLED = {**AS_IT_IS, "collect": unlabelled}
