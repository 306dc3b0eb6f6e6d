"""Folds of the data, and data of several runs stacked for one program."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxresearch.data.dataset import DataCard, Dataset, RunsOf
from jaxresearch.data.parts import Part, map_arrays, n_examples, named_arrays
from jaxresearch.data.rows import Rows, joined, side_by_side
from jaxresearch.data.splits import by_class, groups_of, take

_MIN_RATIO = 0.9  # of the shortest training part to the longest


def fold(dataset: Dataset, place: int, *, n_folds: int, seed: int = 0) -> Dataset:
    """Returns the data with one fold as the test part, and the other folds as the training part.

    All parts are concatenated and assigned to folds by the card's split rule: at random class by class, so that folds and
    their classes differ in size by one example at most; whole groups, the largest first; or stretches in the order of the
    data, leaving out training examples that share content with the test part. The order of the examples is kept. Identical
    parts count once, so that no example is both trained on and tested.

    Args:
        dataset: As collected; preprocessing is fitted afterwards, to the training part.
        place: Index of the fold, 0 to ``n_folds - 1``.
        n_folds: Number of folds, 2 or more.
        seed: Of the assignment, the same for all folds.

    Returns:
        The data in two parts.

    Raises:
        ValueError: If there are fewer than two folds or fewer examples (or groups) than folds, the fold does not exist, or
            the data is split by time.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.arange(10) + start, "targets": np.arange(10) % 2} for start in (0, 10))
        >>> dataset = Dataset(train, test, None, DataCard(name="a", source="b"))
        >>> folded = [fold(dataset, place, n_folds=5) for place in range(5)]
        >>> len(folded[0].train["targets"]), len(folded[0].test["targets"])
        (16, 4)
    """
    whole = _concatenated(_distinct(list(dataset.parts().values())))
    n_all = n_examples(whole)
    if not 2 <= n_folds <= n_all:
        raise ValueError(f"folds must be from 2 to the {n_all} examples; got {n_folds}. Pass 10.")
    if not 0 <= place < n_folds:
        raise ValueError(f"place must be from 0 to {n_folds - 1}; got {place}. Pass the index of a fold.")
    is_test = _fold_of(whole, dataset.card, n_folds, seed) == place
    is_near = _within(is_test, dataset.card.gap)
    card = dataclasses.replace(dataset.card, in_sample=False)  # the new test part is held out
    return dataset._replace(train=take(whole, ~is_near), test=take(whole, is_test), validation=None, card=card)


def _fold_of(whole: Part, card: DataCard, n_folds: int, seed: int) -> np.ndarray:
    """Returns the fold of each example."""
    generator, n_all, by = np.random.default_rng(seed), n_examples(whole), card.split.by
    fold_of = np.zeros(n_all, int)
    if by == "time":
        raise ValueError(
            f"data of {card.name} must not be folded, since it is split by time: all folds but the last would train on later "
            "data. Leave the folds out."
        )
    if by == "stretch" or card.gap:
        return np.arange(n_all) * n_folds // n_all
    if by == "group":
        groups, group_of, sizes = np.unique(groups_of(whole), return_inverse=True, return_counts=True)
        if len(groups) < n_folds:
            raise ValueError(f"folds must be at most the {len(groups)} groups, got {n_folds}. Pass fewer.")
        order, totals = generator.permutation(len(groups)), np.zeros(n_folds, int)
        for group in order[np.argsort(-sizes[order], kind="stable")]:  # largest first, each to the smallest fold
            smallest = int(np.argmin(totals))
            fold_of[group_of == group], totals[smallest] = smallest, totals[smallest] + sizes[group]
        return fold_of
    order = np.concatenate(by_class(whole, generator, stratify=by == "class"))
    fold_of[order] = np.arange(n_all) % n_folds
    return fold_of


def _within(is_test: np.ndarray, gap: int) -> np.ndarray:
    """Returns which examples are in a fold, or close enough to share content with it."""
    near = is_test.copy()
    for distance in range(1, gap + 1):
        near[distance:] |= is_test[:-distance]
        near[:-distance] |= is_test[distance:]
    return near


def stacked(folded: Sequence[Dataset], *, runs_of: RunsOf = "folds", seeds: Sequence[int] | None = None) -> Dataset:
    """Returns folds stacked on a leading axis of every array, so that one program trains them all.

    The same applies to splits of the data, and to subsets of the training part; a test or validation part that all of them
    share is kept once, without that axis.

    Training parts are cut to the length of the shortest: by one example at most for folds of single examples, by up to a
    tenth, chosen at random, for groups or if preprocessing changes the number of rows. Shorter test parts are padded with
    examples of weight 0. Narrower examples are padded with the ``padding`` of the card. ``fitted`` is unchanged. The card
    has the names of the widest fold and the notes of all.

    Args:
        folded: Preprocessed data of each run.
        runs_of: What the runs are.
        seeds: Names of the runs in notes; 0, 1, ... by default.

    Returns:
        Data of ``n_runs`` runs.

    Raises:
        ValueError: If the folds differ in their classes, in the number of axes of an example, or by more than a tenth in the
            length of their training parts.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.full((9, 2), part), "targets": np.arange(9) % 2} for part in (0.0, 1.0))
        >>> dataset = Dataset(train, test, None, DataCard(name="a", source="b"))
        >>> both = stacked([fold(dataset, place, n_folds=4) for place in range(4)])
        >>> both.train["inputs"].shape, both.test["weights"].sum(axis=1).tolist(), both.n_train
        ((4, 13, 2), [5.0, 5.0, 4.0, 4.0], 13)
        >>> few = [dataset._replace(train={"inputs": np.ones((3, 2)) * seed, "targets": np.arange(3)}) for seed in (5, 7)]
        >>> subsets = stacked(few, runs_of="subsets", seeds=(5, 7))
        >>> subsets.train["inputs"].shape, subsets.test["inputs"].shape, subsets.shared
        ((2, 3, 2), (9, 2), ('test',))
    """
    fitted = tuple(one.fitted for one in folded)
    folded = _alike(folded, runs_of, range(len(folded)) if seeds is None else seeds)
    lengths = [n_examples(one.train) for one in folded]
    n_train = min(lengths)
    if n_train < _MIN_RATIO * max(lengths):
        raise ValueError(
            f"training parts of {runs_of} must have similar sizes to be trained in parallel, got {n_train:,} to "
            f"{max(lengths):,} examples. Choose other {runs_of}, or split the largest group."
        )
    train = _stack([take(one.train, _kept(own, n_train)) for one, own in zip(folded, lengths, strict=True)])
    parts: dict[str, Part] = {}
    shared: list[str] = []
    for name in ("test", "validation"):
        held = [part for one in folded if (part := one.parts().get(name)) is not None]
        if runs_of != "folds" and _is_shared(held):
            parts[name], shared = held[0], [*shared, name]
        elif len(held) == len(folded):
            parts[name] = _stack(_padded(held, max(map(n_examples, held))))
    described = {"n_runs": len(folded), "fitted": fitted, "runs_of": runs_of, "shared": tuple(shared)}
    return folded[0]._replace(train=train, **{"validation": None, **parts}, **described)


def _is_shared(parts: list[Part]) -> bool:
    """Returns whether all runs have the same part, without reading from disk."""
    first, *others = (dict(named_arrays(part)) for part in parts) if parts else ({},)
    return len(first) > 0 and all(
        first.keys() == other.keys()
        and all(
            array is other[name]
            or not (isinstance(array, Rows) or isinstance(other[name], Rows))
            and _is_same(array, other[name])
            for name, array in first.items()
        )
        for other in others
    )


def _kept(n: int, n_kept: int) -> np.ndarray:
    """Returns the indices of the examples to keep: all but the last, or all but some random ones."""
    if n - n_kept <= 1:
        return np.arange(n_kept)
    return np.sort(np.random.default_rng(0).permutation(n)[:n_kept])


def _alike(folded: Sequence[Dataset], runs_of: RunsOf, seeds: Sequence[int]) -> list[Dataset]:
    """Returns the folds with examples padded to the widest, and the names of the widest."""
    cards = [one.card for one in folded]
    if any(card.class_names != cards[0].class_names and not card.vocabulary for card in cards):
        raise ValueError(
            f"{runs_of} must have the same classes, got others in one {runs_of[:-1]}. Declare all classes in collect."
        )
    longest: dict[str, Any] = {name: max((getattr(card, name) for card in cards), key=len) for name in _NAMES}
    longest["notes"] = _notes(cards, "fold" if runs_of == "folds" else "seed", seeds)
    held = [one.train.get("inputs") for one in folded]
    inputs = [values for values in held if isinstance(values, np.ndarray)]
    axes = [values.ndim - 1 for values in inputs]
    if len({*axes}) > 1:
        raise ValueError(
            f"{runs_of} must have the same number of axes of an example, got {min(axes)} and {max(axes)}. Prepare them alike."
        )
    if len(inputs) == len(folded):
        shape = tuple(max(sizes) for sizes in zip(*(values.shape[1:] for values in inputs), strict=True))
        folded = [_with_shape(one, shape) for one in folded]
        longest["feature_shape"] = shape
    return [one._replace(card=dataclasses.replace(one.card, **longest)) for one in folded]


def _notes(cards: Sequence[DataCard], what: str, seeds: Sequence[int]) -> tuple[str, ...]:
    """Returns the notes on all runs, then those on single runs."""
    of_all = [note for note in cards[0].notes if all(note in card.notes for card in cards)]
    named = zip(seeds, cards, strict=True)
    return (*of_all, *(f"{what} {seed}: {note}" for seed, card in named for note in card.notes if note not in of_all))


_NAMES = ("vocabulary", "class_names", "feature_names")  # entries of a card that a preprocessor may fill in


def widened(inputs: np.ndarray, shape: tuple[int, ...], *, padding: int | float = 0) -> np.ndarray:
    """Returns inputs with examples padded to a shape, at the end of each axis.

    Args:
        inputs: ``(n, ...)``.
        shape: Of an example, at least as wide on each axis.
        padding: The value to pad with.

    Returns:
        ``(n, *shape)``.

    Example:
        >>> widened(np.array([[1, 2]]), (3,), padding=9).tolist()
        [[1, 2, 9]]
    """
    if inputs.shape[1:] == shape:
        return inputs
    width = [(0, 0), *((0, size - own) for size, own in zip(shape, inputs.shape[1:], strict=True))]
    return np.pad(inputs, width, constant_values=padding)


def _with_shape(dataset: Dataset, shape: tuple[int, ...]) -> Dataset:
    """Returns data with inputs padded to a shape, with the padding of the card."""

    def of_part(part: Part) -> Part:
        return {**part, "inputs": widened(part["inputs"], shape, padding=dataset.card.padding)}

    return dataset._replace(**{name: of_part(part) for name, part in dataset.parts().items()})


def in_sample(dataset: Dataset) -> Dataset:
    """Returns the data with all examples in both the training and the test part, for descriptive results.

    Args:
        dataset: As collected.

    Returns:
        The concatenated parts, and a card that declares them ``in_sample``.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.zeros(n), "targets": np.zeros(n)} for n in (4, 1))
        >>> whole = in_sample(Dataset(train, test, None, DataCard(name="a", source="b")))
        >>> len(whole.test["targets"]), whole.card.in_sample
        (5, True)
    """
    whole = _concatenated(_distinct(list(dataset.parts().values())))
    rule = dataclasses.replace(dataset.card.split, fraction=None)
    card = dataclasses.replace(dataset.card, in_sample=True, split=rule)
    return dataset._replace(train=whole, test=whole, validation=None, card=card)


def _distinct(parts: list[Part]) -> list[Part]:
    """Returns the parts without repetitions."""
    return [part for place, part in enumerate(parts) if not any(_is_same(part, other) for other in parts[:place])]


def _is_same(one: Any, other: Any) -> bool:
    """Returns whether two parts or arrays hold the same values in the same order; missing values are equal."""
    if one is other:
        return True
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[name], other[name]) for name in one)
    if isinstance(one, Rows) or isinstance(other, Rows):
        return one.is_same(other) if isinstance(one, Rows) else other.is_same(one)
    if one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())  # nan differs from itself


def _concatenated(parts: list[Part]) -> Part:
    """Returns the concatenation of parts."""
    return map_arrays(joined, *parts)


def _padded(parts: list[Part], n: int) -> list[Part]:
    """Returns parts of one length; shorter ones are padded with examples of weight 0."""
    lengths = [n_examples(part) for part in parts]
    filled = [take(part, np.minimum(np.arange(n), own - 1)) for part, own in zip(parts, lengths, strict=True)]
    if min(lengths) == n and not any("weights" in part for part in parts):
        return filled
    return [
        {**part, "weights": part.get("weights", np.ones(n, np.float32)) * (np.arange(n) < own)}
        for part, own in zip(filled, lengths, strict=True)
    ]


def _stack(parts: list[Part]) -> Part:
    """Returns parts stacked on a leading axis."""
    return map_arrays(side_by_side, *parts)
