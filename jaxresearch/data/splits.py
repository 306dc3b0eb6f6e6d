"""Parts of data: disjoint, complete, stratified, and the same for the same seed."""

import numpy as np

from jaxresearch.data.dataset import Dataset, Part


def split(part: Part, *, fraction: float, seed: int, stratify: bool = True) -> tuple[Part, Part]:
    """Returns the data in two parts: the rest, and a share drawn at random.

    Stratified, each class has its share to within one example (largest remainders), so that the sizes are exact. A class
    with a single example stays in the rest.

    Args:
        part: Inputs (an array, or a dict of columns) and targets.
        fraction: Share of the second part, above 0 and below 1; it holds at least one example.
        seed: Of the draw.
        stratify: Whether to draw from each class on its own; only for classes, integers ``(n,)``;
            values and sequences of tokens ``(n, length)`` are drawn from as a whole.

    Returns:
        The rest and the share, each in the order of the data.

    Raises:
        ValueError: If the fraction is out of range, or there are fewer than two examples.

    Example:
        >>> part = {"inputs": np.arange(10), "targets": np.array([0] * 8 + [1] * 2)}
        >>> rest, share = split(part, fraction=0.5, seed=0)
        >>> np.bincount(rest["targets"]).tolist(), np.bincount(share["targets"]).tolist()
        ([4, 1], [4, 1])

    References:
        Kohavi (1995), A study of cross-validation and bootstrap for accuracy estimation and model selection, IJCAI.
        https://www.ijcai.org/Proceedings/95-2/Papers/016.pdf
    """
    targets = part["targets"]
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1; got {fraction}. Pass 0.2 for a fifth.")
    if len(targets) < 2:
        raise ValueError(f"data must hold two examples or more to be split; got {len(targets)}. Give it more data.")
    generator = np.random.default_rng(seed)
    n_share = min(max(1, round(fraction * len(targets))), len(targets) - 1)
    groups = shuffled(targets, generator, stratify=stratify)
    sizes = _shares(groups, n_share, fraction)
    in_share = np.zeros(len(targets), bool)
    in_share[np.concatenate([group[:size] for group, size in zip(groups, sizes, strict=True)])] = True
    return take(part, ~in_share), take(part, in_share)


def development(dataset: Dataset, *, fraction: float = 0.1, seed: int = 0) -> Dataset:
    """Returns the data as one may see it while settings are chosen: the validation part stands where the test part stood.

    Args:
        dataset: Preprocessed data. Its test part is left out of what is returned.
        fraction: Share of the training part to validate on, where the data has no validation part of its own.
        seed: Of that split.

    Returns:
        The rest of the training part, the validation part as ``test``, and the card.

    Raises:
        ValueError: If the fraction is out of range.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> part = {"inputs": np.arange(20), "targets": np.arange(20) % 2}
        >>> made = development(Dataset(part, {"inputs": None, "targets": None}, None, DataCard(name="a", source="b")))
        >>> len(made.train["targets"]), len(made.test["targets"]), made.validation
        (18, 2, None)

    References:
        Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, section 7.2 (the test set is
        brought out only at the end). https://hastie.su.domains/ElemStatLearn/
    """
    if dataset.validation is not None:
        return dataset._replace(test=dataset.validation, validation=None)
    train, validation = split(dataset.train, fraction=fraction, seed=seed)
    return dataset._replace(train=train, test=validation)


def take(part: Part, index: np.ndarray) -> Part:
    """Returns the examples of a part at an index, a mask or a slice.

    Args:
        part: Inputs (an array, or a dict of columns) and targets.
        index: Anything that indexes the leading axis.

    Returns:
        The chosen examples.

    Example:
        >>> take({"inputs": {"age": np.array([3, 4])}, "targets": np.array([0, 1])}, np.array([1]))
        {'inputs': {'age': array([4])}, 'targets': array([1])}

    References:
        NumPy documentation, indexing on ndarrays. https://numpy.org/doc/stable/user/basics.indexing.html
    """
    return {name: take(entry, index) if isinstance(entry, dict) else entry[index] for name, entry in part.items()}


def shuffled(targets: np.ndarray, generator: np.random.Generator, *, stratify: bool = True) -> list[np.ndarray]:
    """Returns the places of each class in a random order; of targets that are no classes, all in one.

    Args:
        targets: Classes ``(n,)``, integers; or values, or sequences of tokens ``(n, length)``.
        generator: Of the order; one draw a class.
        stratify: Whether to keep classes apart.

    Returns:
        Indices, an array a class in the order of their numbers.

    Example:
        >>> of_classes = shuffled(np.array([1, 0, 1]), np.random.default_rng(0))
        >>> [sorted(places.tolist()) for places in of_classes]
        [[1], [0, 2]]

    References:
        Kohavi (1995), as for `split`.
    """
    by_class = stratify and targets.ndim == 1 and targets.dtype.kind in "iu"
    labels = np.unique(targets) if by_class else ()
    groups = [np.flatnonzero(targets == label) for label in labels] or [np.arange(len(targets))]
    return [generator.permutation(group) for group in groups]


def _shares(groups: list[np.ndarray], n_share: int, fraction: float) -> list[int]:
    """Returns how many to take from each group, by largest remainders; never the last of a group of several parts."""
    most = [len(group) - 1 if len(groups) > 1 else len(group) for group in groups]
    exact = np.array([min(fraction * len(group), limit) for group, limit in zip(groups, most, strict=True)])
    sizes = np.floor(exact).astype(int)
    for i in np.argsort(-(exact - sizes), kind="stable"):
        if sizes.sum() < n_share and sizes[i] < most[i]:
            sizes[i] += 1
    return sizes.tolist()
