"""Targets as classes or values: inferred by rules and shown, or declared by the user."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxresearch.data.dataset import Column

Task = Literal["classification", "regression"]
_FEW = 20  # distinct whole numbers that may be classes without a declared task
_ROWS = 5  # rows per such number, on average


class Targets(NamedTuple):
    """Targets, one for each row.

    Attributes:
        values: int32 classes ``(n,)`` or float64 values ``(n, outputs)``.
        column: With the names of the classes as its levels, and a note on how they were decided.
    """

    values: np.ndarray
    column: Column

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class; empty for values."""
        return self.column.levels


def targets_of(
    labels: np.ndarray, *, name: str, task: Task | None, is_declared: bool = False, is_asked: bool = False
) -> Targets:
    """Returns numbers as targets.

    ======================================================  ===================================
    numbers                                                 without a task
    ======================================================  ===================================
    with decimals                                           values
    whole, two different ones                               classes
    whole, at most 20, each five times or more on average   classes
    whole, more than a fifth of the rows differ             values
    other whole ones                                        refused: the user has to say
    ======================================================  ===================================

    Args:
        labels: ``(n,)``, or values ``(n, outputs)``; integers of any type, booleans or floats, none of them nan.
        name: Of the column.
        task: What the user or the experiment says.
        is_declared: Whether the name of an array says that it holds labels.
        is_asked: Whether the user says that the column holds numbers.

    Returns:
        Classes, whose names are the distinct numbers as text; or values.

    Raises:
        ValueError: If the task does not fit the numbers, or they do not decide it.

    Example:
        >>> made = targets_of(np.array([7, 100, 7, 7]), name="y", task=None)
        >>> made.values.tolist(), made.class_names, made.column.note
        ([0, 1, 0, 0], ('7', '100'), 'two different whole numbers: classes; --task regression reads values')
    """
    if labels.ndim > 1 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "b":
        labels = np.where(labels, "true", "false").astype(np.dtypes.StringDType())
        return classes_of(labels, name=name, task=task)
    is_whole = labels.ndim == 1 and (labels.dtype.kind in "iu" or bool(np.all(labels == np.floor(labels))))
    if task == "classification" and not is_whole:
        raise ValueError(
            f"target {name} must be classes, got {_first_fraction(labels)}: the task is classification. Choose another "
            "target or experiment."
        )
    n_distinct = len(np.unique(labels)) if is_whole else 0
    said = task or ("regression" if is_asked or not is_whole else "classification" if is_declared else None)
    decided = said or _task_of(n_distinct, len(labels), name)
    if decided == "regression":
        if labels.dtype.kind in "iu" and labels.ndim > 1 and task is None:
            raise ValueError(
                f"target {name} must be classes (n,) or values, got whole numbers of shape {labels.shape}. Pass --task "
                "regression, or number the classes."
            )
        note = _note(task, n_distinct, "values", "classification") if is_whole else "values with decimals"
        values = labels.astype(np.float64)
        return Targets(values if values.ndim > 1 else values[:, None], Column(name=name, kind="number", note=note))
    distinct, classes = np.unique(labels, return_inverse=True)
    names = [str(int(label)) for label in distinct]
    note = _note(task, n_distinct, "classes", "regression")
    return _classes(classes, names, name=name, note=note, task=task)


def _first_fraction(labels: np.ndarray) -> str:
    """Returns the first number with decimals, or the shape of several outputs."""
    if labels.ndim > 1:
        return f"{labels.shape[1]} numbers in each row"
    return f"values with decimals such as {labels[np.argmax(labels != np.floor(labels))]:g}"


def _task_of(n_distinct: int, n: int, name: str) -> Task:
    """Returns what whole numbers are, by how many of them differ."""
    if n_distinct == 2:
        return "classification"
    if n_distinct * _ROWS > n:
        return "regression"
    if n_distinct <= _FEW:
        return "classification"
    raise ValueError(
        f"target {name} may be classes or values, got {n_distinct:,} different whole numbers in {n:,} rows. Pass --task "
        "classification or --task regression."
    )


def _note(task: Task | None, n_distinct: int, what: str, other: Task) -> str:
    """Returns how the kind of a target was decided."""
    if task:
        return f"{what}, as the task is {task}"
    count = "two" if n_distinct == 2 else f"{n_distinct:,}"
    reads = "classes" if other == "classification" else "values"
    return f"{count} different whole numbers: {what}; --task {other} reads {reads}"


def classes_of(labels: np.ndarray, *, name: str, task: Task | None) -> Targets:
    """Returns words as targets.

    Args:
        labels: Words ``(n,)``, none of them missing.
        name: Of the column.
        task: What the user or the experiment says.

    Returns:
        Classes, in the order of their names.

    Raises:
        ValueError: If the task is regression, or (nearly) all words differ.

    Example:
        >>> classes_of(np.array(["b", "a", "b"]), name="kind", task=None).values.tolist()
        [1, 0, 1]
    """
    if task == "regression":
        raise ValueError(
            f"target {name} must be numbers, got {str(labels[0])!r} in row 1: the task is regression. Correct it, or choose "
            "another target or experiment."
        )
    distinct, classes = np.unique(labels, return_inverse=True)
    return _classes(classes, [str(word) for word in distinct.tolist()], name=name, note="words: classes", task=task)


def _classes(classes: np.ndarray, names: Sequence[str], *, name: str, note: str, task: Task | None) -> Targets:
    """Returns classes, unless there are (nearly) as many as rows."""
    if len(names) > _FEW and 2 * len(names) > len(classes):
        advice = "Choose" if task else "Pass --task regression for numbers, or choose"
        raise ValueError(
            f"target {name} must be classes, got {len(names):,} different values in {len(classes):,} rows. {advice} another "
            "target or experiment."
        )
    return Targets(classes.astype(np.int32), Column(name=name, kind="category", levels=tuple(names), note=note))


def joined_labels(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the labels of several parts one after another, integers exact.

    Args:
        parts: Of one kind.

    Returns:
        One array; int64 where integers are signed or small.

    Raises:
        ValueError: If the parts differ in kind or in the number of outputs, or integers of several types are beyond int64.

    Example:
        >>> joined_labels([np.array([1], np.uint64), np.array([-1])]).tolist()
        [1, -1]
    """
    kinds = {"integers" if part.dtype.kind in "iu" else part.dtype.name.rstrip("0123456789") for part in parts}
    widths = {part.shape[1:] for part in parts}
    if len(kinds) > 1 or len(widths) > 1:
        named = " and ".join(sorted(kinds)) if len(kinds) > 1 else " and ".join(f"shape (n, ...) {w}" for w in widths)
        raise ValueError(f"targets must have the same type and shape in all parts, got {named}. Convert them.")
    if kinds != {"integers"} or len({part.dtype for part in parts}) == 1:
        return np.concatenate(parts)
    if any(part.max(initial=0) > np.iinfo(np.int64).max for part in parts if part.dtype == np.uint64):
        raise ValueError("targets must fit into int64, got larger ones. Number the classes from 0.")
    return np.concatenate([part.astype(np.int64) for part in parts])


def divided(values: Any, lengths: Sequence[int]) -> list[Any]:
    """Returns the rows of each part, from those of all.

    Args:
        values: An array.
        lengths: Of the parts.

    Returns:
        An array for each part.

    Example:
        >>> [part.tolist() for part in divided(np.arange(3), [2, 1])]
        [[0, 1], [2]]
    """
    return np.split(values, np.cumsum(lengths)[:-1])
