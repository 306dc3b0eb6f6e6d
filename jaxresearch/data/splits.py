"""Splits of data by class, group or time, reproducible from a seed."""

import dataclasses
from typing import Literal

import numpy as np

from jaxresearch.data.dataset import Dataset
from jaxresearch.data.parts import Part, Streams, map_arrays, n_examples

By = Literal["class", "random", "group", "time", "stretch"]


def split(part: Part, *, fraction: float, seed: int, by: By = "class", gap: int = 0) -> tuple[Part, Part]:
    """Returns the data in two parts: the rest, and a held-out part.

    By class, each class has its fraction to within one example (largest remainders), and the total is exact; a class with a
    single example stays in the rest. By group, whole groups are held out, as near to the fraction as they allow. By time or
    stretch, the last examples are held out, and the ``gap`` examples before them are dropped.

    Args:
        part: Inputs (an array, or a dict of columns) and targets; ``groups`` if the rule is by group or time.
        fraction: Of the examples to hold out, above 0 and below 1; at least one is held out.
        seed: Of the draw.
        by: The rule, as in `jaxresearch.data.Split`. Classes are integers ``(n,)``; values and token sequences
            ``(n, length)`` are not stratified.
        gap: Examples to drop between the parts, for ordered data.

    Returns:
        The rest and the held-out part, each in the order of the data.

    Raises:
        ValueError: If the fraction is out of range, there are fewer than two examples or groups, or several streams.

    Example:
        >>> part = {"inputs": np.arange(10), "targets": np.array([0] * 8 + [1] * 2)}
        >>> rest, share = split(part, fraction=0.5, seed=0)
        >>> np.bincount(rest["targets"]).tolist(), np.bincount(share["targets"]).tolist()
        ([4, 1], [4, 1])
        >>> rest, share = split(part | {"groups": np.arange(10) // 3}, fraction=0.3, seed=0, by="group")
        >>> sorted({*rest["groups"].tolist()} & {*share["groups"].tolist()}), len(share["groups"])
        ([], 3)
    """
    if isinstance(part, Streams):
        raise ValueError(
            f"data of several streams cannot be split, got {', '.join(part)}. Declare the other parts in collect."
        )
    n_all = n_examples(part)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}. Pass 0.2 for a fifth.")
    if n_all < 2:
        raise ValueError(f"data must hold two examples or more to be split, got {n_all}. Add examples.")
    n_share = min(max(1, round(fraction * n_all)), n_all - 1)
    if by in ("time", "stretch"):
        return _last(part, n_share, gap)
    in_share = np.zeros(n_all, bool)
    generator = np.random.default_rng(seed)
    if by == "group":
        in_share[_whole_groups(part, n_share, generator)] = True
    else:
        in_share[_draw(part, n_share, fraction, generator, stratify=by == "class")] = True
    return take(part, ~in_share), take(part, in_share)


def _draw(part: Part, n_share: int, fraction: float, generator: np.random.Generator, *, stratify: bool) -> np.ndarray:
    """Returns the indices of random examples, class by class if there are classes."""
    n_all, targets = n_examples(part), part.get("targets")
    groups = [] if targets is None else shuffled(targets, generator, stratify=stratify)
    if sum(len(group) - 1 for group in groups) < n_share:  # no targets, or mostly classes of one example
        groups = [generator.permutation(n_all)]
    sizes = _shares(groups, n_share, fraction)
    return np.concatenate([group[:size] for group, size in zip(groups, sizes, strict=True)])


def _whole_groups(part: Part, n_share: int, generator: np.random.Generator) -> np.ndarray:
    """Returns which examples are in random whole groups, as near to the number as possible."""
    groups, sizes = np.unique(groups_of(part), return_counts=True)
    if len(groups) < 2:
        raise ValueError(
            "data must hold two groups or more to be split by group, got 1. Choose another column of groups."
        )
    order = generator.permutation(len(groups))
    total = np.cumsum(sizes[order])[:-1]  # one group stays in the rest
    n_groups = int(np.argmin(np.abs(total - n_share))) + 1
    return np.isin(part["groups"], groups[order[:n_groups]])


def _last(part: Part, n_share: int, gap: int) -> tuple[Part, Part]:
    """Returns the data before and after a border, which does not split examples of the same time."""
    n_all = n_examples(part)
    border = n_all - n_share
    if "groups" in part:
        starts = np.flatnonzero(np.diff(part["groups"])) + 1
        if not len(starts):
            raise ValueError(
                "data must hold two times or more to be split by time, got 1. Choose another column of times."
            )
        border = int(starts[np.argmin(np.abs(starts - border))])
    if border - gap < 1:
        raise ValueError(
            f"data must hold more examples than the {n_share} held out and the {gap} between the parts, got {n_all}. Hold out "
            "fewer."
        )
    return take(part, slice(0, border - gap)), take(part, slice(border, n_all))


def groups_of(part: Part) -> np.ndarray:
    """Returns the group of each example.

    Args:
        part: A part of data split by group or time.

    Returns:
        Integers ``(n,)``.

    Raises:
        ValueError: If the part has no groups.

    Example:
        >>> groups_of({"inputs": np.zeros(2), "groups": np.array([0, 1])}).tolist()
        [0, 1]
    """
    if "groups" not in part:
        raise ValueError("data must have groups to be split by group, got none. Name their column with --group COLUMN.")
    return part["groups"]


def development(dataset: Dataset, *, fraction: float = 0.1, seed: int = 0) -> Dataset:
    """Returns the data for choosing hyperparameters, with selection data in place of the test part.

    Args:
        dataset: As collected; preprocessing is fitted afterwards. The test part is dropped.
        fraction: Fraction of the training part to compare settings on, if the data has no validation part.
        seed: Of that split.

    Returns:
        The rest of the training part, the selection data as ``test``, and the card.

    Raises:
        ValueError: If the fraction is out of range.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> part = {"inputs": np.arange(20), "targets": np.arange(20) % 2}
        >>> chosen = development(Dataset(part, {"inputs": None, "targets": None}, None, DataCard(name="a", source="b")))
        >>> len(chosen.train["targets"]), len(chosen.test["targets"]), chosen.validation
        (18, 2, None)
    """
    if dataset.validation is not None:
        rule = dataclasses.replace(dataset.card.split, fraction=None)
        card = dataclasses.replace(dataset.card, in_sample=False, split=rule)
        return dataset._replace(test=dataset.validation, validation=None, card=card)
    train, validation = _split_train(dataset, fraction, seed)
    rule = dataclasses.replace(dataset.card.split, fraction=fraction, seed=seed)
    card = dataclasses.replace(dataset.card, in_sample=False, split=rule)
    return dataset._replace(train=train, test=validation, card=card)


def with_validation(dataset: Dataset, *, fraction: float, seed: int = 1) -> Dataset:
    """Returns the data with a validation part split from its training part, for looks during training.

    Args:
        dataset: As collected; an existing validation part is replaced.
        fraction: Of the training part, above 0 and below 1.
        seed: Of the draw; by default different from that of `development`.

    Returns:
        The rest of the training part, the validation part, and the unchanged test part.

    Raises:
        ValueError: If the fraction is out of range, there are fewer than two examples, no data, or stacked folds.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> part = {"inputs": np.arange(20), "targets": np.arange(20) % 2}
        >>> carved = with_validation(Dataset(part, part, None, DataCard(name="a", source="b")), fraction=0.1)
        >>> len(carved.train["targets"]), len(carved.validation["targets"]), len(carved.test["targets"])
        (18, 2, 20)
    """
    if not dataset.train:
        raise ValueError("validation must be left out without data, got a fraction. The algorithm makes its own.")
    if dataset.n_runs:
        raise ValueError(
            f"validation data must be split off before {dataset.runs_of} are stacked, got {dataset.runs_of}. Call it for "
            f"each of the {dataset.runs_of}."
        )
    train, validation = _split_train(dataset, fraction, seed)
    return dataset._replace(train=train, validation=validation)


def _split_train(dataset: Dataset, fraction: float, seed: int) -> tuple[Part, Part]:
    """Returns the training part in two, by the rule that split the data."""
    card = dataset.card
    return split(dataset.train, fraction=fraction, seed=seed, by=card.split.by, gap=card.gap)


def take(part: Part, index: np.ndarray | slice) -> Part:
    """Returns the examples of a part at an index, a mask or a slice.

    Args:
        part: Inputs (an array, or a dict of columns) and targets.
        index: Anything that indexes the leading axis.

    Returns:
        The chosen examples.

    Example:
        >>> take({"inputs": {"age": np.array([3, 4])}, "targets": np.array([0, 1])}, np.array([1]))
        {'inputs': {'age': array([4])}, 'targets': array([1])}
    """
    return map_arrays(lambda entry: entry[index], part)


def shuffled(targets: np.ndarray, generator: np.random.Generator, *, stratify: bool = True) -> list[np.ndarray]:
    """Returns the indices of each class in a random order; all in one array if the targets are not classes.

    Args:
        targets: Integer classes ``(n,)``; or values, or token sequences ``(n, length)``.
        generator: Of the order; one draw per class.
        stratify: Whether to keep classes apart.

    Returns:
        One array of indices per class, in the order of the classes.

    Example:
        >>> of_classes = shuffled(np.array([1, 0, 1]), np.random.default_rng(0))
        >>> [sorted(places.tolist()) for places in of_classes]
        [[1], [0, 2]]
    """
    by_class = stratify and targets.ndim == 1 and targets.dtype.kind in "iu"
    labels = np.unique(targets) if by_class else ()
    groups = [np.flatnonzero(targets == label) for label in labels] or [np.arange(len(targets))]
    return [generator.permutation(group) for group in groups]


def by_class(part: Part, generator: np.random.Generator, *, stratify: bool = True) -> list[np.ndarray]:
    """Returns the indices of each class in a random order; all in one array without targets.

    Args:
        part: Inputs, and optional targets.
        generator: Of the order.
        stratify: As in `shuffled`.

    Returns:
        One array of indices per class.

    Example:
        >>> len(by_class({"inputs": np.zeros(3)}, np.random.default_rng(0)))
        1
    """
    if "targets" not in part:
        return [generator.permutation(n_examples(part))]
    return shuffled(np.asarray(part["targets"]), generator, stratify=stratify)


def _shares(groups: list[np.ndarray], n_share: int, fraction: float) -> list[int]:
    """Returns how many examples to take from each group, by largest remainders; never all of a group, if there are several."""
    most = [len(group) - 1 if len(groups) > 1 else len(group) for group in groups]
    exact = np.array([min(fraction * len(group), limit) for group, limit in zip(groups, most, strict=True)])
    sizes = np.floor(exact).astype(int)
    for i in np.argsort(-(exact - sizes), kind="stable"):
        if sizes.sum() < n_share and sizes[i] < most[i]:
            sizes[i] += 1
    return sizes.tolist()


def sample(part: Part, n: int, *, seed: int = 0) -> Part:
    """Returns ``n`` random examples of a part, without replacement, stratified by class.

    Each class has its fraction to within one example (largest remainders).

    Args:
        part: Inputs and targets.
        n: Number of examples, 1 or more; all are returned if there are fewer.
        seed: Of the draw.

    Returns:
        The examples, in the order of the data.

    Raises:
        ValueError: If ``n`` is not positive.

    Example:
        >>> drawn = sample({"inputs": np.arange(10), "targets": np.array([0] * 6 + [1] * 4)}, 5)
        >>> np.bincount(drawn["targets"]).tolist()
        [3, 2]
    """
    if n < 1:
        raise ValueError(f"the number of examples must be 1 or more; got {n}. Leave it out to take all.")
    n_all = n_examples(part)
    if n >= n_all:
        return part
    generator = np.random.default_rng(seed)
    groups = by_class(part, generator)
    # Exact integers: each class has n * size / n_all, rounded down, and some classes one more.
    sizes, remainders = np.divmod(n * np.array([len(group) for group in groups], np.int64), n_all)
    ties = generator.random(len(groups))  # otherwise the first classes would win all ties
    sizes[np.lexsort((ties, -remainders))[: n - sizes.sum()]] += 1
    is_drawn = np.zeros(n_all, bool)
    is_drawn[np.concatenate([group[:size] for group, size in zip(groups, sizes, strict=True)])] = True
    return take(part, is_drawn)


def require_examples_of_classes(dataset: Dataset, *, at_least: int = 2) -> None:
    """Raises an error that names the first class with too few examples to be both trained on and tested.

    Args:
        dataset: As collected, with classes.
        at_least: Examples that each class must have, in all parts together.

    Raises:
        ValueError: If the targets are no classes, or a class has fewer examples.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.zeros(len(classes)), "targets": np.array(classes)} for classes in ([0, 0, 1], [0]))
        >>> require_examples_of_classes(Dataset(train, test, None, DataCard(name="mine", source="", class_names=("a", "b"))))
        Traceback (most recent call last):
        ...
        ValueError: each class must have 2 examples or more, got 1 of 'b'. Add examples of it, or leave it out.
    """
    names = dataset.card.class_names
    if not names:
        raise ValueError(f"targets must be classes, got values in {dataset.card.name}. Pass --task classification.")
    counts = np.sum([np.bincount(part["targets"], minlength=len(names)) for part in dataset.parts().values()], axis=0)
    few = np.flatnonzero(counts < at_least)
    if len(few):
        raise ValueError(
            f"each class must have {at_least} examples or more, got {counts[few[0]]} of {names[few[0]]!r}. "
            "Add examples of it, or leave it out."
        )
