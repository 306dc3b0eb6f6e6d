"""Answers as sequences, in NumPy on the host: from a row per answer to a row per person."""

import dataclasses

import numpy as np

from jaxresearch.data import Dataset, require_columns, unused_notes
from jaxresearch.data.parts import Part

NONE = -1  # the item and the answer of a step after the last
_RIGHT = {"0": "1", "no": "yes", "n": "y", "wrong": "right", "incorrect": "correct", "false": "true", "fail": "pass"}


def answer_sequences(rows: Dataset) -> Dataset:
    """Returns a row for each person: the items in the order in which they were answered, and the answers.

    Args:
        rows: A row for each answer, which is the target, of two classes whose names say which is right: 0 and 1, no and yes,
            n and y, wrong and right, incorrect and correct, false and true, or fail and pass, whatever their case and their
            order; an input ``item``, a category; split by person. A person's rows are in order.

    Returns:
        Inputs ``(persons, length, 2)``, int32: the item and its answer (1 for right), -1 after the last. Targets are the answers
        ``(persons, length)``. ``groups`` are the persons. The vocabulary of the card has the items, its classes are wrong and
        right in this order.

    Raises:
        ValueError: If there is no column ``item`` of words, an item is missing, the answers are not of two classes, one of them
            right by its name, or the rows are not split by person.

    Example:
        >>> from jaxresearch.data import Column, DataCard
        >>> part = {"inputs": {"item": np.array([0, 1, 1])}, "targets": np.array([1, 0, 1]), "groups": np.array([5, 5, 8])}
        >>> columns = (Column(name="item", kind="category", levels=("add", "divide")),)
        >>> card = DataCard(name="mine", source="memory", columns=columns, class_names=("no", "yes"))
        >>> persons = answer_sequences(Dataset(part, part, None, card)).train
        >>> persons["inputs"].tolist(), persons["targets"].tolist()
        ([[[0, 1], [1, 0]], [[1, 1], [-1, -1]]], [[1, 0], [1, -1]])
    """
    require_columns(rows.train, rows.card, "item")
    parts, card = rows.parts(), rows.card
    items = next(column for column in card.columns if column.name == "item")
    if items.kind != "category":
        raise ValueError(f"item must be a category, got a column of kind {items.kind}. Pass --types item=category.")
    if len(card.class_names) != 2:
        raise ValueError(
            f"answers must be of two classes, wrong and right, got {len(card.class_names) or 'values'}. Choose another target."
        )
    right = _place_of_right(card.class_names)
    if any("groups" not in part for part in parts.values()):
        raise ValueError(
            "answers must be split by person, got rows without groups. Pass --group with the column of persons."
        )
    for name, part in parts.items():
        require_given(part["inputs"]["item"] < 0, "item", of="answer", part=name)
    longest = max(int(np.unique(part["groups"], return_counts=True)[1].max()) for part in parts.values())
    card = dataclasses.replace(
        card,
        columns=(),
        feature_names=(),
        feature_shape=(longest, 2),
        vocabulary=tuple(items.levels),
        class_names=(card.class_names[1 - right], card.class_names[right]),
        notes=(
            *card.notes,
            *unused_notes(card, card.feature_names, used=["item"]),
            "examples are persons, with all answers",
        ),
    )
    return rows._replace(card=card, **{name: _by_person(part, longest, right) for name, part in parts.items()})


def _place_of_right(names: tuple[str, ...]) -> int:
    """Returns which of two classes is the right answer, by their names."""
    first, second = (name.strip().casefold() for name in names)
    if _RIGHT.get(first) != second and _RIGHT.get(second) != first:
        known = ", ".join(f"{wrong} and {right}" for wrong, right in _RIGHT.items())
        raise ValueError(
            f"answers must be classes that say which is right ({known}), got {names[0]} and {names[1]}. Write 1 for right, 0 for "
            "wrong."
        )
    return int(_RIGHT.get(first) == second)


def require_given(is_missing: np.ndarray, column: str, *, of: str, part: str) -> None:
    """Raises if a cell of a column is missing.

    Args:
        is_missing: Whether the cell of each row is.
        column: Its name.
        of: What a row is, such as ``answer``.
        part: The name of the part.

    Raises:
        ValueError: With the first row, counted from 1.

    Example:
        >>> require_given(np.array([False, True]), "item", of="answer", part="train")
        Traceback (most recent call last):
        ...
        ValueError: item must be given for every answer, got none in row 2 of the train part (1 in all). Fill it in or drop
        the row.
    """
    if is_missing.any():
        raise ValueError(
            f"{column} must be given for every {of}, got none in row {int(np.argmax(is_missing)) + 1} of the {part} part "
            f"({int(is_missing.sum()):,} in all). Fill it in or drop the row."
        )


def _by_person(part: Part, length: int, right: int) -> Part:
    """Returns a row for each person of a part; ``right`` is the class of right answers."""
    order = np.argsort(part["groups"], kind="stable")
    ids, starts, counts = np.unique(part["groups"][order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    inputs = np.full((len(ids), length, 2), NONE, np.int32)
    row = np.repeat(np.arange(len(ids)), counts)
    inputs[row, place, 0] = part["inputs"]["item"][order]
    inputs[row, place, 1] = part["targets"][order] == right
    return {"inputs": inputs, "targets": inputs[..., 1].copy(), "groups": ids}
