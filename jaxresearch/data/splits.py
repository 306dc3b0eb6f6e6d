"""Parts of data: disjoint, complete, by the rule that is asked for, and the same for the same seed."""

import dataclasses
from typing import Literal

import numpy as np

from jaxresearch.data.dataset import Dataset
from jaxresearch.data.parts import Part, Streams, map_arrays, n_examples

By = Literal["class", "random", "group", "time", "stretch"]


def split(part: Part, *, fraction: float, seed: int, by: By = "class", gap: int = 0) -> tuple[Part, Part]:
    """Returns the data in two parts: the rest, and a share that is held out.

    By class, each class has its share to within one example (largest remainders), so that the sizes are exact; a class with a
    single example stays in the rest. By group, whole groups are drawn until the share is as near to the fraction as they
    allow. By time or stretch, the last examples are held out, and ``gap`` examples before them are in neither part.

    Args:
        part: Inputs (an array, or a dict of columns) and targets; ``groups`` where the rule is by group or time.
        fraction: Of the examples, above 0 and below 1; the share holds at least one.
        seed: Of the draw.
        by: The rule, as in `jaxresearch.data.Split`. Classes are integers ``(n,)``; values and sequences of tokens
            ``(n, length)`` are drawn from as a whole.
        gap: Examples between the parts, where the data are in order.

    Returns:
        The rest and the share, each in the order of the data.

    Raises:
        ValueError: If the fraction is out of range, there are fewer than two examples or groups, or several streams of them.

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
        raise ValueError(f"data must hold two examples or more to be split, got {n_all}. Give it more data.")
    n_share = min(max(1, round(fraction * n_all)), n_all - 1)
    if by in ("time", "stretch"):
        return _last(part, n_share, gap)
    in_share = np.zeros(n_all, bool)
    generator = np.random.default_rng(seed)
    if by == "group":
        in_share[_whole_groups(part, n_share, generator)] = True
    else:
        in_share[_drawn(part, n_share, fraction, generator, stratify=by == "class")] = True
    return take(part, ~in_share), take(part, in_share)


def _drawn(part: Part, n_share: int, fraction: float, generator: np.random.Generator, *, stratify: bool) -> np.ndarray:
    """Returns indices of examples drawn at random, class by class where there are any."""
    n_all, targets = n_examples(part), part.get("targets")
    groups = [] if targets is None else shuffled(targets, generator, stratify=stratify)
    if sum(len(group) - 1 for group in groups) < n_share:  # no targets, or classes of hardly more than one example
        groups = [generator.permutation(n_all)]
    sizes = _shares(groups, n_share, fraction)
    return np.concatenate([group[:size] for group, size in zip(groups, sizes, strict=True)])


def _whole_groups(part: Part, n_share: int, generator: np.random.Generator) -> np.ndarray:
    """Returns which examples are in groups that are drawn whole, as many as come nearest to the share."""
    groups, sizes = np.unique(groups_of(part), return_counts=True)
    if len(groups) < 2:
        raise ValueError(
            "data must hold two groups or more to be split by group, got 1. Name another column of groups."
        )
    order = generator.permutation(len(groups))
    total = np.cumsum(sizes[order])[:-1]  # one group stays in the rest
    n_groups = int(np.argmin(np.abs(total - n_share))) + 1
    return np.isin(part["groups"], groups[order[:n_groups]])


def _last(part: Part, n_share: int, gap: int) -> tuple[Part, Part]:
    """Returns the data before and after a border; examples of one group, such as a time, are on the same side of it."""
    n_all = n_examples(part)
    border = n_all - n_share
    if "groups" in part:
        starts = np.flatnonzero(np.diff(part["groups"])) + 1
        if not len(starts):
            raise ValueError(
                "data must hold two times or more to be split by time, got 1. Name another column of times."
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
        part: Of data that are divided by group or time.

    Returns:
        Integers ``(n,)``.

    Raises:
        ValueError: If the part has none.

    Example:
        >>> groups_of({"inputs": np.zeros(2), "groups": np.array([0, 1])}).tolist()
        [0, 1]
    """
    if "groups" not in part:
        raise ValueError(
            "data must have groups to be divided by group, got none. Name their column with --group COLUMN."
        )
    return part["groups"]


def development(dataset: Dataset, *, fraction: float = 0.1, seed: int = 0) -> Dataset:
    """Returns the data as one may see it while settings are chosen: the validation part stands where the test part stood.

    Args:
        dataset: As collected: what is fitted to a training part is fitted after this. Its test part is left out of what is
            returned.
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
    """
    if dataset.validation is not None:
        rule = dataclasses.replace(dataset.card.split, fraction=None)
        card = dataclasses.replace(dataset.card, in_sample=False, split=rule)
        return dataset._replace(test=dataset.validation, validation=None, card=card)
    train, validation = _carved(dataset, fraction, seed)
    rule = dataclasses.replace(dataset.card.split, fraction=fraction, seed=seed)
    card = dataclasses.replace(dataset.card, in_sample=False, split=rule)
    return dataset._replace(train=train, test=validation, card=card)


def with_validation(dataset: Dataset, *, fraction: float, seed: int = 1) -> Dataset:
    """Returns the data with a validation part carved from its training part, to look at while training.

    Args:
        dataset: As collected; its own validation part, if any, is left out.
        fraction: Of the training part, above 0 and below 1.
        seed: Of the draw; another one than `development` uses.

    Returns:
        The rest of the training part, the validation part, and the test part as it was.

    Raises:
        ValueError: If the fraction is out of range, there are fewer than two examples, no data, or folds side by side.

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
            f"validation data must be carved before {dataset.runs_of} are stacked, got {dataset.runs_of}. Carve them from "
            f"each of the {dataset.runs_of}."
        )
    train, validation = _carved(dataset, fraction, seed)
    return dataset._replace(train=train, validation=validation)


def _carved(dataset: Dataset, fraction: float, seed: int) -> tuple[Part, Part]:
    """Returns the training part without a share of it, and the share, by the rule that divided the data."""
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
    """
    by_class = stratify and targets.ndim == 1 and targets.dtype.kind in "iu"
    labels = np.unique(targets) if by_class else ()
    groups = [np.flatnonzero(targets == label) for label in labels] or [np.arange(len(targets))]
    return [generator.permutation(group) for group in groups]


def by_class(part: Part, generator: np.random.Generator, *, stratify: bool = True) -> list[np.ndarray]:
    """Returns the indices of each class in a random order; of data without targets, all in one.

    Args:
        part: Inputs, and targets if there are any.
        generator: Of the order.
        stratify: As for `shuffled`.

    Returns:
        Indices, an array for each class.

    Example:
        >>> len(by_class({"inputs": np.zeros(3)}, np.random.default_rng(0)))
        1
    """
    if "targets" not in part:
        return [generator.permutation(n_examples(part))]
    return shuffled(np.asarray(part["targets"]), generator, stratify=stratify)


def _shares(groups: list[np.ndarray], n_share: int, fraction: float) -> list[int]:
    """Returns how many to take from each group, by largest remainders; never the last of a group of several parts."""
    most = [len(group) - 1 if len(groups) > 1 else len(group) for group in groups]
    exact = np.array([min(fraction * len(group), limit) for group, limit in zip(groups, most, strict=True)])
    sizes = np.floor(exact).astype(int)
    for i in np.argsort(-(exact - sizes), kind="stable"):
        if sizes.sum() < n_share and sizes[i] < most[i]:
            sizes[i] += 1
    return sizes.tolist()


def sample(part: Part, n: int, *, seed: int = 0) -> Part:
    """Returns so many examples of a part, drawn at random without replacement, class by class.

    Each class has its share to within one example (largest remainders), and there are ``n`` in all.

    Args:
        part: Inputs and targets.
        n: How many, 1 or more; all, where there are no more.
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
    # In whole numbers, which do not round: each class has n * size / n_all, some of them one more.
    sizes, remainders = np.divmod(n * np.array([len(group) for group in groups], np.int64), n_all)
    ties = generator.random(len(groups))  # else the first classes would win them all
    sizes[np.lexsort((ties, -remainders))[: n - sizes.sum()]] += 1
    is_drawn = np.zeros(n_all, bool)
    is_drawn[np.concatenate([group[:size] for group, size in zip(groups, sizes, strict=True)])] = True
    return take(part, is_drawn)
