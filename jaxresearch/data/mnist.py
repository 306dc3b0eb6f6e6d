"""MNIST, which comes with the package: no network, no TensorFlow."""

import dataclasses
from importlib import resources
from pathlib import Path

from jaxresearch.data.dataset import Dataset, require_digests
from jaxresearch.data.idx import load_idx_folder

_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def mnist(directory: Path | None = None) -> Dataset:
    """Returns MNIST: 60,000 training and 10,000 test images of handwritten digits, grey values 0 to 255.

    Args:
        directory: Another folder with the same four archives, instead of those in the package.

    Returns:
        Images ``(n, 28, 28, 1)`` of uint8, labels 0 to 9.

    Raises:
        ValueError: If an archive is not the original one, by its SHA-256.
        FileNotFoundError: If one is missing.

    Example:
        >>> mnist().train["inputs"].shape
        (60000, 28, 28, 1)

    References:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition, Proc. IEEE
        86(11). https://doi.org/10.1109/5.726791
    """
    if directory is not None:
        return _verified(directory)
    with resources.as_file(resources.files("jaxresearch.data") / "archives" / "mnist") as folder:
        return _verified(folder)


def _verified(folder: Path) -> Dataset:
    """Returns the data of the four archives, if they are the original ones."""
    dataset = load_idx_folder(folder)
    require_digests(dataset, _SHA256)
    card = dataclasses.replace(
        dataset.card,
        name="mnist",
        source="bundled; http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0",
        citation="LeCun, Bottou, Bengio and Haffner (1998), Proc. IEEE 86(11), doi:10.1109/5.726791",
    )
    return dataset._replace(card=card)
