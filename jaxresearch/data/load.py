"""One door to all sources of data, and the step from what they hold to what a model takes."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxresearch.data.bundled import ames, gene_ontology, mnist, splice
from jaxresearch.data.dataset import Dataset, check
from jaxresearch.data.files import tables
from jaxresearch.data.files.idx import load_idx_folder
from jaxresearch.data.files.npz import load_npz
from jaxresearch.data.files.tfds import load_tfds

_BUNDLED: dict[str, Callable[[], Dataset]] = {
    "ames": ames,
    "gene_ontology": gene_ontology,
    "mnist": mnist,
    "splice": splice,
}
_TABLES = (".csv", ".csv.gz", ".csv.xz", ".parquet")


def load(
    source: str,
    *,
    target: str | None = None,
    cipher: Any = None,
    seed: int = 0,
    test_fraction: float = 0.2,
    task: str | None = None,
) -> Dataset:
    """Returns the data of a source, checked.

    =====================  =============================================================================
    source                 what it is
    =====================  =============================================================================
    ``mnist``, ``ames``    bundled with the package, verified by SHA-256
    ``splice``             the same: windows of DNA, ``{"sequence": ...}``
    ``gene_ontology``      the same: biomedical English, ``{"id": ..., "term": ..., "definition": ...}``
    ``tfds:NAME``          a set of TensorFlow Datasets, prepared before or (with the extra ``tfds``) now
    a path to ``.npz``     arrays in MedMNIST's layout, or x_train, y_train, x_test, y_test, or x and y
    a path to ``.csv``     a table, packed (``.gz``, ``.xz``) or not; ``target`` names the column to predict
    a path to ``.parquet`` a table, with the extra ``tables``
    a folder               the four IDX files of MNIST's layout, gzipped or not
    =====================  =============================================================================

    Args:
        source: One of the table.
        target: The column to predict, where the source is a table.
        cipher: Encrypts what is kept of a set of TensorFlow Datasets, as `jaxresearch.records.encryption.Cipher`; in the
            clear unless given.
        seed: Of the split, where the source has no test part of its own.
        test_fraction: Share of the test part, where one is split off.

    Returns:
        The parts and the card.

    Raises:
        ValueError: If the source is unknown (with the nearest name), damaged, or holds data that cannot be trained on.
        OSError: If it is missing or cannot be read.

    Example:
        >>> dataset = load("mnist")
        >>> dataset.card.n_classes, dataset.train["inputs"].shape, dataset.test["targets"].shape
        (10, (60000, 28, 28, 1), (10000,))

    References:
        Gebru et al. (2021), Datasheets for datasets, CACM 64(12). https://arxiv.org/abs/1803.09010
    """
    dataset = _read(source, target=target, cipher=cipher, seed=seed, test_fraction=test_fraction)
    check(dataset)
    return dataset


def _read(source: str, *, target: str | None, cipher: Any, seed: int, test_fraction: float) -> Dataset:
    """Returns the data of a source, not yet checked."""
    if target is not None and not source.endswith(_TABLES):
        raise ValueError(f"target must come with a table; got {target!r} for {source}. Leave it out.")
    if source in _BUNDLED:
        return _BUNDLED[source]()
    if source.startswith("tfds:"):
        return load_tfds(source.removeprefix("tfds:"), seed=seed, test_fraction=test_fraction, cipher=cipher)
    path = Path(source)
    if path.is_dir():
        return load_idx_folder(path)
    if path.is_file():
        if path.suffix == ".npz":
            return load_npz(path, seed=seed, test_fraction=test_fraction)
        if path.name.endswith(_TABLES):
            return tables.load_table(path, target=target, seed=seed, test_fraction=test_fraction)
        raise ValueError(f"data must be .npz, .csv, .parquet or a folder of IDX files; got {source}. Convert it first.")
    near = difflib.get_close_matches(source, _BUNDLED, n=1)
    advice = f"Did you mean {near[0]!r}?" if near else f"Bundled: {', '.join(_BUNDLED)}."
    raise FileNotFoundError(f"data must be a bundled name, tfds:NAME or a path that exists; got {source!r}. {advice}")
