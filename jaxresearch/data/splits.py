"""Parts and folds of data: disjoint, complete, stratified, and the same for the same seed."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jaxresearch.data.dataset import DataCard, Dataset, Split
from jaxresearch.data.parts import Part, Streams, map_arrays, n_examples
from jaxresearch.data.rows import Rows, joined, side_by_side

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

    References:
        Kohavi (1995), A study of cross-validation and bootstrap for accuracy estimation and model selection, IJCAI.
        https://www.ijcai.org/Proceedings/95-2/Papers/016.pdf
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
    groups, sizes = np.unique(_groups_of(part), return_counts=True)
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


def _groups_of(part: Part) -> np.ndarray:
    """Returns the group of each example."""
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

    References:
        Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, section 7.2 (the test set is
        brought out only at the end). https://hastie.su.domains/ElemStatLearn/
    """
    if dataset.validation is not None:
        return dataset._replace(test=dataset.validation, validation=None)
    train, validation = _carved(dataset, fraction, seed)
    return dataset._replace(train=train, test=validation)


def with_validation(dataset: Dataset, *, fraction: float, seed: int = 1) -> Dataset:
    """Returns the data with a validation part carved from its training part, to look at while training.

    Args:
        dataset: As collected; its own validation part, if any, is left out. Of folds, each training part is divided on its
            own.
        fraction: Of the training part, above 0 and below 1.
        seed: Of the draw; another one than `development` uses.

    Returns:
        The rest of the training part, the validation part, and the test part as it was.

    Raises:
        ValueError: If the fraction is out of range, there are fewer than two examples, or no data.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> part = {"inputs": np.arange(20), "targets": np.arange(20) % 2}
        >>> carved = with_validation(Dataset(part, part, None, DataCard(name="a", source="b")), fraction=0.1)
        >>> len(carved.train["targets"]), len(carved.validation["targets"]), len(carved.test["targets"])
        (18, 2, 20)
    """
    if not dataset.train:
        raise ValueError("validation must be left out without data, got a fraction. The algorithm makes its own.")
    if dataset.n_folds:
        carved = [
            with_validation(dataset.of_run(place), fraction=fraction, seed=seed) for place in range(dataset.n_folds)
        ]
        return stacked(carved)
    train, validation = _carved(dataset, fraction, seed)
    return dataset._replace(train=train, validation=validation)


def _carved(dataset: Dataset, fraction: float, seed: int) -> tuple[Part, Part]:
    """Returns the training part without a share of it, and the share, by the rule that divided the data."""
    card = dataset.card
    return split(dataset.train, fraction=fraction, seed=seed, by=card.split.by, gap=card.gap)


def in_sample(dataset: Dataset) -> Dataset:
    """Returns the data with all examples in the training part, and the same ones as the test part: a description, no forecast.

    Args:
        dataset: As collected.

    Returns:
        The parts, one after another, and a card that declares it.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.zeros(n), "targets": np.zeros(n)} for n in (4, 1))
        >>> whole = in_sample(Dataset(train, test, None, DataCard(name="a", source="b")))
        >>> len(whole.test["targets"]), whole.card.in_sample
        (5, True)
    """
    whole = _joined(_distinct(list(dataset.parts().values())))
    card = dataclasses.replace(dataset.card, in_sample=True, split=Split(fraction=None))
    return dataset._replace(train=whole, test=whole, validation=None, card=card)


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

    References:
        NumPy documentation, indexing on ndarrays. https://numpy.org/doc/stable/user/basics.indexing.html
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

    References:
        Kohavi (1995), as for `split`.
    """
    by_class = stratify and targets.ndim == 1 and targets.dtype.kind in "iu"
    labels = np.unique(targets) if by_class else ()
    groups = [np.flatnonzero(targets == label) for label in labels] or [np.arange(len(targets))]
    return [generator.permutation(group) for group in groups]


def _groups(part: Part, generator: np.random.Generator, *, stratify: bool = True) -> list[np.ndarray]:
    """Returns the places of each class in a random order; of data without targets, all in one."""
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


def fold(dataset: Dataset, place: int, *, n_folds: int, seed: int = 0) -> Dataset:
    """Returns the data with one of its folds as the test part, and all others as the training part.

    All parts that there are are put together and dealt out to the folds by the rule that divided the data: at random, class by
    class, so that folds and their classes differ in size by one example at most; whole groups, the largest first; or stretches
    in the order of the data, with the examples left out that share content with the test part. The order of the examples is
    kept. Parts that hold the same examples, all of them in the same order, count once: else an example would be trained on
    and tested.

    Args:
        dataset: As collected: what is fitted to a training part is fitted after this.
        place: Which fold, 0 to ``n_folds - 1``.
        n_folds: Number of folds, 2 or more.
        seed: Of the deal, the same for all folds.

    Returns:
        The same examples, in two parts.

    Raises:
        ValueError: If there are fewer than two folds or fewer examples (or groups) than folds, no such fold, or the data are
            divided by time.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.arange(10) + start, "targets": np.arange(10) % 2} for start in (0, 10))
        >>> dataset = Dataset(train, test, None, DataCard(name="a", source="b"))
        >>> folded = [fold(dataset, place, n_folds=5) for place in range(5)]
        >>> len(folded[0].train["targets"]), len(folded[0].test["targets"])
        (16, 4)

    References:
        Stone (1974), Cross-validatory choice and assessment of statistical predictions, J. R. Stat. Soc. B 36(2).
        https://doi.org/10.1111/j.2517-6161.1974.tb00994.x
    """
    whole = _joined(_distinct(list(dataset.parts().values())))
    n_all = n_examples(whole)
    if not 2 <= n_folds <= n_all:
        raise ValueError(f"folds must be from 2 to the {n_all} examples; got {n_folds}. Ask for 10.")
    if not 0 <= place < n_folds:
        raise ValueError(f"place must be from 0 to {n_folds - 1}; got {place}. Name one of the folds.")
    is_test = _dealt(whole, dataset.card, n_folds, seed) == place
    is_near = _within(is_test, dataset.card.gap)
    return dataset._replace(train=take(whole, ~is_near), test=take(whole, is_test), validation=None)


def _dealt(whole: Part, card: DataCard, n_folds: int, seed: int) -> np.ndarray:
    """Returns the fold of each example."""
    generator, n_all, by = np.random.default_rng(seed), n_examples(whole), card.split.by
    fold_of = np.zeros(n_all, int)
    if by == "time":
        raise ValueError(
            f"data of {card.name} are divided by time, got folds: all but the last would train on what comes later. Leave the "
            "folds out."
        )
    if by == "stretch" or card.gap:
        return np.arange(n_all) * n_folds // n_all
    if by == "group":
        groups, group_of, sizes = np.unique(_groups_of(whole), return_inverse=True, return_counts=True)
        if len(groups) < n_folds:
            raise ValueError(f"folds must be at most the {len(groups)} groups, got {n_folds}. Ask for fewer.")
        order, totals = generator.permutation(len(groups)), np.zeros(n_folds, int)
        for group in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first, each to the smallest fold
            smallest = int(np.argmin(totals))
            fold_of[group_of == group], totals[smallest] = smallest, totals[smallest] + sizes[group]
        return fold_of
    dealt = np.concatenate(_groups(whole, generator, stratify=by == "class"))
    fold_of[dealt] = np.arange(n_all) % n_folds
    return fold_of


def _within(is_test: np.ndarray, gap: int) -> np.ndarray:
    """Returns which examples are in a fold, or so near to it that they may share content with it."""
    near = is_test.copy()
    for distance in range(1, gap + 1):
        near[distance:] |= is_test[:-distance]
        near[:-distance] |= is_test[distance:]
    return near


def stacked(folded: Sequence[Dataset]) -> Dataset:
    """Returns the folds side by side: every array has a leading axis of folds, so that one program trains them all.

    Training parts are cut to the length of the shortest: by one example at most as `fold` gives them, by more where
    preprocessing makes another number of rows of each. Shorter test parts are filled up with examples of weight 0. Where folds
    differ in the width of an example, narrower ones are filled up with zeros; each keeps what is fitted to it, and the card
    has the names of the widest.

    Args:
        folded: Preprocessed data of each fold.

    Returns:
        Data of ``n_folds``.

    Raises:
        ValueError: If the folds differ in their classes, or in the number of axes of an example.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.full((9, 2), part), "targets": np.arange(9) % 2} for part in (0.0, 1.0))
        >>> dataset = Dataset(train, test, None, DataCard(name="a", source="b"))
        >>> both = stacked([fold(dataset, place, n_folds=4) for place in range(4)])
        >>> both.train["inputs"].shape, both.test["weights"].sum(axis=1).tolist(), both.n_train
        ((4, 13, 2), [5.0, 5.0, 4.0, 4.0], 13)

    References:
        Stone (1974), as for `fold`.
    """
    folded, fitted = _alike(folded), tuple(one.fitted for one in folded)
    n_train = min(n_examples(one.train) for one in folded)
    n_test = max(n_examples(one.test) for one in folded)
    train = [take(one.train, np.arange(n_train)) for one in folded]
    test = _filled([one.test for one in folded], n_test)
    made = folded[0]._replace(
        train=_stack(train), test=_stack(test), validation=None, n_folds=len(folded), fitted=fitted
    )
    looked = [one.validation for one in folded if one.validation is not None]
    if len(looked) < len(folded):
        return made
    n_looked = max(map(n_examples, looked))
    return made._replace(validation=_stack(_filled(looked, n_looked)))


def _alike(folded: Sequence[Dataset]) -> list[Dataset]:
    """Returns the folds with examples and names of one shape: the widest; what a fold lacks is 0, or has no name."""
    cards = [one.card for one in folded]
    if any(card.class_names != cards[0].class_names and not card.vocabulary for card in cards):
        raise ValueError("folds must agree in their classes, got others in one fold. Declare all classes in collect.")
    longest = {name: max((getattr(card, name) for card in cards), key=len) for name in _NAMES}
    inputs = [one.train.get("inputs") for one in folded]
    if all(isinstance(values, np.ndarray) for values in inputs):
        shape = tuple(max(sizes) for sizes in zip(*(values.shape[1:] for values in inputs), strict=True))
        folded = [_widened(one, shape) for one in folded]
        longest["feature_shape"] = shape
    return [one._replace(card=dataclasses.replace(one.card, **longest)) for one in folded]


_NAMES = ("vocabulary", "class_names", "feature_names")  # entries of a card that a preprocessor may fill in


def _widened(dataset: Dataset, shape: tuple[int, ...]) -> Dataset:
    """Returns data whose inputs have this shape, filled up with zeros."""

    def of_part(part: Part) -> Part:
        values = part["inputs"]
        width = [(0, 0), *((0, size - own) for size, own in zip(shape, values.shape[1:], strict=True))]
        return part if values.shape[1:] == shape else {**part, "inputs": np.pad(values, width)}

    return dataset._replace(**{name: of_part(part) for name, part in dataset.parts().items()})


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

    References:
        Perlich, Provost and Simonoff (2003), Tree induction vs. logistic regression: a learning-curve analysis, JMLR 4.
        https://jmlr.org/papers/v4/perlich03a.html
    """
    if n < 1:
        raise ValueError(f"the number of examples must be 1 or more; got {n}. Leave it out to take all.")
    n_all = n_examples(part)
    if n >= n_all:
        return part
    generator = np.random.default_rng(seed)
    groups = _groups(part, generator)
    # In whole numbers, which do not round: each class has n * size / n_all, some of them one more.
    sizes, remainders = np.divmod(n * np.array([len(group) for group in groups], np.int64), n_all)
    ties = generator.random(len(groups))  # else the first classes would win them all
    sizes[np.lexsort((ties, -remainders))[: n - sizes.sum()]] += 1
    is_drawn = np.zeros(n_all, bool)
    is_drawn[np.concatenate([group[:size] for group, size in zip(groups, sizes, strict=True)])] = True
    return take(part, is_drawn)


def _distinct(parts: list[Part]) -> list[Part]:
    """Returns parts without those that are the same as one before."""
    return [part for place, part in enumerate(parts) if not any(_is_same(part, other) for other in parts[:place])]


def _is_same(one: Any, other: Any) -> bool:
    """Tells whether two parts or arrays hold the same in the same order; what is missing is the same as what is missing."""
    if one is other:
        return True
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[name], other[name]) for name in one)
    if isinstance(one, Rows) or isinstance(other, Rows):
        return one.is_same(other) if isinstance(one, Rows) else other.is_same(one)
    if one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())  # nan is not even itself


def _joined(parts: list[Part]) -> Part:
    """Returns parts one after another."""
    return map_arrays(joined, *parts)


def _filled(parts: list[Part], n: int) -> list[Part]:
    """Returns parts of this length; shorter ones are filled up with examples of weight 0."""
    lengths = [n_examples(part) for part in parts]
    filled = [take(part, np.minimum(np.arange(n), own - 1)) for part, own in zip(parts, lengths, strict=True)]
    if min(lengths) == n and not any("weights" in part for part in parts):
        return filled
    return [
        {**part, "weights": part.get("weights", np.ones(n, np.float32)) * (np.arange(n) < own)}
        for part, own in zip(filled, lengths, strict=True)
    ]


def _stack(parts: list[Part]) -> Part:
    """Returns parts side by side."""
    return map_arrays(side_by_side, *parts)
